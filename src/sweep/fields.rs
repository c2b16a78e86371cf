//! The fields of a sweep as people write them: in a profile's defaults, in each of its sweeps, and on the command line.
//! Knows their spelling and how one layer of them covers another, not what they come to.

use std::fmt::Display;

use serde::Deserialize;

use super::quantity::{Bytes, Share, Span, text, words};
use crate::spec::{
    Activation, CacheMode, DType, DeviceSpec, Implementation, ModelShape, Norm, Positions, SizeList, VariantSpec,
    Workload,
};

/// What to run. Every field may be left out: a flag covers the sweep, the sweep covers the defaults, and what nobody
/// says is built in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[group(skip)]
pub struct SweepFields {
    /// Workloads: attention, forward, prefill, decode, generate, translate, train [built in: attention].
    #[arg(long, value_delimiter = ',', value_name = "WORDS", help_heading = "What to run")]
    #[serde(deserialize_with = "words")]
    pub workload: Option<Vec<Workload>>,
    /// Attention variants, e.g. softmax,t2r,window:64; as-is: what --model has in each layer [built in: as-is with --model,
    /// else softmax,elu,rfa,t2r].
    #[arg(long, value_delimiter = ',', value_name = "WORDS", help_heading = "What to run")]
    #[serde(deserialize_with = "words")]
    pub variants: Option<Vec<VariantSpec>>,
    /// Which code computes them: reference, fused [built in: fused where all of the sweep has it, else reference].
    #[arg(long, value_delimiter = ',', value_name = "WORDS", help_heading = "What to run")]
    #[serde(deserialize_with = "words")]
    pub implementation: Option<Vec<Implementation>>,
    /// Sequences processed together: 1,16 or 1-64*4 [built in: 1].
    #[arg(long, value_name = "SIZES", help_heading = "What to run")]
    pub batch: Option<SizeList>,
    /// Context depths or sequence lengths: 64-4096*4, 4k [built in: 1024].
    #[arg(long, value_name = "SIZES", help_heading = "What to run")]
    pub seq_len: Option<SizeList>,
    /// Lengths of the feature map, for variants that leave it free [built in: the variant's own].
    #[arg(long, value_name = "SIZES", help_heading = "What to run")]
    pub feature_dim: Option<SizeList>,
    /// Length of the feature map in cross-attention, for translate [built in: as in self-attention].
    #[arg(long, value_name = "SIZE", help_heading = "What to run")]
    pub cross_feature_dim: Option<usize>,
    /// Tokens of the prompt, for generate [built in: 1], or of the source, for translate [built in: seq_len].
    #[arg(long, value_name = "SIZE", help_heading = "What to run")]
    pub n_prompt: Option<usize>,
    /// Tokens generated in one visit, for decode [built in: 32].
    #[arg(long, value_name = "SIZE", help_heading = "What to run")]
    pub n_gen: Option<usize>,
    /// Element types: f32, f16, bf16 [built in: f32].
    #[arg(long, value_delimiter = ',', value_name = "WORDS", help_heading = "What to run")]
    #[serde(deserialize_with = "words")]
    pub dtype: Option<Vec<DType>>,
    /// Whether a layer's state is in cache when a step begins: cold, warm [built in: cold].
    #[arg(long, value_delimiter = ',', value_name = "WORDS", help_heading = "What to run")]
    #[serde(deserialize_with = "words")]
    pub cache: Option<Vec<CacheMode>>,
    /// Whether position t sees only positions up to t [built in: true; false is for forward alone].
    #[arg(long, value_name = "BOOL", help_heading = "What to run")]
    pub causal: Option<bool>,
    /// Checkpoint that the model of whole-model workloads is loaded from, a folder or a .gguf file, with the variant in
    /// every layer; it decides the shape [built in: random weights].
    #[arg(long, value_name = "PATH", help_heading = "Shape of the model")]
    pub model: Option<String>,
    /// Transformer blocks of the model [built in: 6].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub n_layers: Option<usize>,
    /// Width of the residual stream [built in: 512].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub d_model: Option<usize>,
    /// Query heads [built in: 8].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub n_heads: Option<usize>,
    /// Key and value heads; divides the query heads [built in: as many].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub n_kv_heads: Option<usize>,
    /// Width of one head [built in: d_model / n_heads].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub head_dim: Option<usize>,
    /// Hidden width of the feed-forward block [built in: 2048].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub ffn_dim: Option<usize>,
    /// Entries of the vocabulary [built in: 32000].
    #[arg(long, value_name = "SIZE", help_heading = "Shape of the model")]
    pub vocab_size: Option<usize>,
    /// Normalisation: layernorm, rmsnorm [built in: layernorm].
    #[arg(long, value_name = "WORD", help_heading = "Shape of the model")]
    pub norm: Option<Norm>,
    /// How the model knows positions: learned, sinusoidal, rotary [built in: learned].
    #[arg(long, value_name = "WORD", help_heading = "Shape of the model")]
    pub positions: Option<Positions>,
    /// Non-linearity of the feed-forward block: relu, gelu, swiglu [built in: gelu].
    #[arg(long, value_name = "WORD", help_heading = "Shape of the model")]
    pub activation: Option<Activation>,
    /// Whether the output projection is the embedding [built in: true].
    #[arg(long, value_name = "BOOL", help_heading = "Shape of the model")]
    pub tied_output: Option<bool>,
}

