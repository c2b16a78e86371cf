//! Where batches come from: a running text, aligned pairs, a made-up task. A place in the data is a number, so that a run
//! that goes on sees what it would have seen.

use candle_core::{Device, Result};

use super::Batch;
use crate::text::{Blocks, Pair, Pairs, Recall, windows};

/// An endless sequence of batches, the same for the same number.
pub trait Lessons {
    /// Batches `first..first + count`.
    ///
    /// # Errors
    /// As the device fails.
    fn batches(&self, first: u64, count: usize) -> Result<Vec<Batch>>;
}

/// Blocks of a text.
pub struct Reading {
    /// The text.
    pub blocks: Blocks,
    /// Blocks of a batch.
    pub batch: usize,
    /// Where batches go.
    pub device: Device,
}

impl Lessons for Reading {
    fn batches(&self, first: u64, count: usize) -> Result<Vec<Batch>> {
        let blocks = self.blocks.at(first * self.batch as u64, count * self.batch);
        blocks.chunks(self.batch).map(|rows| Batch::of_rows(rows, &self.device)).collect()
    }
}

/// Ids of the tokens that are no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Begins and ends a sentence.
    pub end: u32,
    /// Fills up a batch.
    pub padding: u32,
}

/// Aligned pairs.
pub struct Translating {
    /// The pairs.
    pub pairs: Pairs,
    /// Ids that are no words.
    pub marks: Marks,
    /// Where batches go.
    pub device: Device,
}

impl Lessons for Translating {
    fn batches(&self, first: u64, count: usize) -> Result<Vec<Batch>> {
        self.pairs.at(first, count).iter().map(|pairs| of_pairs(pairs, self.marks, &self.device)).collect()
    }
}

fn of_pairs(pairs: &[&Pair], marks: Marks, device: &Device) -> Result<Batch> {
    let pairs: Vec<(&[u32], &[u32])> = pairs.iter().map(|p| (p.source.as_slice(), p.target.as_slice())).collect();
    Batch::of_pairs(&pairs, marks.end, marks.padding, device)
}

/// Associative recall; the answers alone count.
pub struct Recalling {
    /// The task.
    pub task: Recall,
    /// Sequences of a batch.
    pub batch: usize,
    /// Of the sequences.
    pub seed: u64,
    /// Where batches go.
    pub device: Device,
}

impl Lessons for Recalling {
    fn batches(&self, first: u64, count: usize) -> Result<Vec<Batch>> {
        let batch = |i: u64| {
            let first = i * self.batch as u64;
            let rows: Vec<Vec<u32>> =
                (first..first + self.batch as u64).map(|i| self.task.sequence(self.seed, i)).collect();
            Batch::of_rows(&rows, &self.device)?.counting(|i| self.task.is_answer(i))
        };
        (first..first + count as u64).map(batch).collect()
    }
}

/// The windows of a text that is held out, in batches of equal length; at most `most` windows.
///
/// # Errors
/// As the device fails.
pub fn held_out_text(
    tokens: &[u32],
    window: usize,
    batch: usize,
    most: Option<usize>,
    device: &Device,
) -> Result<Vec<Batch>> {
    let windows = windows(tokens, window);
    let windows = &windows[..windows.len().min(most.unwrap_or(usize::MAX))];
    let mut batches = Vec::new();
    for alike in windows.chunk_by(|a, b| a.len() == b.len()) {
        for rows in alike.chunks(batch.max(1)) {
            batches.push(Batch::of_rows(rows, device)?);
        }
    }
    Ok(batches)
}

/// Held-out pairs, in the order of their length.
///
/// # Errors
/// As the device fails.
pub fn held_out_pairs(pairs: &[Pair], batch: usize, marks: Marks, device: &Device) -> Result<Vec<Batch>> {
    let mut sorted: Vec<&Pair> = pairs.iter().collect();
    sorted.sort_by_key(|pair| (pair.target.len(), pair.source.len()));
    sorted.chunks(batch.max(1)).map(|pairs| of_pairs(pairs, marks, device)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_held_out_is_predicted_but_for_the_first_of_each_window() {
        let tokens: Vec<u32> = (0..11).collect();
        let batches = held_out_text(&tokens, 4, 2, None, &Device::Cpu).unwrap();
        assert_eq!(batches.iter().map(|b| b.n_targets).collect::<Vec<_>>(), [6, 2]);
        assert_eq!(batches[1].inputs.to_vec2::<u32>().unwrap(), [[8, 9]]);
        assert_eq!(held_out_text(&tokens, 4, 2, Some(1), &Device::Cpu).unwrap()[0].n_targets, 3);
    }

    #[test]
    fn a_place_is_a_number() {
        let reading =
            Reading { blocks: Blocks::new("t", (0..100).collect(), 5, 3).unwrap(), batch: 4, device: Device::Cpu };
        let ids = |batches: Vec<Batch>| -> Vec<Vec<Vec<u32>>> {
            batches.iter().map(|b| b.inputs.to_vec2().unwrap()).collect()
        };
        let whole = ids(reading.batches(0, 12).unwrap());
        assert_eq!([ids(reading.batches(0, 5).unwrap()), ids(reading.batches(5, 7).unwrap())].concat(), whole);
        let task = Recall { pairs: 3, keys: 6, values: 4 };
        let recalling = Recalling { task, batch: 2, seed: 1, device: Device::Cpu };
        assert_eq!(recalling.batches(0, 1).unwrap()[0].n_targets, 6);
        assert_eq!(ids(recalling.batches(3, 1).unwrap()), ids(recalling.batches(2, 2).unwrap())[1..]);
    }
}
