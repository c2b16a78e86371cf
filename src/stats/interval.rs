//! Distribution-free 95 % intervals of a median and of a paired ratio, from order statistics.

use super::summary::{median, sorted};

/// Least probability with which an interval covers the true median.
const COVERAGE: f64 = 0.95;

/// Low and high end, in the unit of the values.
pub type Interval = (f64, f64);

/// How many times faster a candidate is than its baseline, over rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median over the pairs of baseline / candidate; above 1 the candidate is faster.
    pub ratio: f64,
    /// Interval of that median; `None` below six pairs.
    pub interval: Option<Interval>,
    /// Number of pairs.
    pub pairs: usize,
}

/// Interval of the median by order statistics, with at least 95 % coverage whatever the distribution (David and
/// Nagaraja, "Order Statistics", §7.1): the k-th smallest to the k-th largest value for the largest k with
/// 2·P(B < k) ≤ 5 %, B binomial over n tosses of a fair coin. `None` below six values, where no k exists.
///
/// The values may be infinite (a censored estimate); order is all that counts.
#[must_use]
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let rank = order_rank(values.len())?;
    let sorted = sorted(values);
    Some((sorted[rank - 1], sorted[sorted.len() - rank]))
}

/// Half the width of an interval over the size of its centre: 0.02 is ±2 %. `None` where the centre is 0.
#[must_use]
pub fn relative_half_width(interval: Interval, centre: f64) -> Option<f64> {
    (centre != 0.0).then(|| (interval.1 - interval.0) / 2.0 / centre.abs())
}

/// Median of baseline / candidate over rounds, each pair the (baseline, candidate) figures of one round, with its
/// interval. `None` without pairs. Figures are positive times.
#[must_use]
pub fn ratio_interval(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let ratios: Vec<f64> = pairs.iter().map(|(baseline, candidate)| baseline / candidate).collect();
    Some(Ratio { ratio: median(&ratios)?, interval: median_interval(&ratios), pairs: ratios.len() })
}

/// Largest rank k, from 1, with 2·P(B < k) ≤ 1 − [`COVERAGE`]; `None` where even k = 1 covers too little.
fn order_rank(n: usize) -> Option<usize> {
    // In logarithms, because 2⁻ⁿ underflows from n = 1075 on.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut below = log_term.exp();
    let mut rank = 0;
    while rank < n && 2.0 * below <= 1.0 - COVERAGE {
        rank += 1;
        log_term += ((n - rank + 1) as f64 / rank as f64).ln();
        below += log_term.exp();
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_agree_with_the_published_table() {
        // Ranks of the 95 % sign-test interval, e.g. Hollander and Wolfe, table A.2, or by summing binomials:
        // n=6: 2·1/64 = 0.031; n=8: k=2 would need 2·9/256 = 0.070; n=9: 2·10/512 = 0.039.
        for (n, rank) in [(6, 1), (7, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8), (30, 10)] {
            assert_eq!(order_rank(n), Some(rank), "n = {n}");
        }
        for n in 0..6 {
            assert_eq!(order_rank(n), None, "n = {n}");
        }
    }

    #[test]
    fn ranks_of_many_values_follow_the_normal_approximation() {
        for n in [1_000_usize, 5_000, 100_000] {
            let normal = n as f64 / 2.0 - 1.96 * (n as f64).sqrt() / 2.0;
            let rank = order_rank(n).unwrap() as f64;
            assert!((rank - normal).abs() < 2.0, "n = {n}: {rank} against {normal}");
        }
    }

    #[test]
    fn six_values_span_their_range_and_nine_lose_the_ends() {
        assert_eq!(median_interval(&[3.0, 1.0, 2.0, 6.0, 5.0]), None);
        assert_eq!(median_interval(&[3.0, 1.0, 2.0, 6.0, 5.0, 4.0]), Some((1.0, 6.0)));
        let nine: Vec<f64> = (1..=9).rev().map(f64::from).collect();
        assert_eq!(median_interval(&nine), Some((2.0, 8.0)));
    }

    #[test]
    fn half_width_is_relative_to_the_centre() {
        assert_eq!(relative_half_width((98.0, 102.0), 100.0), Some(0.02));
        assert_eq!(relative_half_width((-1.0, 1.0), 0.0), None);
    }

    #[test]
    fn ratios_are_paired() {
        // The machine slows down tenfold from round to round; each pair still says 2.
        let pairs: Vec<(f64, f64)> = (0..6).map(|i| (2.0 * 10f64.powi(i), 10f64.powi(i))).collect();
        assert_eq!(ratio_interval(&pairs), Some(Ratio { ratio: 2.0, interval: Some((2.0, 2.0)), pairs: 6 }));
        assert_eq!(ratio_interval(&pairs[..1]), Some(Ratio { ratio: 2.0, interval: None, pairs: 1 }));
        assert_eq!(ratio_interval(&[]), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_sample_median(values in prop::collection::vec(0.0..1e9f64, 6..100)) {
            let (low, high) = median_interval(&values).unwrap();
            let centre = median(&values).unwrap();
            prop_assert!(low <= centre && centre <= high);
        }
    }
}
