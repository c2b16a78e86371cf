//! A global allocator that counts what it hands out. Knows the process as a whole, not who asked.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static COUNTERS: Counters = Counters::new();

/// The system's allocator, counting. Install it with `#[global_allocator]` in a binary; then [`live_bytes`],
/// [`peak_bytes`] and [`allocation_count`] answer. Memory mapped by other means (weights, thread stacks) is not seen.
///
/// Blocks of 1 KiB and more begin at a line of the cache: a vector that straddles two lines takes two loads, and a state or a
/// weight matrix whose every row does is read at half the speed. They count as what was asked for.
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

/// Keeps what is freed for what is allocated next, large blocks too. A training step frees and asks for hundreds of
/// megabytes; handing them back to the system each time costs a page fault every 4 KiB, a fifth of the step. One arena
/// serves all threads, so that it does not matter which of them measures. Does nothing where the C library is not glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, mallopt};
        // Glibc before 2.35 takes half an arena's largest part at most.
        const LARGEST: [i32; 2] = [1 << 30, 32 << 20];
        // SAFETY: sets numbers that the allocator reads; it locks them itself.
        unsafe {
            let _ = LARGEST.iter().any(|bytes| mallopt(M_MMAP_THRESHOLD, *bytes) == 1);
            mallopt(M_TRIM_THRESHOLD, -1);
            mallopt(M_TOP_PAD, 64 << 20);
            mallopt(M_ARENA_MAX, 1);
        }
    }
}

/// Hands back to the system what is kept, so that the resident set shows what is in use.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: has no precondition.
    unsafe {
        nix::libc::malloc_trim(0);
    }
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

/// Bytes of a line of most caches, and of the widest vector.
const LINE: usize = 64;
/// Bytes from which on a block begins at a line: what is smaller has no rows that would.
const LARGE: usize = 1024;

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= LINE
}

/// What a large block lies in: room to move its beginning to a line, and to write before it how far that was.
fn around(layout: Layout) -> Option<Layout> {
    Layout::from_size_align(layout.size().checked_add(LINE)?, align_of::<usize>()).ok()
}

/// Memory for the layout, by `of_system`; null where there is none.
///
/// # Safety
/// `of_system` gives memory of the layout that it gets, or null.
unsafe fn obtain(layout: Layout, of_system: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
    if !is_large(layout) {
        return of_system(layout);
    }
    let Some(around) = around(layout) else { return null_mut() };
    let memory = of_system(around);
    if memory.is_null() {
        return memory;
    }
    // At least the size of a word, since both are multiples of it.
    let moved = LINE - memory.addr() % LINE;
    // SAFETY: `around` is a line longer than the layout, and the word before the beginning lies within what was skipped.
    unsafe {
        let begin = memory.add(moved);
        begin.cast::<usize>().sub(1).write(moved);
        begin
    }
}

/// Gives back what [`obtain`] gave.
///
/// # Safety
/// `memory` came from [`obtain`] with this layout, by `System`.
unsafe fn give_back(memory: *mut u8, layout: Layout) {
    match around(layout).filter(|_| is_large(layout)) {
        // SAFETY: `memory` is what `System` gave for the layout.
        None => unsafe { System.dealloc(memory, layout) },
        // SAFETY: `obtain` wrote before it how far it lies from what `System` gave for `around`.
        Some(around) => unsafe { System.dealloc(memory.sub(memory.cast::<usize>().sub(1).read()), around) },
    }
}

// SAFETY: memory comes from `System` and goes back to it with the layout that it was asked for; a large block is a part of
// it that begins at a multiple of any alignment up to a line and is as long as was asked. Counting touches only atomics and
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract; a longer layout is not empty either.
        let memory = unsafe { obtain(layout, |layout| System.alloc(layout)) };
        if !memory.is_null() {
            COUNTERS.allocated(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        let memory = unsafe { obtain(layout, |layout| System.alloc_zeroed(layout)) };
        if !memory.is_null() {
            COUNTERS.allocated(layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from this allocator, hence from `obtain`, with this layout.
        unsafe { give_back(memory, layout) };
        COUNTERS.freed(layout.size());
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller vouches for the size, with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let moved = if is_large(layout) || is_large(new_layout) {
            // SAFETY: both blocks are as long as what is copied, and are two; the old one goes back as in `dealloc`.
            unsafe {
                let moved = obtain(new_layout, |layout| System.alloc(layout));
                if !moved.is_null() {
                    memory.copy_to_nonoverlapping(moved, layout.size().min(new_size));
                    give_back(memory, layout);
                }
                moved
            }
        } else {
            // SAFETY: `memory` came from this allocator, hence from `System`, with this layout.
            unsafe { System.realloc(memory, layout, new_size) }
        };
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
        large_blocks(&allocator);
        assert_eq!(live_bytes(), Some(0));
    }

    /// They begin at a line, keep what they hold whatever becomes of their size, and count as what was asked for.
    fn large_blocks(allocator: &CountingAllocator) {
        let layout = |size| Layout::from_size_align(size, 4).unwrap();
        // SAFETY: sizes are not zero, and every pointer is returned once, with the layout it last had.
        unsafe {
            let mut held = Vec::new();
            for size in LARGE..LARGE + 100 {
                let a = allocator.alloc_zeroed(layout(size));
                assert!(a.addr().is_multiple_of(LINE) && (0..size).all(|i| *a.add(i) == 0), "{size}");
                a.write_bytes(7, size);
                held.push((a, size));
            }
            assert_eq!(live_bytes(), Some(held.iter().map(|(_, size)| *size as u64).sum()));
            for (a, size) in held {
                let mut a = a;
                let mut last = size;
                for next in [3 * size, size, 10, size] {
                    a = allocator.realloc(a, layout(last), next);
                    assert!(next < LARGE || a.addr().is_multiple_of(LINE));
                    assert!((0..last.min(next).min(10)).all(|i| *a.add(i) == 7), "{size}: {last} to {next}");
                    last = next;
                }
                allocator.dealloc(a, layout(last));
            }
            // More than there can be.
            let far = Layout::from_size_align(isize::MAX as usize - 8, 4).unwrap();
            assert!(allocator.alloc(far).is_null());
        }
    }
}
