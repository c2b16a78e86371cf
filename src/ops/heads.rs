//! From the width of a model to its heads, and back.

use crate::kernels::new_chunks;

/// What lies between a model's width and its heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Tokens of a sequence.
    pub(super) n: usize,
    pub(super) heads: usize,
    /// Numbers of a head.
    pub(super) width: usize,
}

impl Heads {
    /// (b, n, heads · width) as (b, heads, n, width).
    pub(super) fn apart(self, x: &[f32]) -> Vec<f32> {
        self.turn(x, self.heads, self.n)
    }

    /// (b, heads, n, width) as (b, n, heads · width).
    pub(super) fn together(self, x: &[f32]) -> Vec<f32> {
        self.turn(x, self.n, self.heads)
    }

    /// Of every sequence, (first, second, width) from (second, first, width).
    fn turn(self, x: &[f32], first: usize, second: usize) -> Vec<f32> {
        let width = self.width;
        let sequence = first * second * width;
        new_chunks(x.len(), (second * width).max(1), x.len(), |i, out| {
            let (x, i) = (&x[i / first * sequence..][..sequence], i % first);
            for (j, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&x[(j * first + i) * width..][..width]);
            }
        })
    }
}
