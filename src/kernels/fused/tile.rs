//! The inner loops of matrix products: a tile of rows × vectors of columns that stays in registers.

use pulp::Simd as Vectors;

use super::vector::{load, split, store};

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

/// As [`multiply`] where the rows of `a` stand as columns: a_r[k] is `a[k · across + r]`. `b` gives the number of terms.
#[inline(always)]
fn multiply_columns<S: Vectors, const R: usize, const W: usize>(
    simd: S,
    (a, across): (&[f32], usize),
    b: &[f32],
    stride: usize,
    sums: &mut [[S::f32s; W]; R],
) {
    let mut tile = *sums;
    for (a, b) in a.chunks(across).zip(b.chunks(stride)) {
        let (a, b) = (&a[..R], &split::<S>(b).0[..W]);
        for r in 0..R {
            let factor = simd.splat_f32s(a[r]);
            for w in 0..W {
                tile[r][w] = simd.mul_add_e_f32s(factor, b[w], tile[r][w]);
            }
        }
    }
    *sums = tile;
}

/// The left side of a product: `R` rows that meet the rows of `b`.
pub(super) trait Left<const R: usize>: Copy {
    /// Adds the products with the `W` vectors at the start of each row of `b`.
    fn multiply<S: Vectors, const W: usize>(self, simd: S, b: &[f32], stride: usize, sums: &mut [[S::f32s; W]; R]);

    /// Adds those with the first `width` numbers, fewer than a vector.
    fn multiply_tail<S: Vectors>(self, simd: S, b: &[f32], stride: usize, width: usize, sums: &mut [S::f32s; R]);
}

/// Rows of equal length.
impl<const R: usize> Left<R> for [&[f32]; R] {
    #[inline(always)]
    fn multiply<S: Vectors, const W: usize>(self, simd: S, b: &[f32], stride: usize, sums: &mut [[S::f32s; W]; R]) {
        multiply(simd, self, b, stride, sums);
    }

    #[inline(always)]
    fn multiply_tail<S: Vectors>(self, simd: S, b: &[f32], stride: usize, width: usize, sums: &mut [S::f32s; R]) {
        multiply_tail(simd, self, b, stride, width, sums);
    }
}

/// Rows that stand as columns: row r is the numbers `r`, `r + stride`, `r + 2 · stride`, … of the slice.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a>(pub(super) &'a [f32], pub(super) usize);

impl<const R: usize> Left<R> for Columns<'_> {
    #[inline(always)]
    fn multiply<S: Vectors, const W: usize>(self, simd: S, b: &[f32], stride: usize, sums: &mut [[S::f32s; W]; R]) {
        multiply_columns(simd, (self.0, self.1), b, stride, sums);
    }

    #[inline(always)]
    fn multiply_tail<S: Vectors>(self, simd: S, b: &[f32], stride: usize, width: usize, sums: &mut [S::f32s; R]) {
        for (a, b) in self.0.chunks(self.1).zip(b.chunks(stride)) {
            let b = simd.partial_load_f32s(&b[..width]);
            for r in 0..R {
                sums[r] = simd.mul_add_e_f32s(simd.splat_f32s(a[r]), b, sums[r]);
            }
        }
    }
}

/// `out_r += left_r · b` for the first `count` of `R` rows; `b` and `out` have rows of `width` numbers.
#[inline(always)]
pub(super) fn add_tile<S: Vectors, L: Left<R>, const R: usize, const W: usize>(
    simd: S,
    left: L,
    b: &[f32],
    width: usize,
    count: usize,
    out: &mut [f32],
) {
    let mut column = 0;
    while column + W * S::F32_LANES <= width {
        add_columns::<S, L, R, W>(simd, left, b, width, count, column, out);
        column += W * S::F32_LANES;
    }
    while column + S::F32_LANES <= width {
        add_columns::<S, L, R, 1>(simd, left, b, width, count, column, out);
        column += S::F32_LANES;
    }
    if column < width && !b.is_empty() {
        let mut sums = [simd.splat_f32s(0.0); R];
        left.multiply_tail(simd, &b[column..], width, width - column, &mut sums);
        for r in 0..count.min(R) {
            let out = &mut out[r * width + column..(r + 1) * width];
            simd.partial_store_f32s(out, simd.add_f32s(sums[r], simd.partial_load_f32s(out)));
        }
    }
}

#[inline(always)]
fn add_columns<S: Vectors, L: Left<R>, const R: usize, const W: usize>(
    simd: S,
    left: L,
    b: &[f32],
    width: usize,
    count: usize,
    column: usize,
    out: &mut [f32],
) {
    if b.is_empty() {
        return;
    }
    let mut sums = [[simd.splat_f32s(0.0); W]; R];
    left.multiply(simd, &b[column..], width, &mut sums);
    for r in 0..count.min(R) {
        let out = &mut out[r * width + column..];
        let before = load::<S, W>(out);
        for w in 0..W {
            sums[r][w] = simd.add_f32s(sums[r][w], before[w]);
        }
        store::<S, W>(out, sums[r]);
    }
}

/// Rows of a tile that fill the registers of most machines.
pub(super) const ROWS: usize = 6;

/// `out += a b`: `a` is (n, k), `b` is (k, width), `out` is (n, width).
#[inline(always)]
pub(super) fn add_product<S: Vectors>(simd: S, a: &[f32], b: &[f32], width: usize, out: &mut [f32]) {
    let k = b.len() / width;
    if k == 0 {
        return;
    }
    for (a, out) in a.chunks(ROWS * k).zip(out.chunks_mut(ROWS * width)) {
        let count = a.len() / k;
        let mut rows = [&a[..k]; ROWS];
        for r in 1..ROWS {
            rows[r] = &a[r.min(count - 1) * k..][..k];
        }
        add_tile::<S, _, ROWS, 2>(simd, rows, b, width, count, out);
    }
}

/// `out += aᵀ b`: `a` is (k, n), `b` is (k, width), `out` is (n, width).
#[inline(always)]
pub(super) fn add_product_of_transposed<S: Vectors>(simd: S, a: &[f32], n: usize, b: &[f32], out: &mut [f32]) {
    if n == 0 || b.is_empty() {
        return;
    }
    let width = out.len() / n;
    let mut row = 0;
    while row + ROWS <= n {
        let out = &mut out[row * width..];
        add_tile::<S, _, ROWS, 2>(simd, Columns(&a[row..], n), b, width, ROWS, out);
        row += ROWS;
    }
    while row + 2 <= n {
        add_tile::<S, _, 2, 2>(simd, Columns(&a[row..], n), b, width, 2, &mut out[row * width..]);
        row += 2;
    }
    if row < n {
        add_tile::<S, _, 1, 2>(simd, Columns(&a[row..], n), b, width, 1, &mut out[row * width..]);
    }
}
