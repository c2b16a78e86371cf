//! The decode step of softmax attention for one key head: one pass over its cache for the whole group of queries.

use pulp::Simd as Vectors;

use super::{
    prefetch::{LINE, prefetch},
    vector::{exp, load, map_in_place, maximum, split, store},
};
use crate::kernels::Simd;

/// Keys scored together before their values are weighted.
const BLOCK: usize = 64;
/// Lines of the cache that are asked for ahead of each half of a block.
const AHEAD: usize = 12;
/// Keys whose dot products are in flight together.
const KEYS: usize = 2;
/// Queries with running sums side by side; a larger group reads its cache once for each so many.
const MAX_GROUP: usize = 16;
/// Vectors of a value's columns that are accumulated in registers together.
const TILE: usize = 4;

/// As [`kernels::softmax::step`](crate::kernels::softmax::step) for `group` queries: `out_g = Σ_j w_gj v_j / Σ_j w_gj`,
/// `w_gj = exp(q_g·k_j/√d)`, by online softmax over blocks of keys.
///
/// `q` is (group, d), `keys` is (n, d), `values` is (n, d_v), `out` is (group, d_v); n = 0 gives zeros. Where `totals` (group) is
/// not empty, it gets `Σ_j exp(q_g·k_j/√d − c_g)`, c_g the largest score.
///
/// # Panics
/// If the lengths do not fit together.
pub fn step(
    simd: Simd,
    group: usize,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    mut totals: &mut [f32],
    out: &mut [f32],
) {
    let (d, d_v) = (q.len() / group, out.len() / group);
    assert!(group * d == q.len() && group * d_v == out.len() && d > 0 && d_v > 0);
    assert!(keys.len() / d == values.len() / d_v && keys.len().is_multiple_of(d) && values.len().is_multiple_of(d_v));
    assert!(totals.is_empty() || totals.len() == group);
    for (q, out) in q.chunks(MAX_GROUP * d).zip(out.chunks_mut(MAX_GROUP * d_v)) {
        let count = totals.len().min(q.len() / d);
        let (of_these, rest) = std::mem::take(&mut totals).split_at_mut(count);
        totals = rest;
        simd.run(Step { d, d_v, q, keys, values, totals: of_these, out });
    }
}

struct Step<'a> {
    d: usize,
    d_v: usize,
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    totals: &'a mut [f32],
    out: &'a mut [f32],
}

/// What online softmax carries from block to block, for each query.
struct Running {
    maximum: [f32; MAX_GROUP],
    total: [f32; MAX_GROUP],
}

impl pulp::WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { d, d_v, q, keys, values, totals, out } = self;
        // Accumulators of a sub-group, its tile of values and a weight must fit into the registers.
        let together = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        let group = q.len() / d;
        let mut running = Running { maximum: [f32::NEG_INFINITY; MAX_GROUP], total: [0.0; MAX_GROUP] };
        out.fill(0.0);
        for (k, v) in keys.chunks(BLOCK * d).zip(values.chunks(BLOCK * d_v)) {
            let mut first = 0;
            while first < group {
                let left = (group - first).min(together);
                let block = Block { d, d_v, q: &q[first * d..], keys: k, values: v };
                let out = &mut out[first * d_v..];
                match left {
                    1 => block.attend::<S, 1>(simd, &mut running, first, out),
                    2 => block.attend::<S, 2>(simd, &mut running, first, out),
                    3 => block.attend::<S, 3>(simd, &mut running, first, out),
                    _ => block.attend::<S, 4>(simd, &mut running, first, out),
                }
                first += left;
            }
        }
        totals.iter_mut().zip(running.total).for_each(|(to, total)| *to = total);
        for (out, total) in out.chunks_exact_mut(d_v).zip(running.total) {
            if total > 0.0 || total.is_nan() {
                let scale = simd.splat_f32s(1.0 / total);
                map_in_place(
                    simd,
                    out,
                    #[inline(always)]
                    |x| simd.mul_f32s(x, scale),
                );
            }
        }
    }
}

