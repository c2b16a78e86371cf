//! The parts of a block beside attention: projections, norms, feed-forward, positions. All differentiable.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::{
    kernels::{Kernels, Simd, activation::Activation as Function, fused::rows},
    ops::{self, with_slices},
    params::{Init, Params},
    spec::{Activation, Norm},
};

/// `y = x Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Projection {
    /// (out, in).
    pub weight: Tensor,
    /// (out).
    pub bias: Option<Tensor>,
}

impl Projection {
    /// The weights as numbers of this type: those of a model that keeps them in bf16 are widened, others are there already.
    pub(super) fn weight_in(&self, dtype: DType) -> Result<Tensor> {
        self.weight.to_dtype(dtype)
    }

    /// Drawn with deviation 1/√in; the bias starts at zero.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(params: &mut Params, name: &str, n_in: usize, n_out: usize, bias: bool) -> Result<Self> {
        Self::of_gain(params, name, (n_in, n_out), bias, 1.0)
    }

    /// What a sub-layer adds to the residual stream of a model of `n_blocks`: drawn with deviation 1/(2 n_blocks √in). The
    /// 2 n_blocks sub-layers of a decoder together then start no larger than one would, and do not drown the tokens' embeddings.
    ///
    /// # Errors
    /// As [`Projection::new`].
    pub fn onto_residual(
        params: &mut Params,
        name: &str,
        widths: (usize, usize),
        bias: bool,
        n_blocks: usize,
    ) -> Result<Self> {
        Self::of_gain(params, name, widths, bias, 0.5 / n_blocks as f64)
    }

    fn of_gain(params: &mut Params, name: &str, (n_in, n_out): (usize, usize), bias: bool, gain: f64) -> Result<Self> {
        let deviation = Init::Normal(gain / (n_in as f64).sqrt());
        let weight = params.get(&format!("{name}.weight"), (n_out, n_in), deviation)?;
        let bias = if bias { Some(params.get(&format!("{name}.bias"), n_out, Init::Constant(0.0))?) } else { None };
        Ok(Self { weight, bias })
    }

    /// (…, in) → (…, out).
    ///
    /// # Errors
    /// On a wrong width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n_out, n_in) = self.weight.dims2()?;
        let mut dims = x.dims().to_vec();
        let rows = x.elem_count() / n_in.max(1);
        let y = x.reshape((rows, n_in))?.matmul(&self.weight_in(x.dtype())?.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if let Some(last) = dims.last_mut() {
            *last = n_out;
        }
        y.reshape(dims)
    }

    /// The same by kernels of choice, differentiable by either; fused ones make no gradient of what is frozen.
    ///
    /// # Errors
    /// As `forward`, and for fused kernels on anything but f32 on the CPU.
    pub fn forward_by(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        match kernels {
            Kernels::Plain => self.forward(x),
            Kernels::Fused(simd) => ops::linear(x, &self.weight_in(x.dtype())?, self.bias.as_ref(), simd),
        }
    }
}

/// Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019) over the last dimension, in f32.
#[derive(Debug, Clone)]
pub struct NormLayer {
    kind: Norm,
    /// Added to the variance (or mean square) under the root.
    epsilon: f64,
    /// (d_model).
    pub gain: Tensor,
    /// (d_model); layer norm alone.
    pub bias: Option<Tensor>,
}

impl NormLayer {
    /// Gain 1, bias 0.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(params: &mut Params, name: &str, kind: Norm, epsilon: f64, width: usize) -> Result<Self> {
        let gain = params.get(&format!("{name}.weight"), width, Init::Constant(1.0))?;
        let bias = match kind {
            Norm::LayerNorm => Some(params.get(&format!("{name}.bias"), width, Init::Constant(0.0))?),
            Norm::RmsNorm => None,
        };
        Ok(Self { kind, epsilon, gain, bias })
    }

    /// Same shape as `x`.
    ///
    /// # Errors
    /// On a wrong width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let x = match self.kind {
            Norm::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            Norm::RmsNorm => x,
        };
        let root = (x.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        let y = x.broadcast_div(&root)?.to_dtype(dtype)?.broadcast_mul(&self.gain)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// The same by kernels of choice, differentiable by either.
    ///
    /// # Errors
    /// As `forward`, and for fused kernels on anything but f32 on the CPU.
    pub fn forward_by(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        match kernels {
            Kernels::Plain => self.forward(x),
            Kernels::Fused(simd) => ops::norm(x, &self.gain, self.bias.as_ref(), self.epsilon as f32, simd),
        }
    }
}

impl NormLayer {
    /// The same for rows of f32 on the CPU, x (rows, d_model), by fused kernels.
    pub(super) fn on_rows(&self, simd: Simd, x: &[f32], out: &mut [f32]) -> Result<()> {
        let width = self.gain.dim(0)?;
        let bias = self.bias.as_ref().unwrap_or(&self.gain);
        with_slices([&self.gain, bias], |[gain, bias]| {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                match self.kind {
                    Norm::LayerNorm => rows::layer_norm(simd, x, gain, bias, self.epsilon as f32, out),
                    Norm::RmsNorm => rows::rms_norm(simd, x, gain, self.epsilon as f32, out),
                }
            }
            Ok(())
        })
    }
}