/// How to measure.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[group(skip)]
pub struct MeasureFields {
    /// Most rounds of a cell; below 6 there is no interval [built in: 12].
    #[arg(long, value_name = "N", help_heading = "How to measure")]
    pub rounds: Option<u32>,
    /// A cell is done when its interval's half-width is within this share of its figure [built in: 2%].
    #[arg(long, value_name = "SHARE", help_heading = "How to measure")]
    pub ci_target: Option<Share>,
    /// Least length of a sample of a layer workload [built in: 100ms cold, 25ms warm].
    #[arg(long, value_name = "TIME", help_heading = "How to measure")]
    pub min_block: Option<Span>,
    /// Samples of a visit, for workloads that do not say themselves [built in: 3].
    #[arg(long, value_name = "N", help_heading = "How to measure")]
    pub samples_per_round: Option<usize>,
    /// Most time a cell may take, all its rounds together [built in: 2m].
    #[arg(long, value_name = "TIME", help_heading = "How to measure")]
    pub cell_timeout: Option<Span>,
    /// Most time the run may take; what did not start by then is skipped [built in: none].
    #[arg(long, value_name = "TIME", help_heading = "How to measure")]
    pub time_budget: Option<Span>,
    /// A cell that needs more memory is skipped before it is tried [built in: 80% of what is free].
    #[arg(long, value_name = "BYTES", help_heading = "How to measure")]
    pub memory_budget: Option<Bytes>,
}

/// Where to run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[group(skip)]
pub struct RunFields {
    /// Device: cpu, cuda, cuda:1, metal [built in: cpu].
    #[arg(long, value_name = "DEVICE", help_heading = "Where to run")]
    #[serde(deserialize_with = "text")]
    pub device: Option<DeviceSpec>,
    /// Threads [built in: the cores this process may use].
    #[arg(long, value_name = "N", help_heading = "Where to run")]
    pub threads: Option<usize>,
    /// Seed of weights, inputs and order [built in: 0].
    #[arg(long, value_name = "N", help_heading = "Where to run")]
    pub seed: Option<u64>,
}

/// How a value is written behind its flag.
trait AsFlag {
    fn as_flag(&self) -> String;
}

/// Lists of words are written with commas.
impl<T: Display> AsFlag for Vec<T> {
    fn as_flag(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl AsFlag for String {
    fn as_flag(&self) -> String {
        self.clone()
    }
}

macro_rules! written_as_shown {
    ($($name:ty),+ $(,)?) => {$(
        impl AsFlag for $name {
            fn as_flag(&self) -> String {
                // humantime writes `1h 30m`, which one word on a command line is not.
                self.to_string().replace(' ', "")
            }
        }
    )+};
}
written_as_shown!(SizeList, usize, u32, u64, bool, Norm, Positions, Activation, Share, Span, Bytes, DeviceSpec);

/// Field by field: what `top` says, else what `under` says.
macro_rules! layered {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $name {
            /// These fields, and those of `under` where these say nothing.
            #[must_use]
            pub fn over(&self, under: &Self) -> Self {
                Self { $($field: self.$field.clone().or_else(|| under.$field.clone()),)+ }
            }

            /// Every field as a profile spells it.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field),)+];

            /// What the field of that name says, as a flag would; `None` where it says nothing or is not one of these.
            #[must_use]
            pub fn text(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($field) => self.$field.as_ref().map(AsFlag::as_flag),)+
                    _ => None,
                }
            }

            /// Makes the field of that name say nothing.
            pub fn clear(&mut self, name: &str) {
                match name {
                    $(stringify!($field) => self.$field = None,)+
                    _ => {}
                }
            }
        }
    };
}

