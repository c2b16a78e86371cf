//! How a run measures, with every default filled in. Knows what changes the meaning of a number and what does not.

use std::time::Duration;

use super::fields::MeasureFields;
use crate::spec::CacheMode;

/// Rounds below which the median has no interval, and a cell is never stopped for confidence.
pub const MIN_ROUNDS: u32 = 6;

/// More rounds than this are a slip of the pen.
const MAX_ROUNDS: u32 = 10_000;

/// More samples of one visit than this are one, too.
const MAX_SAMPLES_PER_ROUND: usize = 10_000;

/// How a run measures.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasureSettings {
    /// Most rounds of a cell.
    pub rounds: u32,
    /// Relative half-width of the interval at which a cell is done.
    pub ci_target: f64,
    /// Least length of a sample of a layer workload; `None` leaves it to the cache mode.
    pub min_block: Option<Duration>,
    /// Samples of a visit, for workloads that do not say themselves.
    pub samples_per_round: usize,
    /// Most time of a cell, all its rounds together.
    pub cell_timeout: Duration,
    /// Most time of the run.
    pub time_budget: Option<Duration>,
    /// Most memory of a cell; `None` leaves it to the machine.
    pub memory_budget: Option<u64>,
}

impl Default for MeasureSettings {
    fn default() -> Self {
        Self {
            rounds: 12,
            ci_target: 0.02,
            min_block: None,
            samples_per_round: 3,
            cell_timeout: Duration::from_secs(120),
            time_budget: None,
            memory_budget: None,
        }
    }
}

impl MeasureSettings {
    /// Fills in what the fields do not say.
    ///
    /// # Errors
    /// A message for people: a count or a span of 0, or a count beyond reason.
    pub fn resolve(fields: &MeasureFields) -> Result<Self, String> {
        let built_in = Self::default();
        let settings = Self {
            rounds: fields.rounds.unwrap_or(built_in.rounds),
            ci_target: fields.ci_target.map_or(built_in.ci_target, |s| s.0),
            min_block: fields.min_block.map(|s| s.0),
            samples_per_round: fields.samples_per_round.unwrap_or(built_in.samples_per_round),
            cell_timeout: fields.cell_timeout.map_or(built_in.cell_timeout, |s| s.0),
            time_budget: fields.time_budget.map(|s| s.0),
            memory_budget: fields.memory_budget.map(|b| b.0),
        };
        let zero = [
            ("rounds", settings.rounds == 0),
            ("samples_per_round", settings.samples_per_round == 0),
            ("min_block", settings.min_block == Some(Duration::ZERO)),
            ("cell_timeout", settings.cell_timeout.is_zero()),
        ];
        let most = [
            ("rounds", u64::from(settings.rounds), u64::from(MAX_ROUNDS)),
            ("samples_per_round", settings.samples_per_round as u64, MAX_SAMPLES_PER_ROUND as u64),
        ];
        if let Some((name, given, most)) = most.iter().find(|(_, given, most)| given > most) {
            return Err(format!("{name} is {given}: more than anyone would wait for; give at most {most}"));
        }
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(format!("{name} is 0: nothing would be measured; give at least 1")),
            None => Ok(settings),
        }
    }

    /// Least length of a sample at that cache mode: a cold one must outlast the refilling of caches and pages.
    #[must_use]
    pub fn min_block(&self, cache: Option<CacheMode>) -> Duration {
        self.min_block.unwrap_or(Duration::from_millis(if cache == Some(CacheMode::Cold) { 100 } else { 25 }))
    }

    /// Extra visits that a cell may have because others used the processor.
    #[must_use]
    pub fn max_repeats(&self) -> u32 {
        self.rounds / 2
    }

    /// What changes the meaning of a number. The budgets do not: they only decide what is measured at all, and a run
    /// may be resumed with larger ones.
    pub(super) fn meaning(&self) -> String {
        let Self { rounds, ci_target, min_block, samples_per_round, cell_timeout, time_budget: _, memory_budget: _ } =
            self;
        format!("{rounds} {ci_target} {min_block:?} {samples_per_round} {cell_timeout:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_bounds() {
        let refusal = |fields: MeasureFields| MeasureSettings::resolve(&fields).map(|_| ()).unwrap_err();
        let rounds = |n| MeasureFields { rounds: Some(n), ..MeasureFields::default() };
        let samples = |n| MeasureFields { samples_per_round: Some(n), ..MeasureFields::default() };
        assert!(refusal(rounds(MAX_ROUNDS + 1)).contains("at most 10000"));
        assert!(refusal(samples(usize::MAX)).contains("samples_per_round is 18446744073709551615"));
        assert!(refusal(rounds(0)).contains("at least 1"));
        assert!(MeasureSettings::resolve(&rounds(MAX_ROUNDS)).is_ok());
        assert!(MeasureSettings::resolve(&samples(MAX_SAMPLES_PER_ROUND)).is_ok());
    }
}
