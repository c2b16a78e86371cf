//! Two softmaxes of opposite signs side by side, and their gradient, row by row.

use pulp::Simd as Vectors;

use super::vector::{dot, exp, map, map_in_place, maximum, minimum, sum};
use crate::kernels::Simd;

/// `softmax(x) ⊕ softmax(−x)` (Zhang et al. 2024, arXiv 2402.04347) of every row of n numbers: `out` has rows of 2n.
///
/// # Panics
/// If the lengths do not fit together.
pub fn forward(simd: Simd, x: &[f32], n: usize, out: &mut [f32]) {
    assert!(out.len() == 2 * x.len() && x.len().is_multiple_of(n.max(1)));
    simd.run(Forward { x, n, out });
}

struct Forward<'a> {
    x: &'a [f32],
    n: usize,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, n, out } = self;
        for (x, out) in x.chunks_exact(n.max(1)).zip(out.chunks_exact_mut(2 * n.max(1))) {
            let (above, below) = out.split_at_mut(n);
            let (highest, lowest) = (simd.splat_f32s(maximum(simd, x)), simd.splat_f32s(minimum(simd, x)));
            map(
                simd,
                x,
                above,
                #[inline(always)]
                |x| exp(simd, simd.sub_f32s(x, highest)),
            );
            map(
                simd,
                x,
                below,
                #[inline(always)]
                |x| exp(simd, simd.sub_f32s(lowest, x)),
            );
            for half in [above, below] {
                let inverse = simd.splat_f32s(1.0 / sum(simd, half));
                map_in_place(
                    simd,
                    half,
                    #[inline(always)]
                    |x| simd.mul_f32s(x, inverse),
                );
            }
        }
    }
}

/// Writes the gradient of x from what came out and its gradient: with s and g the halves of a row,
/// `s₊ (g₊ − s₊·g₊) − s₋ (g₋ − s₋·g₋)`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward(simd: Simd, out: &[f32], grad: &[f32], n: usize, dx: &mut [f32]) {
    assert!(out.len() == 2 * dx.len() && grad.len() == out.len() && dx.len().is_multiple_of(n.max(1)));
    simd.run(Backward { out, grad, n, dx });
}

struct Backward<'a> {
    out: &'a [f32],
    grad: &'a [f32],
    n: usize,
    dx: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { out, grad, n, dx } = self;
        let rows = out.chunks_exact(2 * n.max(1)).zip(grad.chunks_exact(2 * n.max(1)));
        for ((out, grad), dx) in rows.zip(dx.chunks_exact_mut(n.max(1))) {
            let ((s, t), (g, h)) = (out.split_at(n), grad.split_at(n));
            let (along, against) = (dot(simd, s, g), dot(simd, t, h));
            for i in 0..n {
                dx[i] = s[i] * (g[i] - along) - t[i] * (h[i] - against);
            }
        }
    }
}
