//! The families of checkpoints, and where each keeps a parameter of the model. A parameter's name here is the model's own,
//! e.g. `blocks.7.ffn.up.weight`; a place is a tensor of a file, or a part of one.

use super::{gpt2, llama};
use crate::{
    model::Setup,
    spec::{Activation, Norm, Positions},
};

/// How a checkpoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama and what is built like it: SmolLM2, Mistral, Qwen2.
    Llama,
    /// GPT-2.
    Gpt2,
    /// Models of this program's own shapes, encoder-decoders among them: parameters under their own names.
    Own,
}

impl Family {
    /// The word in `config.json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gpt2 => "gpt2",
            Self::Own => "own",
        }
    }

    /// The family that models of this shape and these conventions belong to.
    pub(super) fn of_shape(setup: &Setup) -> Self {
        let (shape, heads, biases) = (setup.shape, setup.heads, setup.conventions);
        // Both of the Llama kind: with all biases of attention or none, or with those of queries, keys and values alone.
        let llama = biases.qkv_bias == biases.out_bias || (biases.qkv_bias && !biases.ffn_bias);
        let gpt2 = biases.qkv_bias && biases.out_bias && biases.ffn_bias && heads.group() == 1;
        match (shape.norm, shape.positions, shape.activation) {
            _ if setup.has_encoder() => Self::Own,
            (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu) if llama => Self::Llama,
            (Norm::LayerNorm, Positions::Learned, Activation::Gelu | Activation::Relu)
                if gpt2 && heads.n_heads * heads.head_dim == shape.d_model =>
            {
                Self::Gpt2
            }
            _ => Self::Own,
        }
    }

    /// Where a parameter is kept; `None` for one that the family does not have.
    pub(super) fn place(self, parameter: &str) -> Option<Place> {
        match self {
            Self::Llama => llama::place(parameter),
            Self::Gpt2 => gpt2::place(parameter),
            Self::Own => Some(Place::of(parameter)),
        }
    }
}

/// Which tensor of a file a parameter is, or is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Name in the file.
    pub(super) tensor: String,
    /// Whether the matrix is kept as (in, out).
    pub(super) transposed: bool,
    /// Which of how many equal parts of the out dimension, where several parameters share a tensor.
    pub(super) part: (usize, usize),
    /// Heads whose rows stand as rotary pairs, (2i, 2i + 1), rather than half by half.
    pub(super) paired_heads: Option<usize>,
}

impl Place {
    /// A tensor as the model has it.
    pub(super) fn of(tensor: impl Into<String>) -> Self {
        Self { tensor: tensor.into(), transposed: false, part: (0, 1), paired_heads: None }
    }

    /// Shape of the file's tensor for a parameter of that shape.
    pub(super) fn file_shape(&self, parameter: &[usize]) -> Vec<usize> {
        let mut shape = parameter.to_vec();
        if let Some(out) = shape.first_mut() {
            *out *= self.part.1;
        }
        if self.transposed {
            shape.reverse();
        }
        shape
    }
}

/// `blocks.7.ffn.up.weight` → (7, `ffn.up.weight`).
pub(super) fn of_block(parameter: &str) -> Option<(usize, &str)> {
    let (index, rest) = parameter.strip_prefix("blocks.")?.split_once('.')?;
    Some((index.parse().ok()?, rest))
}

/// What a swapped attention adds to a layer: `attention.weight` → `feature_map.weight`, the gate as it is.
pub(super) fn of_feature_map(part: &str) -> Option<String> {
    match part.strip_prefix("attention.") {
        Some(name) => Some(format!("feature_map.{name}")),
        None => part.starts_with("gate.").then(|| part.to_owned()),
    }
}
