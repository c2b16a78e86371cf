//! Two samples by their ranks: a shift between them with an exact, distribution-free interval.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Interval, median};

/// Up to this many values together the distribution of the rank sum is counted out; beyond, it is taken for normal.
const EXACT_UP_TO: usize = 40;
/// A sample that is larger is thinned evenly: all pairs of two samples are held.
const MOST_VALUES: usize = 500;

/// What the Mann–Whitney test knows of the shift of a sample `a` against a sample `b`: all differences aᵢ − bⱼ in order.
/// If both are draws of one distribution but for a shift, p-values and intervals hold whatever that distribution is
/// (Hollander and Wolfe, "Nonparametric Statistical Methods", §4.1 and §4.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    /// aᵢ − bⱼ, ascending.
    differences: Vec<f64>,
    sizes: (usize, usize),
    /// P(U ≥ u) under no shift, by u; empty where the normal approximation serves.
    tail: Vec<f64>,
}

impl Ranks {
    /// Compares two samples of finite values; `None` where one is empty.
    #[must_use]
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let (a, b) = (thinned(a), thinned(b));
        let mut differences: Vec<f64> = a.iter().flat_map(|x| b.iter().map(move |y| x - y)).collect();
        differences.sort_by(f64::total_cmp);
        let sizes = (a.len(), b.len());
        let tail = if sizes.0 + sizes.1 <= EXACT_UP_TO { exact_tail(sizes.0, sizes.1) } else { Vec::new() };
        Some(Self { differences, sizes, tail })
    }

    /// Median of the differences: the estimate of Hodges and Lehmann.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        median(&self.differences).unwrap_or_default()
    }

    /// Probability of differences this large if the shift were `shift` or less. Ties count against it.
    #[must_use]
    pub fn p_above(&self, shift: f64) -> f64 {
        self.tail(self.differences.len() - self.differences.partition_point(|d| *d <= shift))
    }

    /// Probability of differences this small if the shift were `shift` or more. Ties count against it.
    #[must_use]
    pub fn p_below(&self, shift: f64) -> f64 {
        self.tail(self.differences.partition_point(|d| *d < shift))
    }

    /// Interval of the shift that covers it with at least 1 − `alpha`; `None` where so few values cannot.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        let n = self.differences.len();
        // The largest k of which a rank sum beyond n − k is still rare.
        let mut rank = 0;
        while rank < n.div_ceil(2) && self.tail(n - rank) <= alpha / 2.0 {
            rank += 1;
        }
        (rank > 0).then(|| (self.differences[rank - 1], self.differences[n - rank]))
    }

    /// Smallest p-value of a one-sided test that two samples of these sizes can give.
    #[must_use]
    pub fn smallest_p(n_a: usize, n_b: usize) -> f64 {
        // One of C(a+b, a) orders.
        (1..=n_a).map(|i| i as f64 / (n_b + i) as f64).product()
    }

    fn tail(&self, u: usize) -> f64 {
        if let Some(p) = self.tail.get(u) {
            return *p;
        }
        if !self.tail.is_empty() {
            return 0.0;
        }
        let (n, m) = (self.sizes.0 as f64, self.sizes.1 as f64);
        let sd = (n * m * (n + m + 1.0) / 12.0).sqrt();
        1.0 - Normal::standard().cdf((u as f64 - 0.5 - n * m / 2.0) / sd)
    }
}

/// At most [`MOST_VALUES`] of the values, evenly spaced in their order.
fn thinned(values: &[f64]) -> Vec<f64> {
    let n = values.len().min(MOST_VALUES);
    (0..n).map(|i| values[i * values.len() / n]).collect()
}

