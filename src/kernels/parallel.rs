//! Loops over equal parts of several buffers, or over the columns of a matrix, on the shared pool when the work pays for waking it.

use std::{
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::utils::barrier_pool;

/// Numbers touched below which one thread is faster: about 40 µs of work, several times the cost of a fork and join.
const MIN_PARALLEL_WORK: usize = 128 * 1024;

/// A pointer that may cross to the pool's threads.
#[derive(Clone, Copy)]
struct Shared(*mut f32, usize);

impl Shared {
    /// `length` numbers from the `offset`th on.
    ///
    /// # Safety
    /// The `offset`th lies within the buffer.
    unsafe fn from(self, offset: usize, length: usize) -> Self {
        // SAFETY: as asked of the caller.
        Self(unsafe { self.0.add(offset) }, length)
    }

    /// Where they begin.
    fn pointer(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: only the loops below make one, from an exclusive borrow that outlives the pool call, and every thread
// touches disjoint parts of it.
unsafe impl Send for Shared {}
// SAFETY: as for Send.
unsafe impl Sync for Shared {}

/// Cuts every buffer into `n` equal parts and calls `body(i, parts)` for each `i`, on the pool when `work` (numbers
/// touched by the whole loop) is large enough.
///
/// # Panics
/// If a buffer's length is not a multiple of `n`.
pub fn for_each_part<const B: usize>(
    n: usize,
    work: usize,
    buffers: [&mut [f32]; B],
    body: impl Fn(usize, [&mut [f32]; B]) + Sync,
) {
    for_each_run(n, work, buffers, |run, mut left| {
        let lengths = left.each_ref().map(|run_of| run_of.len() / run.len());
        for i in run {
            let mut lengths = lengths.iter();
            body(
                i,
                left.each_mut().map(|left| {
                    let (part, rest) = std::mem::take(left).split_at_mut(lengths.next().copied().unwrap_or_default());
                    *left = rest;
                    part
                }),
            );
        }
    });
}

/// As [`for_each_part`] with several neighbouring parts at a time, for a kernel that goes over them by itself: the buffers
/// hold as many parts as the run is long.
///
/// # Panics
/// If a buffer's length is not a multiple of `n`.
pub fn for_each_run<const B: usize>(
    n: usize,
    work: usize,
    buffers: [&mut [f32]; B],
    body: impl Fn(Range<usize>, [&mut [f32]; B]) + Sync,
) {
    if n == 0 {
        return;
    }
    for buffer in &buffers {
        assert_eq!(buffer.len() % n, 0, "a buffer of {} numbers has no {n} equal parts", buffer.len());
    }
    let shared = buffers.map(|b| Shared(b.as_mut_ptr(), b.len() / n));
    on_pool(n, work, |run| {
        let (first, count) = (run.start, run.len());
        // SAFETY: part i of a buffer is [i·len, (i+1)·len), within the borrow since i < n and len·n is its length;
        // each i is handed out once, so no two live runs overlap.
        let parts = |Shared(p, len)| unsafe { std::slice::from_raw_parts_mut(p.add(first * len), count * len) };
        body(run, shared.map(parts));
    });
}

/// Ranges that threads begin with; where there are more threads, several share one.
const HOMES: usize = 16;

/// Takes from a range are at least so many, so that a thread that is late leaves something to the others.
const TAKES: usize = 8;

/// How far a range is handed out, from both of its ends; alone on its line of the cache, so that threads at home do not
/// disturb each other.
///
/// Those at home take from the front, helpers from the back. What is taken from a late thread is then the same, or nearly so,
/// from one loop to the next, and stays in its helper's cache; a helper that took what comes next would take another part each
/// time, and its numbers would go from cache to cache.
#[derive(Default)]
#[repr(align(64))]
struct Cursor(AtomicU64);

/// One taken from the back, in the upper half of a cursor; one from the front is 1.
const FROM_BACK: u64 = 1 << 32;

impl Cursor {
    /// Which of the range's takes is next, if any is left.
    fn next(&self, takes: usize, at_home: bool) -> Option<usize> {
        let before = self.0.fetch_add(if at_home { 1 } else { FROM_BACK }, Ordering::Relaxed);
        let (front, back) = ((before % FROM_BACK) as usize, (before / FROM_BACK) as usize);
        let is_left = front + back < takes;
        is_left.then(|| if at_home { front } else { takes - 1 - back })
    }
}

thread_local! {
    /// Whether this thread is within a loop, whose own loops it then runs alone: the pool is taken.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Hands out `0..n` in ranges, to the pool when `work` is large enough. A panic reaches the caller.
///
/// A thread begins with the same part every time, and helps others when it is through: what a loop goes over again and again,
/// states and weights above all, stays in the cache of one core.
fn on_pool(n: usize, work: usize, run: impl Fn(Range<usize>) + Sync) {
    if n == 0 {
        return;
    }
    let pool = barrier_pool();
    let threads = pool.n_workers() + 1;
    if n == 1 || threads == 1 || work < MIN_PARALLEL_WORK || WITHIN.get() {
        run(0..n);
        return;
    }
    let homes = threads.min(HOMES);
    let cursors: [Cursor; HOMES] = Default::default();
    let take = n.div_ceil(homes * TAKES);
    // The pool must not see a panic: it would refuse all work after it.
    let panic = Mutex::new(None);
    pool.execute(|thread| {
        WITHIN.set(true);
        let work = || {
            for away in 0..homes {
                let home = (thread * homes / threads + away) % homes;
                let (first, end) = (home * n / homes, (home + 1) * n / homes);
                while let Some(at) = cursors[home].next((end - first).div_ceil(take), away == 0) {
                    let start = first + at * take;
                    run(start..end.min(start + take));
                }
            }
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            *panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
        WITHIN.set(false);
    });
    if let Some(payload) = panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(payload);
    }
}

/// Cuts equally long buffers into chunks of `length` numbers, the last perhaps shorter, and calls `body(i, chunks)` for
/// each, on the pool when `work` (numbers touched by the whole loop) is large enough.
///
/// # Panics
/// If `length` is 0 or the buffers are not equally long.
pub fn for_each_chunk<const B: usize>(
    buffers: [&mut [f32]; B],
    length: usize,
    work: usize,
    body: impl Fn(usize, [&mut [f32]; B]) + Sync,
) {
    assert!(length > 0, "a chunk has at least one number");
    let total = buffers.first().map_or(0, |buffer| buffer.len());
    assert!(buffers.iter().all(|buffer| buffer.len() == total), "buffers in chunks are equally long");
    let shared = buffers.map(|buffer| Shared(buffer.as_mut_ptr(), total));
    on_pool(total.div_ceil(length), work, |range| {
        for i in range {
            let start = i * length;
            let length = length.min(total - start);
            // SAFETY: chunk i begins within the buffer, since i is below the number of chunks, and ends with it at the
            // latest; each i is handed out once, so no two live chunks of a buffer overlap.
            body(i, shared.map(|Shared(p, _)| unsafe { std::slice::from_raw_parts_mut(p.add(start), length) }));
        }
    });
}

/// `total` new numbers in chunks of `length`, the last perhaps shorter, each of which `body(i, chunk)` is to write, on the pool
/// when `work` is large enough. A chunk is 0 when `body` gets it: the thread that is about to write it has cleared it, which
/// takes its pages and lines into that thread's cache, where clearing all of it beforehand would be one more pass over memory.
///
/// # Panics
/// If `length` is 0.
#[must_use]
pub fn new_chunks(total: usize, length: usize, work: usize, body: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    assert!(length > 0, "a chunk has at least one number");
    let mut made: Vec<f32> = Vec::with_capacity(total);
    let shared = Shared(made.as_mut_ptr(), total);
    on_pool(total.div_ceil(length), work, |range| {
        for i in range {
            let start = i * length;
            let length = length.min(total - start);
            // SAFETY: chunk i begins within the room, since i is below the number of chunks, and ends with it at the latest;
            // each i is handed out once, so no two live chunks overlap. Room may hold anything.
            let room = unsafe { std::slice::from_raw_parts_mut(shared.pointer().add(start).cast(), length) };
            room.fill(MaybeUninit::new(0f32));
            // SAFETY: every number of the chunk has just been written.
            body(i, unsafe { std::slice::from_raw_parts_mut(shared.pointer().add(start), length) });
        }
    });
    // SAFETY: there is room for `total`, and every chunk was written. After a panic this is not reached.
    unsafe { made.set_len(total) };
    made
}

/// Threads of the pool, the caller's among them.
#[must_use]
pub fn threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Runs something once on every thread of the pool, the caller's among them. Not for use within a loop of this module.
pub(super) fn on_every_thread(run: impl Fn() + Sync) {
    barrier_pool().execute(|_| run());
}

/// Some neighbouring columns of a row-major matrix, for one thread to write.
pub(super) struct Columns<'a> {
    /// The first row's first number of these columns.
    start: Shared,
    /// Numbers from one row to the next.
    stride: usize,
    rows: usize,
    first: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

impl Columns<'_> {
    /// The first column.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// How many columns.
    pub(super) fn width(&self) -> usize {
        self.start.1
    }

    /// The first row's first number of these columns, and how many numbers lie from one row to the next: for a library
    /// that writes the block.
    pub(super) fn as_mut_ptr(&mut self) -> (*mut f32, usize) {
        (self.start.0, self.stride)
    }

    /// These columns of one row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        let Shared(start, width) = self.start;
        // SAFETY: the row exists and these columns of it lie within the borrow; no other `Columns` holds them, and this
        // one is borrowed for as long as the row.
        unsafe { std::slice::from_raw_parts_mut(start.add(row * self.stride), width) }
    }
}

/// Cuts the columns of `matrix` (rows, columns) into parts of a multiple of `unit` columns (the last may have fewer) and
/// calls `body` for each, on the pool when `work` (numbers touched by the whole loop) is large enough.
///
/// # Panics
/// If the matrix has another size.
pub(super) fn for_each_columns(
    rows: usize,
    columns: usize,
    unit: usize,
    work: usize,
    matrix: &mut [f32],
    body: impl Fn(Columns<'_>) + Sync,
) {
    assert_eq!(matrix.len(), rows * columns);
    if matrix.is_empty() {
        return;
    }
    let shared = Shared(matrix.as_mut_ptr(), columns);
    on_pool(columns.div_ceil(unit), work, |range| {
        let (first, end) = (range.start * unit, columns.min(range.end * unit));
        // SAFETY: `first` is a column of the first row. Ranges are handed out once and do not overlap, so no two parts
        // hold the same column.
        let start = unsafe { shared.from(first, end - first) };
        body(Columns { start, stride: columns, rows, first, matrix: PhantomData });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let mut a = vec![0f32; 8];
        let broken = catch_unwind(AssertUnwindSafe(|| {
            for_each_part(8, MIN_PARALLEL_WORK, [&mut a], |i, _| assert_ne!(i, 5, "broken part"));
        }));
        assert!(broken.is_err());
        for_each_part(8, MIN_PARALLEL_WORK, [&mut a], |i, [a]| a[0] = i as f32);
        assert_eq!(a, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn a_loop_within_a_loop_runs_on_its_own_thread() {
        let mut a = vec![0f32; 64];
        for_each_part(8, MIN_PARALLEL_WORK, [&mut a], |i, [a]| {
            for_each_part(8, MIN_PARALLEL_WORK, [a], |j, [a]| a[0] += (8 * i + j) as f32);
        });
        assert!(a.iter().enumerate().all(|(i, x)| *x == i as f32));
    }

    #[test]
    fn a_range_is_handed_out_from_both_ends_until_they_meet() {
        for takes in [0, 1, 5] {
            for at_home in [[true, true, false], [false, true, true], [false, false, false], [true, true, true]] {
                let cursor = Cursor::default();
                let mut all: Vec<usize> = at_home.iter().cycle().map_while(|home| cursor.next(takes, *home)).collect();
                assert_eq!(at_home.map(|home| cursor.next(takes, home)), [None; 3]);
                all.sort_unstable();
                assert!(all.into_iter().eq(0..takes), "{takes} {at_home:?}");
            }
        }
        let cursor = Cursor::default();
        assert_eq!([true, false, true, false].map(|home| cursor.next(5, home)), [Some(0), Some(4), Some(1), Some(3)]);
    }

    #[test]
    fn every_part_is_visited_once_whatever_the_work() {
        for work in [0, MIN_PARALLEL_WORK] {
            for n in [1, 2, 7, 64] {
                let (mut a, mut b) = (vec![0f32; n * 3], vec![0f32; n]);
                for_each_part(n, work, [&mut a, &mut b], |i, [a, b]| {
                    a.iter_mut().for_each(|x| *x += i as f32);
                    b[0] += 1.0;
                });
                assert!(b.iter().all(|x| *x == 1.0));
                assert!(a.iter().enumerate().all(|(j, x)| *x == (j / 3) as f32));
            }
        }
    }

    #[test]
    fn every_chunk_is_visited_once_whatever_the_work() {
        for work in [0, MIN_PARALLEL_WORK] {
            for (n, length) in [(0, 3), (1, 3), (9, 3), (10, 3), (1000, 7)] {
                let mut a = vec![0f32; n];
                for_each_chunk([&mut a], length, work, |i, [chunk]| {
                    assert!(chunk.len() == length || (i + 1) * length > n);
                    chunk.iter_mut().enumerate().for_each(|(j, x)| *x += (i * length + j) as f32);
                });
                assert!(a.iter().enumerate().all(|(i, x)| *x == i as f32), "{n} by {length}");
            }
        }
    }

    #[test]
    fn every_new_chunk_is_made_once_from_zeros_whatever_the_work() {
        for work in [0, MIN_PARALLEL_WORK] {
            for (n, length) in [(0, 3), (1, 3), (9, 3), (10, 3), (1000, 7)] {
                let made = new_chunks(n, length, work, |i, chunk| {
                    assert!(chunk.len() == length || (i + 1) * length > n);
                    chunk.iter_mut().enumerate().for_each(|(j, x)| *x += (i * length + j) as f32);
                });
                assert!(made.len() == n && made.iter().enumerate().all(|(i, x)| *x == i as f32), "{n} by {length}");
            }
        }
    }

    #[test]
    fn every_column_is_visited_once_whatever_the_work() {
        for work in [0, MIN_PARALLEL_WORK] {
            for (rows, columns, unit) in [(1, 1, 4), (3, 16, 4), (2, 37, 4), (5, 1000, 1), (0, 7, 4), (7, 0, 4)] {
                let mut matrix = vec![0f32; rows * columns];
                for_each_columns(rows, columns, unit, work, &mut matrix, |mut part| {
                    for row in 0..rows {
                        let first = part.first();
                        assert!(first.is_multiple_of(unit) && part.width() > 0);
                        part.row(row)
                            .iter_mut()
                            .enumerate()
                            .for_each(|(i, x)| *x += (row * columns + first + i) as f32);
                    }
                });
                assert!(matrix.iter().enumerate().all(|(i, x)| *x == i as f32), "{rows} x {columns}");
            }
        }
    }
}
