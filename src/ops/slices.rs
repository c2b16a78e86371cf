//! Borrowing the numbers of tensors.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor};
use half::slice::HalfFloatSliceExt;

/// Lends the numbers of contiguous f32 CPU tensors; copies nothing.
pub(crate) fn with_slices<const N: usize, T>(
    tensors: [&Tensor; N],
    body: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slice = match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => &data[start..end],
            _ => candle_core::bail!("slices can be had of contiguous f32 tensors on the CPU"),
        };
    }
    body(slices)
}

/// Lends a contiguous bf16 CPU matrix of even width as it lies in memory, two numbers to a word, the first in the lower half.
pub(crate) fn with_bf16_pairs<T>(matrix: &Tensor, body: impl FnOnce(&[u32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = matrix.storage_and_layout();
    let words = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::BF16(data)), Some((start, end)))
            if cfg!(target_endian = "little") && matrix.dims().last().is_some_and(|width| width % 2 == 0) =>
        {
            bytemuck::try_cast_slice(data[start..end].reinterpret_cast()).ok()
        }
        _ => None,
    };
    match words {
        Some(words) => body(words),
        None => candle_core::bail!("pairs can be had of contiguous bf16 matrices of even width on the CPU"),
    }
}

/// Lends the numbers of three tensors for writing; they must not share memory.
pub(crate) fn with_slices_mut([a, b, c]: [&Tensor; 3], body: impl FnOnce([&mut [f32]; 3])) -> Result<()> {
    with_slice_mut(a, |a| {
        with_slice_mut(b, |b| {
            with_slice_mut(c, |c| {
                body([a, b, c]);
                Ok(())
            })
        })
    })
}

fn with_slice_mut(tensor: &Tensor, body: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Lend(RefCell::new(Some(body))))
}

/// An operation in place that hands its operand on.
struct Lend<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Lend<F> {
    fn name(&self) -> &'static str {
        "lend"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some(body) = self.0.take() else { candle_core::bail!("a tensor is lent once") };
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(data), Some((start, end))) => body(&mut data[start..end]),
            _ => candle_core::bail!("slices can be had of contiguous f32 tensors on the CPU"),
        }
    }
}