/// P(U ≥ u) for u = 0 ..= n·m: the Gaussian binomial coefficient, whose terms count the orders with each rank sum.
fn exact_tail(n: usize, m: usize) -> Vec<f64> {
    let most = n * m;
    let mut counts = vec![0.0_f64; most + 1];
    counts[0] = 1.0;
    for i in 1..=m {
        // Times (1 − q^(n+i)), divided by (1 − q^i); every number is a whole one below 2⁵³.
        for u in (n + i..=most).rev() {
            counts[u] -= counts[u - n - i];
        }
        for u in i..=most {
            counts[u] += counts[u - i];
        }
    }
    let all: f64 = counts.iter().sum();
    let mut sum = 0.0;
    for count in counts.iter_mut().rev() {
        sum += *count;
        *count = sum / all;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_counts_are_those_of_the_published_tables() {
        // Mann and Whitney (1947), table I: n = 3, m = 3: P(U ≤ 0, 1, 2, 3, 4) = .05 .10 .20 .35 .50.
        let tail = exact_tail(3, 3);
        for (u, p) in [(9, 0.05), (8, 0.10), (7, 0.20), (6, 0.35), (5, 0.50), (0, 1.0)] {
            assert!((tail[u] - p).abs() < 1e-12, "{u}: {}", tail[u]);
        }
        // n = 8, m = 8: one of C(16, 8) = 12870 orders is the most extreme, 4 reach the third.
        let tail = exact_tail(8, 8);
        assert!((tail[64] - 1.0 / 12870.0).abs() < 1e-15 && (tail[62] - 4.0 / 12870.0).abs() < 1e-15);
        assert!((Ranks::smallest_p(8, 8) - 1.0 / 12870.0).abs() < 1e-15);
    }

    #[test]
    fn the_interval_is_that_of_the_published_table() {
        // Hollander and Wolfe, table A.6: for n = m = 6 the 95 % interval leaves out 5 differences at each end
        // (P(U ≤ 5) = 19/924 = 0.0206, P(U ≤ 6) = 30/924 = 0.0325).
        let a: Vec<f64> = (0..6).map(|i| f64::from(i * 7)).collect();
        let b: Vec<f64> = (0..6).map(f64::from).collect();
        let ranks = Ranks::of(&a, &b).unwrap();
        assert_eq!(ranks.interval(0.05), Some((ranks.differences[5], ranks.differences[30])));
        assert_eq!(Ranks::of(&[1.0, 2.0], &[3.0, 4.0]).unwrap().interval(0.05), None);
    }

    #[test]
    fn a_clear_shift_has_the_smallest_p_and_ties_count_against_it() {
        let a = [11.0, 12.0, 13.0, 14.0, 15.0, 16.0];
        let b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let ranks = Ranks::of(&a, &b).unwrap();
        assert_eq!(ranks.estimate(), 10.0);
        assert!((ranks.p_above(0.0) - 1.0 / 924.0).abs() < 1e-15);
        assert!((ranks.p_below(0.0) - 1.0).abs() < 1e-12);
        let same = Ranks::of(&[1.0; 6], &[1.0; 6]).unwrap();
        assert_eq!((same.p_above(0.0), same.p_below(0.0)), (1.0, 1.0));
        assert_eq!(same.interval(0.05), Some((0.0, 0.0)));
    }

    #[test]
    fn counting_and_approximating_agree_where_they_meet() {
        let a: Vec<f64> = (0..20).map(|i| f64::from(i) + 2.4).collect();
        let b: Vec<f64> = (0..20).map(f64::from).collect();
        let exact = Ranks::of(&a, &b).unwrap();
        let approximate = Ranks { tail: Vec::new(), ..exact.clone() };
        let (p, q) = (exact.p_above(0.0), approximate.p_above(0.0));
        assert!((p - q).abs() < 0.002, "{p} {q}");
    }

    proptest! {
        #[test]
        fn interval_and_p_value_say_the_same(
            a in prop::collection::vec(-1.0..1.0f64, 6..30),
            b in prop::collection::vec(-1.0..1.0f64, 6..30),
            shift in -2.0..2.0f64,
        ) {
            let ranks = Ranks::of(&a, &b).unwrap();
            let (low, high) = ranks.interval(0.05).unwrap();
            prop_assert!(low <= ranks.estimate() && ranks.estimate() <= high);
            prop_assert_eq!(low > shift, ranks.p_above(shift) <= 0.025);
            prop_assert_eq!(high < shift, ranks.p_below(shift) <= 0.025);
        }
    }
}
