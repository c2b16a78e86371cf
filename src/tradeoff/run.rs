//! One model of a tradeoff: made, trained, judged.

use std::path::PathBuf;

use candle_core::Device;

use super::{
    material::Material,
    models::{Values, swap, trainable, values_of},
    profile::{RowSpec, Stage, TradeoffProfile, Way},
};
use crate::{
    checkpoint::LayerChoice,
    measure::Clock,
    model::Setup,
    spec::VariantSpec,
    train::{
        Batch, Ended, Listener, Objective, Progress, Recipe, Schedule, Score, Surroundings, Task, Trained, Trainee,
        Trainer, evaluate,
    },
};

/// Updates between two snapshots, where ten minutes have not passed before.
const SAVE_EVERY: u64 = 200;

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Self-attention of the swapped layers.
    pub variant: VariantSpec,
    /// Their cross-attention, where it is another.
    pub cross: Option<VariantSpec>,
    /// Which layers.
    pub layers: LayerChoice,
    /// How it comes to be.
    pub way: Way,
    /// Seed of what is new in it, and of its order of learning.
    pub seed: u64,
}

impl Run {
    /// The softmax model.
    #[must_use]
    pub fn pretrained() -> Self {
        let variant = VariantSpec::new("softmax");
        Self { variant, cross: None, layers: LayerChoice::Percent(100), way: Way::Pretrained, seed: 0 }
    }

    /// A few words for people.
    #[must_use]
    pub fn label(&self) -> String {
        let cross = self.cross.as_ref().map_or_else(String::new, |cross| format!(" × {cross}"));
        format!("{}{cross} {}", self.variant, self.label_of_way())
    }

    /// The same without the variant.
    #[must_use]
    pub fn label_of_way(&self) -> String {
        let layers = match &self.layers {
            LayerChoice::Percent(100) => String::new(),
            layers => format!(" in {layers} of the layers"),
        };
        format!("{}{layers}, seed {}", self.way, self.seed)
    }

    /// What is swapped for what.
    #[must_use]
    pub fn spec(&self) -> RowSpec {
        let (variant, cross, layers) = (self.variant.clone(), self.cross.clone(), self.layers.clone());
        RowSpec { variant, cross, layers, ways: Vec::new(), seeds: Vec::new() }
    }
}

/// All models of a profile, the softmax model first.
#[must_use]
pub fn runs(profile: &TradeoffProfile) -> Vec<Run> {
    let mut runs = vec![Run::pretrained()];
    for row in &profile.row {
        for way in &row.ways {
            // Nothing in a model that is only swapped but its new parameters depends on a seed.
            runs.extend(row.seeds.iter().map(|seed| Run {
                variant: row.variant.clone(),
                cross: row.cross.clone(),
                layers: row.layers.clone(),
                way: *way,
                seed: *seed,
            }));
        }
    }
    runs
}

/// The model that others are made of.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// What it is.
    pub setup: Setup,
    /// Its weights.
    pub values: Values,
    /// Targets that it learned from; `None` where it was not trained here.
    pub tokens: Option<u64>,
}

/// What every run needs.
pub struct Lab<'a> {
    /// The profile.
    pub profile: &'a TradeoffProfile,
    /// What is learned.
    pub material: &'a Material,
    /// What all are judged by.
    pub held_out: &'a [Batch],
    /// Hash of profile and data.
    pub id: &'a str,
    /// Where snapshots are kept.
    pub folder: PathBuf,
    /// Where tensors live.
    pub device: &'a Device,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Whether the user has asked to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// What came of a run.
pub struct Outcome {
    /// What the model is.
    pub setup: Setup,
    /// Its weights.
    pub values: Values,
    /// Of its own training.
    pub progress: Progress,
    /// On what is held out.
    pub score: Score,
    /// BLEU of greedy translations.
    pub bleu: Option<f64>,
}

