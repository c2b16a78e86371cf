//! One decode step of softmax attention for one key and value head: a single pass over its cache.

use super::{add_scaled, dot};

/// Keys scored together; their scores fit in registers and the first level of cache.
const BLOCK: usize = 64;

/// `out = Σ_j exp(q·k_j/√d) v_j / Σ_j exp(q·k_j/√d)` for one query by online softmax: blocks of keys, with the
/// accumulated sums rescaled whenever the maximum rises (Milakov and Gimelshein 2018).
///
/// `q` is (d), `keys` is (n, d), `values` is (n, d_v), `out` is (d_v); n = 0 gives zeros.
pub fn step(q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) {
    let total = sums(q, keys, values, out);
    if total > 0.0 {
        let scale = 1.0 / total;
        out.iter_mut().for_each(|o| *o *= scale);
    }
}

/// `out = Σ_j exp(q·k_j/√d − c) v_j` and, returned, `Σ_j exp(q·k_j/√d − c)`, c the largest score: a step before its
/// division. Shapes as in [`step`].
pub fn sums(q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) -> f32 {
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
        step(&[2.0], &[0.0, 1.0], &[1.0, 3.0], &mut out);
        let e = 2f64.exp(); // scores 0 and 2 at d = 1
        assert!((f64::from(out[0]) - (1.0 + 3.0 * e) / (1.0 + e)).abs() < 1e-6);
        step(&[2.0], &[], &[], &mut out);
        assert_eq!(out, [0.0]);
    }
}
