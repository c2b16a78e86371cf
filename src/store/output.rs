//! Where output goes: a file opened before anything is measured, or stdout. Knows when a file may be written, not what
//! goes into it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// How an existing file is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// It is overwritten (`--force`).
    Overwrite,
    /// It is continued (`--resume`).
    Append,
}

/// Why output cannot go there.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file is there already.
    #[error("{path} exists; give another name, --resume {path} to continue it, or --force to overwrite it")]
    Exists {
        /// Where.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Unwritable {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// An open output. Every error of writing carries its name, and keeps its kind, so that a closed pipe can be told from
/// a full disk.
pub struct Output {
    name: String,
    inner: Box<dyn Write + Send>,
    is_empty: bool,
}

impl Output {
    /// Opens `target`: `-` is stdout.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn open(target: &str, existing: Existing) -> Result<Self, OutputError> {
        if target == "-" {
            return Ok(Self { name: "stdout".to_owned(), inner: Box::new(io::stdout()), is_empty: true });
        }
        let path = Path::new(target);
        // A device or a pipe (/dev/null, /dev/fd/3) holds nothing that could be lost.
        let is_special = fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        let mut options = OpenOptions::new();
        let options = match existing {
            _ if is_special => options.write(true),
            Existing::Refuse => options.write(true).create_new(true),
            Existing::Overwrite => options.write(true).create(true).truncate(true),
            Existing::Append => options.append(true).create(true),
        };
        match options.open(path) {
            Ok(file) => {
                let is_empty = is_special || file.metadata().is_ok_and(|m| m.len() == 0);
                Ok(Self { name: target.to_owned(), inner: Box::new(file), is_empty })
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
                Err(OutputError::Exists { path: target.to_owned() })
            }
            Err(source) => Err(OutputError::Unwritable { path: target.to_owned(), source }),
        }
    }

    /// An output into memory or anything else that is written to.
    #[must_use]
    pub fn to_writer(name: &str, inner: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), inner, is_empty: true }
    }

    /// Whether it held nothing when it was opened, so that it needs a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Writes all of it and flushes.
    ///
    /// # Errors
    /// The system's error, of the same kind, with the name of the output.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.inner.write_all(bytes).and_then(|()| self.inner.flush());
        result.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", self.name)))
    }
}

/// Whether an error comes of a closed pipe, which ends a program quietly.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// Replaces a file by these bytes in one step: whoever looks sees the old or the new one, whole.
///
/// # Errors
/// Of writing the file beside it or of renaming that.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|source| {
        // The file beside is of no use to anyone; that it could not be removed changes nothing.
        let _ = fs::remove_file(&beside);
        OutputError::Unwritable { path: path.display().to_string(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_refused_overwritten_or_continued() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("out.csv");
        let name = path.to_str().expect("utf-8");
        Output::open(name, Existing::Refuse).expect("new").write_now(b"one\n").expect("written");
        let error = Output::open(name, Existing::Refuse).map(|_| ()).expect_err("exists").to_string();
        assert!(error.contains("--resume") && error.contains("--force"), "{error}");
        let mut more = Output::open(name, Existing::Append).expect("continued");
        assert!(!more.is_empty());
        more.write_now(b"two\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "one\ntwo\n");
        assert!(Output::open(name, Existing::Overwrite).expect("overwritten").is_empty());
        assert_eq!(fs::read_to_string(&path).expect("readable"), "");
    }

    #[test]
    fn what_cannot_be_written_is_found_out_at_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let inside = dir.path().join("missing/out.csv");
        for target in [dir.path(), inside.as_path()] {
            let name = target.to_str().expect("utf-8");
            let error = Output::open(name, Existing::Refuse).map(|_| ()).expect_err("unwritable");
            assert!(matches!(error, OutputError::Unwritable { .. }), "{error}");
        }
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, closed) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let error = Output::to_writer("x.csv", Box::new(Broken(kind))).write_now(b"x").expect_err("fails");
            assert!(error.to_string().contains("x.csv"));
            assert_eq!(is_closed_pipe(&anyhow::Error::from(error).context("while writing")), closed);
        }
    }
}
