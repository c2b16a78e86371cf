//! The order in which examples are learned: a new shuffle every epoch, by the seed alone, so that the place where a run
//! stopped is one number.

use rand::seq::SliceRandom;

use crate::params::named_rng;

/// An endless sequence of `n` examples, shuffled anew in every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    n: usize,
    seed: u64,
}

impl Order {
    /// Of `n` examples, at least one.
    #[must_use]
    pub fn new(n: usize, seed: u64) -> Self {
        Self { n: n.max(1), seed }
    }

    /// The examples in the order of that epoch.
    #[must_use]
    pub fn of_epoch(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.n).collect();
        order.shuffle(&mut named_rng(self.seed, &format!("order.{epoch}")));
        order
    }

    /// Examples `first..first + count` of the sequence.
    #[must_use]
    pub fn at(&self, first: u64, count: usize) -> Vec<usize> {
        let n = self.n as u64;
        let mut epoch = first / n;
        let mut order = self.of_epoch(epoch);
        let mut at = (first % n) as usize;
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            if at == self.n {
                (epoch, at) = (epoch + 1, 0);
                order = self.of_epoch(epoch);
            }
            taken.push(order[at]);
            at += 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_epoch_has_every_example_once_and_slices_agree(n in 1usize..40, seed: u64, cut in 0usize..80) {
            let order = Order::new(n, seed);
            let two = order.at(0, 2 * n);
            for epoch in two.chunks(n) {
                prop_assert_eq!(epoch.iter().copied().collect::<BTreeSet<_>>().len(), n);
            }
            let cut = cut % (2 * n);
            let parts = [order.at(0, cut), order.at(cut as u64, 2 * n - cut)].concat();
            prop_assert_eq!(parts, two);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = Order::new(50, 1);
        assert_ne!(order.of_epoch(0), order.of_epoch(1));
        assert_ne!(order.of_epoch(0), Order::new(50, 2).of_epoch(0));
    }
}
