//! What a trained model is used for: scoring text, continuing it, and looking at its attention. Knows models and ids, not
//! files, screens or training.

mod distance;
mod generate;
mod perplexity;
mod sampling;

pub use distance::attention_distance;
pub use generate::{Ended, Generated, Request, generate};
pub use perplexity::{Score, Window, Windows, perplexity};
pub use sampling::{Sampler, Sampling};

use candle_core::{DType, Device};

use crate::{
    kernels::{Kernels, Simd},
    model::Decoder,
};

/// The fastest kernels that a model can run by: fused ones in f32 on the CPU.
#[must_use]
pub fn kernels(model: &Decoder) -> Kernels {
    match (model.device(), model.dtype()) {
        (Device::Cpu, DType::F32) => Kernels::Fused(Simd::detect()),
        _ => Kernels::Plain,
    }
}
