//! Models of this program's own shapes: `config.json` in the words of profiles, parameters under their own names.

use serde_json::{Map, Value, json};

use super::{
    attention::softmax_layers,
    error::{CheckpointError, Result},
    json::{Keys, MAX_SIZE, object},
};
use crate::{
    attention::Heads,
    model::{Conventions, Setup},
    spec::{ModelShape, Positions},
};

/// The model that a configuration describes, with softmax in every layer.
pub(super) fn setup(keys: Keys<'_>) -> Result<Setup> {
    let shape = ModelShape {
        n_layers: keys.size("n_layers")?,
        d_model: keys.size("d_model")?,
        ffn_dim: keys.size("ffn_dim")?,
        vocab_size: keys.size("vocab_size")?,
        norm: keys.word("norm")?,
        positions: keys.word("positions")?,
        activation: keys.word("activation")?,
        tied_output: keys.flag_or("tied_output", true)?,
    };
    let heads = Heads {
        n_heads: keys.size("n_heads")?,
        n_kv_heads: keys.size("n_kv_heads")?,
        head_dim: keys.size("head_dim")?,
    };
    if !heads.n_heads.is_multiple_of(heads.n_kv_heads) {
        let message = format!("n_kv_heads {} does not divide n_heads {}", heads.n_kv_heads, heads.n_heads);
        return Err(CheckpointError::invalid(keys.file, message));
    }
    if shape.positions == Positions::Rotary && !heads.head_dim.is_multiple_of(2) {
        let message = format!("rotary positions turn pairs: head_dim {} is odd", heads.head_dim);
        return Err(CheckpointError::invalid(keys.file, message));
    }
    let usual = Conventions::usual(shape.activation);
    let conventions = Conventions {
        norm_epsilon: keys.number_or("norm_epsilon", usual.norm_epsilon)?,
        rotary_base: keys.number_or("rotary_base", usual.rotary_base)?,
        qkv_bias: keys.flag_or("qkv_bias", usual.qkv_bias)?,
        out_bias: keys.flag_or("out_bias", usual.out_bias)?,
        ffn_bias: keys.flag_or("ffn_bias", usual.ffn_bias)?,
    };
    let layers = softmax_layers(keys.file, shape.n_layers)?;
    let max_len = keys.size("max_len")?;
    // A table of sines is made, not read, so that no file bounds its size.
    if shape.positions == Positions::Sinusoidal && max_len.saturating_mul(shape.d_model) > MAX_SIZE {
        let message =
            format!("'max_len' {max_len} of width {} would be a table beyond {MAX_SIZE} numbers", shape.d_model);
        return Err(CheckpointError::invalid(keys.file, message));
    }
    Ok(Setup { shape, heads, layers, conventions, max_len })
}

/// `config.json` of such a model.
pub(super) fn config(setup: &Setup) -> Map<String, Value> {
    let (shape, heads, conventions) = (setup.shape, setup.heads, setup.conventions);
    let config = json!({
        "n_layers": shape.n_layers,
        "d_model": shape.d_model,
        "ffn_dim": shape.ffn_dim,
        "vocab_size": shape.vocab_size,
        "norm": shape.norm,
        "positions": shape.positions,
        "activation": shape.activation,
        "tied_output": shape.tied_output,
        "n_heads": heads.n_heads,
        "n_kv_heads": heads.n_kv_heads,
        "head_dim": heads.head_dim,
        "max_len": setup.max_len,
        "norm_epsilon": conventions.norm_epsilon,
        "rotary_base": conventions.rotary_base,
        "qkv_bias": conventions.qkv_bias,
        "out_bias": conventions.out_bias,
        "ffn_bias": conventions.ffn_bias,
    });
    object(config)
}
