//! Associative recall (Ba et al. 2016; Arora et al. 2024, arXiv 2312.04927): a made-up task that needs no file. A sequence
//! lists pairs of a key and a value, then asks for the value of each key in another order. What a model must do is look
//! something up by its content, which is what attention is for.

use rand::{Rng, seq::SliceRandom};

use crate::params::named_rng;

/// The task: how many pairs a sequence has, and out of how many keys and values they are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recall {
    /// Pairs of a sequence.
    pub pairs: usize,
    /// Keys to draw from, without repetition; at least `pairs`.
    pub keys: usize,
    /// Values to draw from.
    pub values: usize,
}

impl Recall {
    /// Entries of the vocabulary: keys first, then values.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.keys + self.values
    }

    /// Tokens that a sequence predicts: k₁ v₁ … k_n v_n, then keys and values again, and the last has no successor.
    #[must_use]
    pub fn len(&self) -> usize {
        4 * self.pairs - 1
    }

    /// Whether there is nothing to recall.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// Sequence `i` of a seed: `len() + 1` tokens. Only the values in its second half can be known; they stand at
    /// [`Recall::answers`].
    #[must_use]
    pub fn sequence(&self, seed: u64, i: u64) -> Vec<u32> {
        let mut rng = named_rng(seed, &format!("recall.{i}"));
        let mut keys: Vec<u32> = (0..self.keys as u32).collect();
        keys.shuffle(&mut rng);
        keys.truncate(self.pairs);
        let value = |rng: &mut rand_chacha::ChaCha8Rng| (self.keys + rng.random_range(0..self.values.max(1))) as u32;
        let mut pairs: Vec<[u32; 2]> = keys.into_iter().map(|key| [key, value(&mut rng)]).collect();
        let listed = pairs.concat();
        pairs.shuffle(&mut rng);
        [listed, pairs.concat()].concat()
    }

    /// Whether the target at position `i` (the token at `i + 1`) is an answer.
    #[must_use]
    pub fn is_answer(&self, i: usize) -> bool {
        i >= 2 * self.pairs && i.is_multiple_of(2)
    }

    /// Positions of the targets that are answers.
    #[must_use]
    pub fn answers(&self) -> Vec<usize> {
        (0..self.len()).filter(|i| self.is_answer(*i)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_answer_was_listed_before() {
        let task = Recall { pairs: 6, keys: 16, values: 8 };
        for i in 0..50 {
            let sequence = task.sequence(3, i);
            assert_eq!(sequence.len(), task.len() + 1);
            assert!(sequence.iter().all(|id| (*id as usize) < task.vocab_size()));
            let listed: BTreeMap<u32, u32> = sequence[..12].chunks(2).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(listed.len(), 6, "keys do not repeat");
            assert_eq!(task.answers().len(), 6);
            for at in task.answers() {
                assert_eq!(listed[&sequence[at]], sequence[at + 1]);
            }
        }
        assert_eq!(task.sequence(3, 7), task.sequence(3, 7));
        assert_ne!(task.sequence(3, 7), task.sequence(4, 7));
    }
}
