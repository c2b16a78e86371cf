//! Activations, number by number.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, with_slices};
use crate::kernels::{
    Simd,
    activation::Activation,
    for_each_chunk, for_each_part,
    fused::{activation as kernel, rows},
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

struct ActivationOp {
    activation: Activation,
    simd: Simd,
}

impl CustomOp1 for ActivationOp {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = vec![0f32; x.len()];
        for_each_chunk([&mut y], CHUNK, WORK * x.len(), |i, [y]| {
            kernel::apply(self.simd, self.activation, &x[i * CHUNK..][..y.len()], y);
        });
        made(y, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let mut dx = vec![0f32; x.elem_count()];
        with_slices([x, &grad], |[x, grad]| {
            for_each_chunk([&mut dx], CHUNK, 2 * WORK * x.len(), |i, [dx]| {
                let at = i * CHUNK..i * CHUNK + dx.len();
                kernel::backward(self.simd, self.activation, &x[at.clone()], &grad[at], dx);
            });
            Ok(())
        })?;
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
        let gate = numbers(gate, gate_layout)?;
        let mut y = numbers(up, up_layout)?.to_vec();
        for_each_chunk([&mut y], CHUNK, WORK * gate.len(), |i, [y]| {
            rows::silu_times(self.simd, &gate[i * CHUNK..][..y.len()], y);
        });
        made(y, up_layout.shape().clone())
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let parts = gate.elem_count().div_ceil(CHUNK);
        let (mut d_gate, mut d_up) = (vec![0f32; parts * CHUNK], vec![0f32; parts * CHUNK]);
        with_slices([gate, up, &grad], |[gate, up, grad]| {
            let work = 2 * WORK * gate.len();
            for_each_part(parts, work, [&mut d_gate, &mut d_up], |i, [d_gate, d_up]| {
                let at = i * CHUNK..gate.len().min((i + 1) * CHUNK);
                let (d_gate, d_up) = (&mut d_gate[..at.len()], &mut d_up[..at.len()]);
                kernel::silu_times_backward(self.simd, &gate[at.clone()], &up[at.clone()], &grad[at], d_gate, d_up);
            });
            Ok(())
        })?;
        d_gate.truncate(gate.elem_count());
        d_up.truncate(gate.elem_count());
        Ok((gradient(gate, d_gate)?, gradient(up, d_up)?))
    }
}
