//! What `pretrain`, `finetune`, `translate` and `tradeoff` can be told. Knows spelling and help, not what an option does.

use std::path::PathBuf;

use clap::Args;

use crate::{
    report::Format,
    spec::{Activation, Norm, Positions, VariantSpec},
    train::{Decay, Trained},
};

/// Where text comes from.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(in crate::cli) struct DataArgs {
    /// Texts to learn, one after another.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data", conflicts_with_all = ["source", "target"])]
    pub(in crate::cli) text: Vec<PathBuf>,
    /// Sentences to translate, one a line.
    #[arg(long, value_name = "FILE", requires = "target", help_heading = "Data")]
    pub(in crate::cli) source: Option<PathBuf>,
    /// Their translations, line by line.
    #[arg(long, value_name = "FILE", requires = "source", help_heading = "Data")]
    pub(in crate::cli) target: Option<PathBuf>,
    /// Texts that are held out, instead of the last part of --text.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Data", requires = "text")]
    pub(in crate::cli) validation: Vec<PathBuf>,
    /// Sentences that are held out, instead of the last lines of --source.
    #[arg(long, value_name = "FILE", requires = "validation_target", help_heading = "Data")]
    pub(in crate::cli) validation_source: Option<PathBuf>,
    /// Their translations.
    #[arg(long, value_name = "FILE", requires = "validation_source", help_heading = "Data")]
    pub(in crate::cli) validation_target: Option<PathBuf>,
    /// Share of the data that is held out where no file is named.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, help_heading = "Data")]
    pub(in crate::cli) validation_share: f64,
    /// Most windows (of a text) or sentences that are looked at.
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Data")]
    pub(in crate::cli) validation_size: usize,
}

/// How a model is trained.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(in crate::cli) struct TrainArgs {
    /// Updates.
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Training")]
    pub(in crate::cli) steps: u64,
    /// Sequences or sentences of a batch.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Training")]
    pub(in crate::cli) batch: usize,
    /// Batches of an update, one after another in memory.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    pub(in crate::cli) accumulate: usize,
    /// Tokens of a sequence; of sentences the most.
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Training")]
    pub(in crate::cli) seq_len: usize,
    /// Largest step size [default: 1e-3 for pretrain, 2e-4 for finetune].
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    pub(in crate::cli) lr: Option<f64>,
    /// Updates over which the step size grows [default: a tenth of all].
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(in crate::cli) warmup: Option<u64>,
    /// What follows: cosine, inverse-sqrt, constant.
    #[arg(long, value_name = "FORM", default_value_t = Decay::Cosine, help_heading = "Training")]
    pub(in crate::cli) schedule: Decay,
    /// Bound of the gradient's norm; 0: none.
    #[arg(long, value_name = "NORM", default_value_t = 1.0, help_heading = "Training")]
    pub(in crate::cli) clip: f64,
    /// λ of AdamW.
    #[arg(long, value_name = "X", default_value_t = 0.01, help_heading = "Training")]
    pub(in crate::cli) weight_decay: f64,
    /// Share of elements that dropout zeroes.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Training")]
    pub(in crate::cli) dropout: f64,
    /// ε of label smoothing.
    #[arg(long, value_name = "X", default_value_t = 0.0, help_heading = "Training")]
    pub(in crate::cli) label_smoothing: f64,
    /// Updates between two looks at what is held out; the best model is kept.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Training")]
    pub(in crate::cli) validate_every: u64,
    /// Updates between two writings of the state.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Training")]
    pub(in crate::cli) save_every: u64,
    /// Seed of new parameters, of the order of the data and of dropout.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub(in crate::cli) seed: u64,
    /// Threads [default: all].
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub(in crate::cli) threads: Option<usize>,
    /// Go on with a training that was interrupted.
    #[arg(long, help_heading = "Output", conflicts_with = "force")]
    pub(in crate::cli) resume: bool,
    /// Begin anew where there is a training already.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) force: bool,
    /// Form of the answer: table, json, csv, md.
    #[arg(long, value_name = "FORM", default_value_t, help_heading = "Output")]
    pub(in crate::cli) format: Format,
    /// Watch the training in the dashboard; the answer is printed when that is closed.
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub(in crate::cli) tui: bool,
}

