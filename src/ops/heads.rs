//! From the width of a model to its heads, and back.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, with_slices};
use crate::kernels::for_each_chunk;

/// (b, n, h · width) as (b, h, n, width).
///
/// # Errors
/// On a width that `heads` does not divide, and on anything but f32 on the CPU.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (_, n, width) = x.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) {
        candle_core::bail!("a width of {width} is no {heads} heads");
    }
    x.contiguous()?.apply_op1(Turn { of: (n, heads, width / heads), splits: true })
}

/// (b, h, n, width) as (b, n, h · width).
///
/// # Errors
/// On anything but f32 on the CPU.
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (_, heads, n, width) = x.dims4()?;
    x.contiguous()?.apply_op1(Turn { of: (n, heads, width), splits: false })
}

/// Swaps tokens and heads.
struct Turn {
    /// Tokens, heads, and numbers of a head.
    of: (usize, usize, usize),
    /// To heads that are apart, or from there.
    splits: bool,
}

impl Turn {
    /// Of every sequence, (first, second, width) from (second, first, width).
    fn turn(&self, x: &[f32], splits: bool) -> Vec<f32> {
        let (n, heads, width) = self.of;
        let (first, second) = if splits { (heads, n) } else { (n, heads) };
        let mut out = vec![0f32; x.len()];
        let sequence = n * heads * width;
        if sequence == 0 {
            return out;
        }
        for_each_chunk([&mut out], second * width, x.len(), |i, [out]| {
            let (x, i) = (&x[i / first * sequence..][..sequence], i % first);
            for (j, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&x[(j * first + i) * width..][..width]);
            }
        });
        out
    }
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "turn-heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.turn(numbers(x, layout)?, self.splits);
        let ((n, heads, width), batch) = (self.of, layout.dims()[0]);
        if self.splits { made(out, (batch, heads, n, width)) } else { made(out, (batch, n, heads * width)) }
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = with_slices([&grad.contiguous()?], |[grad]| Ok(self.turn(grad, !self.splits)))?;
        gradient(x, back)
    }
}
