//! Gradients of softmax attention over a whole sequence, for query heads that share a key head, without an N × N matrix:
//! weights are made anew, block by block, from what the forward kept of each query (Dao 2023, algorithm 2).
//!
//! A block of keys stays while blocks of queries walk past it, so that the gradients of keys and values are added up
//! where they are and those of the queries, which are few at a time, move.

use pulp::Simd as Vectors;

use super::{
    softmax_forward::pack,
    tile::{Columns, ROWS, add_tile, multiply},
    vector::{dot, exp, store},
};
use crate::kernels::{
    Simd,
    softmax::{Gradients, Sequence, Span},
};

/// Queries of a block, and keys: whole tiles of rows, and whole panels of every width.
const BLOCK: usize = 8 * ROWS;

/// Numbers of scratch memory that [`backward`] wants for queries (heads, n).
#[must_use]
pub fn scratch_len(heads: usize, n: usize, d: usize, d_v: usize) -> usize {
    BLOCK * (d + d_v) + heads * n
}

/// As [`kernels::softmax::backward`](crate::kernels::softmax::backward) for all query heads that share a key head:
/// queries, their gradients and outputs have a dimension of heads in front.
///
/// `out` (heads, n, d_v) and `stats` (heads, n, 2) are what [`forward`](super::softmax_forward::forward) made.
///
/// # Panics
/// If the lengths do not fit together or `scratch` is shorter than [`scratch_len`].
pub fn backward(
    simd: Simd,
    of: Sequence<'_>,
    (n, d): (usize, usize),
    span: Span,
    (out, stats): (&[f32], &[f32]),
    scratch: &mut [f32],
    into: Gradients<'_>,
) {
    if n == 0 || of.keys.is_empty() || of.q.is_empty() {
        return;
    }
    let heads = of.q.len() / (n * d);
    let (d_v, n_keys) = (of.grad.len() / (heads * n), of.keys.len() / d);
    assert!(of.q.len() == heads * n * d && of.grad.len() == heads * n * d_v && out.len() == of.grad.len() && d_v > 0);
    assert!(of.keys.len() == n_keys * d && of.values.len() == n_keys * d_v && stats.len() == heads * n * 2);
    assert!(of.log_totals.is_empty() || of.log_totals.len() == heads * n);
    assert!(into.q.is_empty() || into.q.len() == of.q.len());
    assert!(into.keys.is_empty() || into.keys.len() == of.keys.len());
    assert!(into.values.is_empty() || into.values.len() == of.values.len());
    let scratch = &mut scratch[..scratch_len(heads, n, d, d_v)];
    simd.run(Backward { of, n, d, d_v, n_keys, span, out, stats, scratch, into });
}

struct Backward<'a> {
    of: Sequence<'a>,
    n: usize,
    d: usize,
    d_v: usize,
    n_keys: usize,
    span: Span,
    out: &'a [f32],
    stats: &'a [f32],
    scratch: &'a mut [f32],
    into: Gradients<'a>,
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        // Vectors of a panel: as many as leave registers for a tile, and a divisor of a block.
        match (S::REGISTER_COUNT >= 32, S::F32_LANES) {
            (true, 16) => self.run::<S, 3>(simd),
            (true, _) => self.run::<S, 4>(simd),
            _ => self.run::<S, 2>(simd),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn run<S: Vectors, const W: usize>(self, simd: S) {
        let Self { of, n, d, d_v, n_keys, span, out, stats, scratch, mut into } = self;
        let (packed_keys, scratch) = scratch.split_at_mut(BLOCK * d);
        let (packed_values, along) = scratch.split_at_mut(BLOCK * d_v);
        // Σ_l p_l g·v_l is g·out.
        for ((along, out), grad) in along.iter_mut().zip(out.chunks_exact(d_v)).zip(of.grad.chunks_exact(d_v)) {
            *along = dot(simd, out, grad);
        }
        along.iter_mut().zip(of.log_totals).for_each(|(along, of_total)| *along -= of_total);
        for first_key in (0..n_keys).step_by(BLOCK) {
            let n_block = BLOCK.min(n_keys - first_key);
            pack(&of.keys[first_key * d..][..n_block * d], d, W * S::F32_LANES, packed_keys);
            pack(&of.values[first_key * d_v..][..n_block * d_v], d_v, W * S::F32_LANES, packed_values);
            let (start, end) = span.seeing(first_key, n_block, n);
            for head in 0..of.q.len() / (n * d) {
                let mut first = start;
                while first < end {
                    let count = BLOCK.min(end - first);
                    let at = head * n + first;
                    let block = Block {
                        q: &of.q[at * d..][..count * d],
                        grad: &of.grad[at * d_v..][..count * d_v],
                        stats: &stats[2 * at..][..2 * count],
                        along: &along[at..][..count],
                        log_totals: if of.log_totals.is_empty() { &[] } else { &of.log_totals[at..][..count] },
                        keys: &of.keys[first_key * d..][..n_block * d],
                        packed_keys,
                        packed_values,
                        d,
                        d_v,
                        first,
                        first_key,
                        n_keys,
                        span,
                    };
                    block.run::<S, W>(simd, at, &mut into);
                    first += count;
                }
            }
        }
    }
}

