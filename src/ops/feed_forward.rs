//! The feed-forward sub-layer, from the residual stream back to it, as one operation. As five, each would have a gradient of
//! its own that the tensor library clears, adds to and copies, several times the memory that the products read.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{
    activation, gradient,
    linear::{product_of_rows, sum_of_rows},
    made, norm, numbers,
    operands::{Shelf, carried},
    room, with_slices,
};
use crate::kernels::{
    Simd,
    activation::Activation,
    gemm::{Matrix, multiply, product},
};

/// Weight (out, in) and bias (out) of a projection.
type Affine<'a> = (&'a Tensor, Option<&'a Tensor>);

/// The parts of the sub-layer.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward<'a> {
    /// Gain (d) of the norm, and the bias (d) of a layer norm.
    pub norm: Affine<'a>,
    /// ε of the norm.
    pub epsilon: f32,
    /// d → hidden.
    pub up: Affine<'a>,
    /// d → hidden of SwiGLU.
    pub gate: Option<Affine<'a>>,
    /// hidden → d.
    pub down: Affine<'a>,
    /// Between up and down where there is no gate.
    pub activation: Activation,
}

/// `x + down(act(up(y)))`, or `x + down(silu(gate(y)) · up(y))`, y = norm(x): x (…, d).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn feed_forward(x: &Tensor, of: FeedForward<'_>, simd: Simd) -> Result<Tensor> {
    let (d, hidden) = (of.norm.0.dims1()?, of.up.0.dim(0)?);
    let affine = |(weight, bias): Affine<'_>, n_out: usize, n_in: usize| {
        weight.dims() == [n_out, n_in] && bias.is_none_or(|bias| bias.dims() == [n_out])
    };
    let fits = d > 0
        && hidden > 0
        && x.dims().last() == Some(&d)
        && of.norm.1.is_none_or(|bias| bias.dims() == [d])
        && affine(of.up, hidden, d)
        && of.gate.is_none_or(|gate| affine(gate, hidden, d))
        && affine(of.down, d, hidden);
    if !fits {
        candle_core::bail!("a feed-forward layer {of:?} of x {:?}", x.dims());
    }
    let all = [Some(of.norm), Some(of.up), of.gate, Some(of.down)];
    let operands: Vec<&Tensor> = all.into_iter().flatten().flat_map(|(w, b)| [Some(w), b]).flatten().collect();
    let shelf = Shelf::default();
    let carried = carried(&operands, &shelf)?;
    let part = |(weight, bias): Affine<'_>| -> Result<Part> {
        Ok(Part { weight: weight.contiguous()?, bias: bias.map(Tensor::contiguous).transpose()? })
    };
    let keeps = x.track_op() || operands.iter().any(|operand| operand.track_op());
    let op = Sublayer {
        norm: part(of.norm)?,
        epsilon: of.epsilon,
        up: part(of.up)?,
        gate: of.gate.map(part).transpose()?,
        down: part(of.down)?,
        activation: of.activation,
        simd,
        shelf,
        keeps,
        kept: OnceLock::new(),
    };
    x.contiguous()?.apply_op2(&carried, op)
}

struct Part {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Part {
    /// `x Wᵀ + b` of rows.
    fn forward(&self, simd: Simd, x: &[f32]) -> Result<Vec<f32>> {
        let n_in = self.weight.dim(1)?;
        self.lend(|weight, bias| product_of_rows(simd, &[], x, weight, bias, n_in))
    }

    /// The same onto what is there.
    fn onto(&self, simd: Simd, there: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let n_in = self.weight.dim(1)?;
        self.lend(|weight, bias| product_of_rows(simd, there, x, weight, bias, n_in))
    }

    fn lend<T>(&self, body: impl FnOnce(&[f32], &[f32]) -> T) -> Result<T> {
        match &self.bias {
            Some(bias) => with_slices([&self.weight, bias], |[weight, bias]| Ok(body(weight, bias))),
            None => with_slices([&self.weight], |[weight]| Ok(body(weight, &[]))),
        }
    }

    /// Of the parameters, from x and the gradient of what came out, appended to `gradients`.
    fn backward(&self, x: &[f32], grad: &[f32], gradients: &mut Vec<Option<Tensor>>) -> Result<()> {
        let (n_out, n_in) = self.weight.dims2()?;
        gradients.push(made_for(&self.weight, |dw| {
            multiply(Matrix::new(grad, n_out).transposed(), Matrix::new(x, n_in), false, dw);
        })?);
        if let Some(bias) = &self.bias {
            gradients.push(made_for(bias, |db| sum_of_rows(grad, db))?);
        }
        Ok(())
    }

