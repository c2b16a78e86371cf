//! Linear attention for one key and value head: a decode step that updates the state and reads it out in one pass, and
//! the gradients of a whole sequence.

use super::{add_scaled, dot, softmax::row};

/// How the denominator φ(q)·z is kept away from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalizer {
    /// `den + ε`, for features that are never negative.
    AddEpsilon(f64),
    /// `max(den, ε)`: for features that are never negative, or with an ε so large that it hardly matters where den is.
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

impl Normalizer {
    /// The derivative of [`Normalizer::apply`]: 0 where the denominator is held, 1 elsewhere.
    #[must_use]
    pub fn slope(self, den: f32) -> f32 {
        let held = match self {
            Self::AddEpsilon(_) => false,
            Self::ClampMin(eps) => den < eps as f32,
            Self::SignedClamp(eps) => den.abs() < eps as f32,
        };
        if held { 0.0 } else { 1.0 }
    }
}

/// What becomes of the denominators φ(q)·z of weighted sums.
#[derive(Debug, Clone, Copy)]
pub enum Denominators<T> {
    /// The sums are divided by them, made safe.
    Divide(Normalizer),
    /// They stand beside the sums, one a query, here.
    Apart(T),
}

impl<T> From<Normalizer> for Denominators<T> {
    fn from(normalizer: Normalizer) -> Self {
        Self::Divide(normalizer)
    }
}

impl Denominators<&mut [f32]> {
    /// Whether there is a place for those of so many queries, if they stand apart.
    pub(super) fn fit(&self, queries: usize) -> bool {
        match self {
            Self::Divide(_) => true,
            Self::Apart(all) => all.len() == queries,
        }
    }

    /// What the i-th query's sums are to be multiplied by; a denominator that stands apart is put there.
    #[inline(always)]
    pub(super) fn factor(&mut self, i: usize, den: f32) -> f32 {
        match self {
            Self::Divide(normalizer) => 1.0 / normalizer.apply(den),
            Self::Apart(all) => {
                all[i] = den;
                1.0
            }
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
/// (Katharopoulos et al. 2020, eq. 18–20), or both parts of the fraction apart.
///
/// `s` is (m, d_v), `z` is (m), `out` is (group, d_v).
pub fn step<'a>(
    token: Token<'_>,
    s: &mut [f32],
    z: &mut [f32],
    denominators: impl Into<Denominators<&'a mut [f32]>>,
    out: &mut [f32],
) {
    let mut denominators = denominators.into();
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
    for (g, (q, out)) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)).enumerate() {
        let scale = denominators.factor(g, dot(q, z));
        out.iter_mut().for_each(|o| *o *= scale);
    }
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

/// What a sequence's gradient is made of: features of the queries (n, m) and of the keys (source, m), values
/// (source, d_v), the gradient (n, d_v) of what came out, and how it came out.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// (n, m).
    pub phi_q: &'a [f32],
    /// (source, m).
    pub phi_k: &'a [f32],
    /// (source, d_v).
    pub v: &'a [f32],
    /// (n, d_v).
    pub grad: &'a [f32],
    /// Logarithms (n) of the factors that the sums take before each token, where they decay; causal alone.
    pub log_decay: Option<&'a [f32]>,
    /// Whether query i sees the keys up to i, or all of them.
    pub causal: bool,
    /// What became of the denominators; those that stood apart have gradients (n) of their own.
    pub denominators: Denominators<&'a [f32]>,
}

/// Where gradients are added to, each in the shape of what it belongs to; an empty one is not wanted.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the features of the queries.
    pub phi_q: &'a mut [f32],
    /// Of the features of the keys.
    pub phi_k: &'a mut [f32],
    /// Of the values.
    pub v: &'a mut [f32],
    /// Of the logarithms of the decay.
    pub log_decay: &'a mut [f32],
}

/// Adds the gradients of one query head, pair by pair: with `w_ij = exp(Σ_{j<l≤i} log g_l) φ(q_i)·φ(k_j)`, the
/// denominator `D_i = norm(Σ_j w_ij)` and g_i the gradient of `out_i = Σ_j w_ij v_j / D_i`,
/// `dw_ij = g_i·v_j / D_i − norm′ g_i·out_i / D_i`, and the rest by the product rule. Where `Σ_j w_ij v_j` and `Σ_j w_ij` came
/// out apart, `dw_ij = g_i·v_j + h_i`, h_i the gradient of the denominator.
pub fn backward(of: Sequence<'_>, m: usize, mut into: Gradients<'_>) {
    let (n, source) = (of.phi_q.len() / m, of.phi_k.len() / m);
    let d = of.grad.len() / n.max(1);
    for i in 0..n {
        let (q, grad) = (&of.phi_q[i * m..][..m], &of.grad[i * d..][..d]);
        let (key, value) = (|j: usize| &of.phi_k[j * m..][..m], |j: usize| &of.v[j * d..][..d]);
        let seen = if of.causal { i + 1 } else { source };
        // What lies between a key and the query.
        let faded = |j: usize| of.log_decay.map_or(1.0, |g| g[j + 1..=i].iter().sum::<f32>().exp());
        let weight = |j: usize| faded(j) * dot(q, key(j));
        let sum: f32 = (0..seen).map(weight).sum();
        let (inverse, of_sum) = match of.denominators {
            Denominators::Apart(grads) => (1.0, grads[i]),
            Denominators::Divide(normalizer) => {
                let inverse = 1.0 / normalizer.apply(sum);
                let along = (0..seen).map(|j| weight(j) * dot(grad, value(j))).sum::<f32>() * inverse;
                (inverse, -normalizer.slope(sum) * inverse * along)
            }
        };
        for j in 0..seen {
            let dw = inverse * dot(grad, value(j)) + of_sum;
            add_scaled(row(&mut into.v, j, d), inverse * weight(j), grad);
            add_scaled(row(&mut into.phi_q, i, m), dw * faded(j), key(j));
            add_scaled(row(&mut into.phi_k, j, m), dw * faded(j), q);
            if !into.log_decay.is_empty() {
                into.log_decay[j + 1..=i].iter_mut().for_each(|g| *g += dw * weight(j));
            }
        }
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
    fn a_decayed_step_by_hand_and_with_its_denominator_apart() {
        // S = (4), z = (2), g = ½, φ(k) = 3, v = 1, φ(q) = 2: S = 5, z = 4, out = 10 / 8.
        let token = Token { phi_q: &[2.0], phi_k: &[3.0], v: &[1.0], decay: 0.5 };
        let (mut s, mut z, mut out) = ([4.0], [2.0], [0.0]);
        step(token, &mut s, &mut z, Normalizer::ClampMin(1e-2), &mut out);
        assert_eq!((s, z, out), ([5.0], [4.0], [1.25]));
        let (mut s, mut z, mut den) = ([4.0], [2.0], [0.0]);
        step(token, &mut s, &mut z, Denominators::Apart(&mut den[..]), &mut out);
        assert_eq!((s, z, out, den), ([5.0], [4.0], [10.0], [8.0]));
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
