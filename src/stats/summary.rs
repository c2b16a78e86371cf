//! Location, spread, percentiles and outliers of one slice of finite numbers. Knows nothing of what they measure.

/// Turns a median absolute deviation into a standard deviation of a normal distribution: 1 / Φ⁻¹(3/4).
const MAD_TO_SIGMA: f64 = 1.4826;
/// Turns a mean absolute deviation into a standard deviation of a normal distribution: √(π/2).
const MEAN_AD_TO_SIGMA: f64 = 1.253_314;
/// Deviations beyond this many (robust) standard deviations are outliers: Iglewicz and Hoaglin, "How to Detect and
/// Handle Outliers" (1993).
const OUTLIER_SIGMAS: f64 = 3.5;
/// Percentiles and the least number of values that each needs: five values must lie beyond it.
const PERCENTILE_NEEDS: [(f64, usize); 3] = [(0.90, 50), (0.95, 100), (0.99, 500)];

/// Everything that a row says about a distribution, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Middle value; the mean of the two middle ones for an even count.
    pub median: f64,
    /// Sample standard deviation (n − 1); `None` for one value.
    pub stddev: Option<f64>,
    /// Interquartile range.
    pub iqr: f64,
    /// Median absolute deviation from the median, unscaled.
    pub mad: f64,
    /// Values that the MAD rule calls outliers; they are counted, never dropped.
    pub n_outliers: usize,
    /// 90th percentile; needs 50 values.
    pub p90: Option<f64>,
    /// 95th percentile; needs 100 values.
    pub p95: Option<f64>,
    /// 99th percentile; needs 500 values.
    pub p99: Option<f64>,
}

impl Summary {
    /// Summarises finite values in any order; `None` for an empty slice.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let (min, max) = (quantile(values, 0.0)?, quantile(values, 1.0)?);
        Some(Self {
            n: values.len(),
            min,
            max,
            mean: mean(values)?,
            median: median(values)?,
            stddev: stddev(values),
            iqr: iqr(values)?,
            mad: mad(values)?,
            n_outliers: n_outliers(values),
            p90: percentile(values, 0.90),
            p95: percentile(values, 0.95),
            p99: percentile(values, 0.99),
        })
    }
}

/// Arithmetic mean; `None` for an empty slice.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation, divisor n − 1, in two passes; `None` below two values.
#[must_use]
pub fn stddev(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Quantile `p` in 0..=1 by linear interpolation between order statistics at (n − 1)·p, from zero: definition 7 of
/// Hyndman and Fan (1996), the default of R and NumPy. `None` for an empty slice.
#[must_use]
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let sorted = sorted(values);
    let position = sorted.len().checked_sub(1)? as f64 * p.clamp(0.0, 1.0);
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

/// Middle value, the mean of the two middle ones for an even count; `None` for an empty slice.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Percentile `p` (0.90, 0.95 or 0.99) of single calls; `None` below 50, 100 or 500 values, and for any other `p`.
#[must_use]
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let (_, needs) = PERCENTILE_NEEDS.into_iter().find(|(known, _)| *known == p)?;
    if values.len() < needs { None } else { quantile(values, p) }
}

/// Interquartile range: quantile 3/4 less quantile 1/4; `None` for an empty slice.
#[must_use]
pub fn iqr(values: &[f64]) -> Option<f64> {
    Some(quantile(values, 0.75)? - quantile(values, 0.25)?)
}

/// Median absolute deviation from the median, unscaled; `None` for an empty slice.
#[must_use]
pub fn mad(values: &[f64]) -> Option<f64> {
    median(&deviations(values)?)
}

/// Number of values further than 3.5 robust standard deviations from the median, where a robust standard deviation is
/// 1.4826·MAD. Where more than half of the values are equal the MAD is 0 and would condemn all others: then it is
/// 1.2533 times the mean absolute deviation, so that equal values have no outlier.
#[must_use]
pub fn n_outliers(values: &[f64]) -> usize {
    let Some(deviations) = deviations(values) else { return 0 };
    let sigma = match median(&deviations) {
        Some(mad) if mad > 0.0 => MAD_TO_SIGMA * mad,
        _ => MEAN_AD_TO_SIGMA * mean(&deviations).unwrap_or(0.0),
    };
    deviations.iter().filter(|d| **d > OUTLIER_SIGMAS * sigma).count()
}

