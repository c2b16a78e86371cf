//! Asks for memory before it is read.

/// Numbers of four bytes in a line of the cache, where it is 64 bytes.
pub(super) const LINE: usize = 16;

/// Brings the line of the `at`th number from the start of a slice into the cache, where the processor has such an
/// instruction. What lies beyond the end may be asked for too, and does no harm.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing that the program can see and faults on no address; SSE is part of the
        // target.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
}
