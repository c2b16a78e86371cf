//! When a cell is warm and how long a block must be: the two rules that end the discarded samples. Knows no clock.

use std::time::Duration;

/// Samples that must agree.
const AGREEING: usize = 3;
/// Largest over smallest of samples that agree.
const AGREEMENT: f64 = 1.05;
/// Aim beyond the least block, so that the next, faster sample does not fall short again.
const HEADROOM: f64 = 1.2;
/// Growth of a block from one sample to the next is bounded: a first sample may be below the clock's resolution.
const MAX_GROWTH: f64 = 16.0;
/// A call that is still too short by then does nothing.
const MAX_ITERS: u64 = 1 << 24;

/// Whether the last three samples (in any unit) are within 5 % of each other.
pub(super) fn agree(samples: &[f64]) -> bool {
    let Some(last) = samples.len().checked_sub(AGREEING).map(|from| &samples[from..]) else { return false };
    let (low, high) = last.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
    high <= low * AGREEMENT
}

/// The number of calls for the next block, when `iters` took `elapsed` and a block must take `least`.
pub(super) fn grown(iters: u64, elapsed: Duration, least: Duration) -> u64 {
    let wanted = HEADROOM * least.as_secs_f64() / elapsed.as_secs_f64();
    // Dividing by zero gives infinity, which the bound takes care of.
    let next = iters as f64 * wanted.clamp(1.0, MAX_GROWTH);
    (next.ceil() as u64).clamp(iters.saturating_add(1), MAX_ITERS.max(iters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_samples_within_five_percent_agree() {
        assert!(!agree(&[1.0, 1.0]));
        assert!(agree(&[9.0, 100.0, 105.0, 102.0]));
        assert!(!agree(&[100.0, 105.1, 102.0]));
        assert!(agree(&[0.0; 3]), "below the clock's resolution nothing can be told apart");
    }

    #[test]
    fn blocks_grow_towards_the_least_length_in_bounded_steps() {
        let ms = Duration::from_millis;
        // 10 calls took 20 ms, 25 are wanted: 10 · 1.2 · 25/20 = 15.
        assert_eq!(grown(10, ms(20), ms(25)), 15);
        assert_eq!(grown(10, ms(1), ms(25)), 160);
        assert_eq!(grown(1, Duration::ZERO, ms(25)), 16);
        assert_eq!(grown(1, ms(24), ms(25)), 2);
        assert_eq!(grown(MAX_ITERS - 1, Duration::ZERO, ms(25)), MAX_ITERS);
    }
}
