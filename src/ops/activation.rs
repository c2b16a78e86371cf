//! Activations, number by number.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, with_slices};
use crate::kernels::{
    Simd,
    activation::Activation,
    for_each_chunk, for_each_part,
    fused::{activation as kernel, rows},
    new_chunks,
};

/// f(x), in the shape of x.
///
/// # Errors
/// On anything but f32 on the CPU.
pub fn activation(x: &Tensor, activation: Activation, simd: Simd) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ActivationOp { activation, simd })
}

/// `silu(gate) · up`, silu(x) = x / (1 + exp(−x)) (Shazeer 2020), of equal shapes.
///
/// # Errors
/// On shapes that differ and on anything but f32 on the CPU.
pub fn silu_times(gate: &Tensor, up: &Tensor, simd: Simd) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        candle_core::bail!("a gate {:?} of {:?}", gate.dims(), up.dims());
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SiluTimes { simd })
}

/// Numbers a thread takes at a time.
const CHUNK: usize = 4096;

/// Operations a number costs, as numbers that are read.
const WORK: usize = 4;

/// f(x), number by number.
pub(super) fn forward(simd: Simd, activation: Activation, x: &[f32]) -> Vec<f32> {
    new_chunks(x.len(), CHUNK, WORK * x.len(), |i, y| {
        kernel::apply(simd, activation, &x[i * CHUNK..][..y.len()], y);
    })
}

/// Of x, from the gradient of f(x).
pub(super) fn backward(simd: Simd, activation: Activation, x: &[f32], grad: &[f32]) -> Vec<f32> {
    new_chunks(x.len(), CHUNK, 2 * WORK * x.len(), |i, dx| {
        let at = i * CHUNK..i * CHUNK + dx.len();
        kernel::backward(simd, activation, &x[at.clone()], &grad[at], dx);
    })
}

/// silu(gate) · up, number by number.
pub(super) fn silu_times_forward(simd: Simd, gate: &[f32], up: &[f32]) -> Vec<f32> {
    new_chunks(up.len(), CHUNK, WORK * gate.len(), |i, y| {
        let at = i * CHUNK..i * CHUNK + y.len();
        y.copy_from_slice(&up[at.clone()]);
        rows::silu_times(simd, &gate[at], y);
    })
}

/// Of gate and up.
pub(super) fn silu_times_backward(simd: Simd, gate: &[f32], up: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let parts = gate.len().div_ceil(CHUNK);
    let (mut d_gate, mut d_up) = (vec![0f32; parts * CHUNK], vec![0f32; parts * CHUNK]);
    for_each_part(parts, 2 * WORK * gate.len(), [&mut d_gate, &mut d_up], |i, [d_gate, d_up]| {
        let at = i * CHUNK..gate.len().min((i + 1) * CHUNK);
        let (d_gate, d_up) = (&mut d_gate[..at.len()], &mut d_up[..at.len()]);
        kernel::silu_times_backward(simd, &gate[at.clone()], &up[at.clone()], &grad[at], d_gate, d_up);
    });
    d_gate.truncate(gate.len());
    d_up.truncate(gate.len());
    (d_gate, d_up)
}

/// `sum += x`; nothing where there is no sum.
pub(super) fn add(sum: &mut [f32], x: &[f32]) {
    for_each_chunk([sum], CHUNK, x.len(), |i, [sum]| {
        sum.iter_mut().zip(&x[i * CHUNK..]).for_each(|(sum, x)| *sum += x);
    });
}

struct ActivationOp {
    activation: Activation,
    simd: Simd,
}

impl CustomOp1 for ActivationOp {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        made(forward(self.simd, self.activation, numbers(x, layout)?), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_slices([x, &grad.contiguous()?], |[x, grad]| Ok(backward(self.simd, self.activation, x, grad)))?;
        gradient(x, dx)
    }
}

struct SiluTimes {
    simd: Simd,
}

impl CustomOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu-times"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = silu_times_forward(self.simd, numbers(gate, gate_layout)?, numbers(up, up_layout)?);
        made(y, up_layout.shape().clone())
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (d_gate, d_up) = with_slices([gate, up, &grad.contiguous()?], |[gate, up, grad]| {
            Ok(silu_times_backward(self.simd, gate, up, grad))
        })?;
        Ok((gradient(gate, d_gate)?, gradient(up, d_up)?))
    }
}
