//! The Llama family: `config.json` as Hugging Face writes it for Llama, Mistral and Qwen2, and the names of its tensors.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    attention::softmax_layers,
    error::{CheckpointError, Result},
    family::{Place, of_block, of_feature_map},
    json::{Keys, object},
};
use crate::{
    attention::Heads,
    model::{Conventions, Setup},
    spec::{Activation, ModelShape, Norm, Positions},
};

/// The model types that are read as this family.
pub(super) const MODEL_TYPES: [&str; 3] = ["llama", "mistral", "qwen2"];

/// The model that a configuration describes, with softmax in every layer.
pub(super) fn setup(keys: Keys<'_>, model_type: &str) -> Result<Setup> {
    let file = keys.file;
    refuse_unlike(keys)?;
    let (d_model, n_heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
    let head_dim = match keys.optional_size("head_dim")? {
        Some(given) => given,
        None => head_dim(file, d_model, n_heads)?,
    };
    let n_kv_heads = keys.optional_size("num_key_value_heads")?.unwrap_or(n_heads);
    let heads = Heads { n_heads, n_kv_heads, head_dim };
    check_heads(file, heads)?;
    let shape = ModelShape {
        n_layers: keys.size("num_hidden_layers")?,
        d_model,
        ffn_dim: keys.size("intermediate_size")?,
        vocab_size: keys.size("vocab_size")?,
        norm: Norm::RmsNorm,
        positions: Positions::Rotary,
        activation: Activation::Swiglu,
        tied_output: keys.flag_or("tie_word_embeddings", false)?,
    };
    let everywhere = keys.flag_or("attention_bias", false)?;
    let max_len = keys.optional_size("max_position_embeddings")?.unwrap_or(2048);
    let conventions = Conventions {
        norm_epsilon: keys.number_or("rms_norm_eps", 1e-6)?,
        rotary_base: rotary_base(keys)?,
        qkv_bias: everywhere || model_type == "qwen2",
        out_bias: everywhere,
        ffn_bias: keys.flag_or("mlp_bias", false)?,
    };
    refuse_window(keys, max_len)?;
    Ok(Setup { shape, heads, layers: softmax_layers(file, shape.n_layers)?, conventions, max_len })
}

/// `config.json` of such a model, for one that has none of its own.
pub(super) fn config(setup: &Setup) -> Map<String, Value> {
    let (shape, heads, conventions) = (setup.shape, setup.heads, setup.conventions);
    // Biases of queries, keys and values alone are what Qwen2 has.
    let qwen = conventions.qkv_bias && !conventions.out_bias;
    let config = json!({
        "model_type": if qwen { "qwen2" } else { "llama" },
        "architectures": [if qwen { "Qwen2ForCausalLM" } else { "LlamaForCausalLM" }],
        "hidden_size": shape.d_model,
        "intermediate_size": shape.ffn_dim,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": heads.n_heads,
        "num_key_value_heads": heads.n_kv_heads,
        "head_dim": heads.head_dim,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": setup.max_len,
        "rms_norm_eps": conventions.norm_epsilon,
        "rope_theta": conventions.rotary_base,
        "hidden_act": "silu",
        "attention_bias": conventions.out_bias,
        "mlp_bias": conventions.ffn_bias,
        "tie_word_embeddings": shape.tied_output,
        "torch_dtype": "float32",
    });
    object(config)
}

/// Where a parameter is kept.
pub(super) fn place(parameter: &str) -> Option<Place> {
    let whole = match parameter {
        "embedding" => Some("model.embed_tokens.weight"),
        "final_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return Some(Place::of(name));
    }
    let (layer, part) = of_block(parameter)?;
    let part = match of_feature_map(part) {
        Some(new) => format!("self_attn.{new}"),
        None => {
            let (module, kind) = part.rsplit_once('.')?;
            let module = match module {
                "attention_norm" => "input_layernorm",
                "q" => "self_attn.q_proj",
                "k" => "self_attn.k_proj",
                "v" => "self_attn.v_proj",
                "out" => "self_attn.o_proj",
                "ffn_norm" => "post_attention_layernorm",
                "ffn.gate" => "mlp.gate_proj",
                "ffn.up" => "mlp.up_proj",
                "ffn.down" => "mlp.down_proj",
                _ => return None,
            };
            format!("{module}.{kind}")
        }
    };
    Some(Place::of(format!("model.layers.{layer}.{part}")))
}

/// Width of a head where it is not given.
pub(super) fn head_dim(file: &Path, d_model: usize, n_heads: usize) -> Result<usize> {
    if d_model.is_multiple_of(n_heads) {
        return Ok(d_model / n_heads);
    }
    Err(CheckpointError::invalid(file, format!("a width of {d_model} is not a multiple of {n_heads} heads")))
}

/// Heads that can be grouped, and turned in pairs.
pub(super) fn check_heads(file: &Path, heads: Heads) -> Result<()> {
    let Heads { n_heads, n_kv_heads, head_dim } = heads;
    if !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} key heads do not divide {n_heads} query heads");
        return Err(CheckpointError::invalid(file, message));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(CheckpointError::invalid(
            file,
            format!("rotary positions turn pairs: heads of {head_dim} are odd"),
        ));
    }
    Ok(())
}

