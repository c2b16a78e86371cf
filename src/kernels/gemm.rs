//! Products of large matrices, by a library, in parts on the shared pool: threads of its own would contend with those.

use gemm::{Parallelism, gemm};

use super::parallel::{for_each_chunk, for_each_columns, new_chunks, on_every_thread, threads};

/// A matrix as it lies in memory, row after row, or on its side.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The numbers of (rows, columns), row after row.
    ///
    /// # Panics
    /// If they are not whole rows.
    #[must_use]
    pub fn new(numbers: &'a [f32], columns: usize) -> Self {
        let rows = numbers.len() / columns.max(1);
        assert_eq!(numbers.len(), rows * columns, "a matrix of {columns} columns");
        Self { numbers, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows for columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            numbers: self.numbers,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// The numbers of some of the rows, or of the columns where it lies on its side.
    fn from(self, row: usize, column: usize) -> &'a [f32] {
        &self.numbers[row * self.row_stride + column * self.column_stride..]
    }
}

/// Products of so many numbers are worth a thread's while as much as one number that is read: they stay in registers.
const PRODUCTS_PER_NUMBER: usize = 16;
/// Parts a thread takes of a long side, so that one that is held up leaves work to others.
const PARTS: usize = 2;
/// Rows or columns from which on a part loses little by packing the other side of the product for itself.
const GOOD_PART: usize = 256;
/// Those of a part at least.
const MIN_PART: usize = 64;

