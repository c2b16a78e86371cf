//! The loop: batches, gradients, clipping, updates, looks at what is held out, and snapshots to go on from.

use std::{collections::BTreeMap, path::Path, time::Duration};

use candle_core::{Result, Tensor, Var};

use super::{
    AdamW, Batch, Gradients, Lessons, Listener, Network, Objective, Recipe, TrainError, TrainEvent, TrainStarted,
    TrainStep, Validated, clip, evaluate, evaluate_distance, gradients, mean_distance,
    snapshot::{Identity, Snapshot},
    step::{self, Share, finite},
};
use crate::{
    inference::kernels,
    measure::{Clock, peak_bytes, reset_peak, rss_bytes},
    model::Dropout,
};

/// What a training works on.
pub struct Task<'a> {
    /// The model.
    pub network: &'a dyn Network,
    /// Those of its variables that are trained.
    pub vars: &'a BTreeMap<String, Var>,
    /// What it learns from.
    pub lessons: &'a dyn Lessons,
    /// What it is judged by.
    pub held_out: &'a [Batch],
    /// A name of model and data, so that no other training goes on from its snapshot.
    pub identity: &'a str,
}

/// What is around a training.
pub struct Surroundings<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Whether the user has asked to stop.
    pub stop: &'a dyn Fn() -> bool,
    /// Who hears of it.
    pub listener: &'a mut dyn Listener,
    /// Where the state is kept, and how many updates lie between two writings at the most; it is also written where
    /// [`SAVE_AFTER`] has passed. `None`: nowhere.
    pub snapshots: Option<(&'a Path, u64)>,
}

/// Time after which the state is written even where few updates were made: what a training that is killed loses at most.
pub const SAVE_AFTER: Duration = Duration::from_secs(600);

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All updates were made.
    Done,
    /// The user asked to stop; it can go on from its snapshot.
    Stopped,
}

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Updates.
    pub step: u64,
    /// Targets learned.
    pub tokens: u64,
    /// Seconds of updating.
    pub seconds: f64,
    /// The least loss on what is held out.
    pub best_loss: Option<f64>,
    /// The update after which it was.
    pub best_step: u64,
}

/// A training.
pub struct Trainer<'a> {
    task: Task<'a>,
    recipe: Recipe,
    optimiser: AdamW,
    progress: Progress,
}

impl<'a> Trainer<'a> {
    /// From the beginning, with a fresh optimiser.
    ///
    /// # Errors
    /// On a recipe that cannot be, on nothing to train, and where the device has no memory.
    pub fn new(task: Task<'a>, recipe: Recipe) -> anyhow::Result<Self> {
        recipe.check().map_err(anyhow::Error::msg)?;
        if task.vars.is_empty() {
            anyhow::bail!("nothing to train: the model has no parameter that --train {} means", recipe.trained);
        }
        let optimiser = AdamW::new(recipe.optimiser(), task.vars)?;
        Ok(Self { task, recipe, optimiser, progress: Progress::default() })
    }

    /// Goes on from a snapshot: variables, moments and place in the data are as they were.
    ///
    /// # Errors
    /// Where the snapshot cannot be read or is of another training.
    pub fn resume(&mut self, from: &Path) -> anyhow::Result<()> {
        let snapshot = Snapshot::read(from)?;
        snapshot.restore(&self.identity(), self.task.vars, &mut self.optimiser)?;
        self.progress = snapshot.progress;
        Ok(())
    }

