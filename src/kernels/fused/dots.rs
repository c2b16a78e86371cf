//! Dot products of a few rows with a few others, all in flight together.

use pulp::Simd as Vectors;

use super::{
    prefetch::{LINE, prefetch},
    weight::Kept,
};

/// `x_a · w_b` for every pair of rows; all are equally long, and `x` is in the order of the weights. What is to be read next, as
/// much as all of `w`, is asked for on the way.
#[inline(always)]
pub(super) fn dots<S: Vectors, K: Kept, const A: usize, const B: usize>(
    simd: S,
    x: [&[f32]; A],
    w: [&[K]; B],
    ahead: Option<&[K]>,
) -> [[f32; B]; A] {
    let n = K::pairs::<S>(w[0]).len();
    let mut rows = [f32::pairs::<S>(x[0]); A];
    let mut columns = [K::pairs::<S>(w[0]); B];
    // Cutting all to one length says that no index needs a check.
    for a in 0..A {
        rows[a] = &f32::pairs::<S>(x[a])[..n];
    }
    for b in 0..B {
        columns[b] = &K::pairs::<S>(w[b])[..n];
    }
    let mut sums = [[simd.splat_f32s(0.0); B]; A];
    let words = 2 * S::F32_LANES / K::NUMBERS;
    let lines = (B * words).div_ceil(LINE);
    for i in 0..n {
        if let Some(ahead) = ahead {
            for line in 0..lines {
                prefetch(ahead, (i * lines + line) * LINE);
            }
        }
        for b in 0..B {
            let [first, second] = K::open(simd, columns[b][i]);
            for a in 0..A {
                sums[a][b] = simd.mul_add_e_f32s(rows[a][i][0], first, sums[a][b]);
                sums[a][b] = simd.mul_add_e_f32s(rows[a][i][1], second, sums[a][b]);
            }
        }
    }
    let mut dots = [[0.0; B]; A];
    for a in 0..A {
        for b in 0..B {
            dots[a][b] = simd.reduce_sum_f32s(sums[a][b]);
            if n * words < w[b].len() {
                dots[a][b] += K::rest(simd, &w[b][n * words..], &x[a][n * 2 * S::F32_LANES..]);
            }
        }
    }
    dots
}

/// Pairs of one row that [`one`] has in flight.
const CHAINS: usize = 2;

/// How far before it is read [`one`] asks for a word, 2 KiB: as many lines as a core waits for at once, and no more, since
/// those that go beyond what is in the nearest cache displace it.
const AHEAD: usize = 512;

/// `x · w` of two rows, in the order in which memory is read fastest. What is behind `w` in memory is asked for on the way.
#[inline(always)]
pub(super) fn one<S: Vectors, K: Kept>(simd: S, x: &[f32], w: &[K]) -> f32 {
    let (rows, columns) = (f32::pairs::<S>(x), K::pairs::<S>(w));
    let ((x_blocks, x_more), (w_blocks, w_more)) = (rows.as_chunks::<CHAINS>(), columns.as_chunks::<CHAINS>());
    let mut sums = [[simd.splat_f32s(0.0); 2]; CHAINS];
    let words = CHAINS * 2 * S::F32_LANES / K::NUMBERS;
    for (i, (x, w_block)) in x_blocks.iter().zip(w_blocks).enumerate() {
        for at in (0..words).step_by(LINE) {
            prefetch(w, AHEAD + i * words + at);
        }
        for c in 0..CHAINS {
            let [first, second] = K::open(simd, w_block[c]);
            sums[c][0] = simd.mul_add_e_f32s(x[c][0], first, sums[c][0]);
            sums[c][1] = simd.mul_add_e_f32s(x[c][1], second, sums[c][1]);
        }
    }
    for (x, w) in x_more.iter().zip(w_more) {
        let [first, second] = K::open(simd, *w);
        sums[0][0] = simd.mul_add_e_f32s(x[0], first, sums[0][0]);
        sums[0][1] = simd.mul_add_e_f32s(x[1], second, sums[0][1]);
    }
    let [[a, b], [c, d]] = sums;
    let sum = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)));
    let whole = columns.len() * 2 * S::F32_LANES;
    if whole / K::NUMBERS < w.len() { sum + K::rest(simd, &w[whole / K::NUMBERS..], &x[whole..]) } else { sum }
}

/// Rows of a matrix that [`matrix_vector`] takes together.
const ROWS: usize = 8;

/// `W x`: `weight` is (out, in), `x` (in), `out` (out).
#[inline(always)]
pub(super) fn matrix_vector<S: Vectors>(simd: S, weight: &[f32], x: &[f32], out: &mut [f32]) {
    let d = x.len();
    for (weight, out) in weight.chunks(ROWS * d).zip(out.chunks_mut(ROWS)) {
        if out.len() == ROWS {
            let mut rows = [&weight[..d]; ROWS];
            for r in 1..ROWS {
                rows[r] = &weight[r * d..][..d];
            }
            out.copy_from_slice(&dots::<S, f32, 1, ROWS>(simd, [x], rows, None)[0]);
        } else {
            for (out, row) in out.iter_mut().zip(weight.chunks_exact(d)) {
                *out = dots::<S, f32, 1, 1>(simd, [x], [row], None)[0][0];
            }
        }
    }
}
