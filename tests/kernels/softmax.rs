//! Softmax attention: the decode step and the forward.

use proptest::prelude::*;
use t2r::kernels::{
    Simd,
    fused::{
        self,
        softmax_forward::{self, Span},
    },
    softmax,
};

use crate::{LENGTHS, WIDTHS, assert_close, dot, numbers, ways};

/// `Σ_j exp(q·k_j/√d) v_j / Σ_j exp(q·k_j/√d)` of one query over the given keys, 0 over none.
pub(crate) fn formula(q: &[f32], keys: &[f32], values: &[f32], d_v: usize) -> Vec<f64> {
    formula_and_total(q, keys, values, d_v).0
}

/// The same, and the sum of the weights against the largest.
fn formula_and_total(q: &[f32], keys: &[f32], values: &[f32], d_v: usize) -> (Vec<f64>, f64) {
    let scores: Vec<f64> = keys.chunks(q.len()).map(|k| dot(q, k) / (q.len() as f64).sqrt()).collect();
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
    let total: f64 = weights.iter().sum();
    let column = |c: usize| weights.iter().zip(values.chunks(d_v)).map(|(w, v)| w * f64::from(v[c])).sum::<f64>();
    ((0..d_v).map(|c| if total > 0.0 { column(c) / total } else { 0.0 }).collect(), total)
}

/// Outputs into `out`; gives the totals.
fn step(way: Option<Simd>, group: usize, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) -> Vec<f32> {
    let (d, d_v) = (q.len() / group, out.len() / group);
    match way {
        Some(simd) => {
            let (mut totals, mut alone) = (vec![f32::NAN; group], out.to_vec());
            fused::softmax_step::step(simd, group, q, keys, values, &mut totals, out);
            fused::softmax_step::step(simd, group, q, keys, values, &mut [], &mut alone);
            assert_eq!(
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                alone.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            );
            totals
        }
        None => q.chunks(d).zip(out.chunks_mut(d_v)).map(|(q, out)| softmax::step(q, keys, values, out)).collect(),
    }
}

/// Runs every way and compares with the formula; what was in `out` before must not matter.
fn check_step(group: usize, (d, d_v): (usize, usize), q: &[f32], keys: &[f32], values: &[f32], tolerance: f64) {
    let (want, want_totals): (Vec<_>, Vec<_>) = q.chunks(d).map(|q| formula_and_total(q, keys, values, d_v)).unzip();
    for way in ways() {
        let mut out = vec![f32::NAN; group * d_v];
        let totals = step(way, group, q, keys, values, &mut out);
        let n = keys.len() / d;
        let what = format!("{way:?}, group {group}, d {d}, d_v {d_v}, n {n}");
        assert_close(&out, &want.concat(), tolerance, &what);
        assert_close(&totals, &want_totals, tolerance, &format!("{what}, totals"));
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

/// Every query of every head by the formula, over the keys that `seen` gives it.
fn formula_of_all(
    (q, keys, values): (&[f32], &[f32], &[f32]),
    (n, d, d_v): (usize, usize, usize),
    seen: impl Fn(usize) -> std::ops::Range<usize>,
) -> Vec<f64> {
    let row = |(i, q): (usize, &[f32])| {
        let seen = seen(i % n);
        formula(q, &keys[seen.start * d..seen.end * d], &values[seen.start * d_v..seen.end * d_v], d_v)
    };
    q.chunks(d).enumerate().flat_map(row).collect()
}

/// Runs the forward at every level and compares it with the formula over the keys that `seen` gives a query.
fn check_forward(
    heads: usize,
    (n, source): (usize, usize),
    (d, d_v): (usize, usize),
    span: Span,
    seen: impl Fn(usize) -> std::ops::Range<usize>,
) {
    let (q, keys, values) = (numbers(heads * n * d, 1), numbers(source * d, 2), numbers(source * d_v, 3));
    let want = formula_of_all((&q, &keys, &values), (n, d, d_v), seen);
    for simd in Simd::levels() {
        let mut out = vec![f32::NAN; heads * n * d_v];
        let mut scratch = vec![f32::NAN; softmax_forward::scratch_len(source, d)];
        softmax_forward::forward(simd, &q, &keys, &values, (n, d), span, &mut scratch, &mut [], &mut out);
        assert_close(&out, &want, 2e-6, &format!("{simd:?}, {span:?}, heads {heads}, n {n}/{source}, d {d}/{d_v}"));
    }
}

#[test]
fn the_causal_forward_is_its_formula_at_every_size() {
    let span = Span::Causal { offset: 0, window: None };
    for d in WIDTHS {
        for n in LENGTHS {
            check_forward(1, (n, n), (d, d), span, |i| 0..i + 1);
        }
    }
    check_forward(3, (70, 70), (16, 5), span, |i| 0..i + 1);
    check_forward(2, (200, 200), (20, 33), span, |i| 0..i + 1);
}

#[test]
fn a_window_hides_what_is_before_it() {
    for n in [1, 17, 130, 300] {
        for window in [1, 2, 16, 63, 64, 65, 1000] {
            let span = Span::Causal { offset: 0, window: Some(window) };
            check_forward(1, (n, n), (8, 8), span, |i| (i + 1).saturating_sub(window)..i + 1);
        }
    }
}

#[test]
fn queries_may_stand_at_the_end_of_a_longer_sequence() {
    for window in [None, Some(40)] {
        let seen = |i: usize| (61 + i).saturating_sub(window.unwrap_or(usize::MAX))..61 + i;
        check_forward(2, (9, 69), (33, 33), Span::Causal { offset: 60, window }, seen);
    }
}

#[test]
fn a_full_span_sees_the_whole_source() {
    for source in LENGTHS {
        for n in [1, 6, 50] {
            check_forward(1, (n, source), (12, 20), Span::Full, |_| 0..source);
        }
    }
}

#[test]
fn the_forward_bears_scores_of_ten_thousand() {
    let (n, d) = (100, 64);
    let mut keys = vec![0.0; n * d];
    keys.chunks_mut(d).enumerate().for_each(|(j, k)| k[3] = [1e4, -1e4, 0.0][j % 3] + (j % 5) as f32);
    let (mut q, values) = (vec![0.0; n * d], numbers(n * d, 3));
    q.chunks_mut(d).enumerate().for_each(|(i, q)| q[3] = [8.0, -8.0, 0.0][i % 3]);
    let want = formula_of_all((&q, &keys, &values), (n, d, d), |i| 0..i + 1);
    for simd in Simd::levels() {
        let (mut out, mut scratch) = (vec![0.0; n * d], vec![0.0; softmax_forward::scratch_len(n, d)]);
        let span = Span::Causal { offset: 0, window: None };
        softmax_forward::forward(simd, &q, &keys, &values, (n, d), span, &mut scratch, &mut [], &mut out);
        assert_close(&out, &want, 2e-6, &format!("{simd:?}"));
    }
}
