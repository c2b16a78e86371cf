//! Rotary positions.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, with_slices};
use crate::kernels::new_chunks;

/// (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin) of the halves of every vector (Su et al. 2021): x (b, h, n, d), cos and sin
/// (n, d/2), which have no gradient.
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (_, _, n, d) = x.dims4()?;
    if d == 0 || !d.is_multiple_of(2) || cos.dims() != [n, d / 2] || sin.dims() != cos.dims() {
        candle_core::bail!("a rotation of x {:?} by {:?} and {:?}", x.dims(), cos.dims(), sin.dims());
    }
    let op = Rotation { n, cos: cos.flatten_all()?.to_vec1()?, sin: sin.flatten_all()?.to_vec1()? };
    x.contiguous()?.apply_op1(op)
}

struct Rotation {
    n: usize,
    /// (n, d/2).
    cos: Vec<f32>,
    /// (n, d/2).
    sin: Vec<f32>,
}

impl Rotation {
    /// By the angles times `sign`, 1 or -1.
    fn turn(&self, x: &[f32], sign: f32) -> Vec<f32> {
        let half = self.cos.len() / self.n.max(1);
        let sequence = 2 * half * self.n;
        new_chunks(x.len(), sequence.max(1), 2 * x.len(), |i, out| {
            let x = &x[i * sequence..][..sequence];
            for (t, (x, out)) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)).enumerate() {
                let ((a, b), (to_a, to_b)) = (x.split_at(half), out.split_at_mut(half));
                let (cos, sin) = (&self.cos[t * half..][..half], &self.sin[t * half..][..half]);
                for p in 0..half {
                    let sin = sign * sin[p];
                    to_a[p] = a[p] * cos[p] - b[p] * sin;
                    to_b[p] = b[p] * cos[p] + a[p] * sin;
                }
            }
        })
    }
}

impl CustomOp1 for Rotation {
    fn name(&self) -> &'static str {
        "rotation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        made(self.turn(numbers(x, layout)?, 1.0), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // The transpose of a rotation is the one back.
        let back = with_slices([&grad.contiguous()?], |[grad]| Ok(self.turn(grad, -1.0)))?;
        gradient(x, back)
    }
}
