//! The loops whose speed is the machine's limit: streams through memory and chains of multiply-adds. Times nothing.

use std::hint::black_box;

use pulp::{Simd, WithSimd};

/// Which way memory traffic goes; a cell's share of the machine is taken of a stream of the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Reads dominate (a KV cache, weights).
    Read,
    /// Every byte read is written back (a recurrent state).
    ReadWrite,
}

impl Direction {
    /// Bytes moved by one pass over a byte of memory.
    pub(super) fn bytes_per_byte(self) -> u64 {
        match self {
            Self::Read => 1,
            Self::ReadWrite => 2,
        }
    }
}

/// Vectors of independent sums, enough to hide the latency of an addition.
const SUMS: usize = 8;

/// Goes once over a slice, in the widest vectors that the processor has.
pub(super) fn stream(slice: &mut [f32], direction: Direction) {
    match direction {
        Direction::Read => _ = black_box(pulp::Arch::new().dispatch(Read(slice))),
        Direction::ReadWrite => pulp::Arch::new().dispatch(|| update(slice)),
    }
}

/// Sums a slice. In explicit vectors, because the compiler keeps an array of sums in memory rather than in registers,
/// which halves the speed in cache.
struct Read<'a>(&'a [f32]);

impl WithSimd for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (vectors, rest) = S::as_simd_f32s(self.0);
        let (blocks, more) = vectors.as_chunks::<SUMS>();
        let mut sums = [simd.splat_f32s(0.0); SUMS];
        for block in blocks {
            for (sum, vector) in sums.iter_mut().zip(block) {
                *sum = simd.add_f32s(*sum, *vector);
            }
        }
        let sum = sums.iter().chain(more).fold(simd.splat_f32s(0.0), |sum, vector| simd.add_f32s(sum, *vector));
        simd.reduce_sum_f32s(sum) + rest.iter().sum::<f32>()
    }
}

/// Converges to 1, so that no element ever becomes slow to compute with.
#[inline(always)]
fn update(slice: &mut [f32]) {
    for x in black_box(slice) {
        *x = *x * 0.5 + 0.5;
    }
}

/// Chains of multiply-adds that run side by side; what is best depends on the number and width of the registers.
pub(super) const CHAINS: [usize; 2] = [96, 192];

/// Steps of each chain in one call of [`multiply_add`].
pub(super) const STEPS: usize = 100_000;

/// Runs `N` chains for [`STEPS`] steps: 2·N·STEPS operations. `FUSED` where a multiply-add is one instruction.
pub(super) fn multiply_add<const N: usize, const FUSED: bool>() {
    let (scale, offset) = (black_box(0.5_f32), black_box(0.5_f32));
    let sum = pulp::Arch::new().dispatch(|| {
        let mut chains = [1.0_f32; N];
        for _ in 0..STEPS {
            for x in &mut chains {
                *x = if FUSED { x.mul_add(scale, offset) } else { *x * scale + offset };
            }
        }
        chains.iter().sum::<f32>()
    });
    black_box(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_touch_every_element_at_any_length() {
        for n in [0, 1, 15, 16, 17, 127, 128, 129, 145, 1000] {
            let mut slice = vec![3.0_f32; n];
            // Sums of small whole numbers are exact.
            assert_eq!(pulp::Arch::new().dispatch(Read(&slice)), 3.0 * n as f32, "{n}");
            stream(&mut slice, Direction::ReadWrite);
            assert!(slice.iter().all(|x| *x == 2.0), "{n}");
        }
    }
}
