//! What two sides say of the ratio of one cell's times: p-values against any ratio, and intervals. Works in natural
//! logarithms, where a ratio is a shift: positive where the candidate is faster.

use std::f64::consts::{FRAC_PI_2, LN_2, PI};

use super::types::{Needs, Ratio};
use crate::stats::{Interval, Ranks, Shift, Squares, mean, median, stddev, t_quantile};

/// Rounds a side below which one launch says nothing.
pub(super) const MIN_ROUNDS: usize = 6;
/// Launches a side below which advice starts, and below which no gate fails.
pub(super) const MIN_LAUNCHES: usize = 3;
/// More than this many launches or rounds a side are not advised.
const MOST_LAUNCHES: usize = 40;
const MOST_ROUNDS: usize = 200;
/// Advice is for this chance of missing what looks to be there.
const MISS: f64 = 0.2;

/// How far a shift must be from what is to be excluded, so that one test among many decides, for four chances in five.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    alpha_differs: f64,
    /// Shifts within ± this are the same.
    within: f64,
    /// Launches a side, and the standard errors that a difference and an equality take then.
    by_launches: Vec<(usize, f64, f64)>,
}

impl Bars {
    /// Bars for tests at these levels.
    pub(super) fn new(alpha_differs: f64, alpha_same: f64, within: f64) -> Self {
        let of = |n: usize| {
            let df = 2.0 * n as f64 - 2.0;
            let miss = t_quantile(df, MISS);
            (n, t_quantile(df, alpha_differs / 2.0) + miss, t_quantile(df, alpha_same) + miss)
        };
        Self { alpha_differs, within, by_launches: (MIN_LAUNCHES..=MOST_LAUNCHES).map(of).collect() }
    }
}

/// One side of a cell, as logarithms.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample<'a> {
    /// Median of each launch.
    pub(super) medians: Vec<f64>,
    /// All rounds.
    pub(super) rounds: Vec<f64>,
    /// Machine and device that measured it.
    pub(super) machine: &'a str,
    /// How launches of the same differ on that machine, as far as it was measured anywhere.
    pub(super) spread: Option<Squares>,
}

impl<'a> Sample<'a> {
    /// A side of these launches, each the figures of its rounds.
    pub(super) fn of(launches: &[&[f64]], machine: &'a str, spread: Option<Squares>) -> Self {
        let medians = launches.iter().filter_map(|figures| median(figures)).map(f64::ln).collect();
        let rounds = launches.iter().flat_map(|figures| figures.iter().map(|f| f.ln())).collect();
        Self { medians, rounds, machine, spread }
    }

    /// How its launches vary: by themselves where there are several, else by what is known of the machine.
    fn squares(&self) -> Option<Squares> {
        if self.medians.len() > 1 { Some(Squares::of(&self.medians)) } else { self.spread }
    }
}

/// What is known of one shift. Where both are there, both must agree before anything is claimed.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// Base less candidate.
    pub(super) estimate: f64,
    /// Over launches.
    launches: Option<Shift>,
    /// Over rounds, where a side has but one launch.
    rounds: Option<Ranks>,
    /// What the rounds must show beyond any shift, because nothing says how launches differ.
    widened: f64,
    /// Launches of the two sides.
    counts: (usize, usize),
    /// Standard deviation of rounds, and the fewer rounds of the two sides.
    round_noise: (f64, usize),
}

impl Evidence {
    /// Compares two sides; `None` where a side has neither two launches nor six rounds.
    pub(super) fn of(base: &Sample<'_>, candidate: &Sample<'_>) -> Option<Self> {
        let counts = (base.medians.len(), candidate.medians.len());
        let one_launch = counts.0.min(counts.1) < 2;
        let fewest = base.rounds.len().min(candidate.rounds.len());
        if counts.0.min(counts.1) == 0 || (one_launch && fewest < MIN_ROUNDS) {
            return None;
        }
        let launches = shift(base, candidate);
        let rounds = if one_launch { Ranks::of(&base.rounds, &candidate.rounds) } else { None };
        let widened = if launches.is_none() { LN_2 } else { 0.0 };
        let noise = [&base.rounds, &candidate.rounds].map(|r| stddev(r).unwrap_or(0.0));
        Some(Self {
            estimate: mean(&base.medians)? - mean(&candidate.medians)?,
            launches,
            rounds,
            widened,
            counts,
            round_noise: (noise[0].max(noise[1]), fewest),
        })
    }

    /// Values that vary from launch to launch and have no rounds; `None` below two launches on a side.
    pub(super) fn of_launches(base: &[f64], candidate: &[f64], same_machine: bool) -> Option<Self> {
        let machine = |is_base: bool| if is_base || same_machine { "a" } else { "b" };
        let side = |values: &[f64], is_base| Sample {
            medians: values.to_vec(),
            machine: machine(is_base),
            ..Sample::default()
        };
        if base.len().min(candidate.len()) < 2 { None } else { Self::of(&side(base, true), &side(candidate, false)) }
    }

