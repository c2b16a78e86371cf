//! The difference of two means with Student's t: for launches, of which there are too few for ranks.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Interval, mean};

/// Squares of deviations from their mean, and how many of them are free.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Squares {
    /// Sum of squared deviations.
    pub sum: f64,
    /// Degrees of freedom.
    pub df: f64,
}

impl Squares {
    /// Of one sample: its size less one is free.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let Some(centre) = mean(values) else { return Self::default() };
        Self { sum: values.iter().map(|x| (x - centre).powi(2)).sum(), df: values.len() as f64 - 1.0 }
    }

    /// Both together, each about its own mean.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, df: self.df + other.df }
    }

    /// The variance, if there is anything to tell it from.
    #[must_use]
    pub fn variance(self) -> Option<f64> {
        (self.df > 0.0).then(|| self.sum / self.df)
    }
}

/// A difference, its standard error, and the degrees of freedom that the error was told from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The difference.
    pub estimate: f64,
    /// Its standard error.
    pub error: f64,
    /// Degrees of freedom.
    pub df: f64,
}

impl Shift {
    /// Mean of `a` less mean of `b`, where both vary alike and `squares` tells how much: Student's t.
    #[must_use]
    pub fn pooled(a: &[f64], b: &[f64], squares: Squares) -> Option<Self> {
        let per_mean = 1.0 / a.len() as f64 + 1.0 / b.len() as f64;
        let error = (squares.variance()? * per_mean).sqrt();
        Some(Self { estimate: mean(a)? - mean(b)?, error, df: squares.df })
    }

    /// The same where each varies in its own way: Welch's t, with Satterthwaite's degrees of freedom.
    #[must_use]
    pub fn welch(a: (&[f64], Squares), b: (&[f64], Squares)) -> Option<Self> {
        let part = |(values, squares): (&[f64], Squares)| Some(squares.variance()? / values.len() as f64);
        let (v, w) = (part(a)?, part(b)?);
        let fewest = a.1.df.min(b.1.df);
        let satterthwaite = (v + w).powi(2) / (v * v / a.1.df + w * w / b.1.df);
        // Nothing varies: any number is right, and the smaller one modest.
        let df = if satterthwaite.is_finite() { satterthwaite } else { fewest };
        Some(Self { estimate: mean(a.0)? - mean(b.0)?, error: (v + w).sqrt(), df })
    }

    /// Probability of a difference this large if the true one were `shift` or less.
    #[must_use]
    pub fn p_above(&self, shift: f64) -> f64 {
        let by = self.estimate - shift;
        match StudentsT::new(0.0, 1.0, self.df) {
            Ok(t) if self.error > 0.0 => t.sf(by / self.error),
            // What does not vary is known.
            _ if by > 0.0 => 0.0,
            _ => 1.0,
        }
    }

    /// Probability of a difference this small if the true one were `shift` or more.
    #[must_use]
    pub fn p_below(&self, shift: f64) -> f64 {
        Self { estimate: -self.estimate, ..*self }.p_above(-shift)
    }

    /// Interval of the difference that covers it with 1 − `alpha`.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> Interval {
        let by = self.error * t_quantile(self.df, alpha / 2.0);
        (self.estimate - by, self.estimate + by)
    }
}

/// The value that Student's t exceeds with that probability.
#[must_use]
pub fn t_quantile(df: f64, upper: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::INFINITY, |t| t.inverse_cdf(1.0 - upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Any table of Student's t: two-sided 5 % at 4 degrees 2.776, at 8 2.306; two-sided 0.2 % at 4: 7.173.
        for (df, upper, t) in [(4.0, 0.025, 2.776), (8.0, 0.025, 2.306), (4.0, 0.001, 7.173), (2.0, 0.025, 4.303)] {
            assert!((t_quantile(df, upper) - t).abs() < 1e-3, "{df} {upper}: {}", t_quantile(df, upper));
        }
    }

    #[test]
    fn a_pooled_shift_as_by_hand() {
        // Means 2 and 5, squares 2 + 2 on 4 degrees: variance 1, error √(2/3), t = −3.674; p = 0.01066 one-sided.
        let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let shift = Shift::pooled(&a, &b, Squares::of(&a).and(Squares::of(&b))).unwrap();
        assert_eq!((shift.estimate, shift.df), (-3.0, 4.0));
        assert!((shift.error - (2.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((shift.p_below(0.0) - 0.01066).abs() < 1e-4, "{}", shift.p_below(0.0));
        let (low, high) = shift.interval(0.05);
        assert!((low + 3.0 + 2.2669).abs() < 1e-3 && (high + 3.0 - 2.2669).abs() < 1e-3, "{low} {high}");
        assert!((shift.p_below(high) - 0.025).abs() < 1e-6);
    }

    #[test]
    fn welch_agrees_with_student_where_both_vary_alike_and_knows_where_not() {
        let (a, b) = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let welch = |a: &[f64], b: &[f64]| Shift::welch((a, Squares::of(a)), (b, Squares::of(b))).unwrap();
        assert!((welch(&a, &b).df - 4.0).abs() < 1e-12);
        // Only one of them varies: only its two degrees count.
        assert!((welch(&a, &[5.0, 5.0, 5.0]).df - 2.0).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_vary_is_known_exactly() {
        let (a, b) = ([2.0, 2.0], [1.0, 1.0]);
        let shift = Shift::pooled(&a, &b, Squares::of(&a).and(Squares::of(&b))).unwrap();
        assert_eq!((shift.p_above(0.0), shift.p_above(1.0), shift.p_below(1.0)), (0.0, 1.0, 1.0));
        assert_eq!(shift.interval(0.05), (1.0, 1.0));
        assert_eq!(Shift::pooled(&[1.0], &[2.0], Squares::of(&[1.0]).and(Squares::of(&[2.0]))), None);
    }
}
