//! Memory that begins where a line of the cache does.

use std::ops::{Deref, DerefMut};

/// Bytes of the widest vector, and of a line of most caches.
const ALIGNMENT: usize = 64;
const LANES: usize = ALIGNMENT / size_of::<f32>();

/// A fixed number of f32 that begin at a multiple of 64 bytes: a vector that straddles two lines of the cache takes two
/// loads, which costs a cached step up to a quarter of its time. Otherwise as a boxed slice.
pub struct Aligned {
    storage: Vec<f32>,
    /// Where the numbers begin in the storage.
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many zeros.
    #[must_use]
    pub fn zeros(length: usize) -> Self {
        let storage = vec![0.0; length + LANES - 1];
        // No alignment is promised where it cannot be had; the numbers are right all the same.
        let start = storage.as_ptr().align_offset(ALIGNMENT).min(LANES - 1);
        Self { storage, start, length }
    }
}

impl From<&[f32]> for Aligned {
    fn from(numbers: &[f32]) -> Self {
        let mut aligned = Self::zeros(numbers.len());
        aligned.copy_from_slice(numbers);
        aligned
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.start..][..self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..][..self.length]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl PartialEq for Aligned {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_a_line_and_survive_a_copy() {
        for n in [0, 1, 15, 16, 17, 1000] {
            let numbers: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut aligned = Aligned::from(numbers.as_slice());
            let copy = aligned.clone();
            assert!(
                aligned.as_ptr().addr().is_multiple_of(ALIGNMENT) && copy.as_ptr().addr().is_multiple_of(ALIGNMENT)
            );
            assert_eq!((&*aligned, &copy), (numbers.as_slice(), &aligned));
            if let Some(last) = aligned.last_mut() {
                *last = -1.0;
                assert_ne!(aligned, copy);
            }
        }
        assert_eq!(format!("{:?}", Aligned::zeros(2)), "[0.0, 0.0]");
    }
}
