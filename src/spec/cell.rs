//! A cell: one point of the grid, everything that identifies what was measured.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Activation, CacheMode, DType, DeviceKind, Implementation, Norm, Positions, VariantSpec, Workload};

/// The CSV columns that make a cell's key, in the order of the file.
pub const KEY_COLUMNS: [&str; 24] = [
    "workload",
    "variant",
    "variant_params",
    "implementation",
    "causal",
    "dtype",
    "device_kind",
    "model",
    "batch_size",
    "seq_len",
    "n_prompt",
    "n_gen",
    "n_layers",
    "d_model",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "ffn_dim",
    "vocab_size",
    "feature_dim",
    "cross_feature_dim",
    "cache",
    "n_threads",
    "seed",
];

/// The shape of a whole model; a layer workload has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShape {
    /// Transformer blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Hidden width of the feed-forward block.
    pub ffn_dim: usize,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Position encoding.
    pub positions: Positions,
    /// Feed-forward non-linearity.
    pub activation: Activation,
    /// Whether the output projection is the embedding.
    pub tied_output: bool,
}

impl ModelShape {
    /// What the numeric columns do not say, as the `model` column holds it: `random-layernorm-learned-gelu-tied`.
    #[must_use]
    pub fn name(&self) -> String {
        let output = if self.tied_output { "tied" } else { "untied" };
        format!("random-{}-{}-{}-{output}", self.norm, self.positions, self.activation)
    }
}

/// One point of the grid. Fields that do not apply to the workload or the variant are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What one call is.
    pub workload: Workload,
    /// Attention variant with its resolved parameters (defaults filled in).
    pub variant: VariantSpec,
    /// Which code computes it.
    pub implementation: Implementation,
    /// Whether position t sees only positions up to t.
    pub causal: bool,
    /// Element type.
    pub dtype: DType,
    /// Kind of device.
    pub device_kind: DeviceKind,
    /// Shape of the model (none for `attention` and `forward`).
    pub model: Option<ModelShape>,
    /// Name of the checkpoint that its weights are from; random weights have none.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// Sequences processed together.
    pub batch_size: usize,
    /// Context depth (`attention`, `decode`) or sequence length (all others).
    pub seq_len: usize,
    /// Prompt tokens before generation (`generate`), or source tokens where they are not `seq_len` (`translate`).
    pub n_prompt: Option<usize>,
    /// Tokens generated in one visit (`decode`).
    pub n_gen: Option<usize>,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Length of φ, for variants that have one.
    pub feature_dim: Option<usize>,
    /// Length of φ in cross-attention, for encoder-decoders.
    pub cross_feature_dim: Option<usize>,
    /// Cache state of layer workloads.
    pub cache: Option<CacheMode>,
    /// Threads of the run.
    pub n_threads: usize,
    /// Seed of weights, inputs and order.
    pub seed: u64,
}

/// Short stable hash of a cell's key: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId(pub String);

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Cell {
    /// The key as the CSV writes it: one value per [`KEY_COLUMNS`], empty where it does not apply.
    #[must_use]
    pub fn key(&self) -> [String; KEY_COLUMNS.len()] {
        fn opt<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(String::new, |v| v.to_string())
        }
        let m = self.model;
        [
            self.workload.to_string(),
            self.variant.name.clone(),
            self.variant.params_text(),
            self.implementation.to_string(),
            self.causal.to_string(),
            self.dtype.to_string(),
            self.device_kind.to_string(),
            self.model_name().unwrap_or_default(),
            self.batch_size.to_string(),
            self.seq_len.to_string(),
            opt(self.n_prompt),
            opt(self.n_gen),
            opt(m.map(|m| m.n_layers)),
            opt(m.map(|m| m.d_model)),
            self.n_heads.to_string(),
            self.n_kv_heads.to_string(),
            self.head_dim.to_string(),
            opt(m.map(|m| m.ffn_dim)),
            opt(m.map(|m| m.vocab_size)),
            opt(self.feature_dim),
            opt(self.cross_feature_dim),
            opt(self.cache),
            self.n_threads.to_string(),
            self.seed.to_string(),
        ]
    }

    /// The model as its column holds it: a checkpoint's name, or what random weights are shaped like.
    #[must_use]
    pub fn model_name(&self) -> Option<String> {
        self.checkpoint.clone().or_else(|| self.model.map(|m| m.name()))
    }

    /// Tokens of the source (`translate`).
    #[must_use]
    pub fn source_len(&self) -> usize {
        self.n_prompt.unwrap_or(self.seq_len)
    }

    /// Short stable hash of the key.
    #[must_use]
    pub fn id(&self) -> CellId {
        CellId(format!("{:016x}", xxh3_64(self.key().join("\u{1f}").as_bytes())))
    }

    /// What two cells share when their rounds interleave: everything but variant, implementation and feature sizes
    /// (and, for `generate`, the length: one generation passes every shorter one).
    #[must_use]
    pub fn group_key(&self) -> String {
        let mut of_group = self.clone();
        of_group.variant = VariantSpec::new("any");
        of_group.implementation = Implementation::Reference;
        of_group.feature_dim = None;
        of_group.cross_feature_dim = None;
        if self.workload == Workload::Generate {
            of_group.seq_len = 0;
        }
        of_group.key().join("\u{1f}")
    }

    /// What two cells of a group share when one visit measures both: only the length of a generation may differ.
    #[must_use]
    pub fn unit_key(&self) -> String {
        let mut of_unit = self.clone();
        if self.workload == Workload::Generate {
            of_unit.seq_len = 0;
        }
        of_unit.key().join("\u{1f}")
    }

    /// A few words for people: `t2r · attention · batch 16 · 4096 · m 32`.
    #[must_use]
    pub fn label(&self) -> String {
        let m = self.feature_dim.map_or_else(String::new, |m| format!(" · m {m}"));
        format!("{} · {} · batch {} · {}{m}", self.variant, self.workload, self.batch_size, self.seq_len)
    }
}
