//! Softmax attention for one key and value head: a decode step in a single pass over its cache, and the gradients of a
//! whole sequence.

use super::{add_scaled, dot};

/// Keys scored together; their scores fit in registers and the first level of cache.
const BLOCK: usize = 64;

/// `out = Σ_j exp(q·k_j/√d) v_j / Σ_j exp(q·k_j/√d)` for one query by online softmax: blocks of keys, with the
/// accumulated sums rescaled whenever the maximum rises (Milakov and Gimelshein 2018).
///
/// `q` is (d), `keys` is (n, d), `values` is (n, d_v), `out` is (d_v); n = 0 gives zeros. Returns the total
/// `Σ_j exp(q·k_j/√d − c)`, c the largest score.
pub fn step(q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) -> f32 {
    let total = sums(q, keys, values, out);
    if total > 0.0 {
        let scale = 1.0 / total;
        out.iter_mut().for_each(|o| *o *= scale);
    }
    total
}

/// `out = Σ_j exp(q·k_j/√d − c) v_j` and the total: a step before its division.
fn sums(q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) -> f32 {
    let (d, d_v) = (q.len(), out.len());
    let scale = 1.0 / (d as f32).sqrt();
    let (mut maximum, mut total) = (f32::NEG_INFINITY, 0f32);
    out.fill(0.0);
    let mut scores = [0f32; BLOCK];
    for (keys, values) in keys.chunks(BLOCK * d).zip(values.chunks(BLOCK * d_v)) {
        let n = keys.len() / d;
        let scores = &mut scores[..n];
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(d)) {
            *score = scale * dot(q, key);
        }
        let block_maximum = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if block_maximum > maximum {
            let shrink = (maximum - block_maximum).exp();
            total *= shrink;
            out.iter_mut().for_each(|o| *o *= shrink);
            maximum = block_maximum;
        }
        for (score, value) in scores.iter().zip(values.chunks_exact(d_v)) {
            let weight = (score - maximum).exp();
            total += weight;
            add_scaled(out, weight, value);
        }
    }
    total
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All.
    Full,
    /// Those up to its own position, of which the first query has `offset`, and the last `window` of them.
    Causal {
        /// Position of the first query among the keys.
        offset: usize,
        /// Keys seen at most, the query's own included.
        window: Option<usize>,
    },
}

impl Span {
    /// First key that query `i` sees, and the first one after those it sees, of `n_keys`.
    #[inline(always)]
    #[must_use]
    pub fn of(self, i: usize, n_keys: usize) -> (usize, usize) {
        match self {
            Self::Full => (0, n_keys),
            Self::Causal { offset, window } => {
                let end = offset + i + 1;
                (end.saturating_sub(window.unwrap_or(end)).min(n_keys), end.min(n_keys))
            }
        }
    }

    /// First query that sees one of the keys `first..first + count`, and the first one after those, of `n` queries.
    #[inline(always)]
    #[must_use]
    pub fn seeing(self, first: usize, count: usize, n: usize) -> (usize, usize) {
        match self {
            Self::Full => (0, n),
            Self::Causal { offset, window } => {
                let start = first.saturating_sub(offset).min(n);
                let end = window.map_or(n, |window| (first + count + window - 1).saturating_sub(offset).min(n));
                (start, end.max(start))
            }
        }
    }
}

/// What a sequence's gradient is made of: queries (n, d), keys (source, d), values (source, d_v), the gradient (n, d_v) of
/// what came out, and, where the totals came out too, theirs.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// (n, d).
    pub q: &'a [f32],
    /// (source, d).
    pub keys: &'a [f32],
    /// (source, d_v).
    pub values: &'a [f32],
    /// (n, d_v).
    pub grad: &'a [f32],
    /// Of the logarithm of each query's total `Σ_j exp(q·k_j/√d − c)`, c its largest score: (n), or empty where nobody asked
    /// for totals.
    pub log_totals: &'a [f32],
}

/// Where gradients are added to, each in the shape of what it belongs to; an empty one is not wanted.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of the queries.
    pub q: &'a mut [f32],
    /// Of the keys.
    pub keys: &'a mut [f32],
    /// Of the values.
    pub values: &'a mut [f32],
}

/// Adds the gradients of one query head: with p the weights of a query's keys and g the gradient of its output,
/// `dv_j += p_j g`, `ds_j = p_j (g·v_j − Σ_l p_l g·v_l) / √d`, `dq += ds_j k_j`, `dk_j += ds_j q`. A gradient h of the logarithm
/// of the total adds `h (p_j − 1[s_j is the largest score]) / √d` to `ds_j`.
pub fn backward(of: Sequence<'_>, (n, d): (usize, usize), span: Span, mut into: Gradients<'_>) {
    let (n_keys, d_v) = (of.keys.len() / d, of.grad.len() / n.max(1));
    let scale = 1.0 / (d as f32).sqrt();
    for i in 0..n {
        let (q, grad) = (&of.q[i * d..][..d], &of.grad[i * d_v..][..d_v]);
        let (start, end) = span.of(i, n_keys);
        let score = |j: usize| scale * dot(q, &of.keys[j * d..][..d]);
        let maximum = (start..end).map(score).fold(f32::NEG_INFINITY, f32::max);
        let weight = |j: usize| (score(j) - maximum).exp();
        let along = |j: usize| dot(grad, &of.values[j * d_v..][..d_v]);
        let total: f32 = (start..end).map(weight).sum();
        let mean = (start..end).map(|j| weight(j) * along(j)).sum::<f32>() / total;
        let of_total = of.log_totals.get(i).copied().unwrap_or(0.0);
        for j in start..end {
            let p = weight(j) / total;
            let of_largest = if score(j) == maximum { of_total } else { 0.0 };
            let ds = scale * (p * (along(j) - mean + of_total) - of_largest);
            add_scaled(row(&mut into.values, j, d_v), p, grad);
            add_scaled(row(&mut into.q, i, d), ds, &of.keys[j * d..][..d]);
            add_scaled(row(&mut into.keys, j, d), ds, q);
        }
    }
}

/// A row of a matrix, or nothing of an empty one.
pub(super) fn row<'a>(matrix: &'a mut &mut [f32], i: usize, width: usize) -> &'a mut [f32] {
    if matrix.is_empty() { matrix } else { &mut matrix[i * width..][..width] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_average_and_a_dominant_key_wins() {
        // One dimension, scale 1: scores are q·k.
        let values: Vec<f32> = (0..130).map(|i| i as f32).collect();
        let mut out = [0f32];
        step(&[0.0], &vec![7.0; 130], &values, &mut out);
        assert!((out[0] - 64.5).abs() < 1e-4); // mean of 0..=129
        let mut keys = vec![0.0; 130];
        keys[100] = 1e4; // exp of the others underflows to 0
        step(&[1.0], &keys, &values, &mut out);
        assert_eq!(out, [100.0]);
    }

    #[test]
    fn two_keys_by_hand_and_none_at_all() {
        let mut out = [9f32];
        let total = step(&[2.0], &[0.0, 1.0], &[1.0, 3.0], &mut out);
        let e = 2f64.exp(); // scores 0 and 2 at d = 1
        assert!((f64::from(out[0]) - (1.0 + 3.0 * e) / (1.0 + e)).abs() < 1e-6);
        assert!((f64::from(total) - (1.0 + 1.0 / e)).abs() < 1e-6);
        assert_eq!((step(&[2.0], &[], &[], &mut out), out), (0.0, [0.0]));
    }
}
