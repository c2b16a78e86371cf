//! The tokenizer in a GGUF file: byte-level BPE from its tokens and merges, split as the file's `tokenizer.ggml.pre` says.

use candle_core::quantized::{gguf_file::Value, tokenizer::TokenizerFromGguf};
use tokenizers::{
    Tokenizer as Library,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use super::{
    error::{CheckpointError, Result, unpanicked},
    gguf::Gguf,
    tokenizer::Tokenizer,
};
use crate::spec::without_backtrace;

/// Words, numbers of up to three digits, and punctuation (Llama 3).
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same with digits one by one (Qwen2).
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How texts are split before merging, by the names that GGUF files use.
enum Splitting {
    /// GPT-2's own.
    Gpt2,
    /// GPT-2's, digits one by one first.
    Digits,
    /// By a pattern; whether texts are normalised to NFC before.
    Pattern(&'static str, bool),
}

fn splitting(name: &str) -> Option<Splitting> {
    match name {
        "gpt-2" | "gpt2" => Some(Splitting::Gpt2),
        "smollm" => Some(Splitting::Digits),
        "llama-bpe" | "llama3" | "llama-v3" => Some(Splitting::Pattern(LLAMA3, false)),
        "qwen2" => Some(Splitting::Pattern(QWEN2, true)),
        _ => None,
    }
}

/// Reads the tokenizer.
pub(super) fn read(gguf: &Gguf) -> Result<Tokenizer> {
    let file = &gguf.file;
    let wrong = |message: String| CheckpointError::invalid(file, format!("tokenizer: {message}"));
    let model = gguf.text("tokenizer.ggml.model")?.unwrap_or("nothing");
    if model != "gpt2" {
        let found = format!("tokenizer model '{model}'");
        return Err(CheckpointError::unsupported(file, found, "'gpt2', byte-level BPE"));
    }
    let pre = gguf.text("tokenizer.ggml.pre")?.unwrap_or("gpt-2");
    let Some(splitting) = splitting(pre) else {
        let found = format!("tokenizer.ggml.pre '{pre}'");
        return Err(CheckpointError::unsupported(file, found, "gpt-2, smollm, llama-bpe or qwen2"));
    };
    refuse_doubles(gguf)?;
    let mut library = unpanicked(|| Library::from_gguf(&gguf.content))
        .map_err(wrong)?
        .map_err(|e| wrong(without_backtrace(&e.to_string()).to_owned()))?;
    let split = |pattern: &str| -> Result<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| wrong(e.to_string()))?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    };
    let (pre_tokenizer, normalize): (PreTokenizerWrapper, bool) = match splitting {
        Splitting::Gpt2 => (ByteLevel::new(false, true, true).into(), false),
        Splitting::Digits => {
            (Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]).into(), false)
        }
        Splitting::Pattern(pattern, normalize) => (split(pattern)?, normalize),
    };
    library.with_pre_tokenizer(Some(pre_tokenizer));
    library.with_normalizer(normalize.then_some(NFC)).map_err(|e| wrong(e.to_string()))?;
    library.with_decoder(Some(ByteLevel::new(true, true, true)));
    Tokenizer::of(library, file)
}

/// Two tokens written alike would leave one id without a meaning.
fn refuse_doubles(gguf: &Gguf) -> Result<()> {
    let Some(Value::Array(tokens)) = gguf.content.metadata.get("tokenizer.ggml.tokens") else { return Ok(()) };
    let mut seen = std::collections::HashSet::new();
    for token in tokens {
        if let Value::String(text) = token
            && !seen.insert(text.as_str())
        {
            return Err(CheckpointError::invalid(&gguf.file, format!("tokenizer: the token '{text}' is there twice")));
        }
    }
    Ok(())
}