    /// Fewer launches of the two sides.
    pub(super) fn launches(&self) -> usize {
        self.counts.0.min(self.counts.1)
    }

    /// Probability of what was seen if the shift were `shift` or less.
    pub(super) fn p_above(&self, shift: f64) -> f64 {
        let launches = self.launches.map_or(0.0, |s| s.p_above(shift));
        let rounds = self.rounds.as_ref().map_or(0.0, |r| r.p_above(shift + self.widened));
        launches.max(rounds)
    }

    /// Probability of what was seen if the shift were `shift` or more.
    pub(super) fn p_below(&self, shift: f64) -> f64 {
        let launches = self.launches.map_or(0.0, |s| s.p_below(shift));
        let rounds = self.rounds.as_ref().map_or(0.0, |r| r.p_below(shift - self.widened));
        launches.max(rounds)
    }

    /// Two-sided p-value of there being no shift.
    pub(super) fn p_differs(&self) -> f64 {
        (2.0 * self.p_above(0.0).min(self.p_below(0.0))).min(1.0)
    }

    /// p-value of the shift being `within` or more to either side.
    pub(super) fn p_same(&self, within: f64) -> f64 {
        self.p_above(-within).max(self.p_below(within))
    }

    /// Interval of the shift; with one launch on a side it does not see drift that was not measured.
    fn interval(&self, alpha: f64) -> Option<Interval> {
        let launches = self.launches.map(|s| s.interval(alpha));
        let rounds = match &self.rounds {
            Some(ranks) => Some(ranks.interval(alpha)?),
            None => None,
        };
        let hull = |a: Interval, b: Interval| (a.0.min(b.0), a.1.max(b.1));
        // The ratio of the medians is not quite the estimate that belongs to ranks.
        launches.into_iter().chain(rounds).reduce(hull).map(|i| hull(i, (self.estimate, self.estimate)))
    }

    /// The ratio with its own 95 % interval.
    pub(super) fn ratio(&self) -> Ratio {
        let interval = self.interval(0.05).map(|(low, high)| (low.exp(), high.exp()));
        Ratio { ratio: self.estimate.exp(), interval }
    }

    /// What more would decide: whichever of difference and equality takes less.
    pub(super) fn needs(&self, bars: &Bars) -> Needs {
        let (by, to_border) = (self.estimate.abs(), bars.within - self.estimate.abs());
        // One launch that lacks rounds alone: its machine's spread is known and would let the difference through.
        if let (Some(ranks), Some(launches)) = (&self.rounds, self.launches)
            && launches.p_above(0.0).min(launches.p_below(0.0)) <= bars.alpha_differs / 2.0
            && ranks.p_above(0.0).min(ranks.p_below(0.0)) > bars.alpha_differs / 2.0
        {
            return self.rounds_needed(bars.alpha_differs);
        }
        let sd = self.launch_sd();
        let first = (self.counts.0.max(self.counts.1) + 1).max(MIN_LAUNCHES);
        let decides = |(n, differs, same): &&(usize, f64, f64)| {
            let error = sd * (2.0 / *n as f64).sqrt();
            *n >= first && (by >= differs * error || to_border >= same * error)
        };
        let enough = bars.by_launches.iter().find(decides);
        enough.map_or(Needs::OutOfReach, |(n, ..)| Needs::Launches(n - self.launches()))
    }

    /// Standard deviation of a launch, or, where nothing says, what its rounds alone would make of it, which is the
    /// least that it can be: of a median of n normal values, √(π/2n) of theirs.
    fn launch_sd(&self) -> f64 {
        let per_mean = (1.0 / self.counts.0 as f64 + 1.0 / self.counts.1 as f64).sqrt();
        let (noise, rounds) = self.round_noise;
        self.launches.map_or_else(|| noise * (FRAC_PI_2 / rounds.max(1) as f64).sqrt(), |s| s.error / per_mean)
    }

    fn rounds_needed(&self, alpha: f64) -> Needs {
        let (noise, rounds) = self.round_noise;
        let decides = |n: &usize| {
            let (df, many) = (2.0 * *n as f64 - 2.0, (2.0 / *n as f64).sqrt());
            // Ranks know π/3 as much as means, where noise is normal.
            let error = noise * many * (PI / 3.0).sqrt();
            2.0 * Ranks::smallest_p(*n, *n) <= alpha
                && self.estimate.abs() >= (t_quantile(df, alpha / 2.0) + t_quantile(df, MISS)) * error
        };
        (rounds + 1..=MOST_ROUNDS).find(decides).map_or(Needs::OutOfReach, |n| Needs::Rounds(n - rounds))
    }
}