/// `down(act(up(x)))`, or `down(silu(gate(x)) · up(x))` for SwiGLU (Shazeer 2020).
#[derive(Debug, Clone)]
pub struct FeedForward {
    activation: Activation,
    /// Gate of SwiGLU.
    pub gate: Option<Projection>,
    /// d_model → ffn_dim.
    pub up: Projection,
    /// ffn_dim → d_model.
    pub down: Projection,
}

impl FeedForward {
    /// Parameters of `width` → `hidden` → `width`, in a model of `n_blocks`.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(
        params: &mut Params,
        name: &str,
        activation: Activation,
        (width, hidden): (usize, usize),
        bias: bool,
        n_blocks: usize,
    ) -> Result<Self> {
        let name = |part: &str| format!("{name}.{part}");
        let gate = match activation {
            Activation::Swiglu => Some(Projection::new(params, &name("gate"), width, hidden, bias)?),
            Activation::Relu | Activation::Gelu => None,
        };
        let up = Projection::new(params, &name("up"), width, hidden, bias)?;
        let down = Projection::onto_residual(params, &name("down"), (hidden, width), bias, n_blocks)?;
        Ok(Self { activation, gate, up, down })
    }

    /// Same shape as `x`.
    ///
    /// # Errors
    /// On a wrong width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let hidden = match (self.activation, &self.gate) {
            (Activation::Relu, _) => up.relu()?,
            (_, Some(gate)) => (gate.forward(x)?.silu()? * up)?,
            (_, None) => up.gelu()?,
        };
        self.down.forward(&hidden)
    }

    /// The same by kernels of choice, differentiable by either.
    ///
    /// # Errors
    /// As `forward`, and for fused kernels on anything but f32 on the CPU.
    pub fn forward_by(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        let Kernels::Fused(simd) = kernels else { return self.forward(x) };
        let up = self.up.forward_by(x, kernels)?;
        let hidden = match (self.activation, &self.gate) {
            (Activation::Relu, _) => ops::activation(&up, Function::Relu, simd)?,
            (_, Some(gate)) => ops::silu_times(&gate.forward_by(x, kernels)?, &up, simd)?,
            (_, None) => ops::activation(&up, Function::Gelu, simd)?,
        };
        self.down.forward_by(&hidden, kernels)
    }
}

impl FeedForward {
    pub(super) fn projections(&mut self) -> impl Iterator<Item = &mut Projection> {
        [Some(&mut self.up), self.gate.as_mut(), Some(&mut self.down)].into_iter().flatten()
    }

    /// The whole sub-layer behind this norm, for fused kernels.
    pub(super) fn sublayer<'a>(&'a self, norm: &'a NormLayer) -> ops::FeedForward<'a> {
        let affine = |of: &'a Projection| (&of.weight, of.bias.as_ref());
        ops::FeedForward {
            norm: (&norm.gain, norm.bias.as_ref()),
            epsilon: norm.epsilon as f32,
            up: affine(&self.up),
            gate: self.gate.as_ref().map(affine),
            down: affine(&self.down),
            activation: if self.activation == Activation::Relu { Function::Relu } else { Function::Gelu },
        }
    }
}

/// Sines and cosines of positions `0..n` (Vaswani et al. 2017, §3.5): (n, width), sines in the even places.
///
/// # Errors
/// If the device refuses the tensor.
pub fn sinusoidal_table(n: usize, width: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let value = |pos: usize, i: usize| sinusoid(pos, i, width) as f32;
    let table: Vec<f32> = (0..n).flat_map(|pos| (0..width).map(move |i| value(pos, i))).collect();
    Tensor::from_vec(table, (n, width), device)?.to_dtype(dtype)
}

/// One entry of the sinusoidal table.
fn sinusoid(position: usize, i: usize, width: usize) -> f64 {
    let angle = position as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
    if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }
}

/// Rotary positions of heads of one width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Base of the frequencies.
    pub base: f64,
    /// Width d of a head.
    pub head_dim: usize,
}

impl Rotary {
    /// Angle of pair `i` at `position` (Su et al. 2021, eq. 15).
    pub(super) fn angle(self, position: usize, i: usize) -> f64 {
        position as f64 * self.base.powf(-2.0 * i as f64 / self.head_dim as f64)
    }
}

/// Cosines and sines of the rotary angles (n, d/2) of positions `start..start + n` (Su et al. 2021).
///
/// # Errors
/// If the device refuses the tensors.
pub fn rotary_tables(
    rotary: Rotary,
    start: usize,
    n: usize,
    dtype: DType,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let d = rotary.head_dim;
    let angles: Vec<f64> = (start..start + n).flat_map(|pos| (0..d / 2).map(move |i| rotary.angle(pos, i))).collect();
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|a| f(*a) as f32).collect();
        Tensor::from_vec(values, (n, d / 2), device)?.to_dtype(dtype)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// Rotates the halves of every head: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin), x (b, h, n, d).
///
/// # Errors
/// On a wrong width, and for fused kernels on anything but f32 on the CPU.
pub fn rotate(x: &Tensor, tables: &(Tensor, Tensor), kernels: Kernels) -> Result<Tensor> {
    if let Kernels::Fused(_) = kernels {
        return ops::rotate(x, &tables.0, &tables.1);
    }
    let half = x.dim(D::Minus1)? / 2;
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let (cos, sin) = tables;
    Tensor::cat(
        &[
            (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?,
            (second.broadcast_mul(cos)? + first.broadcast_mul(sin)?)?,
        ],
        D::Minus1,
    )
}
