//! Text to token ids and back.

use std::path::Path;

use serde::de::IgnoredAny;
use tokenizers::{
    DecodeStream,
    decoders::DecoderWrapper,
    models::ModelWrapper,
    normalizers::NormalizerWrapper,
    pre_tokenizers::PreTokenizerWrapper,
    processors::{PostProcessorWrapper, sequence::Sequence},
};

use super::error::{CheckpointError, Result, unpanicked};

/// The file of a folder.
pub(super) const FILE: &str = "tokenizer.json";

/// Tokens that may pass without making up a character: the bytes of one are at most four.
const MOST_PENDING: usize = 8;

/// The same without taking the blanks around a token from its place in the text: places are counted in bytes here, and blanks
/// are some.
fn with_whole_offsets(processor: PostProcessorWrapper) -> PostProcessorWrapper {
    match processor {
        PostProcessorWrapper::ByteLevel(own) => own.trim_offsets(false).into(),
        PostProcessorWrapper::Roberta(own) => own.trim_offsets(false).into(),
        PostProcessorWrapper::Sequence(all) => Sequence::new(all.into_iter().map(with_whole_offsets).collect()).into(),
        other => other,
    }
}

/// A tokenizer and where it came from.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// Where the file is missing or is no tokenizer.
    pub fn open(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).map_err(|e| CheckpointError::unreadable(file, e))?;
        let wrong = |message: String| CheckpointError::invalid(file, format!("not a tokenizer: {message}"));
        // The library ends the program at some JSON that is cut short.
        serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|e| wrong(e.to_string()))?;
        let inner = unpanicked(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(wrong)?;
        let inner = inner.map_err(|e| wrong(e.to_string()))?;
        Self::of(inner, file)
    }

    /// Takes over a tokenizer that was read from, or made for, `file`.
    ///
    /// # Errors
    /// If it cannot be freed of truncation.
    pub fn of(mut inner: tokenizers::Tokenizer, file: &Path) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| CheckpointError::invalid(file, e.to_string()))?;
        let processor = inner.get_post_processor().cloned().map(with_whole_offsets);
        inner.with_post_processor(processor);
        Ok(Self { inner, file: file.display().to_string() })
    }

    fn failed(&self, error: &tokenizers::Error) -> CheckpointError {
        CheckpointError::Invalid { file: self.file.clone(), message: error.to_string() }
    }

    /// The ids of a text as it stands: no token is added. Special tokens written in the text are recognised.
    ///
    /// # Errors
    /// As the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(|e| self.failed(&e))?.get_ids().to_vec())
    }

    /// The same with the byte at which each token ends.
    ///
    /// # Errors
    /// As the tokenizer fails.
    pub fn encode_with_ends(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let encoding = self.inner.encode(text, false).map_err(|e| self.failed(&e))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(|(_, end)| *end).collect()))
    }

    /// The ids of a prompt, with what the model expects before it.
    ///
    /// # Errors
    /// As the tokenizer fails.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, true).map_err(|e| self.failed(&e))?.get_ids().to_vec())
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// As the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| self.failed(&e))
    }

    /// The text of ids that come one by one.
    #[must_use]
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: &self.inner, stream: self.inner.decode_stream(true), pending: 0 }
    }

    /// The id of a token written exactly so.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokens, those that were added among them.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The tokenizer of the library, for training one.
    #[must_use]
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The content of a `tokenizer.json`.
    ///
    /// # Errors
    /// As the tokenizer fails.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| self.failed(&e))
    }

    /// Refuses a tokenizer with ids beyond the model's vocabulary.
    pub(super) fn must_fit(&self, model: &Path, vocab_size: usize) -> Result<()> {
        let highest = self.inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if highest < vocab_size {
            return Ok(());
        }
        let message = format!(
            "a token with id {highest}, expected ids below {vocab_size}, the vocabulary of the model in {}",
            model.display()
        );
        Err(CheckpointError::Invalid { file: self.file.clone(), message })
    }
}

type Stream<'a> =
    DecodeStream<'a, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The text of ids that come one by one, in pieces that are whole characters.
pub struct TextStream<'a> {
    tokenizer: &'a tokenizers::Tokenizer,
    stream: Stream<'a>,
    pending: usize,
}

impl TextStream<'_> {
    /// What one more id adds to the text: nothing while it ends within a character. Bytes that make up no character are
    /// given as U+FFFD after a few tokens, so that a stream of any length keeps no more than these.
    pub fn push(&mut self, id: u32) -> String {
        match self.stream.step(id) {
            Ok(Some(text)) => {
                self.pending = 0;
                text
            }
            Ok(None) if self.pending < MOST_PENDING => {
                self.pending += 1;
                String::new()
            }
            _ => {
                (self.stream, self.pending) = (self.tokenizer.decode_stream(true), 0);
                char::REPLACEMENT_CHARACTER.to_string()
            }
        }
    }
}
