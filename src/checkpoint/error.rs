//! What can be wrong with a checkpoint, said so that one knows which file to look at and for what.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The path leads nowhere, or cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// What was to be read.
        file: String,
        /// Why it could not.
        source: io::Error,
    },
    /// There is something else at the path.
    #[error("{path}: expected a folder with config.json and *.safetensors, or a .gguf file; found {found}")]
    NotOne {
        /// The path.
        path: String,
        /// What is there.
        found: String,
    },
    /// A file does not hold what it should.
    #[error("{file}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// What was read, and what was expected.
        message: String,
    },
    /// A file asks for what this program does not have.
    #[error("{file}: {found} is not supported; expected {expected}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it asks for.
        found: String,
        /// What there is.
        expected: String,
    },
    /// A tensor is not there.
    #[error("{file}: no tensor '{tensor}'; expected one of shape {expected:?}")]
    Missing {
        /// Where it should be.
        file: String,
        /// Its name there.
        tensor: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor is not what it should be.
    #[error("{file}: tensor '{tensor}': expected {expected}, found {found}")]
    Tensor {
        /// The file.
        file: String,
        /// Its name there.
        tensor: String,
        /// Shape, type or bytes by the configuration or the file's header.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Something could not be written.
    #[error("cannot write {file}: {message}")]
    Unwritable {
        /// What was to be written.
        file: String,
        /// Why it could not.
        message: String,
    },
}

impl CheckpointError {
    pub(super) fn unreadable(file: &Path, source: io::Error) -> Self {
        Self::Unreadable { file: file.display().to_string(), source }
    }

    pub(super) fn invalid(file: &Path, message: impl Into<String>) -> Self {
        Self::Invalid { file: file.display().to_string(), message: message.into() }
    }

    pub(super) fn unsupported(file: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Unsupported { file: file.display().to_string(), found: found.into(), expected: expected.into() }
    }

    pub(super) fn unwritable(file: &Path, why: &impl std::fmt::Display) -> Self {
        Self::Unwritable { file: file.display().to_string(), message: why.to_string() }
    }
}

impl From<CheckpointError> for candle_core::Error {
    fn from(e: CheckpointError) -> Self {
        Self::wrap(e)
    }
}

/// Libraries divide by numbers of a file, or take it that it is whole: a damaged one must not end the program.
pub(super) fn unpanicked<T>(read: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_panic| "its content makes no sense".to_owned())
}

/// What reading and writing checkpoints answers.
pub type Result<T> = std::result::Result<T, CheckpointError>;
