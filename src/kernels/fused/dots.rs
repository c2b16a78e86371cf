//! Dot products of a few rows with a few others, all in flight together.

use pulp::Simd as Vectors;

use super::{
    prefetch::{LINE, prefetch},
    vector::split,
};

/// `x_a · w_b` for every pair; all rows are equally long. What is to be read next, as much as all of `w`, is asked for
/// on the way.
#[inline(always)]
pub(super) fn dots<S: Vectors, const A: usize, const B: usize>(
    simd: S,
    x: [&[f32]; A],
    w: [&[f32]; B],
    ahead: Option<&[f32]>,
) -> [[f32; B]; A] {
    let n = x[0].len();
    let vectors = n / S::F32_LANES;
    let mut rows = [(split::<S>(x[0]).0, x[0]); A];
    let mut columns = [(split::<S>(w[0]).0, w[0]); B];
    // Cutting all to one length says that no index needs a check.
    for a in 0..A {
        let (whole, tail) = split::<S>(&x[a][..n]);
        rows[a] = (&whole[..vectors], tail);
    }
    for b in 0..B {
        let (whole, tail) = split::<S>(&w[b][..n]);
        columns[b] = (&whole[..vectors], tail);
    }
    let mut sums = [[simd.splat_f32s(0.0); B]; A];
    let lines = (B * S::F32_LANES).div_ceil(LINE);
    for i in 0..vectors {
        if let Some(ahead) = ahead {
            for line in 0..lines {
                prefetch(ahead, (i * lines + line) * LINE);
            }
        }
        for b in 0..B {
            let w = columns[b].0[i];
            for a in 0..A {
                sums[a][b] = simd.mul_add_e_f32s(rows[a].0[i], w, sums[a][b]);
            }
        }
    }
    if vectors * S::F32_LANES < n {
        for b in 0..B {
            let w = simd.partial_load_f32s(columns[b].1);
            for a in 0..A {
                sums[a][b] = simd.mul_add_e_f32s(simd.partial_load_f32s(rows[a].1), w, sums[a][b]);
            }
        }
    }
    let mut dots = [[0.0; B]; A];
    for a in 0..A {
        for b in 0..B {
            dots[a][b] = simd.reduce_sum_f32s(sums[a][b]);
        }
    }
    dots
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
            out.copy_from_slice(&dots::<S, 1, ROWS>(simd, [x], rows, None)[0]);
        } else {
            for (out, row) in out.iter_mut().zip(weight.chunks_exact(d)) {
                *out = dots::<S, 1, 1>(simd, [x], [row], None)[0][0];
            }
        }
    }
}
