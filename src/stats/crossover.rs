//! The crossover: the sequence length from which a candidate is faster than softmax.

use super::{Curve, Interval, curve::Point, median_interval, summary::sorted};

/// Where a candidate passes its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crossover {
    /// From this length on the candidate is faster.
    At {
        /// Median of the rounds' estimates, in tokens; interpolated, hence not whole.
        length: f64,
        /// Interval of that median; `None` below six rounds, or where an end of it lies outside the measured lengths.
        interval: Option<Interval>,
    },
    /// The candidate is not faster at the longest length measured.
    NoneInRange,
    /// The candidate is faster at every length measured, from the shortest on.
    AlwaysFaster,
}

/// Finds the length from which `candidate` is, and stays, faster than `baseline`: in each round the last change of
/// sign of log(baseline/candidate), interpolated linearly on log(seq_len), which is where two curves that are straight
/// between neighbours in log-log meet. The answer is the median of the rounds.
///
/// A round without a crossing still counts: as earlier than every length if the candidate is always faster, as later
/// if it never is. Where the two middle rounds disagree about being in range the later one is taken, which does not
/// flatter the candidate. Lengths are matched by `seq_len`; rounds that lack one of them are left out.
/// `None` without a length and a round that both have.
#[must_use]
pub fn crossover(baseline: &Curve, candidate: &Curve) -> Option<Crossover> {
    let of_length = |b: &Point| candidate.points().iter().find(|c| c.seq_len == b.seq_len);
    let pairs: Vec<(&Point, &Point)> = baseline
        .points()
        .iter()
        .filter_map(|b| Some((b, of_length(b)?)))
        .filter(|(b, c)| (0..b.rounds()).any(|r| b.figure(r).is_some() && c.figure(r).is_some()))
        .collect();
    let rounds = pairs.iter().map(|(b, _)| b.rounds()).min()?;
    let estimates: Vec<f64> = (0..rounds)
        .filter_map(|round| {
            let advantage = |(b, c): &(&Point, &Point)| Some((b.log_len(), (b.figure(round)? / c.figure(round)?).ln()));
            pairs.iter().map(advantage).collect::<Option<Vec<_>>>().map(|points| crossing(&points))
        })
        .collect();
    verdict(&estimates)
}

/// Logarithm of the crossing of one round; −∞ if always faster, +∞ if not faster at the end.
/// Points are (log length, log advantage), ascending in length.
fn crossing(points: &[(f64, f64)]) -> f64 {
    match points.iter().rposition(|(_, advantage)| *advantage <= 0.0) {
        None => f64::NEG_INFINITY,
        Some(last) if last + 1 == points.len() => f64::INFINITY,
        Some(last) => {
            let ((x0, y0), (x1, y1)) = (points[last], points[last + 1]);
            x0 + (x1 - x0) * -y0 / (y1 - y0)
        }
    }
}

