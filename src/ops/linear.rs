//! `y = x Wᵀ + b`, from a model's width to its heads and back where asked.

use std::borrow::Cow;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient, heads::Heads, made, numbers, room, with_slices};
use crate::kernels::{
    Simd, for_each_chunk,
    fused::product::product,
    gemm::{self, Matrix, multiply},
};

/// Rows up to which dot products with the weights as they lie are faster than packing these for a product of matrices: between 8
/// and 48 one and a half to three times, with vectors of 256 and of 512 bits.
const FEW: usize = 48;

/// `there + x Wᵀ + b` of rows: x (rows, in), weight (out, in), there (rows, out) or empty, bias (out) or empty.
pub(super) fn product_of_rows(
    simd: Simd,
    there: &[f32],
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    n_in: usize,
) -> Vec<f32> {
    let rows = x.len() / n_in.max(1);
    if rows > FEW {
        return gemm::product_onto(Matrix::new(x, n_in), Matrix::new(weight, n_in).transposed(), bias, there);
    }
    let mut y = vec![0f32; rows * (weight.len() / n_in.max(1))];
    product(simd, x, weight, bias, n_in, &mut y);
    y.iter_mut().zip(there).for_each(|(y, there)| *y += there);
    y
}

/// x (…, in), weight (out, in), bias (out): (…, out).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, simd: Simd) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == n_in => *last = n_out,
        _ => return misfit(x, weight),
    }
    apply(x, weight, bias, Linear { simd, shape, from: None, to: None })
}

/// x (b, n, in), weight (heads · width, in), bias (heads · width): every head apart, (b, heads, n, width).
///
/// # Errors
/// As [`linear`], and on heads that do not divide the width.
pub fn linear_to_heads(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, heads: usize, simd: Simd) -> Result<Tensor> {
    let ((batch, n, width), (n_out, n_in)) = (x.dims3()?, weight.dims2()?);
    if width != n_in || heads == 0 || !n_out.is_multiple_of(heads) {
        return misfit(x, weight);
    }
    let to = Heads { n, heads, width: n_out / heads };
    apply(x, weight, bias, Linear { simd, shape: vec![batch, heads, n, to.width], from: None, to: Some(to) })
}

/// x (b, heads, n, width), weight (out, heads · width), bias (out): all heads together, (b, n, out).
///
/// # Errors
/// As [`linear`].
pub fn linear_from_heads(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, simd: Simd) -> Result<Tensor> {
    let ((batch, heads, n, width), (n_out, n_in)) = (x.dims4()?, weight.dims2()?);
    if heads * width != n_in {
        return misfit(x, weight);
    }
    let from = Heads { n, heads, width };
    apply(x, weight, bias, Linear { simd, shape: vec![batch, n, n_out], from: Some(from), to: None })
}

fn misfit<T>(x: &Tensor, weight: &Tensor) -> Result<T> {
    candle_core::bail!("a product of x {:?} with weights {:?}", x.dims(), weight.dims())
}

fn apply(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, op: Linear) -> Result<Tensor> {
    if bias.is_some_and(|b| b.dims() != [weight.dims()[0]]) {
        return misfit(x, weight);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

struct Linear {
    simd: Simd,
    /// Of y.
    shape: Vec<usize>,
    /// Where x comes from heads.
    from: Option<Heads>,
    /// Where y goes to heads.
    to: Option<Heads>,
}

impl Linear {
    fn forward(&self, x: &[f32], weight: &[f32], n_out: usize, bias: &[f32]) -> Result<(CpuStorage, Shape)> {
        let y = product_of_rows(self.simd, &[], &together(x, self.from), weight, bias, weight.len() / n_out.max(1));
        made(
            match self.to {
                Some(to) => to.apart(&y),
                None => y,
            },
            self.shape.clone(),
        )
    }

    /// Of x, the weight, and the bias where there is one.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (n_out, n_in) = weight.dims2()?;
        let grad = grad.contiguous()?;
        let (mut dx, mut dw) = (Vec::new(), room(weight));
        let mut db = bias.map(room).unwrap_or_default();
        with_slices([x, weight, &grad], |[numbers, of_weight, grad]| {
            let grad = together(grad, self.to);
            let (of_weight, of_y) = (Matrix::new(of_weight, n_in), Matrix::new(&grad, n_out));
            if x.track_op() {
                let flat = gemm::product(of_y, of_weight, &[]);
                dx = match self.from {
                    Some(from) => from.apart(&flat),
                    None => flat,
                };
            }
            if !dw.is_empty() {
                let x = together(numbers, self.from);
                multiply(of_y.transposed(), Matrix::new(&x, n_in), false, &mut dw);
            }
            sum_of_rows(&grad, &mut db);
            Ok(())
        })?;
        let db = bias.map(|bias| gradient(bias, db)).transpose()?.flatten();
        Ok([gradient(x, dx)?, gradient(weight, dw)?, db])
    }
}

/// Numbers whose heads are all in one row.
fn together(x: &[f32], heads: Option<Heads>) -> Cow<'_, [f32]> {
    heads.map_or(Cow::Borrowed(x), |heads| Cow::Owned(heads.together(x)))
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
        self.forward(numbers(x, x_layout)?, weight, n_out, numbers(bias, bias_layout)?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = self.backward(x, weight, Some(bias), grad)?;
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
        self.forward(numbers(x, x_layout)?, numbers(weight, weight_layout)?, n_out, &[])
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = self.backward(x, weight, None, grad)?;
        Ok((dx, dw))
    }
}
