//! A tradeoff as people write it down: one task, one model, and which variants are to be trained on it how.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::LayerChoice,
    spec::{Activation, Norm, Positions, VariantSpec, nearest, words},
    text::Recall,
    train::Decay,
};

/// The profiles in the binary: name and text.
const EMBEDDED: [(&str, &str); 5] = [
    ("tradeoff-smoke", include_str!("../../profiles/tradeoff/tradeoff-smoke.toml")),
    ("tradeoff-lm", include_str!("../../profiles/tradeoff/tradeoff-lm.toml")),
    ("tradeoff-llm", include_str!("../../profiles/tradeoff/tradeoff-llm.toml")),
    ("tradeoff-mt", include_str!("../../profiles/tradeoff/tradeoff-mt.toml")),
    ("ablation-feature-size", include_str!("../../profiles/tradeoff/ablation-feature-size.toml")),
];

words! {
    /// What is learned.
    TaskKind("task") {
        /// Associative recall, made up: needs no file.
        Recall = "recall",
        /// A running text.
        Text = "text",
        /// Aligned sentences.
        Pairs = "pairs",
    }
}

words! {
    /// How a model comes to be.
    Way("way") {
        /// Softmax, trained from random weights: what the others are made of.
        Pretrained = "pretrained",
        /// Trained from random weights with as many tokens as pretraining and finetuning have together.
        Scratch = "scratch",
        /// Made of the pretrained model and not trained.
        Swapped = "swapped",
        /// Made of the pretrained model; the feature maps alone have learned to give what softmax gave.
        TransferOnly = "transfer-only",
        /// Made of the pretrained model and finetuned.
        Finetuned = "finetuned",
        /// The same; the first part of the finetuning teaches the feature maps alone to give what softmax gave.
        Transferred = "transferred",
    }
}

/// A tradeoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradeoffProfile {
    /// Name of an embedded profile, or the path it was read from.
    #[serde(skip)]
    pub name: String,
    /// What it is for, in one line.
    pub description: String,
    /// What is learned.
    pub task: TaskKind,
    /// Sizes of the task `recall`.
    pub recall: Option<RecallSizes>,
    /// Sizes of the model that is trained here.
    pub model: Option<ModelSizes>,
    /// What is settled of a model that is there already and was trained elsewhere, in place of `model` and `pretrain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenSizes>,
    /// How all models are trained.
    pub training: Training,
    /// Training of the softmax model.
    pub pretrain: Option<Stage>,
    /// Training of a converted model.
    pub finetune: Stage,
    /// The first part of it, for `transferred`.
    pub transfer: Option<Stage>,
    /// How speed and memory are looked at.
    pub decode: DecodeSizes,
    /// What is compared.
    #[serde(default)]
    pub row: Vec<RowSpec>,
}

/// Sizes of associative recall.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallSizes {
    /// Pairs of a sequence.
    pub pairs: usize,
    /// Keys to draw from.
    pub keys: usize,
    /// Values to draw from.
    pub values: usize,
}

/// Sizes of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSizes {
    /// Blocks; of `pairs` as many in the encoder.
    pub n_layers: usize,
    /// Width.
    pub d_model: usize,
    /// Heads.
    pub n_heads: usize,
    /// Hidden width of the feed-forward block.
    pub ffn_dim: usize,
    /// Entries of the vocabulary that is learned from the text; `recall` has its own.
    pub vocab_size: Option<usize>,
    /// Tokens of a block, or the most of a sentence; `recall` has its own.
    pub seq_len: Option<usize>,
    /// Positions.
    pub positions: Positions,
    /// Norm.
    pub norm: Norm,
    /// Non-linearity.
    pub activation: Activation,
}

/// Sizes of what a given model reads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenSizes {
    /// Tokens of a block, or the most of a sentence.
    pub seq_len: usize,
}