/// The median of the rounds' logarithms and what it says.
fn verdict(estimates: &[f64]) -> Option<Crossover> {
    let sorted = sorted(estimates);
    let (low, high) = (*sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted[sorted.len() / 2]);
    let middle = if low.is_finite() && high.is_finite() { f64::midpoint(low, high) } else { high };
    Some(if middle == f64::INFINITY {
        Crossover::NoneInRange
    } else if middle == f64::NEG_INFINITY {
        Crossover::AlwaysFaster
    } else {
        let interval = median_interval(estimates).filter(|(low, high)| low.is_finite() && high.is_finite());
        Crossover::At { length: middle.exp(), interval: interval.map(|(low, high)| (low.exp(), high.exp())) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(lengths: &[usize], rounds: usize, time: impl Fn(usize, usize) -> f64) -> Curve {
        lengths.iter().map(|&len| (len, (0..rounds).map(|r| Some(time(len, r))).collect())).collect()
    }

    const LENGTHS: [usize; 4] = [64, 256, 1024, 4096];

    #[test]
    fn a_line_and_a_constant_meet_where_they_are_equal() {
        // len ns against a constant 500 ns: equal at 500, and exact in log-log. Speed changes from round to round.
        let softmax = curve(&LENGTHS, 6, |len, r| len as f64 * (r + 1) as f64);
        let linear = curve(&LENGTHS, 6, |_, r| 500.0 * (r + 1) as f64);
        let Some(Crossover::At { length, interval: Some((low, high)) }) = crossover(&softmax, &linear) else {
            panic!("no crossing")
        };
        for value in [length, low, high] {
            assert!((value - 500.0).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn the_interval_is_that_of_the_rounds() {
        // Round r meets at 300 + 100·r: 300 … 800; the middle two are 500 and 600, averaged on the log scale.
        let softmax = curve(&LENGTHS, 6, |len, _| len as f64);
        let linear = curve(&LENGTHS, 6, |_, r| 300.0 + 100.0 * r as f64);
        let Some(Crossover::At { length, interval: Some((low, high)) }) = crossover(&softmax, &linear) else {
            panic!("no crossing")
        };
        assert!((length - (500.0_f64 * 600.0).sqrt()).abs() < 1e-6, "{length}");
        assert!((low - 300.0).abs() < 1e-6 && (high - 800.0).abs() < 1e-6);
    }

    #[test]
    fn never_and_always_are_answers() {
        let softmax = curve(&LENGTHS, 6, |len, _| len as f64);
        let slow = curve(&LENGTHS, 6, |_, _| 5000.0);
        let fast = curve(&LENGTHS, 6, |_, _| 50.0);
        assert_eq!(crossover(&softmax, &slow), Some(Crossover::NoneInRange));
        assert_eq!(crossover(&softmax, &fast), Some(Crossover::AlwaysFaster));
    }

    #[test]
    fn equal_times_are_not_faster() {
        let softmax = curve(&LENGTHS, 6, |len, _| len as f64);
        assert_eq!(crossover(&softmax, &softmax), Some(Crossover::NoneInRange));
    }

    #[test]
    fn passing_means_staying_ahead() {
        // Ahead at 64, behind at 256, ahead from 1024: passes between 256 and 1024, where −ln 2 turns into ln 2.
        let softmax = curve(&LENGTHS, 1, |_, _| 100.0);
        let linear = curve(&LENGTHS, 1, |len, _| if len == 256 { 200.0 } else { 50.0 });
        let Some(Crossover::At { length, interval: None }) = crossover(&softmax, &linear) else {
            panic!("no crossing")
        };
        assert!((length - 512.0).abs() < 1e-6, "{length}");
    }

    #[test]
    fn rounds_out_of_range_count_as_such() {
        let softmax = curve(&LENGTHS, 6, |len, _| len as f64);
        // Two of six rounds never cross: the median is in range, the interval's end is not.
        let linear = curve(&LENGTHS, 6, |_, r| if r < 2 { 9000.0 } else { 500.0 });
        let got = crossover(&softmax, &linear);
        assert!(matches!(got, Some(Crossover::At { interval: None, .. })), "{got:?}");
        // Three of six: undecided, and the later is taken.
        let linear = curve(&LENGTHS, 6, |_, r| if r < 3 { 9000.0 } else { 500.0 });
        assert_eq!(crossover(&softmax, &linear), Some(Crossover::NoneInRange));
        let linear = curve(&LENGTHS, 6, |_, r| if r < 3 { 9000.0 } else { 5.0 });
        assert_eq!(crossover(&softmax, &linear), Some(Crossover::NoneInRange));
    }

    #[test]
    fn lengths_and_rounds_must_match() {
        let softmax = curve(&LENGTHS, 2, |len, _| len as f64);
        let elsewhere = curve(&[100, 200], 2, |_, _| 1.0);
        assert_eq!(crossover(&softmax, &elsewhere), None);
        // Without the longest length in round 0 only round 1 counts, which crosses at 300.
        let linear = |len, r| if r == 0 { (len != 4096).then_some(700.0) } else { Some(300.0) };
        let linear: Curve = LENGTHS.iter().map(|&len| (len, (0..2).map(|r| linear(len, r)).collect())).collect();
        let Some(Crossover::At { length, .. }) = crossover(&softmax, &linear) else { panic!("no crossing") };
        assert!((length - 300.0).abs() < 1e-6, "{length}");
        assert_eq!(crossover(&Curve::default(), &Curve::default()), None);
    }
}
