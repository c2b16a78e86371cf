//! `y = x Wᵀ + b`.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, room};
use crate::kernels::{
    Simd, for_each_chunk,
    fused::product::product,
    gemm::{Matrix, multiply},
};

/// Rows up to which reading the weights once is all that counts.
const FEW: usize = 4;

/// x (…, in), weight (out, in), bias (out): (…, out).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, simd: Simd) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    if x.dims().last() != Some(&n_in) || bias.is_some_and(|b| b.dims() != [n_out]) {
        candle_core::bail!("a product of x {:?} with weights {:?}", x.dims(), weight.dims());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Linear { simd }),
        None => x.apply_op2(&weight, Linear { simd }),
    }
}

struct Linear {
    simd: Simd,
}

impl Linear {
    fn forward(
        &self,
        x: &[f32],
        x_shape: &Shape,
        weight: &[f32],
        n_out: usize,
        bias: &[f32],
    ) -> Result<(CpuStorage, Shape)> {
        let mut dims = x_shape.dims().to_vec();
        let n_in = dims.pop().unwrap_or(1);
        dims.push(n_out);
        let rows = x.len() / n_in.max(1);
        let mut y = vec![0f32; rows * n_out];
        if rows <= FEW {
            product(self.simd, x, weight, bias, n_in, &mut y);
        } else {
            if !bias.is_empty() {
                y.chunks_exact_mut(n_out).for_each(|y| y.copy_from_slice(bias));
            }
            multiply(Matrix::new(x, n_in), Matrix::new(weight, n_in).transposed(), !bias.is_empty(), &mut y);
        }
        made(y, dims)
    }

    /// Of x, the weight, and the bias where there is one.
    fn backward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let (n_out, n_in) = weight.dims2()?;
        let grad = grad.contiguous()?;
        let (mut dx, mut dw) = (room(x), room(weight));
        let mut db = bias.map(room).unwrap_or_default();
        super::with_slices([x, weight, &grad], |[x, weight, grad]| {
            let (x, weight, of_y) = (Matrix::new(x, n_in), Matrix::new(weight, n_in), Matrix::new(grad, n_out));
            if !dx.is_empty() {
                multiply(of_y, weight, false, &mut dx);
            }
            if !dw.is_empty() {
                multiply(of_y.transposed(), x, false, &mut dw);
            }
            sum_of_rows(grad, &mut db);
            Ok(())
        })?;
        let db = bias.map(|bias| gradient(bias, db)).transpose()?.flatten();
        Ok([gradient(x, dx)?, gradient(weight, dw)?, db])
    }
}

/// Numbers of a row that one thread adds up.
const COLUMNS: usize = 128;

/// `out += Σ rows`, for rows as long as `out`.
pub(super) fn sum_of_rows(rows: &[f32], out: &mut [f32]) {
    let width = out.len();
    if width == 0 {
        return;
    }
    for_each_chunk([out], COLUMNS, rows.len(), |i, [out]| {
        let first = i * COLUMNS;
        for row in rows.chunks_exact(width) {
            let row = &row[first..][..out.len()];
            out.iter_mut().zip(row).for_each(|(out, x)| *out += x);
        }
    });
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let n_out = weight_layout.dims()[0];
        let weight = numbers(weight, weight_layout)?;
        self.forward(numbers(x, x_layout)?, x_layout.shape(), weight, n_out, numbers(bias, bias_layout)?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = Self::backward(x, weight, Some(bias), grad)?;
        Ok((dx, dw, db))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let n_out = weight_layout.dims()[0];
        self.forward(numbers(x, x_layout)?, x_layout.shape(), numbers(weight, weight_layout)?, n_out, &[])
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = Self::backward(x, weight, None, grad)?;
        Ok((dx, dw))
    }
}
