//! Transformers over any attention variant. Knows nothing of benchmarks.

mod attention_layer;
mod block;
mod decoder;
mod distance;
mod dropout;
mod fused_step;
mod layer_state;
mod layers;
pub mod oracle;
mod probe;
mod search;
mod session;
mod setup;
mod translator;

pub use attention_layer::{AttentionLayer, Encoded};
pub use block::Block;
pub use decoder::{Decoder, greedy};
pub use distance::Distance;
pub use dropout::Dropout;
pub use layers::{FeedForward, NormLayer, Projection, Rotary, rotary_tables, rotate, sinusoidal_table};
pub use probe::Probe;
pub use search::{Found, Search, translate};
pub use session::Session;
pub use setup::{Conventions, LayerAttention, Setup};
pub use translator::Translator;
