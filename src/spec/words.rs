//! The closed vocabularies: each word has one spelling, used in profiles, flags and CSV columns alike.

use std::{fmt, str::FromStr};

/// Declares an enum whose values are written as words, with `FromStr`, `Display` and serde through the same spelling.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident ($what:literal) { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
        )]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as profiles, flags and CSV files spell it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result { f.pad(self.as_str()) }
        }

        impl ::std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|w| w.as_str()).collect();
                    let hint = $crate::spec::nearest(text, known.iter().copied());
                    format!("unknown {} '{text}'{hint}; known: {}", $what, known.join(", "))
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What one timed call is.
    Workload("workload") {
        /// One decode step of one attention layer at context depth `seq_len`, projections excluded.
        Attention = "attention",
        /// One attention layer over a whole causal sequence of `seq_len`.
        Forward = "forward",
        /// A whole model over a prompt of `seq_len` tokens, to the logits of its last position.
        Prefill = "prefill",
        /// One token of a whole model at context depth `seq_len`.
        Decode = "decode",
        /// One token of a whole model while it generates `seq_len` tokens greedily after `n_prompt`.
        Generate = "generate",
        /// One token of an encoder-decoder while it generates `seq_len` tokens greedily over a source of as many, or of
        /// `n_prompt`.
        Translate = "translate",
        /// One training step of a whole model on sequences of `seq_len`: forward, backward, update.
        Train = "train",
    }
}

impl Workload {
    /// Whether one call puts whole sequences of `seq_len` tokens through, rather than one token of each.
    #[must_use]
    pub fn takes_sequences(self) -> bool {
        matches!(self, Self::Forward | Self::Prefill | Self::Train)
    }

    /// Tokens of each sequence that one call puts through.
    #[must_use]
    pub fn tokens_per_call(self, seq_len: usize) -> usize {
        if self.takes_sequences() { seq_len } else { 1 }
    }
}

words! {
    /// Which code computes a variant.
    Implementation("implementation") {
        /// Plain, readable loops and tensor operations.
        Reference = "reference",
        /// Kernels at the speed of the machine (f32 on the CPU).
        Fused = "fused",
    }
}

words! {
    /// Element type of activations, weights and KV caches. Recurrent states are always f32.
    DType("dtype") {
        /// 32-bit IEEE 754.
        F32 = "f32",
        /// 16-bit IEEE 754.
        F16 = "f16",
        /// 16-bit brain floating point.
        Bf16 = "bf16",
    }
}

impl DType {
    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

words! {
    /// Whether a layer's state is in cache when a step begins.
    CacheMode("cache mode") {
        /// Steps rotate over independent states of at least four times the last-level cache together.
        Cold = "cold",
        /// Every step uses the same state.
        Warm = "warm",
    }
}

words! {
    /// Normalisation before each sub-layer.
    Norm("norm") {
        /// Mean and variance, with gain and bias.
        LayerNorm = "layernorm",
        /// Root mean square, with gain.
        RmsNorm = "rmsnorm",
    }
}

words! {
    /// How a model knows positions.
    Positions("positions") {
        /// A learned vector per position, added to the embedding.
        Learned = "learned",
        /// Fixed sines and cosines, added to the embedding.
        Sinusoidal = "sinusoidal",
        /// Queries and keys rotated by position in every layer.
        Rotary = "rotary",
    }
}

words! {
    /// Non-linearity of the feed-forward block.
    Activation("activation") {
        /// max(x, 0).
        Relu = "relu",
        /// GELU, tanh approximation.
        Gelu = "gelu",
        /// silu(gate) · up, with a third matrix.
        Swiglu = "swiglu",
    }
}

words! {
    /// Kind of device.
    DeviceKind("device") {
        /// The processor.
        Cpu = "cpu",
        /// An NVIDIA GPU (cargo feature `cuda`).
        Cuda = "cuda",
        /// An Apple GPU (cargo feature `metal`).
        Metal = "metal",
    }
}

/// A device as the user names it: `cpu`, `cuda`, `cuda:1`, `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Kind of device.
    pub kind: DeviceKind,
    /// Ordinal among the devices of that kind.
    pub index: usize,
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, index) = text.split_once(':').map_or((text, None), |(k, i)| (k, Some(i)));
        let kind = DeviceKind::from_str(kind)?;
        let index = match index {
            None => 0,
            Some(i) if kind == DeviceKind::Cpu => return Err(format!("'cpu' takes no index, found ':{i}'")),
            Some(i) => i.parse().map_err(|e| format!("device index '{i}' in '{text}': {e}; expected e.g. cuda:0"))?,
        };
        Ok(Self { kind, index })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.pad("cpu"),
            kind => write!(f, "{kind}:{}", self.index),
        }
    }
}
