//! When a unit has had enough rounds, and in which order units are visited. Pure: the same visits and the same seed
//! always give the same answer, so that a resumed run goes on as it would have.

use std::time::Duration;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    record::StopReason,
    settings::{MIN_ROUNDS, MeasureSettings},
};
use crate::stats::{median, median_interval, relative_half_width};

/// The order of a round over `n` units, from the seed, the group and the round alone.
pub(super) fn order(seed: u64, group_key: &str, round: u32, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let place = xxh3_64(format!("{seed} {round} {group_key}").as_bytes());
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(place));
    order
}

/// Why a unit is done after a round, if it is. `figures` are the rounds' figures of each of its cells.
pub(super) fn stop_reason(figures: &[Vec<f64>], elapsed: Duration, settings: &MeasureSettings) -> Option<StopReason> {
    let rounds = figures.iter().map(Vec::len).min().unwrap_or(0);
    if rounds >= MIN_ROUNDS as usize && figures.iter().all(|f| is_confident(f, settings.ci_target)) {
        return Some(StopReason::Confidence);
    }
    if rounds >= settings.rounds as usize {
        return Some(StopReason::Rounds);
    }
    (elapsed >= settings.cell_timeout).then_some(StopReason::CellTime)
}

/// Whether the interval of the median is within that share of it.
fn is_confident(figures: &[f64], target: f64) -> bool {
    let width = || relative_half_width(median_interval(figures)?, median(figures)?);
    width().is_some_and(|w| w <= target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_that_depend_on_seed_group_and_round() {
        let base = order(1, "g", 0, 8);
        let mut sorted = base.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        assert_eq!(base, order(1, "g", 0, 8));
        for other in [order(2, "g", 0, 8), order(1, "h", 0, 8), order(1, "g", 1, 8)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn confidence_needs_six_rounds_and_every_cell() {
        let s = MeasureSettings { rounds: 9, cell_timeout: Duration::from_secs(10), ..MeasureSettings::default() };
        let after = |figures: &[Vec<f64>], secs| stop_reason(figures, Duration::from_secs(secs), &s);
        assert_eq!(after(&[vec![100.0; 5]], 1), None);
        assert_eq!(after(&[vec![100.0; 6]], 1), Some(StopReason::Confidence));
        // Of six values the interval is the range: 100 to 104 about 102 is within 2 %, 100 to 105 is not.
        assert_eq!(after(&[vec![100.0, 100.0, 102.0, 102.0, 104.0, 104.0]], 1), Some(StopReason::Confidence));
        let wide = vec![100.0, 100.0, 102.0, 102.0, 104.0, 105.0];
        assert_eq!(after(std::slice::from_ref(&wide), 1), None);
        assert_eq!(after(&[vec![100.0; 6], wide.clone()], 1), None);
        assert_eq!(after(std::slice::from_ref(&wide), 10), Some(StopReason::CellTime));
        assert_eq!(after(&[[wide, vec![90.0, 110.0, 120.0]].concat()], 10), Some(StopReason::Rounds));
    }
}
