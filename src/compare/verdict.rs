//! From evidence to verdicts: all cells of a comparison together, so that at most 5 % of comparisons claim anything false.

use super::{
    evidence::{Bars, Evidence},
    types::{Needs, Verdict},
};
use crate::stats::holm;

/// Probability that a comparison calls anything faster or slower that is not.
const ALPHA_DIFFERS: f64 = 0.04;
/// Probability that it calls anything the same that is not.
const ALPHA_SAME: f64 = 0.01;

/// The adjusted p-value of a difference, and what is claimed, for each cell that has evidence.
pub(super) fn decide(evidence: &[Evidence], same_within: f64) -> Vec<(f64, Verdict)> {
    let within = same_within.ln_1p();
    let differs: Vec<f64> = evidence.iter().map(Evidence::p_differs).collect();
    let same: Vec<f64> = evidence.iter().map(|e| e.p_same(within)).collect();
    let (differs, same) = (holm(&differs), holm(&same));
    // As if a cell were the last to be decided: what others will come to is not known.
    let tests = evidence.len().max(1) as f64;
    let bars = Bars::new(ALPHA_DIFFERS / tests, ALPHA_SAME / tests, within);
    let one = |(e, (differs, same)): (&Evidence, (f64, f64))| {
        let verdict = match () {
            () if same <= ALPHA_SAME => Verdict::Same,
            () if differs <= ALPHA_DIFFERS && e.estimate > 0.0 => Verdict::Faster,
            () if differs <= ALPHA_DIFFERS => Verdict::Slower,
            () => Verdict::Unclear(e.needs(&bars)),
        };
        (differs, verdict)
    };
    evidence.iter().zip(differs.into_iter().zip(same)).map(one).collect()
}

impl Needs {
    /// `2 more launches a side would do`.
    #[must_use]
    pub fn advice(self) -> String {
        let count = |n: usize, what: &str, plural: &str| {
            format!("{n} more {} a side would do", if n == 1 { what } else { plural })
        };
        match self {
            Self::Rounds(n) => count(n, "round", "rounds"),
            Self::Launches(n) => count(n, "launch", "launches"),
            Self::OutOfReach => "no number of launches within reach would do".to_owned(),
        }
    }
}