/// Has the library make the room that it packs matrices into, as large as a cache and kept by every thread. Else it would count as
/// memory of whatever is measured when a thread multiplies for the first time.
pub fn make_room() {
    const SIDE: usize = 64;
    on_every_thread(|| {
        let (ones, mut dst) = (vec![1f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        // So small that each thread does it alone.
        multiply(Matrix::new(&ones, SIDE), Matrix::new(&ones, SIDE), false, &mut dst);
    });
}

/// `dst = a b`, or `dst += a b`: `a` is (n, k), `b` is (k, m), `dst` is (n, m).
///
/// # Panics
/// If the sizes do not fit together.
pub fn multiply(a: Matrix<'_>, b: Matrix<'_>, accumulate: bool, dst: &mut [f32]) {
    let (n, k, m) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && dst.len() == n * m, "({n}, {k}) times ({}, {m}) into {}", b.rows, dst.len());
    if dst.is_empty() {
        return;
    }
    if k == 0 {
        if !accumulate {
            dst.fill(0.0);
        }
        return;
    }
    let work = n * m * k / PRODUCTS_PER_NUMBER;
    if n >= m {
        let rows = part(n);
        for_each_chunk([dst], rows * m, work, |i, [dst]| {
            let count = dst.len() / m;
            // SAFETY: dst is (count, m), a has `count` rows of k from there on, and b is (k, m).
            unsafe { block(a.from(i * rows, 0), a, b.from(0, 0), b, accumulate, (dst.as_mut_ptr(), m), (count, k, m)) };
        });
    } else {
        for_each_columns(n, m, part(m), work, dst, |mut columns| {
            let (first, width) = (columns.first(), columns.width());
            let (a_part, b_part) = (a.from(0, 0), b.from(0, first));
            // SAFETY: these columns of dst are (n, width), a is (n, k), and b has `width` columns of k from there on.
            unsafe { block(a_part, a, b_part, b, accumulate, columns.as_mut_ptr(), (n, k, width)) };
        });
    }
}

/// Rows or columns of a part of so many.
fn part(length: usize) -> usize {
    let one_each = length.div_ceil(threads());
    length.div_ceil(threads() * PARTS).max(GOOD_PART).min(one_each).next_multiple_of(16).max(MIN_PART)
}

/// `a b`, plus `bias` in every row, as new numbers: `a` is (n, k), `b` is (k, m), `bias` is (m) or empty.
///
/// # Panics
/// If the sizes do not fit together.
#[must_use]
pub fn product(a: Matrix<'_>, b: Matrix<'_>, bias: &[f32]) -> Vec<f32> {
    product_onto(a, b, bias, &[])
}

/// `there + a b`, plus `bias` in every row, as new numbers: as [`product`], `there` is (n, m) or empty.
///
/// # Panics
/// If the sizes do not fit together.
#[must_use]
pub fn product_onto(a: Matrix<'_>, b: Matrix<'_>, bias: &[f32], there: &[f32]) -> Vec<f32> {
    let (n, k, m) = (a.rows, a.columns, b.columns);
    assert!(there.is_empty() || there.len() == n * m, "({n}, {m}) onto {}", there.len());
    assert!(
        b.rows == k && (bias.is_empty() || bias.len() == m),
        "({n}, {k}) times ({}, {m}) and {}",
        b.rows,
        bias.len()
    );
    let accumulate = !(bias.is_empty() && there.is_empty());
    let begin = |first: usize, dst: &mut [f32]| {
        if !there.is_empty() {
            dst.copy_from_slice(&there[first..][..dst.len()]);
        }
        if !bias.is_empty() {
            dst.chunks_exact_mut(m).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        }
    };
    if n < m.min(GOOD_PART) {
        // Too few rows to share: the columns are.
        let mut dst = vec![0f32; n * m];
        begin(0, &mut dst);
        multiply(a, b, accumulate, &mut dst);
        return dst;
    }
    let rows = part(n);
    new_chunks(n * m, rows * m.max(1), n * m * k / PRODUCTS_PER_NUMBER, |i, dst| {
        begin(i * rows * m, dst);
        if k > 0 {
            let count = dst.len() / m;
            let a_part = a.from(i * rows, 0);
            // SAFETY: dst is (count, m), a has `count` rows of k from there on, and b is (k, m).
            unsafe { block(a_part, a, b.from(0, 0), b, accumulate, (dst.as_mut_ptr(), m), (count, k, m)) };
        }
    })
}

/// One part on one thread.
///
/// # Safety
/// `dst` is exclusive, with n rows of m numbers so far apart; the slices hold (n, k) and (k, m) numbers with the strides
/// of their matrices.
unsafe fn block(
    a: &[f32],
    a_strides: Matrix<'_>,
    b: &[f32],
    b_strides: Matrix<'_>,
    accumulate: bool,
    (dst, stride): (*mut f32, usize),
    (n, k, m): (usize, usize, usize),
) {
    // SAFETY: as asked of the caller.
    unsafe {
        gemm(
            n,
            m,
            k,
            dst,
            1,
            stride as isize,
            accumulate,
            a.as_ptr(),
            a_strides.column_stride as isize,
            a_strides.row_stride as isize,
            b.as_ptr(),
            b_strides.column_stride as isize,
            b_strides.row_stride as isize,
            if accumulate { 1f32 } else { 0.0 },
            1f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, so that every product is exact whatever its order.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + seed) % 11) as f32 - 5.0).collect()
    }

    fn turned(x: &[f32], columns: usize) -> Vec<f32> {
        let rows = x.len() / columns.max(1);
        (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
    }

    #[test]
    fn it_is_the_sum_of_products_on_either_side_and_at_every_size() {
        for (n, k, m) in [(1, 1, 1), (3, 5, 2), (0, 3, 4), (2, 0, 3), (70, 33, 300), (300, 40, 70), (515, 64, 130)] {
            let (a, b) = (numbers(n * k, 1), numbers(k * m, 2));
            let before = numbers(n * m, 3);
            let sum = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * m + j]).sum::<f32>();
            let want: Vec<f32> = (0..n * m).map(|at| sum(at / m, at % m)).collect();
            let (a_turned, b_turned) = (turned(&a, k), turned(&b, m));
            let sides = |side: bool| {
                if side {
                    (Matrix::new(&a_turned, n).transposed(), Matrix::new(&b_turned, k).transposed())
                } else {
                    (Matrix::new(&a, k), Matrix::new(&b, m))
                }
            };
            for side in [false, true] {
                // A matrix without numbers does not know how many rows it has.
                if n * k * m == 0 && side {
                    continue;
                }
                let (left, right) = sides(side);
                let mut dst = before.clone();
                if n * k * m > 0 {
                    multiply(left, right, true, &mut dst);
                    assert!(dst.iter().zip(&before).zip(&want).all(|((d, b), w)| d - b == *w), "{n} {k} {m} {side}");
                }
                if k > 0 {
                    multiply(left, right, false, &mut dst);
                    assert_eq!(dst, want, "{n} {k} {m} {side}");
                    assert_eq!(product(left, right, &[]), want, "{n} {k} {m} {side}");
                    let bias = numbers(m, 4);
                    let made = product(left, right, &bias);
                    assert!(made.iter().zip(&want).enumerate().all(|(at, (x, w))| *x == w + bias[at % m]));
                    let onto = product_onto(left, right, &bias, &before);
                    assert!(onto.iter().zip(&made).zip(&before).all(|((x, m), b)| *x == m + b));
                }
            }
        }
    }
}
