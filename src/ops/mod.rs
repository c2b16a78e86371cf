//! Tensor operations by fused kernels, with gradients: f32 on the CPU. Each has the operations of the tensor library as its
//! readable twin where it is chosen. Knows no parameter and no layer.
//!
//! An operation skips the gradient of an operand that carries none, so that frozen weights cost nothing.

mod activation;
mod cross_entropy;
mod embedding;
mod features;
mod feed_forward;
mod heads;
mod hybrid_attention;
mod linear;
mod linear_attention;
mod norm;
mod operands;
mod rotation;
mod slices;
mod softmax;

pub use activation::{activation, silu_times};
pub use cross_entropy::{Targets, projected_cross_entropy};
pub use embedding::embedding;
pub use features::{affine, fourier, opposite_softmaxes};
pub use feed_forward::{FeedForward, feed_forward};
pub use hybrid_attention::{Hybrid, hybrid_attention, hybrid_attention_after};
pub use linear::{linear, linear_from_heads, linear_to_heads};
pub use linear_attention::{Linear, linear_attention, linear_attention_after};
pub use norm::norm;
pub use rotation::rotate;
pub(crate) use slices::{with_bf16_pairs, with_slices, with_slices_mut};
pub use softmax::{Softmax, softmax_attention};

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Tensor};

/// The numbers of an operand.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        _ => candle_core::bail!("fused operations are for contiguous f32 tensors on the CPU"),
    }
}

/// A result, as the tensor library wants it.
fn made(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(numbers), shape.into()))
}

/// Room for the gradient of an operand, none where it carries none.
fn room(of: &Tensor) -> Vec<f32> {
    if of.track_op() { vec![0.0; of.elem_count()] } else { Vec::new() }
}

/// A gradient in the shape of its operand, if there is room for one.
fn gradient(of: &Tensor, numbers: Vec<f32>) -> Result<Option<Tensor>> {
    if of.track_op() { Tensor::from_vec(numbers, of.shape(), &Device::Cpu).map(Some) } else { Ok(None) }
}
