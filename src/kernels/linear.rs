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

/// What one step reads: features of the queries of a group (group, m) and of the key (m), the value (d_v), and the
/// factor that the past decays by first (1: it does not).
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// (group, m).
    pub phi_q: &'a [f32],
    /// (m).
    pub phi_k: &'a [f32],
    /// (d_v).
    pub v: &'a [f32],
    /// Factor of S and z before the token is added.
    pub decay: f32,
}

/// `S ← g S + φ(k) vᵀ`, `z ← g z + φ(k)`, then `out_g = φ(q_g)ᵀ S / norm(φ(q_g)·z)` for every query of the group
/// (Katharopoulos et al. 2020, eq. 18–20).
///
/// `s` is (m, d_v), `z` is (m), `out` is (group, d_v).
pub fn step(token: Token<'_>, s: &mut [f32], z: &mut [f32], normalizer: Normalizer, out: &mut [f32]) {
    let Token { phi_q, phi_k, v, decay } = token;
    let (m, d) = (phi_k.len(), v.len());
    out.fill(0.0);
    for (i, row) in s.chunks_exact_mut(d).enumerate() {
        decay_and_add(row, decay, phi_k[i], v);
        for (q, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)) {
            add_scaled(out, q[i], row);
        }
    }
    decay_and_add(z, decay, 1.0, phi_k);
    for (q, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)) {
        let scale = 1.0 / normalizer.apply(dot(q, z));
        out.iter_mut().for_each(|o| *o *= scale);
    }
}

/// `S ← g S + φ(k) vᵀ`, `z ← g z + φ(k)`: a key that is not read at once.
pub fn update(phi_k: &[f32], v: &[f32], decay: f32, s: &mut [f32], z: &mut [f32]) {
    for (row, phi) in s.chunks_exact_mut(v.len()).zip(phi_k) {
        decay_and_add(row, decay, *phi, v);
    }
    decay_and_add(z, decay, 1.0, phi_k);
}

/// `out = φ(q)ᵀ S` without its denominator φ(q)·z, which is returned.
pub fn read_sums(phi_q: &[f32], s: &[f32], z: &[f32], out: &mut [f32]) -> f32 {
    out.fill(0.0);
    for (row, phi) in s.chunks_exact(out.len()).zip(phi_q) {
        add_scaled(out, *phi, row);
    }
    dot(phi_q, z)
}

fn decay_and_add(row: &mut [f32], decay: f32, factor: f32, x: &[f32]) {
    for (o, x) in row.iter_mut().zip(x) {
        *o = decay * *o + factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        // m = 2, d_v = 1: k1 = (1, 2), v1 = 3; k2 = (0, 1), v2 = 5; q = (2, 1) both times.
        let (mut s, mut z, mut out) = (vec![0.0; 2], vec![0.0; 2], vec![0.0]);
        let first = Token { phi_q: &[2.0, 1.0], phi_k: &[1.0, 2.0], v: &[3.0], decay: 1.0 };
        step(first, &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!(out, [3.0]); // one token: its own value
        let second = Token { phi_k: &[0.0, 1.0], v: &[5.0], ..first };
        step(second, &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!(s, [3.0, 11.0]);
        assert_eq!(z, [1.0, 3.0]);
        assert_eq!(out, [17.0 / 5.0]); // weights 4 and 1: (4·3 + 1·5) / 5
    }

    #[test]
    fn a_decayed_step_by_hand_and_in_its_two_halves() {
        // S = (4), z = (2), g = ½, φ(k) = 3, v = 1, φ(q) = 2: S = 5, z = 4, out = 10 / 8.
        let token = Token { phi_q: &[2.0], phi_k: &[3.0], v: &[1.0], decay: 0.5 };
        let (mut s, mut z, mut out) = ([4.0], [2.0], [0.0]);
        step(token, &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!((s, z, out), ([5.0], [4.0], [1.25]));
        let (mut s, mut z) = ([4.0], [2.0]);
        update(&[3.0], &[1.0], 0.5, &mut s, &mut z);
        assert_eq!((s, z), ([5.0], [4.0]));
        assert_eq!((read_sums(&[2.0], &s, &z, &mut out), out), (8.0, [10.0]));
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
