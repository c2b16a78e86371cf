//! Arithmetic on slices: slices in, slices out. Knows no tensor and no parameter, and allocates
//! nothing but the results of [`new_chunks`] and [`gemm::product`].
//!
//! The modules here are plain, portable loops; `fused` holds their faster forms, tested by the same suite.

pub mod activation;
pub mod adamw;
mod choice;
pub mod dense;
pub mod features;
pub mod fused;
pub mod gemm;
pub mod hybrid;
pub mod linear;
mod parallel;
mod simd;
pub mod softmax;

pub use choice::Kernels;
pub use parallel::{for_each_chunk, for_each_part, for_each_run, new_chunks, threads};
pub use simd::Simd;

/// Lanes summed apart, so that the compiler may use vector registers without reordering a sum.
const LANES: usize = 16;

/// `Σ a_i b_i` over slices of equal length.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (xs, ys) in a_blocks.zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(xs).zip(ys) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// `out_i += factor · x_i`.
pub fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_of_every_short_length_is_the_sum_of_squares() {
        // 1² + … + n² = n(n+1)(2n+1)/6
        for n in 0..70usize {
            let x: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(dot(&x, &x), (n * (n + 1) * (2 * n + 1) / 6) as f32);
        }
    }
}
