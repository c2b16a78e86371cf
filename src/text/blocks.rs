//! A running text as blocks of equal length, in shuffled order.

use super::{Order, TextError};

/// Tokens of a text, cut into blocks. A block of `len + 1` tokens predicts `len`; neighbours share one token, so that every
/// token but the first is predicted once in an epoch.
#[derive(Debug, Clone)]
pub struct Blocks {
    tokens: Vec<u32>,
    len: usize,
    order: Order,
}

impl Blocks {
    /// Cuts the text.
    ///
    /// # Errors
    /// Where it is too short for one block.
    pub fn new(what: &str, tokens: Vec<u32>, len: usize, seed: u64) -> Result<Self, TextError> {
        let needed = len + 1;
        if len == 0 || tokens.len() < needed {
            return Err(TextError::TooShort { what: what.to_owned(), found: tokens.len(), needed });
        }
        let order = Order::new((tokens.len() - 1) / len, seed);
        Ok(Self { tokens, len, order })
    }

    /// Tokens that one block predicts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: there is at least one block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All tokens.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Blocks `first..first + count` of the endless shuffled sequence, each of `len + 1` tokens.
    #[must_use]
    pub fn at(&self, first: u64, count: usize) -> Vec<&[u32]> {
        self.order.at(first, count).into_iter().map(|i| &self.tokens[i * self.len..][..=self.len]).collect()
    }
}

/// Windows of `len` tokens from the start, without overlap; a last one that is shorter counts if it predicts anything.
/// The first token of a window is not predicted, so that a window of `len` gives `len − 1` predictions.
#[must_use]
pub fn windows(tokens: &[u32], len: usize) -> Vec<&[u32]> {
    tokens.chunks(len.max(2)).filter(|window| window.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once_an_epoch() {
        let blocks = Blocks::new("t", (0..10).collect(), 3, 7).unwrap();
        let mut targets: Vec<u32> = blocks.at(0, 3).into_iter().flat_map(|block| block[1..].to_vec()).collect();
        targets.sort_unstable();
        assert_eq!(targets, (1..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_text_without_a_block_is_refused_with_both_numbers() {
        let error = Blocks::new("a.txt", vec![1, 2, 3], 3, 0).unwrap_err().to_string();
        assert!(error.contains("a.txt has 3 tokens, and 4 are needed"), "{error}");
        assert!(Blocks::new("a.txt", Vec::new(), 3, 0).is_err());
    }

    #[test]
    fn windows_do_not_overlap() {
        let tokens: Vec<u32> = (0..9).collect();
        assert_eq!(windows(&tokens, 4), [&[0, 1, 2, 3][..], &[4, 5, 6, 7]]);
        assert_eq!(windows(&tokens[..6], 4), [&[0, 1, 2, 3][..], &[4, 5]]);
        assert!(windows(&tokens[..1], 4).is_empty());
    }
}
