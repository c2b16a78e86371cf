//! Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019): a vocabulary learned from a text, by the `tokenizers` library.

use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerBuilder,
    models::{
        ModelWrapper,
        bpe::{BPE, BpeTrainerBuilder},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use super::TextError;

/// Ends a text and, in translation, begins and ends a sentence.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Fills up a batch; no model sees it.
pub const PADDING: &str = "<|padding|>";

/// Bytes, which every byte-level vocabulary holds, and the two special tokens.
const SMALLEST: usize = 256 + 2;

/// A tokenizer of `size` entries for texts like this one; any text can be encoded with it.
///
/// # Errors
/// Where there is less text than merges, or `size` does not hold the bytes.
pub fn learn_bpe<'a>(lines: impl Iterator<Item = &'a str> + Send, size: usize) -> Result<Tokenizer, TextError> {
    let refuse = |why: String| TextError::Vocabulary { size, why };
    if size < SMALLEST {
        return Err(refuse(format!("256 bytes and 2 special tokens are {SMALLEST} already")));
    }
    let special = [END_OF_TEXT, PADDING].map(|text| AddedToken::from(text, true));
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec())
        .build();
    let byte_level = || ByteLevel::new(false, false, true);
    let mut tokenizer = TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(byte_level()))
        .with_post_processor(Some(byte_level()))
        .with_decoder(Some(byte_level()))
        .build()
        .map_err(|e| refuse(e.to_string()))?;
    tokenizer.train(&mut trainer, lines).map_err(|e| refuse(e.to_string()))?;
    let learned = tokenizer.get_vocab_size(true);
    if learned < size {
        return Err(refuse(format!("the text gives {learned}; ask for at most as many")));
    }
    let mut whole = Tokenizer::new(ModelWrapper::BPE(tokenizer.get_model().clone()));
    whole.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level())));
    whole.with_post_processor(Some(PostProcessorWrapper::ByteLevel(byte_level())));
    whole.with_decoder(Some(DecoderWrapper::ByteLevel(byte_level())));
    whole.add_special_tokens(special).map_err(|e| refuse(e.to_string()))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        (0..400).map(|i| format!("the cat number {} sat on mat {}\n", i % 37, i * i % 101)).collect()
    }

    #[test]
    fn any_text_goes_there_and_back_and_frequent_words_are_one_token() {
        let text = text();
        let tokenizer = learn_bpe(text.split_inclusive('\n'), 300).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 300);
        assert_eq!((tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(PADDING)), (Some(0), Some(1)));
        for text in ["the cat sat", "Ünïcødé 🦀\t\r\n  x", ""] {
            let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert_eq!(tokenizer.encode(" cat", false).unwrap().get_ids().len(), 1);
        // Written and read back it is the same.
        let again: Tokenizer = tokenizer.to_string(false).unwrap().parse().unwrap();
        assert_eq!(again.encode(&*text, false).unwrap().get_ids(), tokenizer.encode(&*text, false).unwrap().get_ids());
    }

    #[test]
    fn too_small_a_vocabulary_and_too_little_text_are_refused() {
        assert!(learn_bpe(["abc"].into_iter(), 100).unwrap_err().to_string().contains("258"));
        assert!(learn_bpe(["abc"].into_iter(), 5000).unwrap_err().to_string().contains("the text gives"));
    }
}
