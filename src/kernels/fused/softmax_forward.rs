//! Softmax attention of a whole sequence for query heads that share a key head, without an N × N matrix.
//!
//! Keys are packed once into panels as wide as a tile of registers. A block of queries then walks over blocks of keys
//! with running maxima and totals; blocks that no query sees are skipped, and so are panels and rows at the edges.

use pulp::Simd as Vectors;

use super::{
    tile::{multiply, multiply_tail},
    vector::{exp, load, map_in_place, maximum, store},
};
use crate::kernels::Simd;
pub use crate::kernels::softmax::Span;

/// Queries of a tile.
const ROWS: usize = 6;
/// Queries that walk over the keys together.
const QUERIES: usize = 8 * ROWS;
/// Keys scored together before their values are weighted; a multiple of every panel's width.
const BLOCK: usize = 64;
/// Maximum before any key: finite, so that no difference of two is NaN, and below every score.
const NOTHING: f32 = -1e30;

/// Numbers of scratch memory that [`forward`] wants for keys (n, d).
#[must_use]
pub fn scratch_len(n_keys: usize, d: usize) -> usize {
    n_keys.next_multiple_of(BLOCK) * d
}

/// `out_i = Σ_j exp(q_i·k_j/√d) v_j / Σ_j exp(q_i·k_j/√d)`, j over the keys that i sees; a query that sees none gives 0.
///
/// `q` is (heads, n, d) and `out` (heads, n, d_v) of the query heads that share the keys (source, d) and values
/// (source, d_v); padding is left out by passing shorter keys and values. Where `stats` (heads, n, 2) is not empty, it
/// gets the largest score of each query and the inverse of its sum of weights, which the backward wants.
///
/// # Panics
/// If the lengths do not fit together or `scratch` is shorter than [`scratch_len`].
pub fn forward(
    simd: Simd,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    (n, d): (usize, usize),
    span: Span,
    scratch: &mut [f32],
    stats: &mut [f32],
    out: &mut [f32],
) {
    if n == 0 || q.is_empty() {
        return;
    }
    let n_keys = keys.len() / d;
    let heads = q.len() / (n * d);
    let d_v = out.len() / (heads * n);
    assert!(q.len() == heads * n * d && out.len() == heads * n * d_v && d_v > 0);
    assert!(keys.len() == n_keys * d && values.len() == n_keys * d_v);
    assert!(stats.is_empty() || stats.len() == heads * n * 2);
    let scratch = &mut scratch[..scratch_len(n_keys, d)];
    simd.run(Forward { q, keys, values, n, d, d_v, n_keys, span, scratch, stats, out });
}

struct Forward<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    n: usize,
    d: usize,
    d_v: usize,
    n_keys: usize,
    span: Span,
    scratch: &'a mut [f32],
    stats: &'a mut [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 4>(simd) } else { self.run::<S, 2>(simd) }
    }
}

impl Forward<'_> {
    /// `W` vectors make a panel.
    #[inline(always)]
    fn run<S: Vectors, const W: usize>(self, simd: S) {
        let Self { q, keys, values, n, d, d_v, n_keys, span, scratch, stats, out } = self;
        pack(keys, d, W * S::F32_LANES, scratch);
        for (head, (q, out)) in q.chunks_exact(n * d).zip(out.chunks_exact_mut(n * d_v)).enumerate() {
            for first in (0..n).step_by(QUERIES) {
                let count = QUERIES.min(n - first);
                let q = &q[first * d..][..count * d];
                let out = &mut out[first * d_v..][..count * d_v];
                let block = Queries { q, packed: scratch, values, d, d_v, n_keys, first, count, span };
                let stats =
                    if stats.is_empty() { &mut [][..] } else { &mut stats[2 * (head * n + first)..][..2 * count] };
                block.attend::<S, W>(simd, stats, out);
            }
        }
    }
}

/// Keys (n, d) as panels of `width` keys: (n / width, d, width), the last one filled up with zeros.
#[inline(always)]
pub(super) fn pack(keys: &[f32], d: usize, width: usize, packed: &mut [f32]) {
    for (keys, panel) in keys.chunks(width * d).zip(packed.chunks_exact_mut(width * d)) {
        let n = keys.len() / d;
        for (c, column) in panel.chunks_exact_mut(width).enumerate() {
            for (j, x) in column[..n].iter_mut().enumerate() {
                *x = keys[j * d + c];
            }
            column[n..].fill(0.0);
        }
    }
}

/// A block of queries of one head.
struct Queries<'a> {
    q: &'a [f32],
    packed: &'a [f32],
    values: &'a [f32],
    d: usize,
    d_v: usize,
    n_keys: usize,
    /// Index of the first query in the sequence, and how many there are.
    first: usize,
    count: usize,
    span: Span,
}

