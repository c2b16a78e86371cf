//! One decode step of linear attention for one key and value head: update the state, read it out, in one pass.

use super::{add_scaled, dot};

/// How the denominator φ(q)·z is kept away from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalizer {
    /// `den + ε`, for features that are never negative.
    AddEpsilon(f64),
    /// `max(den, ε)`, for features that are never negative.
    ClampMin(f64),
    /// `sign(den) · max(|den|, ε)` with sign(0) = +, for features of either sign.
    SignedClamp(f64),
}

impl Normalizer {
    /// The denominator made safe to divide by.
    #[must_use]
    pub fn apply(self, den: f32) -> f32 {
        match self {
            Self::AddEpsilon(eps) => den + eps as f32,
            Self::ClampMin(eps) => den.max(eps as f32),
            Self::SignedClamp(eps) if den < 0.0 => den.min(-eps as f32),
            Self::SignedClamp(eps) => den.max(eps as f32),
        }
    }
}

/// `S += φ(k) vᵀ`, `z += φ(k)`, then `out_g = φ(q_g)ᵀ S / norm(φ(q_g)·z)` for every query of the group
/// (Katharopoulos et al. 2020, eq. 18–20).
///
/// `s` is (m, d_v), `z` and `phi_k` are (m), `v` is (d_v), `phi_q` is (group, m), `out` is (group, d_v).
pub fn step(
    phi_q: &[f32],
    phi_k: &[f32],
    v: &[f32],
    s: &mut [f32],
    z: &mut [f32],
    normalizer: Normalizer,
    out: &mut [f32],
) {
    let (m, d) = (phi_k.len(), v.len());
    out.fill(0.0);
    for (i, row) in s.chunks_exact_mut(d).enumerate() {
        add_scaled(row, phi_k[i], v);
        for (q, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)) {
            add_scaled(out, q[i], row);
        }
    }
    add_scaled(z, 1.0, phi_k);
    for (q, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)) {
        let scale = 1.0 / normalizer.apply(dot(q, z));
        out.iter_mut().for_each(|o| *o *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        // m = 2, d_v = 1: k1 = (1, 2), v1 = 3; k2 = (0, 1), v2 = 5; q = (2, 1) both times.
        let (mut s, mut z, mut out) = (vec![0.0; 2], vec![0.0; 2], vec![0.0]);
        step(&[2.0, 1.0], &[1.0, 2.0], &[3.0], &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!(out, [3.0]); // one token: its own value
        step(&[2.0, 1.0], &[0.0, 1.0], &[5.0], &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!(s, [3.0, 11.0]);
        assert_eq!(z, [1.0, 3.0]);
        assert_eq!(out, [17.0 / 5.0]); // weights 4 and 1: (4·3 + 1·5) / 5
    }

    #[test]
    fn normalizers_keep_the_sign_and_the_distance_from_zero() {
        assert_eq!(Normalizer::SignedClamp(0.5).apply(-0.1), -0.5);
        assert_eq!(Normalizer::SignedClamp(0.5).apply(0.0), 0.5);
        assert_eq!(Normalizer::SignedClamp(0.5).apply(-2.0), -2.0);
        assert_eq!(Normalizer::ClampMin(0.5).apply(0.1), 0.5);
        assert_eq!(Normalizer::AddEpsilon(0.5).apply(1.0), 1.5);
    }
}