/// What all trainings share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Sequences of a batch.
    pub batch: usize,
    /// Bound of the gradient's norm.
    pub clip: f64,
    /// λ.
    pub weight_decay: f64,
    /// Share of elements dropped.
    pub dropout: f64,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// Most windows or pairs of what is held out.
    pub held_out: usize,
}

/// One training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Updates.
    pub steps: u64,
    /// Largest step size.
    pub learning_rate: f64,
    /// Updates of warm-up.
    pub warmup: u64,
    /// What follows.
    pub decay: Decay,
}

/// How speed and memory are looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSizes {
    /// Sequences at once.
    pub batch: usize,
    /// Context depths.
    pub lengths: Vec<usize>,
    /// Tokens timed at each.
    pub tokens: usize,
}

/// One variant, in all the ways it is to be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowSpec {
    /// Attention of the layers that are swapped.
    pub variant: VariantSpec,
    /// Their cross-attention, where it is another.
    pub cross: Option<VariantSpec>,
    /// Which layers are swapped: `all`, a share (`75%`: the top layer and every fourth below it keep softmax), or a list.
    #[serde(default = "all", with = "layers")]
    pub layers: LayerChoice,
    /// How the models come to be.
    pub ways: Vec<Way>,
    /// One model each.
    pub seeds: Vec<u64>,
}

fn all() -> LayerChoice {
    LayerChoice::Percent(100)
}

/// A choice of layers as text.
mod layers {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::checkpoint::LayerChoice;

