//! Runs side by side: cells matched by key, ratios with intervals, verdicts, gates, means, trends and what differs
//! around them. Pure functions of rows: knows no file and no layout.
//!
//! # What a verdict claims
//!
//! Of all verdicts of one comparison together, the probability that any is false is at most 5 %. Four of the five
//! points go to differences (`faster`, `slower`), one to equalities (`same`), each shared out by Holm's method; a cell
//! that is decided neither way is `unclear`, which claims nothing.
//!
//! - **Several launches a side**: a launch is one value, the logarithm of its median round; sides are compared by
//!   Student's t over launches ([`crate::stats::Shift`]), so that drift between processes is in the interval. Rounds
//!   within a launch are not independent of each other and do not count as more launches.
//! - **One launch on a side**: its rounds are compared by ranks, which holds for any distribution; and the result must
//!   also clear what the same differs from itself between launches on that machine, where that was measured
//!   ([`Spread`]), or else a factor of [`UNMEASURED_SPREAD`].
//! - `same` is an interval that lies within ± [`Options::same_within`].
//!
//! What these rules find, and how often they claim what is not so, is simulated in `tests/simulation.rs` beside this file;
//! ARCHITECTURE.md has the table.

mod environment;
mod evidence;
mod gate;
mod key;
mod matching;
mod means;
mod pairing;
mod side;
mod spread;
mod trends;
mod types;
mod verdict;

pub use gate::{GateLine, Outcome, Rule, gate};
pub use key::CellKey;
pub(crate) use pairing::ACROSS_HINT;
pub use pairing::compare;
pub use side::{Launch, MeasuredCell, Origin, Run, Side, Sides};
pub use spread::Spreads;
pub use types::{
    CellComparison, Comparison, Difference, Fairness, Measured, Needs, Normalised, Options, Ratio, Refused, Spread,
    Trend, UNMEASURED_SPREAD, VariantMean, Verdict,
};

#[cfg(test)]
mod tests;
