//! Transformers over any attention variant. Knows nothing of benchmarks.

mod decoder;
mod layers;
pub mod oracle;
mod session;

pub use decoder::{Block, Decoder, Setup, greedy};
pub use layers::{FeedForward, NormLayer, Projection, rotary_tables, rotate, sinusoidal_table};
pub use session::Session;
