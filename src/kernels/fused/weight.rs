//! How a weight is kept: as f32, or as bf16, two to a word, which is half as much to read. Arithmetic is f32 in both.

use pulp::Simd as Vectors;

use super::vector::{dot, split};

/// What weights are kept in; a row of them is read in pairs of vectors.
pub trait Kept: Copy + Send + Sync {
    /// Weights in one of these.
    const NUMBERS: usize;

    /// A pair of vectors as it is kept.
    type Pair<S: Vectors>: Copy;

    /// The whole pairs of a row.
    fn pairs<S: Vectors>(row: &[Self]) -> &[Self::Pair<S>];

    /// The two vectors of a pair, in the order in which [`in_order`](Kept::in_order) has x.
    fn open<S: Vectors>(simd: S, pair: Self::Pair<S>) -> [S::f32s; 2];

    /// The product of what of a row is behind its whole pairs with as much of x, as it was.
    fn rest<S: Vectors>(simd: S, row: &[Self], x: &[f32]) -> f32;

    /// Whether x must be put in order.
    const REORDERS: bool;

    /// A row of x, of which whole pairs of vectors are in the order of the weights'.
    fn in_order<S: Vectors>(simd: S, x: &[f32], ordered: &mut [f32]);
}

impl Kept for f32 {
    const NUMBERS: usize = 1;
    const REORDERS: bool = false;
    type Pair<S: Vectors> = [S::f32s; 2];

    #[inline(always)]
    fn pairs<S: Vectors>(row: &[Self]) -> &[Self::Pair<S>] {
        split::<S>(row).0.as_chunks().0
    }

    #[inline(always)]
    fn open<S: Vectors>(_: S, pair: Self::Pair<S>) -> [S::f32s; 2] {
        pair
    }

    #[inline(always)]
    fn rest<S: Vectors>(simd: S, row: &[Self], x: &[f32]) -> f32 {
        dot(simd, row, x)
    }

    #[inline(always)]
    fn in_order<S: Vectors>(_: S, x: &[f32], ordered: &mut [f32]) {
        ordered.copy_from_slice(x);
    }
}

/// Two neighbouring weights in bf16, the first in the lower half: as they lie in memory where numbers begin with their lower end.
impl Kept for u32 {
    const NUMBERS: usize = 2;
    const REORDERS: bool = true;
    type Pair<S: Vectors> = S::u32s;

    #[inline(always)]
    fn pairs<S: Vectors>(row: &[Self]) -> &[Self::Pair<S>] {
        S::as_simd_u32s(row).0
    }

    #[inline(always)]
    fn open<S: Vectors>(simd: S, pair: Self::Pair<S>) -> [S::f32s; 2] {
        // bf16 is the upper half of an f32.
        let first = simd.wrapping_dyn_shl_u32s(pair, simd.splat_u32s(16));
        let second = simd.and_u32s(pair, simd.splat_u32s(0xFFFF_0000));
        [simd.transmute_f32s_u32s(first), simd.transmute_f32s_u32s(second)]
    }

    #[inline(always)]
    fn rest<S: Vectors>(_: S, row: &[Self], x: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (pair, x) in row.iter().zip(x.as_chunks::<2>().0) {
            sum += f32::from_bits(pair << 16) * x[0] + f32::from_bits(pair & 0xFFFF_0000) * x[1];
        }
        sum
    }

    /// Of each pair of vectors the numbers in even places first, then those in odd ones.
    #[inline(always)]
    fn in_order<S: Vectors>(_: S, x: &[f32], ordered: &mut [f32]) {
        let lanes = S::F32_LANES;
        let whole = x.len() - x.len() % (2 * lanes);
        ordered[whole..].copy_from_slice(&x[whole..]);
        for (x, ordered) in x.chunks_exact(2 * lanes).zip(ordered.chunks_exact_mut(2 * lanes)) {
            let (even, odd) = ordered.split_at_mut(lanes);
            for ((even, odd), x) in even.iter_mut().zip(odd).zip(x.as_chunks::<2>().0) {
                [*even, *odd] = *x;
            }
        }
    }
}

/// Weights that are kept in bf16, two to a word, as f32.
///
/// # Panics
/// If `out` is not twice as long.
pub fn widen(pairs: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), 2 * pairs.len());
    for (out, pair) in out.as_chunks_mut().0.iter_mut().zip(pairs) {
        *out = [f32::from_bits(pair << 16), f32::from_bits(pair & 0xFFFF_0000)];
    }
}
