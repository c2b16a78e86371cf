//! One loop over equal parts of several buffers, on the shared pool when the work pays for waking it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, PoisonError},
};

use candle_core::utils::barrier_pool;

/// Numbers touched below which one thread is faster: about 40 µs of work, several times the cost of a fork and join.
const MIN_PARALLEL_WORK: usize = 128 * 1024;

/// A pointer that may cross to the pool's threads.
#[derive(Clone, Copy)]
struct Shared(*mut f32, usize);

// SAFETY: only `for_each_part` makes one, from an exclusive borrow that outlives the pool call, and every thread
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
    if n == 0 {
        return;
    }
    for buffer in &buffers {
        assert_eq!(buffer.len() % n, 0, "a buffer of {} numbers has no {n} equal parts", buffer.len());
    }
    let shared = buffers.map(|b| Shared(b.as_mut_ptr(), b.len() / n));
    let run = |range: std::ops::Range<usize>| {
        for i in range {
            // SAFETY: part i of a buffer is [i·len, (i+1)·len), within the borrow since i < n and len·n is its length;
            // each i is handed out once, so no two live parts overlap.
            body(i, shared.map(|Shared(p, len)| unsafe { std::slice::from_raw_parts_mut(p.add(i * len), len) }));
        }
    };
    if n == 1 || work < MIN_PARALLEL_WORK {
        run(0..n);
    } else {
        // The pool must not see a panic: it would refuse all work after it.
        let panic = Mutex::new(None);
        barrier_pool().execute_chunked(n, |range| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(range))) {
                *panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
        });
        if let Some(payload) = panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
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
}
