//! Norms, activations and argmax of one row.

use pulp::Simd as Vectors;

use super::vector::{dot, exp, map_in_place, maximum, split, sum};
use crate::kernels::{
    Simd,
    dense::{GELU_CUBE, GELU_SCALE},
};

/// As [`dense::argmax`](crate::kernels::dense::argmax).
#[must_use]
pub fn argmax(simd: Simd, x: &[f32]) -> Option<usize> {
    let largest = simd.run(Maximum(x));
    // Whole pieces are compared without a way out, which needs no branch a number.
    let holds = |piece: &[f32]| piece.iter().fold(false, |found, x| found | (*x == largest));
    let found = x.chunks(PIECE).position(holds).and_then(|p| {
        let start = p * PIECE;
        x[start..].iter().position(|x| *x == largest).map(|i| start + i)
    });
    found.or(if x.is_empty() { None } else { Some(0) })
}

/// Numbers compared together.
const PIECE: usize = 64;

struct Maximum<'a>(&'a [f32]);

impl pulp::WithSimd for Maximum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) -> f32 {
        maximum(simd, self.0)
    }
}

/// As [`dense::layer_norm`](crate::kernels::dense::layer_norm).
///
/// # Panics
/// If the lengths do not fit together.
pub fn layer_norm(simd: Simd, x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(gain.len() == x.len() && out.len() == x.len() && (bias.is_empty() || bias.len() == x.len()));
    simd.run(Norm { x, gain, bias, epsilon, centred: true, out });
}

/// As [`dense::rms_norm`](crate::kernels::dense::rms_norm).
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(simd: Simd, x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(gain.len() == x.len() && out.len() == x.len());
    simd.run(Norm { x, gain, bias: &[], epsilon, centred: false, out });
}

struct Norm<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    /// Whether the mean is taken away.
    centred: bool,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, gain, bias, epsilon, centred, out } = self;
        let n = x.len() as f32;
        let mean = if centred { sum(simd, x) / n } else { 0.0 };
        // Differences are kept in `out`, so that their squares lose nothing to the mean and a tail needs no mask.
        for (out, x) in out.iter_mut().zip(x) {
            *out = x - mean;
        }
        let scale = 1.0 / (dot(simd, out, out) / n + epsilon).sqrt();
        for (out, gain) in out.iter_mut().zip(gain) {
            *out *= scale * gain;
        }
        for (out, bias) in out.iter_mut().zip(bias) {
            *out += bias;
        }
    }
}

/// As [`dense::gelu`](crate::kernels::dense::gelu).
pub fn gelu(simd: Simd, x: &mut [f32]) {
    simd.run(Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl pulp::WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let one = simd.splat_f32s(1.0);
        // ½ (1 + tanh u) = 1 / (1 + exp(−2u)).
        let (scale, cube) = (simd.splat_f32s(-2.0 * GELU_SCALE), simd.splat_f32s(-2.0 * GELU_SCALE * GELU_CUBE));
        map_in_place(
            simd,
            self.0,
            #[inline(always)]
            |x| {
                let exponent = simd.mul_f32s(x, simd.mul_add_e_f32s(simd.mul_f32s(x, x), cube, scale));
                simd.div_f32s(x, simd.add_f32s(one, exp(simd, exponent)))
            },
        );
    }
}

/// As [`dense::relu`](crate::kernels::dense::relu).
pub fn relu(simd: Simd, x: &mut [f32]) {
    simd.run(Relu(x));
}

struct Relu<'a>(&'a mut [f32]);

impl pulp::WithSimd for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        map_in_place(
            simd,
            self.0,
            #[inline(always)]
            |x| simd.max_f32s(x, zero),
        );
    }
}

/// As [`dense::silu_times`](crate::kernels::dense::silu_times).
///
/// # Panics
/// If the lengths differ.
pub fn silu_times(simd: Simd, gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len());
    simd.run(SiluTimes { gate, up });
}

struct SiluTimes<'a> {
    gate: &'a [f32],
    up: &'a mut [f32],
}

impl pulp::WithSimd for SiluTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let ((gates, gates_tail), (ups, ups_tail)) = (split::<S>(self.gate), S::as_mut_simd_f32s(self.up));
        for (up, gate) in ups.iter_mut().zip(gates) {
            *up = simd.mul_f32s(*up, silu(simd, *gate));
        }
        if !ups_tail.is_empty() {
            let gate = silu(simd, simd.partial_load_f32s(gates_tail));
            let up = simd.mul_f32s(simd.partial_load_f32s(ups_tail), gate);
            simd.partial_store_f32s(ups_tail, up);
        }
    }
}

/// `x / (1 + exp(−x))`.
#[inline(always)]
fn silu<S: Vectors>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(x, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}
