//! Training: losses, gradients, updates, and the loop around them. Knows models and batches of ids, not who shows how it goes.

mod adamw;
mod batch;
mod clip;
mod evaluate;
mod event;
mod lessons;
mod log;
mod loss;
mod network;
mod recipe;
mod schedule;
mod select;
mod snapshot;
mod step;
mod trainer;

pub use adamw::{AdamW, AdamWSettings, Moments};
pub use batch::{Batch, Source};
pub use clip::clip;
pub use evaluate::{Score, evaluate, evaluate_distance, mean_distance};
pub use event::{Listener, TrainEvent, TrainStarted, TrainStep, Validated};
pub use lessons::{Lessons, Marks, Reading, Recalling, Translating, held_out_pairs, held_out_text};
pub use log::{LOG_COLUMNS, TrainLog};
pub use loss::token_losses;
pub use network::{Network, Trainee};
pub use recipe::{Objective, Recipe};
pub use schedule::{Decay, Schedule};
pub use select::Trained;
pub use snapshot::{Identity, SnapshotError};
pub use step::{Gradients, TrainError, gradients, loss_and_gradients, step};
pub use trainer::{Ended, Progress, SAVE_AFTER, Surroundings, Task, Trainer};