    /// What has been done so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn identity(&self) -> Identity {
        Identity { recipe: self.recipe.clone(), task: self.task.identity.to_owned() }
    }

    /// Makes the updates that are left.
    ///
    /// # Errors
    /// [`TrainError`] before an update that would be wrong, and what the listener and the disk refuse. The last snapshot
    /// stays as it was.
    pub fn run(&mut self, around: &mut Surroundings<'_>) -> anyhow::Result<Ended> {
        let steps = self.recipe.schedule.steps;
        let parameters = self.task.vars.values().map(|var| var.elem_count()).sum();
        let started = TrainStarted { done: self.progress.step, steps, parameters };
        around.listener.on_event(&TrainEvent::Started(started))?;
        if self.progress.step == 0 {
            self.look(around)?;
        }
        let mut saved = around.clock.now();
        while self.progress.step < steps {
            if (around.stop)() {
                self.save(around)?;
                return Ok(Ended::Stopped);
            }
            let step = self.update(around.clock)?;
            around.listener.on_event(&TrainEvent::Step(step))?;
            let every = self.recipe.validate_every;
            if step.step == steps || (every > 0 && step.step.is_multiple_of(every)) {
                self.look(around)?;
            }
            let is_due = |every: u64| step.step == steps || step.step.is_multiple_of(every.max(1));
            let is_late = around.clock.now() - saved >= SAVE_AFTER;
            if around.snapshots.is_some_and(|(_, every)| is_due(every) || is_late) {
                self.save(around)?;
                saved = around.clock.now();
            }
        }
        Ok(Ended::Done)
    }

    /// One update on the next batches.
    fn update(&mut self, clock: &dyn Clock) -> Result<TrainStep> {
        reset_peak();
        let begun = clock.now();
        let step = self.progress.step + 1;
        let accumulate = self.recipe.accumulate;
        let batches = self.task.lessons.batches((step - 1) * accumulate as u64, accumulate)?;
        let (loss, mut gradients, targets) = self.accumulate(step, &batches)?;
        let grad_norm = clip(&mut gradients, self.recipe.clip)?;
        let learning_rate = self.recipe.schedule.at(step);
        self.optimiser.settings.learning_rate = learning_rate;
        self.optimiser.update_by(self.task.vars, &gradients, kernels(self.task.network.decoder()))?;
        let seconds = (clock.now() - begun).as_secs_f64();
        self.progress.step = step;
        self.progress.tokens += targets as u64;
        self.progress.seconds += seconds;
        Ok(TrainStep {
            step,
            steps: self.recipe.schedule.steps,
            tokens: self.progress.tokens,
            loss,
            learning_rate,
            grad_norm,
            tokens_per_s: targets as f64 / seconds.max(f64::MIN_POSITIVE),
            memory_bytes: peak_bytes().or_else(rss_bytes),
        })
    }

    /// Loss and gradients over all targets of the batches together, however they are spread over them; and how many targets
    /// there are.
    fn accumulate(&self, step: u64, batches: &[Batch]) -> Result<(f64, Gradients, usize)> {
        let targets: usize = batches.iter().map(|b| b.n_targets).sum();
        let kernels = kernels(self.task.network.decoder());
        let (mut loss, mut sum) = (0.0, Gradients::new());
        for (i, batch) in batches.iter().enumerate() {
            let part = match self.recipe.objective {
                Objective::NextToken => {
                    let name = format!("dropout.{step}.{i}");
                    let mut dropout = Dropout::new(self.recipe.dropout, self.recipe.seed, &name);
                    let share = Share { targets, smoothing: self.recipe.label_smoothing };
                    step::loss(self.task.network, batch, kernels, &mut dropout, share)?
                }
                Objective::Transfer => {
                    (mean_distance(&self.task.network.distances(batch, kernels)?)? * (1.0 / batches.len() as f64))?
                }
            };
            loss += finite(&part)?;
            add(&mut sum, gradients(&part, self.task.vars)?)?;
        }
        if !loss.is_finite() {
            return Err(TrainError::Loss { value: loss }.into());
        }
        Ok((loss, sum, targets))
    }

    /// Looks at what is held out, if anything is.
    fn look(&mut self, around: &mut Surroundings<'_>) -> anyhow::Result<()> {
        if self.task.held_out.is_empty() {
            return Ok(());
        }
        let score = match self.recipe.objective {
            Objective::NextToken => evaluate(self.task.network, self.task.held_out)?,
            Objective::Transfer => evaluate_distance(self.task.network, self.task.held_out)?,
        };
        if !score.loss.is_finite() {
            return Err(TrainError::Loss { value: score.loss }.into());
        }
        let improved = self.progress.best_loss.is_none_or(|best| score.loss < best);
        if improved {
            self.progress.best_loss = Some(score.loss);
            self.progress.best_step = self.progress.step;
        }
        let seen = Validated { step: self.progress.step, loss: score.loss, accuracy: score.accuracy, improved };
        around.listener.on_event(&TrainEvent::Validated(seen))
    }

    fn save(&self, around: &mut Surroundings<'_>) -> anyhow::Result<()> {
        let Some((path, _)) = around.snapshots else { return Ok(()) };
        Snapshot::write(path, &self.identity(), self.progress, self.task.vars, &self.optimiser)?;
        around.listener.on_event(&TrainEvent::Saved { step: self.progress.step })
    }
}

/// Adds gradients to a sum that may be empty.
fn add(sum: &mut Gradients, gradients: BTreeMap<String, Tensor>) -> Result<()> {
    for (name, gradient) in gradients {
        // Detached: a sum that remembered its parts would keep their graphs alive.
        let total = match sum.get(&name) {
            Some(before) => (before + &gradient)?.detach(),
            None => gradient,
        };
        sum.insert(name, total);
    }
    Ok(())
}