impl Lab<'_> {
    /// Makes, trains and judges one model, with the weights of `teacher` where it is not from scratch; `None` where the user
    /// asked to stop.
    ///
    /// # Errors
    /// On a variant that cannot be, and as training fails.
    pub fn run(
        &self,
        run: &Run,
        softmax: &Setup,
        teacher: Option<&Teacher>,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<Option<Outcome>> {
        let setup = swap(softmax, &run.spec()).map_err(|why| anyhow::anyhow!("{}: {why}", run.label()))?;
        let known = teacher.filter(|_| run.way != Way::Scratch).map(|teacher| &teacher.values);
        let stages = self.stages(run.way, teacher.is_some());
        let first = stages.first().map_or(Objective::NextToken, |(_, objective)| *objective);
        let mut trainee = Trainee::new(&setup, trainable(known, run.seed, self.device), trained(first))?;
        let mut progress = Progress::default();
        for (i, (stage, objective)) in stages.into_iter().enumerate() {
            if i > 0 {
                trainee = trainee.again(trained(objective))?;
            }
            let recipe = self.recipe(stage, objective, run.seed);
            let Some(done) = self.train(&stage_name(run, i + 1), &trainee, recipe, listener)? else { return Ok(None) };
            progress.step += done.step;
            progress.tokens += done.tokens;
            progress.seconds += done.seconds;
        }
        let score = evaluate(trainee.network.as_ref(), self.held_out)?;
        let values = values_of(&trainee.params);
        drop(trainee);
        let bleu = self.material.bleu(&setup, &values)?;
        Ok(Some(Outcome { setup, values, progress, score, bleu }))
    }

    /// The trainings that a model goes through; a softmax model that is there already goes through none.
    fn stages(&self, way: Way, has_teacher: bool) -> Vec<(Stage, Objective)> {
        let TradeoffProfile { pretrain, finetune, transfer, .. } = self.profile;
        match (way, *pretrain, *transfer) {
            (Way::Pretrained, Some(pretrain), _) if !has_teacher => vec![(pretrain, Objective::NextToken)],
            (Way::Scratch, Some(pretrain), _) => {
                let whole = Stage { steps: pretrain.steps + finetune.steps, ..pretrain };
                vec![(whole, Objective::NextToken)]
            }
            (Way::TransferOnly, _, Some(first)) => vec![(first, Objective::Transfer)],
            (Way::Transferred, _, Some(first)) => {
                let rest = Stage { steps: finetune.steps.saturating_sub(first.steps), ..*finetune };
                vec![(first, Objective::Transfer), (rest, Objective::NextToken)]
            }
            (Way::Finetuned | Way::Transferred, ..) => vec![(*finetune, Objective::NextToken)],
            (Way::Pretrained | Way::Swapped | Way::Scratch | Way::TransferOnly, ..) => Vec::new(),
        }
    }

    fn recipe(&self, stage: Stage, objective: Objective, seed: u64) -> Recipe {
        let training = self.profile.training;
        let Stage { steps, learning_rate, warmup, decay } = stage;
        Recipe {
            objective,
            trained: trained(objective),
            schedule: Schedule { peak: learning_rate, warmup, decay, steps },
            accumulate: 1,
            clip: Some(training.clip),
            weight_decay: training.weight_decay,
            beta2: 0.98,
            dropout: training.dropout,
            label_smoothing: training.label_smoothing,
            validate_every: 0,
            seed,
        }
    }

    fn train(
        &self,
        name: &str,
        trainee: &Trainee,
        recipe: Recipe,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<Option<Progress>> {
        let lessons = self.material.lessons(self.profile, recipe.seed, self.device)?;
        let identity = format!("{} · {name}", self.id);
        let task = Task {
            network: trainee.network.as_ref(),
            vars: trainee.params.vars(),
            lessons: lessons.as_ref(),
            held_out: &[],
            identity: &identity,
        };
        let mut trainer = Trainer::new(task, recipe)?;
        let snapshot = self.folder.join(format!("{}.safetensors", file_name(name)));
        if snapshot.exists() {
            trainer.resume(&snapshot)?;
        }
        let snapshots = Some((snapshot.as_path(), SAVE_EVERY));
        let mut around = Surroundings { clock: self.clock, stop: self.stop, listener, snapshots };
        Ok(match trainer.run(&mut around)? {
            Ended::Done => Some(trainer.progress()),
            Ended::Stopped => None,
        })
    }

    /// Removes the snapshots of a run that is written down. Those of the softmax model stay: others are made of it; and so
    /// do those of a transfer, from which a finetuning of the same may go on.
    pub fn forget(&self, run: &Run) {
        if run.way == Way::TransferOnly {
            return;
        }
        for stage in 1..=2 {
            let name = file_name(&stage_name(run, stage));
            // Where it is not there, or cannot be removed, nothing depends on it.
            let _ = std::fs::remove_file(self.folder.join(format!("{name}.safetensors")));
        }
    }
}

/// What moves.
fn trained(objective: Objective) -> Trained {
    match objective {
        Objective::Transfer => Trained::FeatureMaps,
        Objective::NextToken => Trained::All,
    }
}

/// A training of a run, counted from 1. The transfer is the same training whether a finetuning follows or not.
fn stage_name(run: &Run, stage: usize) -> String {
    let way = if run.way == Way::TransferOnly { Way::Transferred } else { run.way };
    format!("{} stage {stage}", Run { way, ..run.clone() }.label())
}

/// A label as the name of a file.
fn file_name(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || ".%-".contains(c) { c } else { '_' }).collect()
}
