//! GPT-2: `config.json` as Hugging Face writes it, and the names of its tensors. Its matrices are kept as (in, out), and
//! queries, keys and values in one.

use serde_json::{Map, Value, json};

use super::{
    attention::softmax_layers,
    error::{CheckpointError, Result},
    family::{Place, of_block, of_feature_map},
    json::{Keys, object},
    llama,
};
use crate::{
    attention::Heads,
    model::{Conventions, Setup},
    spec::{Activation, ModelShape, Norm, Positions},
};

/// What may stand before every name of a file.
pub(super) const PREFIX: &str = "transformer.";

/// The model that a configuration describes, with softmax in every layer.
pub(super) fn setup(keys: Keys<'_>) -> Result<Setup> {
    refuse_unlike(keys)?;
    let (d_model, n_heads) = (keys.size("n_embd")?, keys.size("n_head")?);
    let heads = Heads { n_heads, n_kv_heads: n_heads, head_dim: llama::head_dim(keys.file, d_model, n_heads)? };
    let activation = match keys.optional_text("activation_function")?.unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Activation::Gelu,
        "relu" => Activation::Relu,
        other => {
            let found = format!("'activation_function' {other}");
            return Err(CheckpointError::unsupported(keys.file, found, "gelu_new, gelu_pytorch_tanh or relu"));
        }
    };
    let shape = ModelShape {
        n_layers: keys.size("n_layer")?,
        d_model,
        ffn_dim: keys.optional_size("n_inner")?.unwrap_or(4 * d_model),
        vocab_size: keys.size("vocab_size")?,
        norm: Norm::LayerNorm,
        positions: Positions::Learned,
        activation,
        tied_output: keys.flag_or("tie_word_embeddings", true)?,
    };
    let conventions =
        Conventions { norm_epsilon: keys.number_or("layer_norm_epsilon", 1e-5)?, ..Conventions::usual(activation) };
    let max_len = match keys.optional_size("n_positions")? {
        Some(n) => n,
        None => keys.optional_size("n_ctx")?.unwrap_or(1024),
    };
    Ok(Setup { shape, heads, layers: softmax_layers(keys.file, shape.n_layers)?, conventions, max_len })
}

/// `config.json` of such a model, for one that has none of its own.
pub(super) fn config(setup: &Setup) -> Map<String, Value> {
    let shape = setup.shape;
    let config = json!({
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": shape.d_model,
        "n_inner": shape.ffn_dim,
        "n_layer": shape.n_layers,
        "n_head": setup.heads.n_heads,
        "n_positions": setup.max_len,
        "vocab_size": shape.vocab_size,
        "layer_norm_epsilon": setup.conventions.norm_epsilon,
        "activation_function": if shape.activation == Activation::Relu { "relu" } else { "gelu_new" },
        "tie_word_embeddings": shape.tied_output,
        "torch_dtype": "float32",
    });
    object(config)
}

/// Where a parameter is kept, without [`PREFIX`].
pub(super) fn place(parameter: &str) -> Option<Place> {
    let whole = match parameter {
        "embedding" => Some("wte.weight"),
        "positions" => Some("wpe.weight"),
        "final_norm.weight" => Some("ln_f.weight"),
        "final_norm.bias" => Some("ln_f.bias"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return Some(Place::of(name));
    }
    let (layer, part) = of_block(parameter)?;
    let of_layer = |name: String| Place::of(format!("h.{layer}.{name}"));
    if let Some(new) = of_feature_map(part) {
        return Some(of_layer(format!("attn.{new}")));
    }
    let (module, kind) = part.rsplit_once('.')?;
    let (name, share) = match module {
        "attention_norm" => return Some(of_layer(format!("ln_1.{kind}"))),
        "ffn_norm" => return Some(of_layer(format!("ln_2.{kind}"))),
        "q" => ("attn.c_attn", (0, 3)),
        "k" => ("attn.c_attn", (1, 3)),
        "v" => ("attn.c_attn", (2, 3)),
        "out" => ("attn.c_proj", (0, 1)),
        "ffn.up" => ("mlp.c_fc", (0, 1)),
        "ffn.down" => ("mlp.c_proj", (0, 1)),
        _ => return None,
    };
    Some(Place { transposed: kind == "weight", part: share, ..of_layer(format!("{name}.{kind}")) })
}

fn refuse_unlike(keys: Keys<'_>) -> Result<()> {
    let unlike =
        [("scale_attn_weights", true), ("scale_attn_by_inverse_layer_idx", false), ("add_cross_attention", false)];
    for (key, expected) in unlike {
        if keys.flag_or(key, expected)? != expected {
            let found = format!("'{key}' {}", !expected);
            return Err(CheckpointError::unsupported(keys.file, found, expected.to_string()));
        }
    }
    match keys.get("quantization_config") {
        None => Ok(()),
        Some(_) => Err(CheckpointError::unsupported(keys.file, "'quantization_config'", "plain weights")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_keys_and_values_are_thirds_of_one_transposed_matrix() {
        let place = place("blocks.2.k.weight").unwrap();
        let want = Place { transposed: true, part: (1, 3), ..Place::of("h.2.attn.c_attn.weight") };
        assert_eq!(place, want);
        assert_eq!(place.file_shape(&[4, 8]), [8, 12]);
        let bias = super::place("blocks.2.v.bias").unwrap();
        assert_eq!((bias.transposed, bias.file_shape(&[4])), (false, vec![12]));
    }
}