/// A block of queries of one head against a block of keys.
struct Block<'a> {
    q: &'a [f32],
    grad: &'a [f32],
    stats: &'a [f32],
    /// What a weight's own gradient is less by.
    along: &'a [f32],
    log_totals: &'a [f32],
    keys: &'a [f32],
    packed_keys: &'a [f32],
    packed_values: &'a [f32],
    d: usize,
    d_v: usize,
    /// Index of the first query in its sequence.
    first: usize,
    first_key: usize,
    n_keys: usize,
    span: Span,
}

/// Weights, or gradients of scores, of a block: (queries, keys), 0 where a key is not seen.
type Square = [[f32; BLOCK]; BLOCK];

impl Block<'_> {
    /// `at` is where the block's queries stand among those of all heads.
    #[inline(always)]
    fn run<S: Vectors, const W: usize>(&self, simd: S, at: usize, into: &mut Gradients<'_>) {
        let (mut weights, mut slopes) = ([[0f32; BLOCK]; BLOCK], [[0f32; BLOCK]; BLOCK]);
        let count = self.along.len();
        let scores_move = !(into.q.is_empty() && into.keys.is_empty());
        let mut row = 0;
        while row < count {
            let rows = ROWS.min(count - row);
            let (from, to) = self.seen(row, rows);
            if from < to {
                self.weigh::<S, W>(simd, (row, rows), (from, to), scores_move, &mut weights, &mut slopes);
                if !into.q.is_empty() {
                    let mut left = [&slopes[row][from..to]; ROWS];
                    for r in 0..ROWS {
                        left[r] = &slopes[row + r][from..to];
                    }
                    let out = &mut into.q[(at + row) * self.d..][..rows * self.d];
                    add_tile::<S, _, ROWS, W>(simd, left, &self.keys[from * self.d..to * self.d], self.d, rows, out);
                }
            }
            row += ROWS;
        }
        if !into.values.is_empty() {
            self.add_to_keys::<S, W>(simd, &weights, self.grad, self.d_v, into.values);
        }
        if !into.keys.is_empty() {
            self.add_to_keys::<S, W>(simd, &slopes, self.q, self.d, into.keys);
        }
    }

    /// Keys of the block that any of some queries sees.
    #[inline(always)]
    fn seen(&self, row: usize, rows: usize) -> (usize, usize) {
        let (from, _) = self.span.of(self.first + row, self.n_keys);
        let (_, to) = self.span.of(self.first + row + rows - 1, self.n_keys);
        (from.saturating_sub(self.first_key), to.saturating_sub(self.first_key).min(self.keys.len() / self.d))
    }

    /// Weights of a tile of queries and, if they are wanted, gradients of its scores.
    #[inline(always)]
    fn weigh<S: Vectors, const W: usize>(
        &self,
        simd: S,
        (row, rows): (usize, usize),
        (from, to): (usize, usize),
        scores_move: bool,
        weights: &mut Square,
        slopes: &mut Square,
    ) {
        let (d, d_v, lanes) = (self.d, self.d_v, S::F32_LANES);
        products::<S, W>(simd, self.q, d, self.packed_keys, (row, rows), (from, to), weights);
        if scores_move {
            products::<S, W>(simd, self.grad, d_v, self.packed_values, (row, rows), (from, to), slopes);
        }
        let scale = 1.0 / (d as f32).sqrt();
        let factor = simd.splat_f32s(scale);
        // Whole vectors: their last lanes are scored too, of keys that are not seen or not there.
        let (low, high) = (from / lanes * lanes, to.next_multiple_of(lanes).min(BLOCK));
        for r in row..row + rows {
            let (start, end) = self.span.of(self.first + r, self.n_keys);
            let start = start.saturating_sub(self.first_key).clamp(low, high);
            let end = end.saturating_sub(self.first_key).min(self.keys.len() / d).clamp(start, high);
            weights[r][low..start].fill(f32::NEG_INFINITY);
            weights[r][end..high].fill(f32::NEG_INFINITY);
            weights[r][..low].fill(0.0);
            weights[r][high..].fill(0.0);
            slopes[r][..low].fill(0.0);
            slopes[r][high..].fill(0.0);
            let shift = simd.splat_f32s(-self.stats[2 * r]);
            let inverse = simd.splat_f32s(self.stats[2 * r + 1]);
            let along = simd.splat_f32s(self.along[r]);
            // What moves the largest score moves the others' weights, not its own.
            let of_largest = self.log_totals.get(r).map(|of_total| simd.splat_f32s(scale * of_total));
            let zero = simd.splat_f32s(0.0);
            let weights = S::as_mut_simd_f32s(&mut weights[r][low..high]).0;
            let slopes = S::as_mut_simd_f32s(&mut slopes[r][low..high]).0;
            for (weight, slope) in weights.iter_mut().zip(slopes) {
                // Rounded before it is shifted, as the maximum was.
                let shifted = simd.add_f32s(simd.mul_f32s(*weight, factor), shift);
                *weight = simd.mul_f32s(exp(simd, shifted), inverse);
                let off = simd.mul_f32s(simd.sub_f32s(*slope, along), factor);
                *slope = simd.mul_f32s(*weight, off);
                if let Some(of_largest) = of_largest {
                    // The forward adds up products in the same order, so that its largest score is met to the last bit.
                    let is_largest = simd.greater_than_or_equal_f32s(shifted, zero);
                    *slope = simd.sub_f32s(*slope, simd.select_f32s(is_largest, of_largest, zero));
                }
            }
        }
    }

    /// `out_j += Σ_i square_ij x_i` for the keys of the block, x (queries, width).
    #[inline(always)]
    fn add_to_keys<S: Vectors, const W: usize>(
        &self,
        simd: S,
        square: &Square,
        x: &[f32],
        width: usize,
        out: &mut [f32],
    ) {
        let (n_block, count) = (self.keys.len() / self.d, self.along.len());
        let flat = square.as_flattened();
        let mut key = 0;
        while key < n_block {
            let rows = ROWS.min(n_block - key);
            let (start, end) = self.span.seeing(self.first_key + key, rows, self.first + count);
            let (start, end) = (start.max(self.first) - self.first, end.max(self.first) - self.first);
            if start < end {
                let left = Columns(&flat[start * BLOCK + key..], BLOCK);
                let out = &mut out[(self.first_key + key) * width..][..rows * width];
                add_tile::<S, _, ROWS, W>(simd, left, &x[start * width..end * width], width, rows, out);
            }
            key += ROWS;
        }
    }
}

/// Products of a tile of rows of x (·, width) with all packed rows of the panels that hold one of `from..to`.
#[inline(always)]
fn products<S: Vectors, const W: usize>(
    simd: S,
    x: &[f32],
    width: usize,
    packed: &[f32],
    (row, rows): (usize, usize),
    (from, to): (usize, usize),
    square: &mut Square,
) {
    let mut left = [&x[..width]; ROWS];
    for r in 0..ROWS {
        left[r] = &x[(row + r.min(rows - 1)) * width..][..width];
    }
    let panel_width = W * S::F32_LANES;
    let mut panel = from / panel_width * panel_width;
    while panel < to {
        let mut sums = [[simd.splat_f32s(0.0); W]; ROWS];
        multiply::<S, ROWS, W>(simd, left, &packed[panel * width..][..panel_width * width], panel_width, &mut sums);
        for r in 0..ROWS {
            store::<S, W>(&mut square[row + r][panel..], sums[r]);
        }
        panel += panel_width;
    }
}
