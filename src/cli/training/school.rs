//! One stage of a training, from the first update to the answer: logged, kept, told.

use candle_core::Device;

use super::{args::TrainArgs, data::Data, folder::Folder, watch::Watch};
use crate::{
    checkpoint::{Description, Tokenizer},
    cli::{Answer, Failure},
    measure::MonotonicClock,
    report::Listing,
    sweep::nine_digits,
    train::{
        Ended, Listener, Objective, Progress, Recipe, Schedule, Surroundings, Task, TrainEvent, TrainLog, Trained,
        Trainee, Trainer, Validated,
    },
};

/// What belongs to a model in training, whatever of it is trained.
pub(super) struct School<'a> {
    /// What it is when it is written.
    pub(super) description: &'a Description,
    /// Its tokenizer.
    pub(super) tokenizer: &'a Tokenizer,
    /// What it learns.
    pub(super) data: &'a Data,
    /// Where it is written.
    pub(super) folder: &'a Folder,
    /// Who watches.
    pub(super) watch: &'a Watch,
}

/// One stage.
pub(super) struct Stage<'a> {
    /// Name of its files.
    pub(super) name: &'static str,
    /// Settings.
    pub(super) recipe: Recipe,
    /// What came before it, so that another past is another training.
    pub(super) past: &'a str,
    /// Updates between two snapshots.
    pub(super) save_every: u64,
}

/// What came of a stage.
pub(super) struct Report {
    stage: &'static str,
    progress: Progress,
    first: Option<f64>,
    is_perplexity: bool,
    ended: Ended,
}

impl Report {
    /// Whether the user asked to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.ended == Ended::Stopped
    }
}

/// The recipe that options ask for; `lr` where none is given.
pub(super) fn recipe(args: &TrainArgs, trained: Trained, lr: f64) -> Answer<Recipe> {
    let recipe = Recipe {
        objective: Objective::NextToken,
        trained,
        schedule: Schedule {
            peak: args.lr.unwrap_or(lr),
            warmup: args.warmup.unwrap_or(args.steps / 10),
            decay: args.schedule,
            steps: args.steps,
        },
        accumulate: args.accumulate,
        clip: (args.clip != 0.0).then_some(args.clip),
        weight_decay: args.weight_decay,
        beta2: 0.98,
        dropout: args.dropout,
        label_smoothing: args.label_smoothing,
        validate_every: args.validate_every,
        seed: args.seed,
    };
    recipe.check().map_err(Failure::Usage)?;
    Ok(recipe)
}

impl School<'_> {
    /// Trains the variables of a model; goes on where the stage has a state.
    pub(super) fn train(&self, trainee: &Trainee, stage: Stage<'_>) -> Answer<Report> {
        let Stage { name, recipe, past, save_every } = stage;
        let is_perplexity = recipe.objective == Objective::NextToken;
        let setup = &self.description.setup;
        let model = xxhash_rust::xxh3::xxh3_64(format!("{setup:?}").as_bytes());
        let identity = format!("{}, model {model:016x}{past}", self.data.name);
        let task = Task {
            network: trainee.network.as_ref(),
            vars: trainee.params.vars(),
            lessons: self.data.lessons.as_ref(),
            held_out: &self.data.held_out,
            identity: &identity,
        };
        let mut trainer = Trainer::new(task, recipe)?;
        let (state, log) = (self.folder.state(name), self.folder.log(name));
        let goes_on = self.folder.has(name);
        if goes_on {
            trainer.resume(&state)?;
        }
        let kept = if goes_on { TrainLog::resume(&log, trainer.progress().step)? } else { TrainLog::begin(&log)? };
        let title = format!("{name} {}", self.folder.root().display());
        let people = self.watch.begin(&title, is_perplexity, goes_on.then_some(&log));
        let mut listeners = Listeners { log: kept, people, school: self, trainee, first: None };
        let stop = || self.watch.stop();
        let mut around = Surroundings {
            clock: &MonotonicClock::default(),
            stop: &stop,
            listener: &mut listeners,
            snapshots: Some((&state, save_every)),
        };
        let ended = trainer.run(&mut around)?;
        Ok(Report { stage: name, progress: trainer.progress(), first: listeners.first, is_perplexity, ended })
    }

    /// Writes a model as it is now.
    pub(super) fn keep(&self, trainee: &Trainee) -> anyhow::Result<()> {
        Ok(self.description.save(self.folder.root(), &trainee.params, Some(self.tokenizer))?)
    }
}

/// The log hears first, then the best model is kept, then people are told.
struct Listeners<'a> {
    log: TrainLog,
    people: Box<dyn Listener>,
    school: &'a School<'a>,
    trainee: &'a Trainee,
    first: Option<f64>,
}

impl Listener for Listeners<'_> {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self.log.on_event(event)?;
        match event {
            TrainEvent::Validated(Validated { step: 0, loss, .. }) => self.first = Some(*loss),
            TrainEvent::Validated(Validated { improved: true, .. }) => self.school.keep(self.trainee)?,
            _ => {}
        }
        self.people.on_event(event)
    }
}

/// What all stages came to.
pub(super) fn answer_of(reports: &[Report]) -> Listing {
    let mut list = Listing::new(&[
        "stage",
        "steps",
        "tokens",
        "train_s",
        "tokens_per_s",
        "loss_before",
        "loss",
        "perplexity_before",
        "perplexity",
        "best_step",
    ]);
    for Report { stage, progress, first, is_perplexity, .. } in reports {
        let Progress { step, tokens, seconds, best_loss, best_step } = *progress;
        let digits = |x: Option<f64>| x.map(nine_digits);
        let perplexity = |loss: Option<f64>| digits(loss.filter(|_| *is_perplexity).map(f64::exp));
        list.push(vec![
            (*stage).into(),
            step.into(),
            tokens.into(),
            ((seconds * 10.0).round() / 10.0).into(),
            (seconds > 0.0).then(|| (tokens as f64 / seconds).round()).into(),
            digits(*first).into(),
            digits(best_loss).into(),
            perplexity(*first).into(),
            perplexity(best_loss).into(),
            best_step.into(),
        ]);
    }
    list
}

/// Trainings are in f32 on the CPU.
pub(super) fn device() -> Device {
    Device::Cpu
}
