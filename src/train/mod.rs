//! Training: the loss, its gradients, and the update. Knows models, not where their data comes from nor who times them.

mod adamw;
mod loss;
mod step;

pub use adamw::{AdamW, AdamWSettings, Moments};
pub use loss::next_token_loss;
pub use step::{Batch, Gradients, TrainError, gradients, loss_and_gradients, step};
