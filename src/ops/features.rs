//! Feature maps φ that are more than a function of single numbers.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient, linear::sum_of_rows, made, numbers, room, with_slices};
use crate::kernels::{
    Simd, for_each_part,
    fused::{affine as kernel, features, fourier as fourier_kernel, opposite},
    new_chunks,
};

/// `max(scale · W x + b, floor)`, one map a head: x (b, h, n, d), weight (h, m, d), bias (h, m); (b, h, n, m). A floor of 0 is a
/// relu (Kasai et al. 2021, eq. 5), one of −∞ none.
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn affine(x: &Tensor, (scale, floor): (f32, f32), weight: &Tensor, bias: &Tensor, simd: Simd) -> Result<Tensor> {
    let ((batch, heads, n, d), (of_heads, m, width)) = (x.dims4()?, weight.dims3()?);
    if of_heads != heads || width != d || bias.dims2()? != (heads, m) || d == 0 || m == 0 {
        candle_core::bail!("a map of x {:?} by weights {:?}", x.dims(), weight.dims());
    }
    let op = Affine { scale, floor, simd, batch, heads, n, d, m };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct Affine {
    scale: f32,
    floor: f32,
    simd: Simd,
    batch: usize,
    heads: usize,
    n: usize,
    d: usize,
    m: usize,
}

impl Affine {
    fn parts(&self) -> usize {
        self.batch * self.heads
    }

    fn work(&self) -> usize {
        self.parts() * self.n * self.m * self.d / 4
    }
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Self { heads, n, d, m, .. } = *self;
        let (x, weight) = (numbers(x, x_layout)?, numbers(weight, weight_layout)?);
        let bias = numbers(bias, bias_layout)?;
        let mut phi = vec![0f32; self.parts() * n * m];
        for_each_part(self.parts(), self.work(), [&mut phi], |i, [phi]| {
            let head = i % heads;
            let (weight, bias) = (&weight[head * m * d..][..m * d], &bias[head * m..][..m]);
            let mut room = vec![0f32; m * d];
            let x = &x[i * n * d..][..n * d];
            kernel::forward(self.simd, x, (self.scale, self.floor), weight, bias, &mut room, phi);
        });
        made(phi, (self.batch, heads, n, m))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        phi: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Self { batch, heads, n, d, m, .. } = *self;
        let grad = grad.contiguous()?;
        let mut dx = room(x);
        // Of every sequence apart, so that no two threads add to one.
        let of_sequences = |of: &Tensor| vec![0f32; if of.track_op() { batch * of.elem_count() } else { 0 }];
        let (mut dw, mut db) = (of_sequences(weight), of_sequences(bias));
        with_slices([x, weight, phi, &grad], |[x, weight, phi, grad]| {
            let buffers = [&mut dx[..], &mut dw, &mut db];
            for_each_part(self.parts(), 3 * self.work(), buffers, |i, [dx, dw, db]| {
                let weight = &weight[i % heads * m * d..][..m * d];
                let (x, phi, grad) =
                    (&x[i * n * d..][..n * d], &phi[i * n * m..][..n * m], &grad[i * n * m..][..n * m]);
                let mut room = vec![0f32; kernel::room_len(m)];
                let how = (self.scale, self.floor);
                kernel::backward(self.simd, (x, phi, grad), how, weight, &mut room, (dx, dw, db));
            });
            Ok(())
        })?;
        Ok((gradient(x, dx)?, total(&dw, weight)?, total(&db, bias)?))
    }
}

/// The gradient of a parameter from those of every sequence.
fn total(sequences: &[f32], of: &Tensor) -> Result<Option<Tensor>> {
    let mut total = room(of);
    sum_of_rows(sequences, &mut total);
    gradient(of, total)
}

/// `softmax(x) ⊕ softmax(−x)` over the last dimension (Zhang et al. 2024): (…, n) to (…, 2n).
///
/// # Errors
/// On anything but f32 on the CPU.
pub fn opposite_softmaxes(x: &Tensor, simd: Simd) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Opposite { simd })
}

/// Rows a thread takes at a time.
const ROWS: usize = 32;

struct Opposite {
    simd: Simd,
}

