//! The scaling exponent: how steeply time grows with sequence length.

use super::{Curve, Interval, curve::Point, median, median_interval};

/// Slope of log(time) on log(seq_len): 0 is constant, 1 linear, 2 quadratic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Median over the rounds of the least-squares slope.
    pub exponent: f64,
    /// Interval of that median; `None` below six rounds.
    pub interval: Option<Interval>,
    /// Rounds that had a figure at every length.
    pub rounds: usize,
}

/// Fits one slope a round over all lengths by least squares in log-log, and takes the median. Rounds that lack a
/// length are left out; lengths without any figure do not count. `None` below two distinct lengths or without a whole
/// round.
#[must_use]
pub fn scaling_exponent(curve: &Curve) -> Option<Scaling> {
    let measured: Vec<&Point> = curve.points().iter().filter(|p| p.is_measured()).collect();
    let rounds = measured.iter().map(|p| p.rounds()).min()?;
    let slopes: Vec<f64> = (0..rounds)
        .filter_map(|round| {
            let points: Option<Vec<(f64, f64)>> =
                measured.iter().map(|p| Some((p.log_len(), p.figure(round)?.ln()))).collect();
            slope(&points?)
        })
        .collect();
    Some(Scaling { exponent: median(&slopes)?, interval: median_interval(&slopes), rounds: slopes.len() })
}

/// Ordinary least-squares slope; `None` where all abscissae are equal.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six rounds of c·lenᵉ, each on a machine of another speed.
    fn curve(exponent: f64) -> Vec<(usize, Vec<Option<f64>>)> {
        [128, 256, 1024, 8192]
            .map(|len: usize| {
                (len, (1..=6).map(|speed| Some(f64::from(speed) * (len as f64).powf(exponent))).collect())
            })
            .to_vec()
    }

    fn scaling(points: &[(usize, Vec<Option<f64>>)]) -> Option<Scaling> {
        scaling_exponent(&points.iter().cloned().collect())
    }

    #[test]
    fn power_laws_give_their_exponent_whatever_the_speed() {
        for exponent in [0.0, 1.0, 2.0] {
            let curve = curve(exponent);
            let got = scaling(&curve).unwrap();
            assert!((got.exponent - exponent).abs() < 1e-9, "{got:?}");
            let (low, high) = got.interval.unwrap();
            assert!((low - exponent).abs() < 1e-9 && (high - exponent).abs() < 1e-9);
            assert_eq!(got.rounds, 6);
        }
    }

    #[test]
    fn a_round_without_a_length_is_left_out() {
        let mut curve = curve(1.0);
        curve[2].1[4] = None;
        let got = scaling(&curve).unwrap();
        assert_eq!((got.rounds, got.interval), (5, None));
    }

    #[test]
    fn a_length_never_measured_does_not_count() {
        let mut curve = curve(1.0);
        curve[3].1 = vec![None; 6];
        assert_eq!(scaling(&curve).unwrap().rounds, 6);
    }

    #[test]
    fn one_length_has_no_slope() {
        let curve = curve(1.0);
        assert_eq!(scaling(&curve[..1]), None);
        assert_eq!(scaling(&[]), None);
    }

    #[test]
    fn least_squares_of_three_points_as_by_hand() {
        // (0,0) (1,1) (2,1): means 1 and 2/3; Σdx·dy = 2/3 + 1/3 = 1, Σdx² = 2.
        assert!((slope(&[(0.0, 0.0), (1.0, 1.0), (2.0, 1.0)]).unwrap() - 0.5).abs() < 1e-12);
    }
}
