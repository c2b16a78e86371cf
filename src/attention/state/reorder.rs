//! Sequences of a batch that go on from one another's past, as the hypotheses of a beam search do.

use candle_core::{Result, Tensor};

use super::{KvCache, Recurrent, Source, State};
use crate::attention::TensorState;

impl State {
    /// Sequence i of the batch goes on from where sequence `parents[i]` was.
    ///
    /// # Panics
    /// If a parent is beyond the batch.
    pub fn reorder(&mut self, parents: &[usize]) {
        match self {
            Self::KvCache(cache) => cache.reorder(parents),
            Self::Recurrent(sums) => sums.reorder(parents),
            Self::Hybrid { window, past } => {
                window.reorder(parents);
                past.reorder(parents);
            }
            Self::Source(Source { keys, values, lengths, .. }) => {
                gather(keys, parents);
                gather(values, parents);
                gather(lengths, parents);
            }
            Self::Empty => {}
        }
    }
}

impl KvCache {
    fn reorder(&mut self, parents: &[usize]) {
        // Heads of one sequence lie together, and all of a head's room is copied: what a cache costs a beam search.
        gather(&mut self.keys, parents);
        gather(&mut self.values, parents);
    }
}

impl Recurrent {
    fn reorder(&mut self, parents: &[usize]) {
        gather(&mut self.sums, parents);
    }
}

impl TensorState {
    /// As [`State::reorder`].
    ///
    /// # Errors
    /// As the device fails.
    pub fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        let of = |t: &Tensor| -> Result<Tensor> {
            let ids: Vec<u32> = parents.iter().map(|p| *p as u32).collect();
            t.index_select(&Tensor::new(ids, t.device())?, 0)
        };
        let of_level = |level: &Option<Tensor>| level.as_ref().map(of).transpose();
        match self {
            Self::Empty => {}
            Self::KvCache { keys, values, .. } => (*keys, *values) = (of(keys)?, of(values)?),
            Self::Source { keys, values, lengths } => {
                (*keys, *values) = (of(keys)?, of(values)?);
                *lengths = lengths.take().map(|lengths| parents.iter().map(|p| lengths[*p]).collect());
            }
            Self::Recurrent { sums, level, .. } => (*sums, *level) = (of(sums)?, of_level(level)?),
            Self::Hybrid { keys, values, sums, level, .. } => {
                (*keys, *values, *sums, *level) = (of(keys)?, of(values)?, of(sums)?, of_level(level)?);
            }
        }
        Ok(())
    }
}

/// Equal parts of a buffer, each replaced by a copy of another as it was; those that stay are not touched.
fn gather<T: Copy>(buffer: &mut [T], parents: &[usize]) {
    let part = buffer.len() / parents.len().max(1);
    let of = |i: usize| i * part..(i + 1) * part;
    let moved = || parents.iter().enumerate().filter(|(i, parent)| i != *parent);
    let copies: Vec<Vec<T>> = moved().map(|(_, parent)| buffer[of(*parent)].to_vec()).collect();
    for ((i, _), copy) in moved().zip(copies) {
        buffer[of(i)].copy_from_slice(&copy);
    }
}