/// A vector of d numbers as whole vectors of the machine and their tail.
struct Row<'a, S: Vectors> {
    whole: &'a [S::f32s],
    tail: &'a [f32],
}

impl<S: Vectors> Copy for Row<'_, S> {}

impl<S: Vectors> Clone for Row<'_, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, S: Vectors> Row<'a, S> {
    /// The first `d` numbers of a slice.
    #[inline(always)]
    fn of(slice: &'a [f32], d: usize) -> Self {
        let (whole, tail) = split::<S>(&slice[..d]);
        // Says how long it is, so that no index needs a check.
        Self { whole: &whole[..d / S::F32_LANES], tail }
    }
}

struct Block<'a> {
    d: usize,
    d_v: usize,
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

impl Block<'_> {
    /// Scores the block for `G` queries, moves their maxima and totals on, and adds the weighted values to `out`.
    #[inline(always)]
    fn attend<S: Vectors, const G: usize>(&self, simd: S, running: &mut Running, first: usize, out: &mut [f32]) {
        let mut weights = [[0f32; BLOCK]; G];
        // The first values are wanted once the block is scored, and the next block's first keys once they are added up;
        // the processor goes on by itself from there.
        for line in 0..AHEAD {
            prefetch(self.values, line * LINE);
        }
        self.score(simd, &mut weights);
        for line in 0..AHEAD {
            prefetch(self.keys, self.keys.len() + line * LINE);
        }
        let n = self.keys.len() / self.d;
        let scale = 1.0 / (self.d as f32).sqrt();
        let mut shrink = [1f32; G];
        for g in 0..G {
            let (weights, before) = (&mut weights[g][..n], running.maximum[first + g]);
            let highest = before.max(scale * maximum(simd, weights));
            if highest > before {
                shrink[g] = (before - highest).exp();
                running.maximum[first + g] = highest;
            }
            let (scale, highest) = (simd.splat_f32s(scale), simd.splat_f32s(-running.maximum[first + g]));
            let total = weigh(simd, weights, scale, highest);
            running.total[first + g] = running.total[first + g] * shrink[g] + total;
        }
        let width = S::F32_LANES;
        let mut column = 0;
        while column + TILE * width <= self.d_v {
            self.accumulate::<S, G, TILE>(simd, &weights, shrink, column, out);
            column += TILE * width;
        }
        while column + width <= self.d_v {
            self.accumulate::<S, G, 1>(simd, &weights, shrink, column, out);
            column += width;
        }
        if column < self.d_v {
            self.accumulate_tail::<S, G>(simd, &weights, shrink, column, out);
        }
    }

    /// Unscaled dot products of every query with every key.
    #[inline(always)]
    fn score<S: Vectors, const G: usize>(&self, simd: S, scores: &mut [[f32; BLOCK]; G]) {
        let d = self.d;
        let vectors = d / S::F32_LANES;
        let mut queries = [Row::<S>::of(self.q, d); G];
        for g in 0..G {
            queries[g] = Row::of(&self.q[g * d..], d);
        }
        let n = self.keys.len() / d;
        let mut j = 0;
        while j < n {
            let mut rows = [Row::<S>::of(&self.keys[j * d..], d); KEYS];
            for r in 1..KEYS {
                rows[r] = Row::of(&self.keys[(j + r).min(n - 1) * d..], d);
            }
            let mut sums = [[simd.splat_f32s(0.0); KEYS]; G];
            for c in 0..vectors {
                for r in 0..KEYS {
                    let key = rows[r].whole[c];
                    for g in 0..G {
                        sums[g][r] = simd.mul_add_e_f32s(queries[g].whole[c], key, sums[g][r]);
                    }
                }
            }
            if !rows[0].tail.is_empty() {
                for r in 0..KEYS {
                    let key = simd.partial_load_f32s(rows[r].tail);
                    for g in 0..G {
                        sums[g][r] = simd.mul_add_e_f32s(simd.partial_load_f32s(queries[g].tail), key, sums[g][r]);
                    }
                }
            }
            for g in 0..G {
                for r in 0..KEYS.min(n - j) {
                    scores[g][j + r] = simd.reduce_sum_f32s(sums[g][r]);
                }
            }
            j += KEYS;
        }
    }

    /// `out_g = shrink_g · out_g + Σ_j w_gj v_j` for `W` vectors of columns.
    #[inline(always)]
    fn accumulate<S: Vectors, const G: usize, const W: usize>(
        &self,
        simd: S,
        weights: &[[f32; BLOCK]; G],
        shrink: [f32; G],
        column: usize,
        out: &mut [f32],
    ) {
        let d_v = self.d_v;
        let mut sums = [[simd.splat_f32s(0.0); W]; G];
        for g in 0..G {
            let (before, shrink) = (load::<S, W>(&out[g * d_v + column..]), simd.splat_f32s(shrink[g]));
            for w in 0..W {
                sums[g][w] = simd.mul_f32s(before[w], shrink);
            }
        }
        for (j, value) in self.values.chunks_exact(d_v).enumerate().take(BLOCK) {
            let value = load::<S, W>(&value[column..]);
            for g in 0..G {
                let weight = simd.splat_f32s(weights[g][j]);
                for w in 0..W {
                    sums[g][w] = simd.mul_add_e_f32s(weight, value[w], sums[g][w]);
                }
            }
        }
        for g in 0..G {
            store::<S, W>(&mut out[g * d_v + column..], sums[g]);
        }
    }

    /// As [`Block::accumulate`] for the last columns, fewer than a vector.
    #[inline(always)]
    fn accumulate_tail<S: Vectors, const G: usize>(
        &self,
        simd: S,
        weights: &[[f32; BLOCK]; G],
        shrink: [f32; G],
        column: usize,
        out: &mut [f32],
    ) {
        let d_v = self.d_v;
        let mut sums = [simd.splat_f32s(0.0); G];
        for g in 0..G {
            let before = simd.partial_load_f32s(&out[g * d_v + column..(g + 1) * d_v]);
            sums[g] = simd.mul_f32s(before, simd.splat_f32s(shrink[g]));
        }
        for (j, value) in self.values.chunks_exact(d_v).enumerate().take(BLOCK) {
            let value = simd.partial_load_f32s(&value[column..]);
            for g in 0..G {
                sums[g] = simd.mul_add_e_f32s(simd.splat_f32s(weights[g][j]), value, sums[g]);
            }
        }
        for g in 0..G {
            simd.partial_store_f32s(&mut out[g * d_v + column..(g + 1) * d_v], sums[g]);
        }
    }
}

/// Replaces every score by `exp(score · scale + shift)` and returns their sum.
///
/// The product is rounded before it is shifted, as the maximum in `shift` was: fused, huge scores would miss it by far.
#[inline(always)]
fn weigh<S: Vectors>(simd: S, scores: &mut [f32], scale: S::f32s, shift: S::f32s) -> f32 {
    let (vectors, tail) = S::as_mut_simd_f32s(scores);
    let mut total = simd.splat_f32s(0.0);
    for x in vectors {
        *x = exp(simd, simd.add_f32s(simd.mul_f32s(*x, scale), shift));
        total = simd.add_f32s(total, *x);
    }
    let mut sum = simd.reduce_sum_f32s(total);
    if !tail.is_empty() {
        let scaled = simd.mul_f32s(simd.partial_load_f32s(tail), scale);
        let last = exp(simd, simd.add_f32s(scaled, shift));
        simd.partial_store_f32s(tail, last);
        sum += tail.iter().sum::<f32>();
    }
    sum
}
