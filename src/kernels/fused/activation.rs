//! Activations and their slopes, number by number.

use pulp::Simd as Vectors;

use super::vector::{exp, map, map_pairs};
use crate::kernels::{
    Simd,
    activation::Activation,
    dense::{GELU_CUBE, GELU_SCALE},
};

/// `out_i = f(x_i)`.
///
/// # Panics
/// If the lengths differ.
pub fn apply(simd: Simd, activation: Activation, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    simd.run(Apply { activation, x, out });
}

struct Apply<'a> {
    activation: Activation,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { activation, x, out } = self;
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        match activation {
            Activation::Relu => map(
                simd,
                x,
                out,
                #[inline(always)]
                |x| simd.max_f32s(x, zero),
            ),
            Activation::Gelu => map(
                simd,
                x,
                out,
                #[inline(always)]
                |x| simd.mul_f32s(x, gate(simd, x).0),
            ),
            Activation::EluPlusOne => map(
                simd,
                x,
                out,
                #[inline(always)]
                |x| simd.select_f32s(simd.greater_than_f32s(x, zero), simd.add_f32s(x, one), exp(simd, x)),
            ),
        }
    }
}

/// `out_i = grad_i · f′(x_i)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward(simd: Simd, activation: Activation, x: &[f32], grad: &[f32], out: &mut [f32]) {
    assert!(x.len() == out.len() && grad.len() == out.len());
    simd.run(Backward { activation, x, grad, out });
}

struct Backward<'a> {
    activation: Activation,
    x: &'a [f32],
    grad: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { activation, x, grad, out } = self;
        let zero = simd.splat_f32s(0.0);
        match activation {
            Activation::Relu => map_pairs(
                simd,
                x,
                grad,
                out,
                #[inline(always)]
                |x, grad| simd.select_f32s(simd.greater_than_f32s(x, zero), grad, zero),
            ),
            Activation::Gelu => map_pairs(
                simd,
                x,
                grad,
                out,
                #[inline(always)]
                |x, grad| {
                    // Beyond 20 either way the slope is 1 or 0 as far as f32 tells, and what it is made of would leave f32.
                    // Comparisons with NaN are false, so that it passes; a minimum would swallow it on some processors.
                    let (low, high) = (simd.splat_f32s(-20.0), simd.splat_f32s(20.0));
                    let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
                    let x = simd.select_f32s(simd.greater_than_f32s(x, high), high, x);
                    let (gate, inner) = gate(simd, x);
                    // (x σ)′ = σ + x σ (1 − σ) u′.
                    let rest = simd.mul_f32s(simd.mul_f32s(x, inner), simd.sub_f32s(simd.splat_f32s(1.0), gate));
                    simd.mul_f32s(grad, simd.mul_add_e_f32s(gate, rest, gate))
                },
            ),
            Activation::EluPlusOne => map_pairs(
                simd,
                x,
                grad,
                out,
                #[inline(always)]
                |x, grad| {
                    let below = simd.mul_f32s(grad, exp(simd, x));
                    simd.select_f32s(simd.greater_than_f32s(x, zero), grad, below)
                },
            ),
        }
    }
}

/// Of gelu: `σ(u) = ½ (1 + tanh(u / 2))`, u / 2 its argument of tanh, and u′.
#[inline(always)]
fn gate<S: Vectors>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let square = simd.mul_f32s(x, x);
    let (scale, cube) = (simd.splat_f32s(2.0 * GELU_SCALE), simd.splat_f32s(2.0 * GELU_SCALE * GELU_CUBE));
    let u = simd.mul_f32s(x, simd.mul_add_e_f32s(square, cube, scale));
    (sigmoid(simd, u), simd.mul_add_e_f32s(square, simd.splat_f32s(6.0 * GELU_SCALE * GELU_CUBE), scale))
}

/// Of `h = silu(gate) · up` and its gradient, those of both: `d_gate = grad · up · σ (1 + gate (1 − σ))`,
/// `d_up = grad · silu(gate)`.
///
/// # Panics
/// If the lengths differ.
pub fn silu_times_backward(simd: Simd, gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    assert!(gate.len() == up.len() && grad.len() == up.len() && d_gate.len() == up.len() && d_up.len() == up.len());
    // First each alone, then times what stands beside it.
    simd.run(SiluSlopes { gate, d_gate, d_up });
    for (d_gate, (up, grad)) in d_gate.iter_mut().zip(up.iter().zip(grad)) {
        *d_gate *= up * grad;
    }
    d_up.iter_mut().zip(grad).for_each(|(d_up, grad)| *d_up *= grad);
}

struct SiluSlopes<'a> {
    gate: &'a [f32],
    d_gate: &'a mut [f32],
    d_up: &'a mut [f32],
}

impl pulp::WithSimd for SiluSlopes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { gate, d_gate, d_up } = self;
        let one = simd.splat_f32s(1.0);
        map(
            simd,
            gate,
            d_gate,
            #[inline(always)]
            |x| {
                let s = sigmoid(simd, x);
                simd.mul_f32s(s, simd.mul_add_e_f32s(x, simd.sub_f32s(one, s), one))
            },
        );
        map(
            simd,
            gate,
            d_up,
            #[inline(always)]
            |x| simd.mul_f32s(x, sigmoid(simd, x)),
        );
    }
}

/// `1 / (1 + exp(−x))`.
#[inline(always)]
fn sigmoid<S: Vectors>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}
