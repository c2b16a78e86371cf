//! A global allocator that counts what it hands out. Knows the process as a whole, not who asked.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static COUNTERS: Counters = Counters::new();

/// The system's allocator, counting. Install it with `#[global_allocator]` in a binary; then [`live_bytes`],
/// [`peak_bytes`] and [`allocation_count`] answer. Memory mapped by other means (weights, thread stacks) is not seen.
#[derive(Debug, Default)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// An allocator to install.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

/// Bytes handed out and not yet returned; `None` where the allocator is not installed.
#[must_use]
pub fn live_bytes() -> Option<u64> {
    installed(COUNTERS.live.load(Relaxed))
}

/// Most bytes live at once since the start or the last [`reset_peak`]; `None` where the allocator is not installed.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    installed(COUNTERS.peak.load(Relaxed))
}

/// Allocations and reallocations so far; `None` where the allocator is not installed.
#[must_use]
pub fn allocation_count() -> Option<u64> {
    installed(COUNTERS.allocations.load(Relaxed))
}

/// Starts the peak anew from what is live now. Exact only while no other thread allocates.
pub fn reset_peak() {
    COUNTERS.peak.store(COUNTERS.live.load(Relaxed), Relaxed);
}

/// Runs something whose own memory, given back before it returns, the peak is not to show. Exact only while no other
/// thread allocates.
pub fn without_peak<T>(run: impl FnOnce() -> T) -> T {
    let before = COUNTERS.peak.load(Relaxed);
    let out = run();
    COUNTERS.peak.store(before.max(COUNTERS.live.load(Relaxed)), Relaxed);
    out
}

/// Rust's runtime allocates before `main`, so a count of zero means that somebody else allocates.
fn installed(value: usize) -> Option<u64> {
    (COUNTERS.allocations.load(Relaxed) > 0).then_some(value as u64)
}

/// Relaxed order suffices: the counters guard no other memory, and each is read on its own.
struct Counters {
    live: AtomicUsize,
    peak: AtomicUsize,
    allocations: AtomicUsize,
}

impl Counters {
    const fn new() -> Self {
        Self { live: AtomicUsize::new(0), peak: AtomicUsize::new(0), allocations: AtomicUsize::new(0) }
    }

    fn allocated(&self, bytes: usize) {
        self.allocations.fetch_add(1, Relaxed);
        self.grown(bytes);
    }

    fn reallocated(&self, from: usize, to: usize) {
        self.allocations.fetch_add(1, Relaxed);
        if to >= from { self.grown(to - from) } else { self.freed(from - to) }
    }

    fn grown(&self, bytes: usize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(live, Relaxed);
    }

    fn freed(&self, bytes: usize) {
        self.live.fetch_sub(bytes, Relaxed);
    }
}

// SAFETY: every call goes to `System` with the arguments unchanged, so its guarantees are ours; counting touches only
// atomics and neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            COUNTERS.allocated(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc::alloc_zeroed`'s contract, which is `System`'s.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            COUNTERS.allocated(layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from this allocator, hence from `System`, with this layout.
        unsafe { System.dealloc(memory, layout) };
        COUNTERS.freed(layout.size());
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: `memory` came from this allocator, hence from `System`, with this layout; the caller vouches for the size.
        let moved = unsafe { System.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            COUNTERS.reallocated(layout.size(), new_size);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_counts_what_goes_through_it() {
        // Not installed in this test binary, so that only the calls below are counted.
        assert_eq!((live_bytes(), peak_bytes(), allocation_count()), (None, None, None));
        let allocator = CountingAllocator::new();
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: sizes are not zero, and every pointer is returned once, with the layout it last had.
        unsafe {
            let a = allocator.alloc(layout(100));
            let b = allocator.alloc_zeroed(layout(50));
            assert!((0..50).all(|i| *b.add(i) == 0));
            let a = allocator.realloc(a, layout(100), 300);
            assert_eq!((live_bytes(), peak_bytes(), allocation_count()), (Some(350), Some(350), Some(3)));
            let a = allocator.realloc(a, layout(300), 10);
            allocator.dealloc(b, layout(50));
            assert_eq!((live_bytes(), peak_bytes(), allocation_count()), (Some(10), Some(350), Some(4)));
            reset_peak();
            assert_eq!(peak_bytes(), Some(10));
            without_peak(|| {
                let c = allocator.alloc(layout(70));
                allocator.dealloc(c, layout(70));
            });
            assert_eq!(peak_bytes(), Some(10));
            let c = without_peak(|| allocator.alloc(layout(5)));
            assert_eq!((peak_bytes(), allocation_count()), (Some(15), Some(6)));
            allocator.dealloc(c, layout(5));
            reset_peak();
            allocator.dealloc(a, layout(10));
        }
        assert_eq!((live_bytes(), peak_bytes()), (Some(0), Some(10)));
    }
}
