//! Everything that decides what a training does, beside the model and the data. Two trainings with one recipe, one model and
//! one seed are the same to the last bit.

use serde::Serialize;

use super::{AdamWSettings, Schedule, Trained};
use crate::spec::words;

words! {
    /// What is made small.
    Objective("objective") {
        /// Cross-entropy of the next tokens.
        NextToken = "next-token",
        /// Distance of every attention layer from softmax in its place.
        Transfer = "transfer",
    }
}

/// Settings of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// What is made small.
    pub objective: Objective,
    /// Which parameters move.
    pub trained: Trained,
    /// Step sizes, and how many updates there are.
    pub schedule: Schedule,
    /// Batches of an update, one after another in memory.
    pub accumulate: usize,
    /// Bound of the gradient's norm.
    pub clip: Option<f64>,
    /// λ of AdamW.
    pub weight_decay: f64,
    /// β₂ of AdamW.
    pub beta2: f64,
    /// Share of elements that dropout zeroes.
    pub dropout: f64,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// Updates between two looks at what is held out; 0: at the end alone.
    pub validate_every: u64,
    /// Seed of order and dropout.
    pub seed: u64,
}

impl Recipe {
    /// What cannot be, in words for people.
    ///
    /// # Errors
    /// With the name of the setting.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| match value {
            v if (0.0..1.0).contains(&v) => Ok(()),
            v => Err(format!("{name} is {v}, expected at least 0 and less than 1")),
        };
        share("dropout", self.dropout)?;
        share("label smoothing", self.label_smoothing)?;
        share("beta2", self.beta2)?;
        let positive = |name: &str, value: f64| match value {
            v if v > 0.0 && v.is_finite() => Ok(()),
            v => Err(format!("{name} is {v}, expected more than 0")),
        };
        positive("the learning rate", self.schedule.peak)?;
        positive("the bound of the gradient norm", self.clip.unwrap_or(1.0))?;
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(format!("weight decay is {}, expected at least 0", self.weight_decay));
        }
        if self.schedule.steps == 0 || self.accumulate == 0 {
            return Err("a training has at least one update of at least one batch".to_owned());
        }
        Ok(())
    }

    pub(super) fn optimiser(&self) -> AdamWSettings {
        AdamWSettings {
            learning_rate: self.schedule.peak,
            beta2: self.beta2,
            weight_decay: self.weight_decay,
            ..AdamWSettings::default()
        }
    }
}
