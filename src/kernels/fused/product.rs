//! Products of a few rows with a weight matrix, which is read once: decode is bound by that reading.

use std::marker::PhantomData;

use pulp::Simd as Vectors;

use super::{
    dots::{dots, one},
    weight::Kept,
};
use crate::kernels::{Simd, parallel::Columns, parallel::for_each_columns};

/// Rows of the weights that are read together.
const WEIGHTS: usize = 4;

/// As [`dense::product`](crate::kernels::dense::product), on the pool when the work pays for it; `weight` is (out, in) numbers
/// however they are kept, and `x` is in their order ([`in_order`]).
///
/// # Panics
/// If the lengths do not fit together.
pub fn product<K: Kept>(simd: Simd, x: &[f32], weight: &[K], bias: &[f32], n_in: usize, y: &mut [f32]) {
    if x.is_empty() || weight.is_empty() {
        return;
    }
    let width = n_in / K::NUMBERS;
    let (rows, n_out) = (x.len() / n_in, weight.len() / width.max(1));
    assert!(x.len() == rows * n_in && n_in == width * K::NUMBERS, "whole rows of {n_in}");
    assert!(weight.len() == n_out * width && y.len() == rows * n_out);
    assert!(bias.is_empty() || bias.len() == n_out);
    // Parts of whole groups of weight rows, so that only the last may be ragged.
    for_each_columns(rows, n_out, WEIGHTS, weight.len() * rows, y, |mut columns| {
        let (first, of_part) = (columns.first(), columns.width());
        let weight = &weight[first * width..][..of_part * width];
        let bias = if bias.is_empty() { bias } else { &bias[first..][..of_part] };
        simd.run(Part { x, weight, bias, n_in, y: &mut columns });
    });
}

/// Rows of x (rows, in) as [`product`] wants them for weights that are kept so: x itself, or what it then writes to `room`, as
/// long as x at least.
///
/// # Panics
/// If `room` is too short.
pub fn in_order<'a, K: Kept>(simd: Simd, x: &'a [f32], n_in: usize, room: &'a mut [f32]) -> &'a [f32] {
    if !K::REORDERS {
        return x;
    }
    let ordered = &mut room[..x.len()];
    simd.run(InOrder::<K> { x, n_in, ordered, kept: PhantomData });
    ordered
}

struct InOrder<'a, K> {
    x: &'a [f32],
    n_in: usize,
    ordered: &'a mut [f32],
    kept: PhantomData<K>,
}

impl<K: Kept> pulp::WithSimd for InOrder<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        for (x, ordered) in self.x.chunks_exact(self.n_in).zip(self.ordered.chunks_exact_mut(self.n_in)) {
            K::in_order(simd, x, ordered);
        }
    }
}

struct Part<'a, 'b, K> {
    x: &'a [f32],
    weight: &'a [K],
    bias: &'a [f32],
    n_in: usize,
    y: &'a mut Columns<'b>,
}

impl<K: Kept> pulp::WithSimd for Part<'_, '_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(mut self, simd: S) {
        let (width, rows) = (self.n_in / K::NUMBERS, self.x.len() / self.n_in);
        if rows == 1 {
            // One row after the other is the order in which memory is fastest.
            for (i, y) in self.y.row(0).iter_mut().enumerate() {
                let bias = if self.bias.is_empty() { 0.0 } else { self.bias[i] };
                *y = one(simd, self.x, &self.weight[i * width..][..width]) + bias;
            }
            return;
        }
        let mut i = 0;
        while i + WEIGHTS <= self.y.width() {
            let mut weights = [&self.weight[..width]; WEIGHTS];
            for w in 0..WEIGHTS {
                weights[w] = &self.weight[(i + w) * width..][..width];
            }
            let mut row = 0;
            if S::REGISTER_COUNT >= 32 {
                while row + 4 <= rows {
                    self.tile::<S, 4, WEIGHTS>(simd, weights, row, i);
                    row += 4;
                }
            }
            while row + 2 <= rows {
                self.tile::<S, 2, WEIGHTS>(simd, weights, row, i);
                row += 2;
            }
            if row < rows {
                self.tile::<S, 1, WEIGHTS>(simd, weights, row, i);
            }
            i += WEIGHTS;
        }
        while i < self.y.width() {
            for row in 0..rows {
                self.tile::<S, 1, 1>(simd, [&self.weight[i * width..][..width]], row, i);
            }
            i += 1;
        }
    }
}

impl<K: Kept> Part<'_, '_, K> {
    /// `A` rows of x from `row` on with `B` rows of the weights, which are columns of y from `i` on.
    #[inline(always)]
    fn tile<S: Vectors, const A: usize, const B: usize>(&mut self, simd: S, weights: [&[K]; B], row: usize, i: usize) {
        let mut x = [&self.x[..self.n_in]; A];
        for a in 0..A {
            x[a] = &self.x[(row + a) * self.n_in..][..self.n_in];
        }
        // The first rows of x meet weights that were asked for before, and ask for the next ones.
        let ahead = if row == 0 && B > 1 { Some(&self.weight[(i + B) * (self.n_in / K::NUMBERS)..]) } else { None };
        let dots = dots::<S, K, A, B>(simd, x, weights, ahead);
        for a in 0..A {
            let y = &mut self.y.row(row + a)[i..i + B];
            for b in 0..B {
                y[b] = dots[a][b] + if self.bias.is_empty() { 0.0 } else { self.bias[i + b] };
            }
        }
    }
}
