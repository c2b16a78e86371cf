//! Layer norm and RMS norm over the last dimension.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, with_slices};
use crate::kernels::{
    Simd,
    dense::NormGradients,
    for_each_part,
    fused::{norm as kernel, rows},
    new_chunks, threads,
};

/// `(x − mean) / √(variance + ε) · gain + bias` (Ba et al. 2016), or without a bias `x / √(mean square + ε) · gain` (Zhang
/// and Sennrich 2019): x (…, width), gain and bias (width).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn norm(x: &Tensor, gain: &Tensor, bias: Option<&Tensor>, epsilon: f32, simd: Simd) -> Result<Tensor> {
    let width = gain.dims1()?;
    if width == 0 || x.dims().last() != Some(&width) || bias.is_some_and(|b| b.dims() != [width]) {
        candle_core::bail!("a norm of x {:?} with a gain {:?}", x.dims(), gain.dims());
    }
    let (x, gain) = (x.contiguous()?, gain.contiguous()?);
    let op = NormOp { epsilon, simd };
    match bias {
        Some(bias) => x.apply_op3(&gain, &bias.contiguous()?, op),
        None => x.apply_op2(&gain, op),
    }
}

struct NormOp {
    epsilon: f32,
    simd: Simd,
}

/// Operations a number costs, as numbers that are read.
const WORK: usize = 4;

/// Rows x (rows, width), normalised; with a bias by layer norm.
pub(super) fn forward(simd: Simd, x: &[f32], gain: &[f32], bias: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let width = gain.len();
    let chunk = rows_of_a_part(x.len() / width) * width;
    new_chunks(x.len(), chunk, WORK * x.len(), |i, y| {
        let x = &x[i * chunk..][..y.len()];
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            match bias {
                Some(bias) => rows::layer_norm(simd, x, gain, bias, epsilon, y),
                None => rows::rms_norm(simd, x, gain, epsilon, y),
            }
        }
    })
}

/// Gradients of x (rows, width), gain and bias (width); what is not wanted is empty.
pub(super) fn backward(
    simd: Simd,
    x: &[f32],
    gain: &[f32],
    epsilon: f32,
    centred: bool,
    grad: &[f32],
    wanted: [bool; 3],
) -> [Vec<f32>; 3] {
    let width = gain.len();
    let chunk = rows_of_a_part(x.len() / width);
    let parts = (x.len() / width).div_ceil(chunk);
    let room = |of: usize, len: usize| vec![0f32; if wanted[of] { len } else { 0 }];
    // Every part as long as the others: what is too much at the end is cut off.
    let (mut dx, mut of_gain, mut of_bias) =
        (room(0, parts * chunk * width), room(1, parts * width), room(2, parts * width));
    let buffers = [&mut dx[..], &mut of_gain, &mut of_bias];
    for_each_part(parts, 2 * WORK * x.len(), buffers, |i, [dx, of_gain, of_bias]| {
        let start = i * chunk * width;
        let end = x.len().min(start + chunk * width);
        let mut scratch = vec![0f32; 2 * width];
        let dx = if dx.is_empty() { dx } else { &mut dx[..end - start] };
        let into = NormGradients { x: dx, gain: of_gain, bias: of_bias };
        kernel::backward(simd, &x[start..end], gain, epsilon, centred, &grad[start..end], &mut scratch, into);
    });
    if wanted[0] {
        dx.truncate(x.len());
    }
    let total = |of: usize, parts: &[f32]| {
        let mut total = room(of, width);
        super::linear::sum_of_rows(parts, &mut total);
        total
    };
    [dx, total(1, &of_gain), total(2, &of_bias)]
}

impl NormOp {
    fn forward(&self, x: &[f32], shape: &Shape, gain: &[f32], bias: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        made(forward(self.simd, x, gain, bias, self.epsilon), shape.clone())
    }

    fn backward(&self, x: &Tensor, gain: &Tensor, bias: Option<&Tensor>, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let wanted = [Some(x), Some(gain), bias].map(|of| of.is_some_and(Tensor::track_op));
        let [dx, of_gain, of_bias] = with_slices([x, gain, &grad.contiguous()?], |[x, gain, grad]| {
            Ok(backward(self.simd, x, gain, self.epsilon, bias.is_some(), grad, wanted))
        })?;
        let of_bias = bias.map(|bias| gradient(bias, of_bias)).transpose()?.flatten();
        Ok([gradient(x, dx)?, gradient(gain, of_gain)?, of_bias])
    }
}

/// A few parts a thread.
fn rows_of_a_part(rows: usize) -> usize {
    rows.div_ceil(4 * threads()).max(1)
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gain, bias) = (numbers(gain, gain_layout)?, numbers(bias, bias_layout)?);
        self.forward(numbers(x, x_layout)?, x_layout.shape(), gain, Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, of_gain, of_bias] = self.backward(x, gain, Some(bias), grad)?;
        Ok((dx, of_gain, of_bias))
    }
}

impl CustomOp2 for NormOp {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(numbers(x, x_layout)?, x_layout.shape(), numbers(gain, gain_layout)?, None)
    }

    fn bwd(&self, x: &Tensor, gain: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, of_gain, _] = self.backward(x, gain, None, grad)?;
        Ok((dx, of_gain))
    }
}