layered!(SweepFields {
    workload,
    variants,
    implementation,
    batch,
    seq_len,
    feature_dim,
    cross_feature_dim,
    n_prompt,
    n_gen,
    dtype,
    cache,
    causal,
    model,
    n_layers,
    d_model,
    n_heads,
    n_kv_heads,
    head_dim,
    ffn_dim,
    vocab_size,
    norm,
    positions,
    activation,
    tied_output,
});
impl SweepFields {
    /// A field that says something of a model's shape, if any does.
    #[must_use]
    pub fn shape_given(&self) -> Option<&'static str> {
        let sizes = [
            ("n_layers", self.n_layers),
            ("d_model", self.d_model),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("ffn_dim", self.ffn_dim),
            ("vocab_size", self.vocab_size),
        ];
        let words = [
            ("norm", self.norm.is_some()),
            ("positions", self.positions.is_some()),
            ("activation", self.activation.is_some()),
            ("tied_output", self.tied_output.is_some()),
        ];
        let given = sizes.into_iter().map(|(name, size)| (name, size.is_some())).chain(words);
        given.filter(|(_, given)| *given).map(|(name, _)| name).next()
    }

    /// Takes over the shape of a model and its heads: query heads, key heads, width.
    pub fn take_shape(&mut self, shape: &ModelShape, (n_heads, n_kv_heads, head_dim): (usize, usize, usize)) {
        self.n_layers = Some(shape.n_layers);
        self.d_model = Some(shape.d_model);
        self.n_heads = Some(n_heads);
        self.n_kv_heads = Some(n_kv_heads);
        self.head_dim = Some(head_dim);
        self.ffn_dim = Some(shape.ffn_dim);
        self.vocab_size = Some(shape.vocab_size);
        self.norm = Some(shape.norm);
        self.positions = Some(shape.positions);
        self.activation = Some(shape.activation);
        self.tied_output = Some(shape.tied_output);
    }
}

layered!(MeasureFields { rounds, ci_target, min_block, samples_per_round, cell_timeout, time_budget, memory_budget });
layered!(RunFields { device, threads, seed });

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sweep: SweepFields,
        #[command(flatten)]
        measure: MeasureFields,
        #[command(flatten)]
        run: RunFields,
    }

    #[test]
    fn flags_are_spelled_with_dashes_and_take_lists() {
        let line = Line::try_parse_from([
            "t2r",
            "--seq-len",
            "64-256*2",
            "--batch",
            "1,16",
            "--variants",
            "softmax,window:64",
            "--workload",
            "decode",
            "--ci-target",
            "2%",
            "--cell-timeout",
            "1m",
            "--memory-budget",
            "8GiB",
            "--device",
            "cuda:1",
        ])
        .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(line.sweep.seq_len, Some(SizeList(vec![64, 128, 256])));
        assert_eq!(line.sweep.batch, Some(SizeList(vec![1, 16])));
        assert_eq!(line.sweep.variants.map(|v| v.len()), Some(2));
        assert_eq!(line.sweep.workload, Some(vec![Workload::Decode]));
        assert_eq!(line.measure.ci_target, Some(Share(0.02)));
        assert_eq!(line.measure.memory_budget, Some(Bytes(8 << 30)));
        assert_eq!(line.run.device.map(|d| d.index), Some(1));
        assert!(Line::try_parse_from(["t2r", "--seq-len", "0"]).is_err());
        assert!(Line::try_parse_from(["t2r", "--variants", "Softmax!"]).is_err());
    }

    #[test]
    fn the_upper_layer_wins_field_by_field() {
        let top = MeasureFields { rounds: Some(2), ..Default::default() };
        let under = MeasureFields { rounds: Some(9), ci_target: Some(Share(0.1)), ..Default::default() };
        let both = top.over(&under);
        assert_eq!((both.rounds, both.ci_target), (Some(2), Some(Share(0.1))));
    }
}
