//! What a training says while it goes, once, to whoever listens. Knows neither files nor screens.

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    /// The training begins or goes on.
    Started(TrainStarted),
    /// An update was made.
    Step(TrainStep),
    /// What is held out was looked at.
    Validated(Validated),
    /// The state was written, so that the training can go on from here.
    Saved {
        /// Updates made.
        step: u64,
    },
}

/// The training begins or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainStarted {
    /// Updates that were made before.
    pub done: u64,
    /// Updates in all.
    pub steps: u64,
    /// Numbers that are trained.
    pub parameters: usize,
}

/// An update was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainStep {
    /// Which, from 1.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Targets learned so far.
    pub tokens: u64,
    /// Loss of the batch before the update.
    pub loss: f64,
    /// Step size.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Targets per second of this update.
    pub tokens_per_s: f64,
    /// Most memory that was allocated at once since the last update, or the resident set; `None` where neither is known.
    pub memory_bytes: Option<u64>,
}

/// What is held out was looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validated {
    /// Updates made.
    pub step: u64,
    /// Mean loss, without smoothing and dropout.
    pub loss: f64,
    /// Share of targets that were the most likely token; `None` where the objective has none.
    pub accuracy: Option<f64>,
    /// Whether no earlier look was better.
    pub improved: bool,
}

/// Listens to a training.
pub trait Listener {
    /// Takes note of one event.
    ///
    /// # Errors
    /// Whatever makes going on pointless, such as a full disk; the training ends with that error.
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()>;
}

impl<F: FnMut(&TrainEvent) -> anyhow::Result<()>> Listener for F {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self(event)
    }
}
