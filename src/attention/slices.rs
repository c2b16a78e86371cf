//! Borrowing the numbers of tensors.

use candle_core::{CpuStorage, Result, Storage, Tensor};

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