/// `t2r pretrain`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct PretrainArgs {
    /// Folder of the new model.
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::cli) output: PathBuf,
    /// Attention of every layer.
    #[arg(long, value_name = "VARIANT", default_value = "softmax", help_heading = "Model")]
    pub(in crate::cli) variant: VariantSpec,
    /// Cross-attention, where it is another (--source, --target).
    #[arg(long, value_name = "VARIANT", help_heading = "Model")]
    pub(in crate::cli) cross_variant: Option<VariantSpec>,
    /// Blocks; with an encoder as many there.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Model")]
    pub(in crate::cli) n_layers: usize,
    /// Width.
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Model")]
    pub(in crate::cli) d_model: usize,
    /// Query heads.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Model")]
    pub(in crate::cli) n_heads: usize,
    /// Key and value heads [default: as many].
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub(in crate::cli) n_kv_heads: Option<usize>,
    /// Hidden width of the feed-forward block [default: 4 times the width].
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub(in crate::cli) ffn_dim: Option<usize>,
    /// Entries of the vocabulary, which is learned from the text.
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Model")]
    pub(in crate::cli) vocab_size: usize,
    /// A tokenizer.json to use instead.
    #[arg(long, value_name = "FILE", help_heading = "Model", conflicts_with = "vocab_size")]
    pub(in crate::cli) tokenizer: Option<PathBuf>,
    /// Positions: learned, sinusoidal, rotary.
    #[arg(long, value_name = "KIND", default_value_t = Positions::Rotary, help_heading = "Model")]
    pub(in crate::cli) positions: Positions,
    /// Norm: layernorm, rmsnorm.
    #[arg(long, value_name = "KIND", default_value_t = Norm::LayerNorm, help_heading = "Model")]
    pub(in crate::cli) norm: Norm,
    /// Non-linearity: relu, gelu, swiglu.
    #[arg(long, value_name = "KIND", default_value_t = Activation::Gelu, help_heading = "Model")]
    pub(in crate::cli) activation: Activation,
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    #[command(flatten)]
    pub(in crate::cli) train: TrainArgs,
}

/// `t2r finetune`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct FinetuneArgs {
    /// The model, as `convert` or `pretrain` wrote it.
    #[arg(value_name = "MODEL")]
    pub(in crate::cli) model: PathBuf,
    /// Folder of the finetuned model [default: MODEL itself].
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// What is trained: all, attention, feature-maps.
    #[arg(long = "train", value_name = "WHAT", default_value_t = Trained::All, help_heading = "Training")]
    pub(in crate::cli) trained: Trained,
    /// First so many updates in which the feature maps alone learn to give what softmax would.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub(in crate::cli) transfer: u64,
    /// Largest step size of these.
    #[arg(long, value_name = "RATE", default_value_t = 1e-2, help_heading = "Training")]
    pub(in crate::cli) transfer_lr: f64,
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    #[command(flatten)]
    pub(in crate::cli) training: TrainArgs,
}

/// `t2r translate`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TranslateArgs {
    /// An encoder-decoder.
    #[arg(value_name = "MODEL")]
    pub(in crate::cli) model: PathBuf,
    /// Sentences, one a line [default: standard input].
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) source: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) search: SearchArgs,
    /// Threads [default: all].
    #[arg(long, value_name = "N")]
    pub(in crate::cli) threads: Option<usize>,
}

/// How translations are searched for.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
#[group(skip)]
pub(in crate::cli) struct SearchArgs {
    /// Hypotheses that are kept of each sentence; 1 is greedy.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Search")]
    pub(in crate::cli) beams: usize,
    /// α of the length penalty.
    #[arg(long, value_name = "X", default_value_t = 0.6, help_heading = "Search")]
    pub(in crate::cli) length_penalty: f64,
    /// Most tokens of a translation [default: 10 more than twice the source's].
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub(in crate::cli) max_len: Option<usize>,
    /// Sentences translated at once.
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Search")]
    pub(in crate::cli) batch: usize,
}

/// `t2r tradeoff`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TradeoffArgs {
    /// Profile by name or path: tradeoff-smoke, tradeoff-lm, tradeoff-llm, tradeoff-mt, ablation-feature-size.
    #[arg(long, value_name = "NAME|PATH")]
    pub(in crate::cli) profile: String,
    /// A softmax model to convert, instead of one that is trained here.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) model: Option<PathBuf>,
    /// Texts, one after another; the last tenth is held out.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(in crate::cli) text: Vec<PathBuf>,
    /// Sentences, one a line.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(in crate::cli) source: Option<PathBuf>,
    /// Their translations, line by line.
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(in crate::cli) target: Option<PathBuf>,
    /// What each pair belongs to, line by line: whole groups are held out, about a tenth of the pairs.
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(in crate::cli) groups: Option<PathBuf>,
    /// Write one row per model and context depth.
    #[arg(long, value_name = "PATH", required_unless_present_any = ["resume", "dry_run"], conflicts_with = "resume")]
    pub(in crate::cli) csv: Option<PathBuf>,
    /// Go on with the file of an interrupted run.
    #[arg(long, value_name = "PATH", conflicts_with = "force")]
    pub(in crate::cli) resume: Option<PathBuf>,
    /// Measure the decoding speeds that are in the file anew, as on a machine that has become quiet; trains what is missing.
    #[arg(long, conflicts_with = "csv")]
    pub(in crate::cli) speeds_again: bool,
    /// Overwrite a file that exists.
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Show the models that would be trained, and train none.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Threads [default: all].
    #[arg(long, value_name = "N")]
    pub(in crate::cli) threads: Option<usize>,
    /// Form of the answer: table, json, csv, md.
    #[arg(long, value_name = "FORM", default_value_t)]
    pub(in crate::cli) format: Format,
    /// Watch the trainings in the dashboard; the answer is printed when that is closed.
    #[arg(long, conflicts_with_all = ["quiet", "dry_run"])]
    pub(in crate::cli) tui: bool,
}