fn deviations(values: &[f64]) -> Option<Vec<f64>> {
    let centre = median(values)?;
    Some(values.iter().map(|x| (x - centre).abs()).collect())
}

/// The values in ascending order.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_sample_summarises_as_by_hand() {
        // 1 2 3 4 10: mean 20/5; squares 9+4+1+0+36 = 50, /4 = 12.5; quartiles at positions 1 and 3: 2 and 4;
        // deviations from 3 are 2 1 0 1 7, whose median is 1; limit 3.5 · 1.4826 = 5.19, so only 10 is out.
        let s = Summary::of(&[10.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((s.n, s.min, s.max, s.mean, s.median), (5, 1.0, 10.0, 4.0, 3.0));
        assert_eq!(s.stddev, Some(12.5_f64.sqrt()));
        assert_eq!((s.iqr, s.mad, s.n_outliers), (2.0, 1.0, 1));
        assert_eq!((s.p90, s.p95, s.p99), (None, None, None));
    }

    #[test]
    fn nothing_and_one_value() {
        assert_eq!(Summary::of(&[]), None);
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.median, one.stddev, one.iqr, one.mad, one.n_outliers), (7.0, None, 0.0, 0.0, 0));
    }

    #[test]
    fn the_median_of_an_even_count_is_between() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn a_large_mean_does_not_eat_the_spread() {
        // Deviations from 1e9+1 are −1 0 1: variance 2/2.
        assert_eq!(stddev(&[1e9, 1e9 + 1.0, 1e9 + 2.0]), Some(1.0));
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        // Position (10 − 1)·0.9 = 8.1: a tenth of the way from the ninth value to the tenth.
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert!((quantile(&ten, 0.9).unwrap() - 9.1).abs() < 1e-12);
        assert_eq!(quantile(&ten, 1.0), Some(10.0));
    }

    #[test]
    fn percentiles_wait_for_enough_values() {
        let values: Vec<f64> = (0..500).map(f64::from).collect();
        for (p, needs) in [(0.90, 50), (0.95, 100), (0.99, 500)] {
            assert_eq!(percentile(&values[..needs - 1], p), None, "{p}");
            let got = percentile(&values[..needs], p).unwrap();
            assert!((got - (needs - 1) as f64 * p).abs() < 1e-9, "{p}: {got}");
        }
        assert_eq!(percentile(&values, 0.5), None);
    }

    #[test]
    fn equal_values_have_no_outliers_but_a_stray_among_them_is_one() {
        assert_eq!(n_outliers(&[5.0; 20]), 0);
        // MAD 0; mean deviation 95/20 = 4.75; limit 3.5 · 1.2533 · 4.75 = 20.8 < 95.
        let mut values = [5.0; 20];
        values[3] = 100.0;
        assert_eq!(n_outliers(&values), 1);
        // Nine of twenty one tick later: mean deviation 0.45, limit 1.97 > 1: a coarse timer, no outliers.
        let ticks: Vec<f64> = (0..20).map(|i| if i < 9 { 6.0 } else { 5.0 }).collect();
        assert_eq!(n_outliers(&ticks), 0);
    }

    proptest! {
        #[test]
        fn quantiles_stay_inside_and_in_order(values in prop::collection::vec(-1e6..1e6f64, 1..200)) {
            let s = Summary::of(&values).unwrap();
            prop_assert!(s.min <= s.median && s.median <= s.max);
            prop_assert!(s.iqr >= 0.0 && s.iqr <= s.max - s.min + 1e-9);
            prop_assert!(s.mad <= s.max - s.min + 1e-9);
            prop_assert!(2 * s.n_outliers <= s.n);
            let reversed: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert_eq!(s.median, median(&reversed).unwrap());
        }
    }
}
