//! One update of AdamW over a run of parameters, in one pass.

use pulp::Simd as Vectors;

use super::Simd;

/// The factors of one update; the corrections of the moments' bias are in them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// η / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / (1 − β₂ᵗ).
    pub unbias: f32,
    /// ε.
    pub epsilon: f32,
    /// 1 − η·λ.
    pub keep: f32,
}

/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `θ ← keep·θ − rate·m / (√(unbias·v) + ε)` (Loshchilov and Hutter 2019).
///
/// # Panics
/// If the lengths differ.
pub fn update(simd: Simd, factors: Factors, theta: &mut [f32], first: &mut [f32], second: &mut [f32], grad: &[f32]) {
    assert!(theta.len() == grad.len() && first.len() == grad.len() && second.len() == grad.len());
    simd.run(Update { factors, theta, first, second, grad });
}

struct Update<'a> {
    factors: Factors,
    theta: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    grad: &'a [f32],
}

impl pulp::WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, _: S) {
        // No sum over numbers: the compiler makes vectors of this as it stands.
        let Factors { beta1, beta2, rate, unbias, epsilon, keep } = self.factors;
        let moments = self.first.iter_mut().zip(self.second);
        for ((theta, grad), (m, v)) in self.theta.iter_mut().zip(self.grad).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * grad;
            *v = beta2 * *v + (1.0 - beta2) * grad * grad;
            *theta = keep * *theta - rate * *m / ((unbias * *v).sqrt() + epsilon);
        }
    }
}
