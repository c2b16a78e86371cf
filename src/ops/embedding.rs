//! Vectors of tokens and of their positions.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, room, with_slices};
use crate::kernels::{for_each_chunk, new_chunks};

/// `table[id] + positions[start + i]` of the i-th token of each sequence: table (vocab, d), positions (places, d) where the
/// model has any, ids (b, n); (b, n, d).
///
/// # Errors
/// On an id beyond the table, a position beyond its table, shapes that do not fit together, and on anything but f32 on the
/// CPU.
pub fn embedding(table: &Tensor, positions: Option<&Tensor>, ids: &Tensor, start: usize) -> Result<Tensor> {
    let ((batch, n), (vocab, width)) = (ids.dims2()?, table.dims2()?);
    let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        candle_core::bail!("token {id} is beyond the vocabulary of {vocab}");
    }
    if positions.is_some_and(|of| of.dims2().is_ok_and(|(places, w)| w != width || start + n > places)) {
        candle_core::bail!("positions {start}..{} of width {width} in {positions:?}", start + n);
    }
    let op = Embedding { ids, batch, n, width, start };
    match positions {
        Some(positions) => table.contiguous()?.apply_op2(&positions.contiguous()?, op),
        None => table.contiguous()?.apply_op1(op),
    }
}

struct Embedding {
    /// Of every sequence after the other.
    ids: Vec<u32>,
    batch: usize,
    n: usize,
    width: usize,
    start: usize,
}

impl Embedding {
    fn forward(&self, table: &[f32], positions: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let d = self.width;
        let total = self.ids.len() * d;
        let x = new_chunks(total, d.max(1), total, |i, x| {
            x.copy_from_slice(&table[self.ids[i] as usize * d..][..d]);
            if let Some(positions) = positions {
                let place = &positions[(self.start + i % self.n) * d..][..d];
                x.iter_mut().zip(place).for_each(|(x, p)| *x += p);
            }
        });
        made(x, (self.batch, self.n, d))
    }

    fn of_table(&self, table: &Tensor, grad: &[f32]) -> Result<Option<Tensor>> {
        let mut sums = room(table);
        if !sums.is_empty() {
            for (id, grad) in self.ids.iter().zip(grad.chunks_exact(self.width)) {
                let row = &mut sums[*id as usize * self.width..][..self.width];
                row.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
            }
        }
        gradient(table, sums)
    }

    fn of_positions(&self, positions: &Tensor, grad: &[f32]) -> Result<Option<Tensor>> {
        let mut sums = room(positions);
        let d = self.width;
        if !sums.is_empty() && !grad.is_empty() {
            let seen = &mut sums[self.start * d..][..self.n * d];
            for_each_chunk([seen], d, grad.len(), |i, [sum]| {
                for sequence in grad.chunks_exact(self.n * d) {
                    sum.iter_mut().zip(&sequence[i * d..][..d]).for_each(|(sum, g)| *sum += g);
                }
            });
        }
        gradient(positions, sums)
    }
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(numbers(table, layout)?, None)
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        with_slices([&grad.contiguous()?], |[grad]| self.of_table(table, grad))
    }
}

impl CustomOp2 for Embedding {
    fn name(&self) -> &'static str {
        "embedding-of-places"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        layout: &Layout,
        positions: &CpuStorage,
        of_positions: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(numbers(table, layout)?, Some(numbers(positions, of_positions)?))
    }

    fn bwd(
        &self,
        table: &Tensor,
        positions: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_slices([&grad.contiguous()?], |[grad]| {
            Ok((self.of_table(table, grad)?, self.of_positions(positions, grad)?))
        })
    }
}
