//! How long a plan will take, roughly: from what each cell computes and moves at assumed rates. Knows no clock; the
//! answer is for deciding between a coffee and a lunch.

use std::time::Duration;

use super::{
    executor::Prediction,
    plan::{Group, Plan},
};
use crate::spec::{Cell, Implementation, Workload};

/// Samples that a first visit discards, as a rule.
const WARMUP_SAMPLES: f64 = 4.0;

/// Rates that work is assumed to go at, a thread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AssumedRates {
    /// Floating-point operations per second of matrix products and of fused kernels.
    pub flops_per_s: f64,
    /// The same of plain loops, which are what a layer is by its reference implementation.
    pub plain_flops_per_s: f64,
    /// Bytes per second.
    pub bytes_per_s: f64,
    /// Bytes of weights and states prepared per second: most are drawn at random.
    pub prepared_per_s: f64,
}

impl Default for AssumedRates {
    /// About half of what two cores of a server reach.
    fn default() -> Self {
        Self { flops_per_s: 25e9, plain_flops_per_s: 3e9, bytes_per_s: 6e9, prepared_per_s: 0.25e9 }
    }
}

impl AssumedRates {
    /// Time of one call: whichever of computing and moving takes longer.
    #[must_use]
    pub fn call_seconds(&self, cell: &Cell, p: &Prediction) -> f64 {
        let is_plain = cell.model.is_none() && cell.implementation == Implementation::Reference;
        let flops_per_s = if is_plain { self.plain_flops_per_s } else { self.flops_per_s };
        (p.flops / flops_per_s).max(p.bytes_moved / self.bytes_per_s) / cell.n_threads as f64
    }
}

impl Plan {
    /// Rough time of the whole plan if every cell has all its rounds: each round's preparation, warm-up and samples at the
    /// assumed rates, and no more per cell than its limit. Cells that cannot run take none. Never beyond the time budget.
    #[must_use]
    pub fn estimate(
        &self,
        mut predict: impl FnMut(&Cell) -> Result<Prediction, String>,
        rates: &AssumedRates,
    ) -> Duration {
        let mut total = 0.0;
        for group in &self.groups {
            for unit in &group.units {
                // A generation costs what its longest length costs.
                let Some(cell) = unit.last().map(|i| &group.cells[*i]) else { continue };
                if let Ok(prediction) = predict(cell) {
                    total += self.unit_seconds(cell, &prediction, rates);
                }
            }
        }
        let most = self.settings.time_budget.unwrap_or(Duration::MAX);
        Duration::try_from_secs_f64(total).unwrap_or(Duration::MAX).min(most)
    }

    /// Part of the estimate that falls to one cell of a group. The shorter lengths of a generation come with the longest
    /// one, and take no time of their own.
    #[must_use]
    pub fn cell_seconds(&self, group: &Group, cell: usize, prediction: &Prediction, rates: &AssumedRates) -> f64 {
        let pays = group.units.iter().any(|unit| unit.last() == Some(&cell));
        let of = group.cells.get(cell).filter(|_| pays);
        of.map_or(0.0, |of| self.unit_seconds(of, prediction, rates))
    }

    fn unit_seconds(&self, cell: &Cell, prediction: &Prediction, rates: &AssumedRates) -> f64 {
        let s = &self.settings;
        let rounds = f64::from(s.rounds);
        let call = rates.call_seconds(cell, prediction);
        let prepared = rounds * prediction.memory_bytes as f64 / (rates.prepared_per_s * cell.n_threads as f64);
        let of_rounds = match cell.workload {
            Workload::Attention | Workload::Forward => {
                let sample = call.max(s.min_block(cell.cache).as_secs_f64());
                sample * (WARMUP_SAMPLES + (rounds - 1.0) + rounds * s.samples_per_round as f64)
            }
            Workload::Prefill | Workload::Train => {
                call * (WARMUP_SAMPLES + (rounds - 1.0) + rounds * s.samples_per_round as f64)
            }
            Workload::Decode => call * rounds * (cell.n_gen.unwrap_or(1) as f64 + 1.0),
            Workload::Generate => call * rounds * (cell.seq_len as f64 + 1.0),
            // A token of the source costs its encoder what a token of the target costs its decoder, or less.
            Workload::Translate => call * rounds * (cell.seq_len + cell.source_len() + 1) as f64,
        };
        (prepared + of_rounds).min(s.cell_timeout.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::Direction,
        spec::DeviceKind,
        sweep::{
            plan::{Overrides, RunFacts},
            profile::parse,
        },
    };

    #[test]
    fn a_layer_takes_its_blocks_and_a_model_its_tokens() {
        let text = "description='x'\n[measure]\nrounds=2\nsamples_per_round=3\nmin_block='1s'\n\
                    [defaults]\nvariants='softmax'\nimplementation='reference'\nworkload=['attention','decode','train']\nn_gen=9";
        let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
        let plan = Plan::new(&parse("t", text).expect("profile"), &Overrides::default(), &facts).expect("plan");
        let predict = |_: &Cell| -> Result<Prediction, String> {
            Ok(Prediction {
                state_bytes: 0,
                memory_bytes: 0,
                flops: 5e9,
                bytes_moved: 1.0,
                footprint_bytes: 0,
                direction: Direction::Read,
            })
        };
        let rates = AssumedRates { flops_per_s: 20e9, plain_flops_per_s: 10e9, ..AssumedRates::default() };
        // A call of the plain layer takes 0.5 s, of a model 0.25 s. Layer: 4 + 1 discarded and 6 kept blocks of 1 s; model:
        // 2 rounds of 10 tokens; training: 11 steps.
        assert_eq!(plan.estimate(predict, &rates), Duration::from_millis(11_000 + 5_000 + 2_750));
        let part = |g: usize| {
            let group = &plan.groups[g];
            plan.cell_seconds(group, 0, &predict(&group.cells[0]).expect("predicted"), &rates)
        };
        assert_eq!((part(0), part(1), part(2)), (11.0, 5.0, 2.75));
        assert_eq!(plan.estimate(|_| Err("no".to_owned()), &AssumedRates::default()), Duration::ZERO);
    }
}