/// A row of scores or weights for each query of a tile.
type Scores = [[f32; BLOCK]; ROWS];

impl Queries<'_> {
    #[inline(always)]
    fn attend<S: Vectors, const W: usize>(&self, simd: S, stats: &mut [f32], out: &mut [f32]) {
        let (mut maxima, mut totals) = ([NOTHING; QUERIES], [0f32; QUERIES]);
        out.fill(0.0);
        let (start, _) = self.span.of(self.first, self.n_keys);
        let (_, end) = self.span.of(self.first + self.count - 1, self.n_keys);
        let mut key = start / BLOCK * BLOCK;
        while key < end {
            let mut row = 0;
            while row < self.count {
                let rows = ROWS.min(self.count - row);
                let (seen_from, _) = self.span.of(self.first + row, self.n_keys);
                let (_, seen_to) = self.span.of(self.first + row + rows - 1, self.n_keys);
                let (from, to) = (seen_from.max(key), seen_to.min(key + BLOCK));
                if from < to {
                    let tile = Tile { block: self, row, rows, key, from: from - key, to: to - key };
                    let (maxima, totals) = (&mut maxima[row..], &mut totals[row..]);
                    tile.attend::<S, W>(simd, maxima, totals, out);
                }
                row += ROWS;
            }
            key += BLOCK;
        }
        for (i, stats) in stats.chunks_exact_mut(2).enumerate() {
            stats[0] = maxima[i];
            // A query that sees nothing weighs nothing.
            stats[1] = if totals[i] == 0.0 { 0.0 } else { 1.0 / totals[i] };
        }
        for (out, total) in out.chunks_exact_mut(self.d_v).zip(totals) {
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

/// A tile of queries against a block of keys.
struct Tile<'a> {
    block: &'a Queries<'a>,
    /// First query in the block, and how many; the tile's other rows repeat the last one and are not written.
    row: usize,
    rows: usize,
    /// First key of the block; the keys that any of the queries sees, counted from it.
    key: usize,
    from: usize,
    to: usize,
}

impl Tile<'_> {
    #[inline(always)]
    fn attend<S: Vectors, const W: usize>(&self, simd: S, maxima: &mut [f32], totals: &mut [f32], out: &mut [f32]) {
        let mut scores = [[0f32; BLOCK]; ROWS];
        self.score::<S, W>(simd, &mut scores);
        let shrink = self.weigh(simd, &mut scores, maxima, totals);
        let mut weights = [&scores[0][self.from..self.to]; ROWS];
        for r in 0..ROWS {
            weights[r] = &scores[r][self.from..self.to];
        }
        let d_v = self.block.d_v;
        let mut column = 0;
        while column + W * S::F32_LANES <= d_v {
            self.accumulate::<S, W>(simd, weights, shrink, column, out);
            column += W * S::F32_LANES;
        }
        while column + S::F32_LANES <= d_v {
            self.accumulate::<S, 1>(simd, weights, shrink, column, out);
            column += S::F32_LANES;
        }
        if column < d_v {
            self.accumulate_tail(simd, weights, shrink, column, out);
        }
    }

    /// Dot products with all keys of the panels that hold a visible one.
    #[inline(always)]
    fn score<S: Vectors, const W: usize>(&self, simd: S, scores: &mut Scores) {
        let d = self.block.d;
        let mut queries = [&self.block.q[..d]; ROWS];
        for r in 0..ROWS {
            queries[r] = &self.block.q[(self.row + r.min(self.rows - 1)) * d..][..d];
        }
        let width = W * S::F32_LANES;
        let mut panel = self.from / width * width;
        while panel < self.to {
            let packed = &self.block.packed[(self.key + panel) * d..][..width * d];
            // The last panel that is seen is done only as far as it is seen.
            let vectors = (self.to - panel).div_ceil(S::F32_LANES).min(W);
            match vectors {
                1 => score_panel::<S, 1>(simd, queries, packed, width, panel, scores),
                2 => score_panel::<S, 2>(simd, queries, packed, width, panel, scores),
                3 if W > 2 => score_panel::<S, 3>(simd, queries, packed, width, panel, scores),
                _ => score_panel::<S, W>(simd, queries, packed, width, panel, scores),
            }
            panel += width;
        }
    }

    /// Turns scores into weights `exp(score/√d − maximum)`, 0 where a key is not seen; moves maxima and totals on and
    /// returns what earlier sums are to be multiplied by.
    #[inline(always)]
    fn weigh<S: Vectors>(&self, simd: S, scores: &mut Scores, maxima: &mut [f32], totals: &mut [f32]) -> [f32; ROWS] {
        let scale = 1.0 / (self.block.d as f32).sqrt();
        // Whole vectors from the first key seen on: what is filled with -∞ beyond them is not read.
        let (from, to) = (self.from / S::F32_LANES * S::F32_LANES, self.to.next_multiple_of(S::F32_LANES));
        let mut shrink = [0f32; ROWS];
        for r in 0..self.rows {
            let (start, end) = self.block.span.of(self.block.first + self.row + r, self.block.n_keys);
            let start = start.saturating_sub(self.key).clamp(from, to);
            let end = end.saturating_sub(self.key).clamp(start, to);
            scores[r][from..start].fill(f32::NEG_INFINITY);
            scores[r][end..to].fill(f32::NEG_INFINITY);
            let highest = (scale * maximum(simd, &scores[r][from..to])).max(maxima[r]);
            shrink[r] = maxima[r] - highest;
            maxima[r] = highest;
        }
        exp_all(simd, &mut shrink);
        let factor = simd.splat_f32s(scale);
        for r in 0..self.rows {
            let shift = simd.splat_f32s(-maxima[r]);
            let mut total = simd.splat_f32s(0.0);
            for x in S::as_mut_simd_f32s(&mut scores[r][from..to]).0 {
                // Rounded before it is shifted, as the maximum was: fused, huge scores would miss it by far.
                *x = exp(simd, simd.add_f32s(simd.mul_f32s(*x, factor), shift));
                total = simd.add_f32s(total, *x);
            }
            totals[r] = totals[r] * shrink[r] + simd.reduce_sum_f32s(total);
        }
        shrink
    }

    /// `out_r = shrink_r · out_r + Σ_j w_rj v_j` for `W` vectors of columns.
    #[inline(always)]
    fn accumulate<S: Vectors, const W: usize>(
        &self,
        simd: S,
        weights: [&[f32]; ROWS],
        shrink: [f32; ROWS],
        column: usize,
        out: &mut [f32],
    ) {
        let d_v = self.block.d_v;
        let mut sums = [[simd.splat_f32s(0.0); W]; ROWS];
        for r in 0..self.rows {
            let (before, shrink) = (load::<S, W>(&out[(self.row + r) * d_v + column..]), simd.splat_f32s(shrink[r]));
            for w in 0..W {
                sums[r][w] = simd.mul_f32s(before[w], shrink);
            }
        }
        let values = &self.block.values[(self.key + self.from) * d_v + column..];
        multiply::<S, ROWS, W>(simd, weights, values, d_v, &mut sums);
        for r in 0..self.rows {
            store::<S, W>(&mut out[(self.row + r) * d_v + column..], sums[r]);
        }
    }

    /// As [`Tile::accumulate`] for the last columns, fewer than a vector.
    #[inline(always)]
    fn accumulate_tail<S: Vectors>(
        &self,
        simd: S,
        weights: [&[f32]; ROWS],
        shrink: [f32; ROWS],
        column: usize,
        out: &mut [f32],
    ) {
        let d_v = self.block.d_v;
        let mut sums = [simd.splat_f32s(0.0); ROWS];
        for r in 0..self.rows {
            let before = simd.partial_load_f32s(&out[(self.row + r) * d_v + column..(self.row + r + 1) * d_v]);
            sums[r] = simd.mul_f32s(before, simd.splat_f32s(shrink[r]));
        }
        let values = &self.block.values[(self.key + self.from) * d_v + column..];
        multiply_tail(simd, weights, values, d_v, d_v - column, &mut sums);
        for r in 0..self.rows {
            simd.partial_store_f32s(&mut out[(self.row + r) * d_v + column..(self.row + r + 1) * d_v], sums[r]);
        }
    }
}

/// Scores of the first `V` vectors of a panel, written at its place in the rows.
#[inline(always)]
fn score_panel<S: Vectors, const V: usize>(
    simd: S,
    queries: [&[f32]; ROWS],
    packed: &[f32],
    width: usize,
    panel: usize,
    scores: &mut Scores,
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; ROWS];
    multiply::<S, ROWS, V>(simd, queries, packed, width, &mut sums);
    for r in 0..ROWS {
        store::<S, V>(&mut scores[r][panel..], sums[r]);
    }
}

/// The exponential of a few numbers.
#[inline(always)]
fn exp_all<S: Vectors>(simd: S, x: &mut [f32]) {
    map_in_place(
        simd,
        x,
        #[inline(always)]
        |x| exp(simd, x),
    );
}
