//! Training as a whole: what is learned, resumed, refused; beam search against all sentences there are.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod frozen;
mod resume;
mod search;
mod trainer;

use candle_core::{DType, Device};
use t2r::{
    attention::{Heads, ResolveRequest, Resolved, resolve},
    model::Setup,
    params::Params,
    spec::{Activation, ModelShape, Norm, Positions},
    train::{Decay, Objective, Recipe, Schedule, Trained},
};

fn resolved(variant: &str, causal: bool) -> Resolved {
    let request = ResolveRequest { head_dim: 8, feature_dim: None, can_merge: false, causal };
    resolve(&variant.parse().expect("a variant"), request).expect("a known variant")
}

/// Two layers of width 16 over `vocab` ids, with an encoder where `cross` is given.
fn setup(variant: &str, cross: Option<&str>, vocab: usize) -> Setup {
    let shape = ModelShape {
        n_layers: 2,
        d_model: 16,
        ffn_dim: 32,
        vocab_size: vocab,
        norm: Norm::LayerNorm,
        positions: Positions::Sinusoidal,
        activation: Activation::Gelu,
        tied_output: true,
    };
    let heads = Heads { n_heads: 2, n_kv_heads: 2, head_dim: 8 };
    Setup::uniform(shape, heads, resolved(variant, true), cross.map(|c| resolved(c, false)), 32)
}

fn params(seed: u64) -> Params {
    Params::trainable(&Device::Cpu, DType::F32, seed)
}

fn recipe(steps: u64) -> Recipe {
    Recipe {
        objective: Objective::NextToken,
        trained: Trained::All,
        schedule: Schedule { peak: 3e-3, warmup: 3, decay: Decay::Cosine, steps },
        accumulate: 1,
        clip: Some(1.0),
        weight_decay: 0.01,
        beta2: 0.98,
        dropout: 0.1,
        label_smoothing: 0.1,
        validate_every: 3,
        seed: 5,
    }
}
