//! Softmax attention: the decode step.

use proptest::prelude::*;
use t2r::kernels::{Simd, fused, softmax};

use crate::{LENGTHS, WIDTHS, assert_close, dot, numbers, ways};

/// `Σ_j exp(q·k_j/√d) v_j / Σ_j exp(q·k_j/√d)` of one query over the given keys, 0 over none.
pub(crate) fn formula(q: &[f32], keys: &[f32], values: &[f32], d_v: usize) -> Vec<f64> {
    let scores: Vec<f64> = keys.chunks(q.len()).map(|k| dot(q, k) / (q.len() as f64).sqrt()).collect();
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
    let total: f64 = weights.iter().sum();
    let column = |c: usize| weights.iter().zip(values.chunks(d_v)).map(|(w, v)| w * f64::from(v[c])).sum::<f64>();
    (0..d_v).map(|c| if total > 0.0 { column(c) / total } else { 0.0 }).collect()
}

fn step(way: Option<Simd>, group: usize, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) {
    let (d, d_v) = (q.len() / group, out.len() / group);
    match way {
        Some(simd) => fused::softmax_step::step(simd, group, q, keys, values, out),
        None => {
            for (q, out) in q.chunks(d).zip(out.chunks_mut(d_v)) {
                softmax::step(q, keys, values, out);
            }
        }
    }
}

/// Runs every way and compares with the formula; what was in `out` before must not matter.
fn check_step(group: usize, (d, d_v): (usize, usize), q: &[f32], keys: &[f32], values: &[f32], tolerance: f64) {
    let want: Vec<f64> = q.chunks(d).flat_map(|q| formula(q, keys, values, d_v)).collect();
    for way in ways() {
        let mut out = vec![f32::NAN; group * d_v];
        step(way, group, q, keys, values, &mut out);
        let n = keys.len() / d;
        assert_close(&out, &want, tolerance, &format!("{way:?}, group {group}, d {d}, d_v {d_v}, n {n}"));
    }
}

#[test]
fn the_step_is_its_formula_at_every_size() {
    for d in WIDTHS {
        for n in LENGTHS {
            for group in [1, 2, 3, 5, 18] {
                let (q, keys) = (numbers(group * d, 1), numbers(n * d, 2));
                check_step(group, (d, d), &q, &keys, &numbers(n * d, 3), 2e-6);
            }
        }
    }
}

#[test]
fn values_may_be_wider_or_narrower_than_keys() {
    for (d, d_v) in [(64, 5), (3, 70), (16, 33)] {
        let (q, keys, values) = (numbers(2 * d, 1), numbers(77 * d, 2), numbers(77 * d_v, 3));
        check_step(2, (d, d_v), &q, &keys, &values, 2e-6);
    }
}

#[test]
fn scores_of_ten_thousand_neither_overflow_nor_vanish() {
    // Every query is 1 along one axis, so that scores are whole numbers times a power of two and exact in f32.
    let (d, n) = (64, 130);
    let mut q = vec![0.0; d];
    q[5] = 8.0;
    for size in [1e4, -1e4] {
        let mut keys = vec![0.0; n * d];
        for (j, key) in keys.chunks_mut(d).enumerate() {
            key[5] = size * if j % 2 == 0 { 1.0 } else { -1.0 } + (j % 5) as f32;
        }
        check_step(1, (d, d), &q, &keys, &numbers(n * d, 3), 2e-6);
    }
    check_step(1, (d, d), &[0.0; 64], &numbers(n * d, 2), &numbers(n * d, 3), 2e-6);
}

#[test]
fn a_score_that_is_no_number_does_not_pass_unseen() {
    let mut keys = vec![1.0; 20 * 8];
    keys[100] = f32::NAN;
    for way in ways() {
        let mut out = [0.0; 8];
        step(way, 1, &[1.0; 8], &keys, &[1.0; 160], &mut out);
        assert!(out.iter().all(|x| x.is_nan()), "{way:?}: {out:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_step_is_its_formula(d in 1..140_usize, n in 0..200_usize, group in 1..6_usize, size in 0.1..20_f32, seed: u64) {
        let q: Vec<f32> = numbers(group * d, seed).iter().map(|x| x * size).collect();
        // A score's error in f32 grows with its size, and moves the weights by as much.
        let tolerance = 4e-6 * f64::from(size).max(1.0);
        check_step(group, (d, d), &q, &numbers(n * d, seed ^ 1), &numbers(n * d, seed ^ 2), tolerance);
    }
}