    /// Of x, from the gradient of what came out.
    fn back_to_input(&self, grad: &[f32]) -> Result<Vec<f32>> {
        let (n_out, n_in) = self.weight.dims2()?;
        self.lend(|weight, _| product(Matrix::new(grad, n_out), Matrix::new(weight, n_in), &[]))
    }
}

/// A gradient written by `write` from zeros, unless its operand is frozen.
fn made_for(of: &Tensor, write: impl FnOnce(&mut [f32])) -> Result<Option<Tensor>> {
    let mut numbers = room(of);
    if !numbers.is_empty() {
        write(&mut numbers);
    }
    gradient(of, numbers)
}

struct Sublayer {
    norm: Part,
    epsilon: f32,
    up: Part,
    gate: Option<Part>,
    down: Part,
    activation: Activation,
    simd: Simd,
    shelf: Shelf,
    /// Whether there will be a backward.
    keeps: bool,
    kept: OnceLock<Kept>,
}

/// What backward does not make again.
struct Kept {
    /// Normalised x.
    y: Vec<f32>,
    up: Vec<f32>,
    gate: Option<Vec<f32>>,
    /// What goes down.
    hidden: Vec<f32>,
}

impl Sublayer {
    fn forward(&self, x: &[f32], shape: &Shape) -> Result<(CpuStorage, Shape)> {
        let (simd, epsilon) = (self.simd, self.epsilon);
        let layer_norm = self.norm.bias.is_some();
        let y = self.norm.lend(|gain, bias| norm::forward(simd, x, gain, layer_norm.then_some(bias), epsilon))?;
        let up = self.up.forward(simd, &y)?;
        let gate = self.gate.as_ref().map(|gate| gate.forward(simd, &y)).transpose()?;
        let hidden = match &gate {
            Some(gate) => activation::silu_times_forward(simd, gate, &up),
            None => activation::forward(simd, self.activation, &up),
        };
        let out = self.down.onto(simd, x, &hidden)?;
        if self.keeps {
            // An operation runs once; should it run again, the first figures are the same.
            let _ = self.kept.set(Kept { y, up, gate, hidden });
        }
        made(out, shape.clone())
    }

    /// Of x; those of the parameters go to the shelf.
    fn backward(&self, x: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(Kept { y, up, gate, hidden }) = self.kept.get() else {
            candle_core::bail!("a backward before its forward")
        };
        let simd = self.simd;
        let (mut of_up, mut of_gate, mut of_down) = (Vec::new(), Vec::new(), Vec::new());
        with_slices([x, &grad.contiguous()?], |[numbers, grad]| {
            self.down.backward(hidden, grad, &mut of_down)?;
            let d_hidden = self.down.back_to_input(grad)?;
            let dy = match (&self.gate, gate) {
                (Some(part), Some(gate)) => {
                    let (d_gate, d_up) = activation::silu_times_backward(simd, gate, up, &d_hidden);
                    self.up.backward(y, &d_up, &mut of_up)?;
                    part.backward(y, &d_gate, &mut of_gate)?;
                    let mut dy = self.up.back_to_input(&d_up)?;
                    activation::add(&mut dy, &part.back_to_input(&d_gate)?);
                    dy
                }
                _ => {
                    let d_up = activation::backward(simd, self.activation, up, &d_hidden);
                    self.up.backward(y, &d_up, &mut of_up)?;
                    self.up.back_to_input(&d_up)?
                }
            };
            drop(d_hidden);
            let wanted = [Some(x), Some(&self.norm.weight), self.norm.bias.as_ref()];
            let wanted = wanted.map(|of| of.is_some_and(Tensor::track_op));
            let centred = self.norm.bias.is_some();
            let [mut dx, of_gain, of_bias] = with_slices([&self.norm.weight], |[gain]| {
                Ok(norm::backward(simd, numbers, gain, self.epsilon, centred, &dy, wanted))
            })?;
            activation::add(&mut dx, grad);
            let mut all = vec![gradient(&self.norm.weight, of_gain)?];
            if let Some(bias) = &self.norm.bias {
                all.push(gradient(bias, of_bias)?);
            }
            all.extend(of_up.into_iter().chain(of_gate).chain(of_down));
            self.shelf.put(all);
            gradient(x, dx)
        })
    }
}

impl CustomOp2 for Sublayer {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(numbers(x, layout)?, layout.shape())
    }

    fn bwd(&self, x: &Tensor, carried: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = self.backward(x, grad)?;
        let told = if carried.track_op() { Some(Tensor::new(1f32, &Device::Cpu)?) } else { None };
        Ok((dx, told))
    }
}
