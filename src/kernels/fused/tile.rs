//! The inner loop of a matrix product: a tile of rows × vectors of columns that stays in registers.

use pulp::Simd as Vectors;

use super::vector::split;

/// `sums_r += Σ_k a_r[k] · b_k` over the `W` vectors at the start of each row of `b`, which are `stride` numbers apart.
///
/// All rows of `a` are equally long; `b` has as many rows.
#[inline(always)]
pub(super) fn multiply<S: Vectors, const R: usize, const W: usize>(
    simd: S,
    a: [&[f32]; R],
    b: &[f32],
    stride: usize,
    sums: &mut [[S::f32s; W]; R],
) {
    let n = a[0].len();
    let mut rows = a;
    for r in 0..R {
        // Says that all are equally long, so that no index needs a check.
        rows[r] = &a[r][..n];
    }
    let mut tile = *sums;
    for (k, b) in b.chunks(stride.max(1)).enumerate().take(n) {
        let b = &split::<S>(b).0[..W];
        for r in 0..R {
            let factor = simd.splat_f32s(rows[r][k]);
            for w in 0..W {
                tile[r][w] = simd.mul_add_e_f32s(factor, b[w], tile[r][w]);
            }
        }
    }
    *sums = tile;
}

/// As [`multiply`] for one vector of which only the first `width` columns are there.
#[inline(always)]
pub(super) fn multiply_tail<S: Vectors, const R: usize>(
    simd: S,
    a: [&[f32]; R],
    b: &[f32],
    stride: usize,
    width: usize,
    sums: &mut [S::f32s; R],
) {
    let n = a[0].len();
    for (k, b) in b.chunks(stride.max(1)).enumerate().take(n) {
        let b = simd.partial_load_f32s(&b[..width]);
        for r in 0..R {
            sums[r] = simd.mul_add_e_f32s(simd.splat_f32s(a[r][k]), b, sums[r]);
        }
    }
}