/// Base of the rotary frequencies, which newer files keep in an object of its own; scaled positions are refused.
fn rotary_base(keys: Keys<'_>) -> Result<f64> {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = keys.optional_object(key)? else { continue };
        let kind = match rope.optional_text("rope_type")? {
            Some(kind) => kind,
            None => rope.optional_text("type")?.unwrap_or("default"),
        };
        if kind != "default" {
            let found = format!("RoPE scaling '{kind}' in '{key}'");
            return Err(CheckpointError::unsupported(keys.file, found, "rotary positions without scaling"));
        }
        whole_heads(rope)?;
    }
    whole_heads(keys)?;
    let given = match keys.optional_object("rope_parameters")? {
        Some(rope) => rope.number_or("rope_theta", 10_000.0)?,
        None => 10_000.0,
    };
    keys.number_or("rope_theta", given)
}

fn whole_heads(keys: Keys<'_>) -> Result<()> {
    let share = keys.number_or("partial_rotary_factor", 1.0)?;
    if share == 1.0 {
        return Ok(());
    }
    let found = format!("'partial_rotary_factor' {share}");
    Err(CheckpointError::unsupported(keys.file, found, "rotary positions on whole heads"))
}

/// A window that no sequence of the model leaves is none.
fn refuse_window(keys: Keys<'_>, max_len: usize) -> Result<()> {
    if !keys.flag_or("use_sliding_window", true)? {
        return Ok(());
    }
    match keys.optional_size("sliding_window")? {
        Some(window) if window < max_len => {
            let found = format!("'sliding_window' {window} of {max_len} positions");
            Err(CheckpointError::unsupported(keys.file, found, "attention to all tokens"))
        }
        _ => Ok(()),
    }
}

fn refuse_unlike(keys: Keys<'_>) -> Result<()> {
    let activation = keys.optional_text("hidden_act")?.unwrap_or("silu");
    if !["silu", "swish"].contains(&activation) {
        let found = format!("'hidden_act' {activation}");
        return Err(CheckpointError::unsupported(keys.file, found, "'silu'"));
    }
    if keys.get("quantization_config").is_some() {
        let expected = "plain weights in F32, F16 or BF16, or a GGUF file";
        return Err(CheckpointError::unsupported(keys.file, "'quantization_config'", expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_a_layer_has_its_name() {
        let name = |parameter: &str| place(parameter).map(|p| p.tensor);
        assert_eq!(name("blocks.12.q.bias").as_deref(), Some("model.layers.12.self_attn.q_proj.bias"));
        assert_eq!(name("blocks.0.ffn.down.weight").as_deref(), Some("model.layers.0.mlp.down_proj.weight"));
        assert_eq!(name("blocks.0.ffn_norm.weight").as_deref(), Some("model.layers.0.post_attention_layernorm.weight"));
        let map = name("blocks.3.attention.query.weight");
        assert_eq!(map.as_deref(), Some("model.layers.3.self_attn.feature_map.query.weight"));
        assert_eq!(name("blocks.3.gate.bias").as_deref(), Some("model.layers.3.self_attn.gate.bias"));
        assert_eq!((name("positions"), name("blocks.x.q.weight"), name("blocks.1.cross.q.weight")), (None, None, None));
    }
}
