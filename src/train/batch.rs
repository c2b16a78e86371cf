//! What one forward of training takes: ids as tensors. Knows no text.

use candle_core::{DType, Device, Result, Tensor};

/// Sequences to learn from: what goes in, and what comes next at each position.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Ids (b, n).
    pub inputs: Tensor,
    /// Ids (b, n), one position later.
    pub targets: Tensor,
    /// 1 for the targets that count and 0 for the others (b · n), f32; `None`: all count.
    pub counted: Option<Tensor>,
    /// Targets that count.
    pub n_targets: usize,
    /// What is to be translated, for an encoder-decoder.
    pub source: Option<Source>,
}

/// Sources of a batch.
#[derive(Debug, Clone)]
pub struct Source {
    /// Ids (b, M), padded.
    pub ids: Tensor,
    /// Tokens of each.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Where all targets count.
    ///
    /// # Errors
    /// Where inputs and targets have not one shape.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        if inputs.dims2()? != targets.dims2()? {
            candle_core::bail!("inputs {:?} have no targets {:?}", inputs.dims(), targets.dims());
        }
        let n_targets = targets.elem_count();
        Ok(Self { inputs, targets, counted: None, n_targets, source: None })
    }

    /// From ids (b, n + 1): the first n are the inputs, the last n the targets.
    ///
    /// # Errors
    /// Where there is no second token.
    pub fn of_sequences(ids: &Tensor) -> Result<Self> {
        let (_, len) = ids.dims2()?;
        if len < 2 {
            candle_core::bail!("a sequence of {len} tokens has no next token to learn");
        }
        Self::new(ids.narrow(1, 0, len - 1)?.contiguous()?, ids.narrow(1, 1, len - 1)?.contiguous()?)
    }

    /// From rows of equal length.
    ///
    /// # Errors
    /// As [`Batch::of_sequences`].
    pub fn of_rows<R: AsRef<[u32]>>(rows: &[R], device: &Device) -> Result<Self> {
        let len = rows.first().map_or(0, |row| row.as_ref().len());
        let ids: Vec<u32> = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
        Self::of_sequences(&Tensor::from_vec(ids, (rows.len(), len), device)?)
    }

    /// Only targets for which `counts(position)` holds.
    ///
    /// # Errors
    /// As the device fails.
    pub fn counting(mut self, counts: impl Fn(usize) -> bool) -> Result<Self> {
        let (batch, n) = self.inputs.dims2()?;
        let marks: Vec<f32> = (0..batch * n).map(|i| if counts(i % n) { 1.0 } else { 0.0 }).collect();
        self.n_targets = marks.iter().filter(|mark| **mark > 0.0).count();
        self.counted = Some(Tensor::from_vec(marks, batch * n, self.inputs.device())?);
        Ok(self)
    }

    /// Sources and targets of unlike lengths, filled up with `padding`: a source ends with `end`, a target begins and ends
    /// with it.
    ///
    /// # Errors
    /// As the device fails.
    pub fn of_pairs(pairs: &[(&[u32], &[u32])], end: u32, padding: u32, device: &Device) -> Result<Self> {
        let sources: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| [source, &[end][..]].concat()).collect();
        let inputs: Vec<Vec<u32>> = pairs.iter().map(|(_, target)| [&[end][..], target].concat()).collect();
        let targets: Vec<Vec<u32>> = pairs.iter().map(|(_, target)| [target, &[end][..]].concat()).collect();
        let lengths = sources.iter().map(Vec::len).collect();
        let counted: Vec<f32> = {
            let n = targets.iter().map(Vec::len).max().unwrap_or(0);
            targets.iter().flat_map(|row| (0..n).map(|i| if i < row.len() { 1.0 } else { 0.0 })).collect()
        };
        let n_targets = targets.iter().map(Vec::len).sum();
        let counted = Tensor::from_vec(counted.clone(), counted.len(), device)?;
        let of = |rows: Vec<Vec<u32>>| padded(rows, padding, device);
        Ok(Self {
            inputs: of(inputs)?,
            targets: of(targets)?,
            counted: Some(counted),
            n_targets,
            source: Some(Source { ids: of(sources)?, lengths }),
        })
    }

    /// The sum of `losses` (b · n) over the targets that count.
    ///
    /// # Errors
    /// As the device fails.
    pub fn total(&self, losses: &Tensor) -> Result<Tensor> {
        match &self.counted {
            None => losses.sum_all(),
            Some(counted) => (losses * counted.to_dtype(DType::F32)?)?.sum_all(),
        }
    }
}

/// Rows filled up to the longest: (b, n).
pub(super) fn padded(rows: Vec<Vec<u32>>, padding: u32, device: &Device) -> Result<Tensor> {
    let (batch, n) = (rows.len(), rows.iter().map(Vec::len).max().unwrap_or(0));
    let mut ids = Vec::with_capacity(batch * n);
    for mut row in rows {
        row.resize(n, padding);
        ids.extend(row);
    }
    Tensor::from_vec(ids, (batch, n), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stand_one_later_than_inputs() {
        let ids = Tensor::new(&[[1u32, 2, 3], [4, 5, 6]], &Device::Cpu).unwrap();
        let batch = Batch::of_sequences(&ids).unwrap();
        assert_eq!(batch.inputs.to_vec2::<u32>().unwrap(), [[1, 2], [4, 5]]);
        assert_eq!(batch.targets.to_vec2::<u32>().unwrap(), [[2, 3], [5, 6]]);
        assert_eq!(batch.n_targets, 4);
        assert!(Batch::of_sequences(&ids.narrow(1, 0, 1).unwrap()).is_err());
    }

    #[test]
    fn pairs_are_marked_padded_and_counted() {
        let pairs: [(&[u32], &[u32]); 2] = [(&[7], &[8, 9]), (&[5, 6], &[4])];
        let batch = Batch::of_pairs(&pairs, 0, 1, &Device::Cpu).unwrap();
        assert_eq!(batch.inputs.to_vec2::<u32>().unwrap(), [[0, 8, 9], [0, 4, 1]]);
        assert_eq!(batch.targets.to_vec2::<u32>().unwrap(), [[8, 9, 0], [4, 0, 1]]);
        let source = batch.source.as_ref().unwrap();
        assert_eq!(source.ids.to_vec2::<u32>().unwrap(), [[7, 0, 1], [5, 6, 0]]);
        assert_eq!((source.lengths.as_slice(), batch.n_targets), (&[2, 3][..], 5));
        let losses = Tensor::new(&[1f32, 2.0, 4.0, 8.0, 16.0, 32.0], &Device::Cpu).unwrap();
        assert_eq!(batch.total(&losses).unwrap().to_scalar::<f32>().unwrap(), 31.0);
    }

    #[test]
    fn some_positions_count() {
        let batch = Batch::of_rows(&[[1, 2, 3, 4], [5, 6, 7, 8]], &Device::Cpu).unwrap();
        let batch = batch.counting(|i| i == 2).unwrap();
        let losses = Tensor::new(&[1f32, 2.0, 4.0, 8.0, 16.0, 32.0], &Device::Cpu).unwrap();
        assert_eq!((batch.n_targets, batch.total(&losses).unwrap().to_scalar::<f32>().unwrap()), (2, 36.0));
    }
}
