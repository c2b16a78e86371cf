//! Aligned sentences as padded batches: pairs of about one length go together, in an order by the seed.

use super::{Order, TextError};

/// Batches whose pairs are sorted by length together: enough that a batch has little padding, few enough that batches
/// differ from epoch to epoch.
const POOL: usize = 50;

/// Token ids of a source and of its target, without marks of begin and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The sentence to translate.
    pub source: Vec<u32>,
    /// Its translation.
    pub target: Vec<u32>,
}

/// Pairs to learn from.
#[derive(Debug, Clone)]
pub struct Pairs {
    pairs: Vec<Pair>,
    batch: usize,
    seed: u64,
}

impl Pairs {
    /// In batches of `batch` pairs. Pairs without a token on either side, or longer than `max_len` on one, are left out.
    ///
    /// # Errors
    /// Where none is left.
    pub fn new(what: &str, pairs: Vec<Pair>, batch: usize, max_len: usize, seed: u64) -> Result<Self, TextError> {
        let fits = |side: &[u32]| (1..=max_len).contains(&side.len());
        let pairs: Vec<Pair> = pairs.into_iter().filter(|p| fits(&p.source) && fits(&p.target)).collect();
        if pairs.is_empty() {
            return Err(TextError::Empty(format!("{what} (pairs of 1 to {max_len} tokens)")));
        }
        Ok(Self { pairs, batch: batch.max(1), seed })
    }

    /// The pairs that are kept.
    #[must_use]
    pub fn all(&self) -> &[Pair] {
        &self.pairs
    }

    /// Batches of an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.pairs.len().div_ceil(self.batch)
    }

    /// Batches `first..first + count` of the endless sequence.
    #[must_use]
    pub fn at(&self, first: u64, count: usize) -> Vec<Vec<&Pair>> {
        let n = self.batches_per_epoch() as u64;
        let mut batches: Vec<Vec<&Pair>> = Vec::with_capacity(count);
        let mut epoch = None;
        for at in first..first + count as u64 {
            if epoch.as_ref().is_none_or(|(known, _)| *known != at / n) {
                epoch = Some((at / n, self.epoch(at / n)));
            }
            if let Some((_, of_epoch)) = &epoch {
                batches.push(of_epoch[(at % n) as usize].clone());
            }
        }
        batches
    }

    /// The batches of one epoch: shuffled pairs, sorted by length within a pool, cut, and the batches shuffled.
    fn epoch(&self, epoch: u64) -> Vec<Vec<&Pair>> {
        let order = Order::new(self.pairs.len(), self.seed).of_epoch(epoch);
        let mut shuffled: Vec<&Pair> = order.into_iter().map(|i| &self.pairs[i]).collect();
        for pool in shuffled.chunks_mut(POOL * self.batch) {
            pool.sort_by_key(|pair| (pair.target.len(), pair.source.len()));
        }
        let batches: Vec<&[&Pair]> = shuffled.chunks(self.batch).collect();
        let order = Order::new(batches.len(), self.seed ^ 1).of_epoch(epoch);
        order.into_iter().map(|i| batches[i].to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(n: u32) -> Vec<Pair> {
        (0..n)
            .map(|i| Pair { source: vec![i; 1 + (i * 7 % 5) as usize], target: vec![i; 1 + (i * 3 % 7) as usize] })
            .collect()
    }

    #[test]
    fn an_epoch_has_every_pair_once_and_the_place_is_a_number() {
        let pairs = Pairs::new("t", pairs(23), 4, 10, 5).unwrap();
        assert_eq!(pairs.batches_per_epoch(), 6);
        let epoch = pairs.at(0, 6);
        let mut seen: Vec<u32> = epoch.iter().flatten().map(|pair| pair.source[0]).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
        assert_eq!([pairs.at(0, 4), pairs.at(4, 9)].concat(), pairs.at(0, 13));
        assert_ne!(pairs.at(0, 6), pairs.at(6, 6));
    }

    #[test]
    fn empty_and_long_sides_are_left_out() {
        let mut some = pairs(3);
        some.push(Pair { source: vec![], target: vec![1] });
        some.push(Pair { source: vec![1; 11], target: vec![1] });
        assert_eq!(Pairs::new("t", some, 2, 10, 0).unwrap().all().len(), 3);
        let error = Pairs::new("a and b", Vec::new(), 2, 10, 0).unwrap_err().to_string();
        assert!(error.contains("a and b"), "{error}");
    }
}