impl CustomOp1 for Opposite {
    fn name(&self) -> &'static str {
        "opposite-softmaxes"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, mut shape) = (numbers(x, layout)?, layout.dims().to_vec());
        let Some(width) = shape.last_mut() else { candle_core::bail!("a softmax over no dimension") };
        let n = *width;
        *width *= 2;
        let out = new_chunks(2 * x.len(), 2 * n.max(1) * ROWS, 8 * x.len(), |i, out| {
            opposite::forward(self.simd, &x[i * n * ROWS..][..out.len() / 2], n, out);
        });
        made(out, shape)
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let n = x.dims().last().copied().unwrap_or(1);
        let dx = with_slices([out, &grad.contiguous()?], |[out, grad]| {
            Ok(new_chunks(x.elem_count(), n.max(1) * ROWS, 8 * x.elem_count(), |i, dx| {
                let at = 2 * i * n * ROWS..2 * (i * n * ROWS + dx.len());
                opposite::backward(self.simd, &out[at.clone()], &grad[at], n, dx);
            }))
        })?;
        gradient(x, dx)
    }
}

/// `√(1/D) [sin(w_i·x̂), cos(w_i·x̂)]`, `x̂ = x / (‖x‖ + ε)` (Peng et al. 2021, §3.1), D draws a head: x (b, h, n, d), weight
/// (h, D, d); (b, h, n, 2D).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn fourier(x: &Tensor, weight: &Tensor, epsilon: f32, simd: Simd) -> Result<Tensor> {
    let ((batch, heads, n, d), (of_heads, n_draws, width)) = (x.dims4()?, weight.dims3()?);
    if of_heads != heads || width != d || d == 0 || n_draws == 0 {
        candle_core::bail!("a map of x {:?} by draws {:?}", x.dims(), weight.dims());
    }
    let op = Fourier { epsilon, simd, batch, heads, n, d, n_draws };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

struct Fourier {
    epsilon: f32,
    simd: Simd,
    batch: usize,
    heads: usize,
    n: usize,
    d: usize,
    n_draws: usize,
}

impl Fourier {
    fn parts(&self) -> usize {
        self.batch * self.heads
    }

    fn work(&self) -> usize {
        self.parts() * self.n * self.n_draws * (self.d / 4 + 8)
    }
}

impl CustomOp2 for Fourier {
    fn name(&self) -> &'static str {
        "fourier"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Self { heads, n, d, n_draws, .. } = *self;
        let (x, weight) = (numbers(x, x_layout)?, numbers(weight, weight_layout)?);
        let mut phi = vec![0f32; self.parts() * n * 2 * n_draws];
        for_each_part(self.parts(), self.work(), [&mut phi], |i, [phi]| {
            let weight = &weight[i % heads * n_draws * d..][..n_draws * d];
            for (x, phi) in x[i * n * d..][..n * d].chunks_exact(d).zip(phi.chunks_exact_mut(2 * n_draws)) {
                features::fourier(self.simd, x, weight, self.epsilon, phi);
            }
        });
        made(phi, (self.batch, heads, n, 2 * n_draws))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        phi: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Self { batch, heads, n, d, n_draws, .. } = *self;
        let grad = grad.contiguous()?;
        let mut dx = room(x);
        let mut dw = vec![0f32; if weight.track_op() { batch * weight.elem_count() } else { 0 }];
        with_slices([x, weight, phi, &grad], |[x, weight, phi, grad]| {
            for_each_part(self.parts(), 3 * self.work(), [&mut dx[..], &mut dw], |i, [dx, dw]| {
                let weight = &weight[i % heads * n_draws * d..][..n_draws * d];
                let of_phi = i * n * 2 * n_draws..(i + 1) * n * 2 * n_draws;
                let operands = (&x[i * n * d..][..n * d], &phi[of_phi.clone()], &grad[of_phi]);
                let mut room = vec![0f32; fourier_kernel::room_len(d, n_draws)];
                fourier_kernel::backward(self.simd, operands, weight, self.epsilon, d, &mut room, (dx, dw));
            });
            Ok(())
        })?;
        Ok((gradient(x, dx)?, total(&dw, weight)?))
    }
}
