//! Feature maps φ of one vector or, where they work number by number, of any number of them.

use pulp::Simd as Vectors;

use super::{
    dots,
    vector::{LARGEST_ANGLE, dot, exp, map, map_in_place, maximum, sin_cos, sum},
};
use crate::kernels::Simd;

/// As [`features::elu_plus_one`](crate::kernels::features::elu_plus_one).
///
/// # Panics
/// If the lengths differ.
pub fn elu_plus_one(simd: Simd, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    simd.run(EluPlusOne { x, out });
}

struct EluPlusOne<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for EluPlusOne<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        map(
            simd,
            self.x,
            self.out,
            #[inline(always)]
            |x| simd.select_f32s(simd.greater_than_f32s(x, zero), simd.add_f32s(x, one), exp(simd, x)),
        );
    }
}

/// `max(x, 0)`: what is left of φ behind a merged projection.
///
/// # Panics
/// If the lengths differ.
pub fn relu(simd: Simd, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    simd.run(Relu { x, out });
}

struct Relu<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        map(
            simd,
            self.x,
            self.out,
            #[inline(always)]
            |x| simd.max_f32s(x, zero),
        );
    }
}

/// `W x`: `weight` is (out, in), `x` (in), `out` (out).
///
/// # Panics
/// If the lengths do not fit together.
pub fn matrix_vector(simd: Simd, weight: &[f32], x: &[f32], out: &mut [f32]) {
    assert!(weight.len() == x.len() * out.len());
    simd.run(MatrixVector { weight, x, out });
}

struct MatrixVector<'a> {
    weight: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for MatrixVector<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        dots::matrix_vector(simd, self.weight, self.x, self.out);
    }
}

/// As [`features::exponentials`](crate::kernels::features::exponentials).
pub fn exponentials(simd: Simd, x: &mut [f32]) -> (f32, f32) {
    simd.run(Exponentials(x))
}

struct Exponentials<'a>(&'a mut [f32]);

impl pulp::WithSimd for Exponentials<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) -> (f32, f32) {
        let highest = maximum(simd, self.0);
        let shift = simd.splat_f32s(-highest);
        map_in_place(
            simd,
            self.0,
            #[inline(always)]
            |x| exp(simd, simd.add_f32s(x, shift)),
        );
        (highest, sum(simd, self.0))
    }
}

/// As [`features::affine_relu`](crate::kernels::features::affine_relu).
///
/// # Panics
/// If the lengths do not fit together.
pub fn affine_relu(simd: Simd, x: &[f32], scale: f32, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    assert!(weight.len() == x.len() * out.len() && bias.len() == out.len());
    simd.run(AffineRelu { x, scale, weight, bias, out });
}

struct AffineRelu<'a> {
    x: &'a [f32],
    scale: f32,
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for AffineRelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, scale, weight, bias, out } = self;
        dots::matrix_vector(simd, weight, x, out);
        for (out, b) in out.iter_mut().zip(bias) {
            *out = (scale * *out + b).max(0.0);
        }
    }
}

/// As [`features::fourier`](crate::kernels::features::fourier).
///
/// # Panics
/// If the lengths do not fit together.
pub fn fourier(simd: Simd, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(out.len().is_multiple_of(2) && weight.len() == x.len() * out.len() / 2);
    simd.run(Fourier { x, weight, epsilon, out });
}

struct Fourier<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Fourier<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, weight, epsilon, out } = self;
        let (sines, cosines) = out.split_at_mut(out.len() / 2);
        dots::matrix_vector(simd, weight, x, sines);
        let inverse = simd.splat_f32s(1.0 / (dot(simd, x, x).sqrt() + epsilon));
        map_in_place(
            simd,
            sines,
            #[inline(always)]
            |x| simd.mul_f32s(x, inverse),
        );
        let scale = (1.0 / sines.len() as f32).sqrt();
        if sines.iter().any(|angle| angle.abs() > LARGEST_ANGLE) {
            for (sine, cosine) in sines.iter_mut().zip(cosines) {
                let (s, c) = sine.sin_cos();
                (*sine, *cosine) = (scale * s, scale * c);
            }
            return;
        }
        let scale = simd.splat_f32s(scale);
        let ((sines, sines_tail), (cosines, cosines_tail)) = (S::as_mut_simd_f32s(sines), S::as_mut_simd_f32s(cosines));
        for (sine, cosine) in sines.iter_mut().zip(cosines) {
            let (s, c) = sin_cos(simd, *sine);
            (*sine, *cosine) = (simd.mul_f32s(scale, s), simd.mul_f32s(scale, c));
        }
        if !sines_tail.is_empty() {
            let (s, c) = sin_cos(simd, simd.partial_load_f32s(sines_tail));
            simd.partial_store_f32s(sines_tail, simd.mul_f32s(scale, s));
            simd.partial_store_f32s(cosines_tail, simd.mul_f32s(scale, c));
        }
    }
}
