//! Cross-entropy of one row of logits, and its gradient in place.

use pulp::Simd as Vectors;

use super::vector::{exp, map_in_place, maximum, sum};
use crate::kernels::Simd;

/// As [`dense::cross_entropy`](crate::kernels::dense::cross_entropy).
///
/// # Panics
/// If there is no logit of the target.
pub fn cross_entropy(simd: Simd, logits: &mut [f32], target: usize, smoothing: f32, scale: f32) -> f32 {
    assert!(target < logits.len());
    simd.run(CrossEntropy { logits, target, smoothing, scale })
}

struct CrossEntropy<'a> {
    logits: &'a mut [f32],
    target: usize,
    smoothing: f32,
    scale: f32,
}

impl pulp::WithSimd for CrossEntropy<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) -> f32 {
        let Self { logits, target, smoothing, scale } = self;
        let highest = maximum(simd, logits);
        let mut loss = (1.0 - smoothing) * (highest - logits[target]);
        if smoothing > 0.0 {
            loss += smoothing * (highest - sum(simd, logits) / logits.len() as f32);
        }
        let shift = simd.splat_f32s(-highest);
        map_in_place(
            simd,
            logits,
            #[inline(always)]
            |x| exp(simd, simd.add_f32s(x, shift)),
        );
        let total = sum(simd, logits);
        let share = simd.splat_f32s(-scale * smoothing / logits.len() as f32);
        let factor = simd.splat_f32s(scale / total);
        map_in_place(
            simd,
            logits,
            #[inline(always)]
            |x| simd.mul_add_e_f32s(x, factor, share),
        );
        logits[target] -= scale * (1.0 - smoothing);
        loss + total.ln()
    }
}