    pub(super) fn serialize<S: Serializer>(layers: &LayerChoice, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(layers)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LayerChoice, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl TradeoffProfile {
    /// Sizes of the recall task.
    #[must_use]
    pub fn recall_task(&self) -> Option<Recall> {
        self.recall.map(|RecallSizes { pairs, keys, values }| Recall { pairs, keys, values })
    }

    /// Tokens of a block, or the most of a sentence; `None` where the task has its own.
    #[must_use]
    pub fn seq_len(&self) -> Option<usize> {
        self.given.map(|given| given.seq_len).or(self.model.and_then(|model| model.seq_len))
    }

    /// Entries of the vocabulary that is learned from the text; `None` where there is one already.
    #[must_use]
    pub fn vocab_size(&self) -> Option<usize> {
        self.model.and_then(|model| model.vocab_size)
    }

    /// What cannot be, in words for people.
    fn check(&self) -> Result<(), String> {
        self.check_task()?;
        self.check_model()?;
        let has = |way: Way| self.row.iter().find(|row| row.ways.contains(&way));
        match self.transfer {
            None if has(Way::Transferred).or(has(Way::TransferOnly)).is_some() => {
                return Err("ways 'transferred' and 'transfer-only' want a stage [transfer]".to_owned());
            }
            Some(stage) if stage.steps >= self.finetune.steps => {
                return Err("[transfer] must leave updates of [finetune] over".to_owned());
            }
            _ => {}
        }
        if let Some(row) = has(Way::Pretrained) {
            return Err(format!("{}: 'pretrained' is what comes first in any case; leave it out", row.variant));
        }
        if let Some(row) = has(Way::Scratch).filter(|_| self.pretrain.is_none()) {
            return Err(format!(
                "{}: 'scratch' takes as much as [pretrain] and [finetune], and one is missing",
                row.variant
            ));
        }
        let DecodeSizes { batch, lengths, tokens } = &self.decode;
        match lengths.is_empty() || lengths.contains(&0) || *batch == 0 || *tokens == 0 {
            true => Err("[decode] wants a batch, lengths and tokens, each at least 1".to_owned()),
            false => Ok(()),
        }
    }

    fn check_task(&self) -> Result<(), String> {
        match (self.task, self.recall_task()) {
            (TaskKind::Recall, None) => Err("task 'recall' wants its sizes under [recall]".to_owned()),
            (TaskKind::Recall, Some(task)) if task.pairs == 0 || task.keys < task.pairs || task.values == 0 => {
                Err(format!("{} pairs cannot be drawn from {} keys", task.pairs, task.keys))
            }
            (TaskKind::Recall, _) => Ok(()),
            (task, _) if self.given.is_none() && (self.vocab_size().is_none() || self.seq_len().is_none()) => {
                Err(format!("task '{task}' wants vocab_size and seq_len under [model]"))
            }
            _ => Ok(()),
        }
    }

    fn check_model(&self) -> Result<(), String> {
        let (sizes, given) = (self.model.zip(self.pretrain), self.given);
        match (sizes, given) {
            (Some((ModelSizes { d_model, n_heads, n_layers, .. }, _)), None) => {
                match n_heads == 0 || n_layers == 0 || !d_model.is_multiple_of(n_heads) {
                    true => {
                        Err(format!("a width of {d_model} cannot be split into {n_heads} heads of {n_layers} layers"))
                    }
                    false => Ok(()),
                }
            }
            (None, Some(GivenSizes { seq_len })) if self.model.is_none() && self.pretrain.is_none() => {
                if seq_len < 2 {
                    Err(format!("[given]: blocks of {seq_len} tokens have nothing to predict"))
                } else {
                    Ok(())
                }
            }
            _ => Err("a model is trained here, with [model] and [pretrain], or there already, with [given]".to_owned()),
        }
    }
}

/// Name and description of every embedded profile.
#[must_use]
pub fn embedded() -> Vec<(&'static str, String)> {
    let description = |name, text| parse(name, text).map(|p| p.description).unwrap_or_default();
    EMBEDDED.iter().map(|(name, text)| (*name, description(name, text))).collect()
}

/// The profile of that name, or the one at that path if it holds a `/` or ends in `.toml`.
///
/// # Errors
/// A message for people: unknown name (with the nearest known one), unreadable file, or a text that is no such profile.
pub fn load(name_or_path: &str) -> Result<TradeoffProfile, String> {
    let is_path =
        name_or_path.contains(['/', '\\']) || Path::new(name_or_path).extension().is_some_and(|e| e == "toml");
    if is_path {
        let text = fs::read_to_string(name_or_path).map_err(|e| format!("profile {name_or_path}: {e}"))?;
        return parse(name_or_path, &text);
    }
    let names = || EMBEDDED.iter().map(|(name, _)| *name);
    match EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        Some((name, text)) => parse(name, text),
        None => {
            let (hint, known) = (nearest(name_or_path, names()), names().collect::<Vec<_>>().join(", "));
            Err(format!("unknown profile '{name_or_path}'{hint}; known: {known}; a file is named by a path"))
        }
    }
}

/// Reads the text of a profile.
///
/// # Errors
/// A message for people, with the place.
pub fn parse(name: &str, text: &str) -> Result<TradeoffProfile, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let profile: TradeoffProfile =
        toml::from_str(text).map_err(|e| format!("profile {name}: {}", e.to_string().trim_end()))?;
    profile.check().map_err(|why| format!("profile {name}: {why}"))?;
    Ok(TradeoffProfile { name: name.to_owned(), ..profile })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_embedded_profiles_are_profiles() {
        for (name, text) in EMBEDDED {
            let profile = parse(name, text).unwrap();
            assert!(!profile.row.is_empty(), "{name}");
        }
        assert!(load("tradeoff-smok").unwrap_err().contains("tradeoff-smoke"));
    }

    #[test]
    fn mistakes_are_named() {
        let (_, smoke) = EMBEDDED[0];
        for (from, to, hint) in [
            ("d_model = 64", "d_model = 63", "63"),
            ("task = \"recall\"", "task = \"recal\"", "recall"),
            ("[decode]", "[decode]\nlenghts = 3", "lenghts"),
            ("keys = 16", "keys = 2", "2 keys"),
        ] {
            assert!(smoke.contains(from), "{from}");
            let error = parse("x", &smoke.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(cut in 0usize..2000, insert in "\\PC{0,8}") {
            let text: String = EMBEDDED[0].1.chars().take(cut).collect();
            let _ = parse("x", &(text + &insert));
        }
    }
}