/// The shift over launches; `None` where nothing says how launches of a side vary.
fn shift(base: &Sample<'_>, candidate: &Sample<'_>) -> Option<Shift> {
    let several = base.medians.len().min(candidate.medians.len()) > 1;
    if base.machine == candidate.machine {
        // If nothing has changed both are draws of one thing, and vary alike.
        let own = Squares::of(&base.medians).and(Squares::of(&candidate.medians));
        let squares = if several { own } else { base.spread.or(candidate.spread)? };
        return Shift::pooled(&base.medians, &candidate.medians, squares);
    }
    Shift::welch((&base.medians, base.squares()?), (&candidate.medians, candidate.squares()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(launches: &[&[f64]], spread: Option<Squares>) -> Sample<'static> {
        Sample::of(launches, "m", spread)
    }

    const SIX: [f64; 6] = [100.0, 101.0, 102.0, 103.0, 104.0, 105.0];

    fn times(by: f64) -> Vec<f64> {
        SIX.iter().map(|f| f * by).collect()
    }

    #[test]
    fn one_launch_must_clear_a_factor_of_two_where_nothing_is_measured() {
        let of = |by: f64| Evidence::of(&sample(&[&times(by)], None), &sample(&[&SIX], None)).unwrap();
        // 1.5 times: every pair of rounds says so, yet it is not beyond 2.
        assert!(of(1.5).p_differs() > 0.9);
        // 3 times: every pair is beyond 2: one order of 924, two-sided.
        assert!((of(3.0).p_differs() - 2.0 / 924.0).abs() < 1e-12);
        assert!((of(1.5).ratio().ratio - 1.5).abs() < 1e-12);
    }

    #[test]
    fn a_measured_spread_takes_the_place_of_the_factor() {
        let spread = |sd: f64| Some(Squares { sum: sd * sd * 8.0, df: 8.0 });
        let of = |sd| Evidence::of(&sample(&[&times(1.5)], spread(sd)), &sample(&[&SIX], spread(sd))).unwrap();
        // ln 1.5 = 0.405 is 29 standard errors of √2 · 0.01, and 1.4 of √2 · 0.2.
        assert!((of(0.01).p_differs() - 2.0 / 924.0).abs() < 1e-12);
        assert!(of(0.2).p_differs() > 0.1);
    }

    #[test]
    fn launches_are_values_and_rounds_are_not() {
        // Three launches a side that differ among themselves by 10 %, with rounds that agree to 5 %.
        let launches: Vec<Vec<f64>> = [1.0, 1.1, 1.2].iter().map(|by| times(*by)).collect();
        let slower: Vec<Vec<f64>> = [1.1, 1.2, 1.3].iter().map(|by| times(*by)).collect();
        let refs = |l: &'_ [Vec<f64>]| l.iter().map(|v| v.clone().into_boxed_slice()).collect::<Vec<_>>();
        let (a, b) = (refs(&launches), refs(&slower));
        let a: Vec<&[f64]> = a.iter().map(|v| &**v).collect();
        let b: Vec<&[f64]> = b.iter().map(|v| &**v).collect();
        let evidence = Evidence::of(&sample(&a, None), &sample(&b, None)).unwrap();
        assert!(evidence.p_differs() > 0.2, "{}", evidence.p_differs());
        let (low, high) = evidence.ratio().interval.unwrap();
        assert!(low < 1.0 && high > 1.0 - 1e-9 && evidence.ratio().ratio < 1.0);
    }

    #[test]
    fn too_few_rounds_or_no_launch_are_no_evidence() {
        assert!(Evidence::of(&sample(&[&SIX[..5]], None), &sample(&[&SIX], None)).is_none());
        assert!(Evidence::of(&sample(&[], None), &sample(&[&SIX], None)).is_none());
    }

    #[test]
    fn advice_counts_what_is_missing() {
        let jitter = [[0.99, 1.0, 1.01], [0.995, 1.0, 1.005]];
        let launches = |by: f64, jitter: [f64; 3]| jitter.map(|j| vec![100.0 * by * j; 6]);
        let (a, b) = (launches(1.05, jitter[0]), launches(1.0, jitter[1]));
        let a: Vec<&[f64]> = a.iter().map(|v| &v[..]).collect();
        let b: Vec<&[f64]> = b.iter().map(|v| &v[..]).collect();
        let evidence = Evidence::of(&sample(&a, None), &sample(&b, None)).unwrap();
        // sd = √((2·10⁻⁴ + 0.5·10⁻⁴)/4) = 0.79 %; at 0.2 % two-sided, 4 launches have t₆ = 5.21 and error 0.56 %:
        // 4.88 % ≥ (5.21 + 0.91) · 0.56 % = 3.4 %, so one more would do.
        assert_eq!(evidence.needs(&Bars::new(0.002, 0.0005, 0.02)), Needs::Launches(1));
        // Right at a border of ± 5 % nothing helps but the difference, and with a far stricter level more are needed.
        assert!(matches!(evidence.needs(&Bars::new(2e-6, 0.0005, 0.05)), Needs::Launches(n) if n > 2));
        let level = Evidence::of(&sample(&a, None), &sample(&a, None)).unwrap();
        assert_eq!(level.needs(&Bars::new(0.002, 0.0005, 0.0)), Needs::OutOfReach);
    }
}
