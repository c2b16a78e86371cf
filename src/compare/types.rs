//! What a comparison asks for and what it answers.

use super::key::CellKey;
use crate::stats::{Crossover, Interval, Scaling};

/// Where nothing says what a machine differs from itself between launches, one launch on a side must show more than
/// this factor: no machine worth measuring is twice as fast as itself.
pub const UNMEASURED_SPREAD: f64 = 2.0;

/// How to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Key columns that may differ between the sides. Between machines, `n_threads` and `device_kind` always may: they
    /// belong to the run.
    pub across: Vec<String>,
    /// Ratios within ± this share are the same for all practical purposes: 0.05 is 5 %.
    pub same_within: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { across: Vec::new(), same_within: 0.05 }
    }
}

/// Why there is no comparison: text for people, what was read, what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A ratio base / candidate of times: above 1 the candidate is faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the medians; of their geometric means over launches where there are several.
    pub ratio: f64,
    /// 95 % interval of this ratio alone; `None` where there are too few rounds or launches for one. On one launch a
    /// side it does not see drift between launches.
    pub interval: Option<Interval>,
}

/// What more it would take to decide, for four chances in five, if the noise and the ratio are what they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// This many more rounds a side.
    Rounds(usize),
    /// This many more launches a side.
    Launches(usize),
    /// More than anyone would run: the ratio lies too near to a border.
    OutOfReach,
}

/// What is claimed of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate is faster.
    Faster,
    /// The candidate is slower.
    Slower,
    /// They differ by no more than [`Options::same_within`].
    Same,
    /// Nothing is claimed.
    Unclear(Needs),
    /// Both have the cell and it cannot be compared, for this reason.
    Incomparable(String),
    /// Only one side has the cell; the word says which has not.
    Missing(&'static str),
}

impl Verdict {
    /// The word as files and tables have it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Unclear(_) => "unclear",
            Self::Incomparable(_) => "incomparable",
            Self::Missing(_) => "missing",
        }
    }
}

/// One side of a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Median time of a call in ns; the geometric mean over launches where there are several.
    pub ns: f64,
    /// Launches that measured it.
    pub launches: usize,
    /// Rounds, all launches together.
    pub rounds: usize,
}

/// The ratio per unit of what the machines have: how many times faster the candidate would be if both had as much.
/// `None` where a side does not know its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Normalised {
    /// Per physical core.
    pub per_core: Option<f64>,
    /// Per GB/s of the measured stream.
    pub per_gb_per_s: Option<f64>,
    /// Per GFLOP/s of the measured matrix product.
    pub per_gflops: Option<f64>,
}

/// A cell of the base, or of the candidate alone, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CellComparison {
    /// Its key: the base's where that has the cell.
    pub key: CellKey,
    /// The columns across which it is compared, with the candidate's values.
    pub across: Vec<(&'static str, String)>,
    /// What the base measured.
    pub base: Option<Measured>,
    /// What the candidate measured.
    pub candidate: Option<Measured>,
    /// How many times faster the candidate is.
    pub ratio: Option<Ratio>,
    /// p-value of the difference, adjusted over the comparison by Holm's method.
    pub p_holm: Option<f64>,
    /// What is claimed.
    pub verdict: Verdict,
    /// The ratio per core, per GB/s and per GFLOP/s.
    pub normalised: Normalised,
}

/// Geometric mean of the ratios of a variant over the cells that both sides have.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantMean {
    /// What its cells share of their keys: workload, variant with parameters and sizes, implementation.
    pub key: CellKey,
    /// Number of cells.
    pub cells: usize,
    /// How many times faster the candidate is.
    pub ratio: Ratio,
}

/// What a side's own cells say over length, for one variant at one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The key of its cells, `seq_len` emptied.
    pub key: CellKey,
    /// Where it passes softmax of the same implementation; `None` for softmax itself and where there is none.
    pub crossover: Option<Crossover>,
    /// How steeply time per token grows.
    pub scaling: Option<Scaling>,
    /// Shortest and longest length measured.
    pub lengths: (u64, u64),
}

/// A column of the environment in which the sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the column.
    pub column: &'static str,
    /// The base's values, joined by `; ` where its runs differ among themselves.
    pub base: String,
    /// The candidate's.
    pub candidate: String,
}

/// Whether the comparison shows what it seems to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fairness {
    /// Why it may not; empty where nothing speaks against it.
    pub objections: Vec<String>,
}

/// What the same differs from itself between launches on one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Which machine.
    pub machine_id: String,
    /// Standard deviation of the logarithm of a launch's median.
    pub log_sd: f64,
    /// Launches it was measured on.
    pub launches: usize,
    /// Cells it was measured on.
    pub cells: usize,
}

/// Two sides compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Name of the base.
    pub base: String,
    /// Name of the candidate.
    pub candidate: String,
    /// Cells in the order of the base, then those that only the candidate has.
    pub cells: Vec<CellComparison>,
    /// A mean per workload, variant and implementation.
    pub means: Vec<VariantMean>,
    /// The base's crossovers and exponents.
    pub base_trends: Vec<Trend>,
    /// The candidate's.
    pub candidate_trends: Vec<Trend>,
    /// What differs around the cells.
    pub environment: Vec<Difference>,
    /// Whether that matters.
    pub fairness: Fairness,
    /// Measured spreads of the machines involved.
    pub spreads: Vec<Spread>,
}

impl Comparison {
    /// Number of cells with a verdict of that word.
    #[must_use]
    pub fn count(&self, word: &str) -> usize {
        self.cells.iter().filter(|c| c.verdict.word() == word).count()
    }
}
