//! Two attentions under one denominator, row by row.

use pulp::Simd as Vectors;

use super::vector::{dot, map, map_in_place, map_pairs_in_place};
use crate::kernels::{
    Simd,
    hybrid::{Gradients, Joint},
};

/// As [`kernels::hybrid::join`](crate::kernels::hybrid::join).
///
/// # Panics
/// If the lengths do not fit together.
pub fn join(simd: Simd, of: Joint<'_>, out: &mut [f32]) {
    assert_fits(&of, out.len());
    if !out.is_empty() {
        simd.run(Join { of, out });
    }
}

fn assert_fits(of: &Joint<'_>, len: usize) {
    let n = of.totals.len();
    assert!(
        len.is_multiple_of(n.max(1)) && of.far.len() == len && of.far_totals.len() == n && of.shares.len() == 2 * n
    );
}

struct Join<'a> {
    of: Joint<'a>,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { of, out } = self;
        let width = out.len() / of.totals.len();
        for (i, (out, far)) in out.chunks_exact_mut(width).zip(of.far.chunks_exact(width)).enumerate() {
            let factors = of.factors(i);
            let (a, b) = (simd.splat_f32s(factors.near), simd.splat_f32s(factors.far));
            if factors.far == 0.0 {
                map_in_place(
                    simd,
                    out,
                    #[inline(always)]
                    |near| simd.mul_f32s(near, a),
                );
            } else {
                map_pairs_in_place(
                    simd,
                    out,
                    far,
                    #[inline(always)]
                    |near, far| simd.mul_add_e_f32s(far, b, simd.mul_f32s(near, a)),
                );
            }
        }
    }
}

/// As [`kernels::hybrid::backward`](crate::kernels::hybrid::backward).
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward(simd: Simd, of: Joint<'_>, near: &[f32], grad: &[f32], into: Gradients<'_>) {
    let n = of.totals.len();
    assert_fits(&of, grad.len());
    assert!(near.len() == grad.len() && into.near.len() == grad.len() && into.far.len() == grad.len());
    assert!(into.log_totals.len() == n && into.far_totals.len() == n && into.shares.len() == 2 * n);
    if !grad.is_empty() {
        simd.run(Backward { of, near, grad, into });
    }
}

struct Backward<'a> {
    of: Joint<'a>,
    near: &'a [f32],
    grad: &'a [f32],
    into: Gradients<'a>,
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { of, near, grad, mut into } = self;
        let width = grad.len() / of.totals.len();
        for (i, grad) in grad.chunks_exact(width).enumerate() {
            let (factors, row) = (of.factors(i), i * width..(i + 1) * width);
            for (factor, to) in [(factors.near, &mut *into.near), (factors.far, &mut *into.far)] {
                let factor = simd.splat_f32s(factor);
                map(
                    simd,
                    grad,
                    &mut to[row.clone()],
                    #[inline(always)]
                    |grad| simd.mul_f32s(grad, factor),
                );
            }
            let along = (dot(simd, grad, &near[row.clone()]), dot(simd, grad, &of.far[row]));
            into.write(i, &of, factors, along);
        }
    }
}
