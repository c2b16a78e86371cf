//! What the models of a tradeoff learn, and what they are judged by.

use std::path::PathBuf;

use anyhow::Context;
use candle_core::Device;
use tokenizers::Tokenizer;

use super::profile::{TaskKind, TradeoffProfile};
use crate::{
    text::{
        Aligned, Blocks, END_OF_TEXT, PADDING, Pair, Pairs, Recall, TextError, learn_bpe, read_aligned, read_lines,
        read_text, split_by_group,
    },
    train::{Batch, Lessons, Marks, Reading, Recalling, Translating, held_out_pairs, held_out_text},
};

/// Share of a text or of aligned sentences that is held out.
const HELD_OUT: f64 = 0.1;

/// Seed of what is held out in a made-up task: no training has it.
const HELD_OUT_SEED: u64 = u64::MAX;

/// Files that a tradeoff reads.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Texts, one after another.
    pub text: Vec<PathBuf>,
    /// Sentences, line by line.
    pub source: Option<PathBuf>,
    /// Their translations.
    pub target: Option<PathBuf>,
    /// What each pair belongs to, line by line.
    pub groups: Option<PathBuf>,
}

/// What is learned, ready.
pub enum Material {
    /// Associative recall.
    Recall(Recall),
    /// A text: what is learned and what is held out.
    Text {
        /// Tokens to learn.
        tokens: Vec<u32>,
        /// Tokens held out.
        held_out: Vec<u32>,
        /// Entries of the vocabulary.
        vocab_size: usize,
    },
    /// Aligned sentences.
    Pairs {
        /// Pairs to learn.
        pairs: Vec<Pair>,
        /// Pairs held out.
        held_out: Vec<Pair>,
        /// Their translations as text.
        references: Vec<String>,
        /// Of both languages.
        tokenizer: Box<Tokenizer>,
        /// Ids that are no words.
        marks: Marks,
    },
}

impl Material {
    /// Reads files, as the task wants, and learns a vocabulary of them, if there is no tokenizer yet.
    ///
    /// # Errors
    /// On files that are missing, unreadable, too short or not aligned.
    pub fn new(profile: &TradeoffProfile, inputs: &Inputs, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Self> {
        let vocab_size = profile.vocab_size().unwrap_or(0);
        let learned = |lines: Vec<&str>| match tokenizer {
            Some(tokenizer) => Ok(tokenizer.clone()),
            None => learn_bpe(lines.into_iter(), vocab_size),
        };
        match profile.task {
            TaskKind::Recall if tokenizer.is_some() => {
                anyhow::bail!("profile {} makes up its task: a given model has no words for it", profile.name)
            }
            TaskKind::Recall => Ok(Self::Recall(profile.recall_task().context("a profile of recall has its sizes")?)),
            TaskKind::Text => {
                anyhow::ensure!(!inputs.text.is_empty(), "profile {} reads a text: give --text FILES", profile.name);
                Self::of_text(&inputs.text, learned)
            }
            TaskKind::Pairs => {
                let (Some(source), Some(target)) = (&inputs.source, &inputs.target) else {
                    anyhow::bail!("profile {} reads aligned sentences: give --source and --target", profile.name);
                };
                let aligned = read_aligned(source, target)?;
                let (to_learn, held_out) = match &inputs.groups {
                    Some(groups) => split_by_group(aligned, &read_lines(groups)?, HELD_OUT, (source, groups))?,
                    None => {
                        // Neighbours may be alike, so that the last tenth is held out, and no random tenth.
                        let kept = aligned.source.len() - (aligned.source.len() as f64 * HELD_OUT) as usize;
                        let (mut kept_part, mut rest) = (aligned.clone(), aligned);
                        kept_part.source.truncate(kept);
                        kept_part.target.truncate(kept);
                        rest.source.drain(..kept);
                        rest.target.drain(..kept);
                        (kept_part, rest)
                    }
                };
                Self::of_pairs(&to_learn, held_out, learned, profile.training.held_out)
            }
        }
    }

    fn of_text(files: &[PathBuf], tokenizer: impl Learn) -> anyhow::Result<Self> {
        let text = files.iter().map(|file| read_text(file)).collect::<Result<Vec<_>, TextError>>()?.concat();
        let characters = text.chars().count();
        let kept = (characters as f64 * (1.0 - HELD_OUT)) as usize;
        let at = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
        let (learned, held_out) = text.split_at(at);
        let tokenizer = tokenizer(learned.split_inclusive('\n').collect())?;
        let vocab_size = tokenizer.get_vocab_size(true);
        Ok(Self::Text { tokens: encode(&tokenizer, learned)?, held_out: encode(&tokenizer, held_out)?, vocab_size })
    }

    fn of_pairs(learned: &Aligned, held_out: Aligned, tokenizer: impl Learn, most: usize) -> anyhow::Result<Self> {
        let tokenizer = tokenizer(learned.source.iter().chain(&learned.target).map(String::as_str).collect())?;
        let pairs = |aligned: &Aligned| -> anyhow::Result<Vec<Pair>> {
            let both = aligned.source.iter().zip(&aligned.target);
            both.map(|(s, t)| Ok(Pair { source: encode(&tokenizer, s)?, target: encode(&tokenizer, t)? })).collect()
        };
        let (learned, all_held_out) = (pairs(learned)?, pairs(&held_out)?);
        let id = |token: &str| tokenizer.token_to_id(token).context("a vocabulary has the tokens it was learned with");
        let marks = Marks { end: id(END_OF_TEXT)?, padding: id(PADDING)? };
        // Evenly over what is held out, so that no document stands for all.
        let every = all_held_out.len().div_ceil(most.max(1)).max(1);
        let (held_out, references) = all_held_out.into_iter().zip(held_out.target).step_by(every).unzip();
        Ok(Self::Pairs { pairs: learned, held_out, references, tokenizer: Box::new(tokenizer), marks })
    }

    /// Entries of the vocabulary.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Recall(task) => task.vocab_size(),
            Self::Text { vocab_size, .. } => *vocab_size,
            Self::Pairs { tokenizer, .. } => tokenizer.get_vocab_size(true),
        }
    }

    /// Tokens of the longest sequence.
    #[must_use]
    pub fn seq_len(&self, profile: &TradeoffProfile) -> usize {
        match self {
            Self::Recall(task) => task.len(),
            _ => profile.seq_len().unwrap_or(0),
        }
    }

    /// What a model with that seed learns, in that order.
    ///
    /// # Errors
    /// Where there is too little.
    pub fn lessons(&self, profile: &TradeoffProfile, seed: u64, device: &Device) -> anyhow::Result<Box<dyn Lessons>> {
        let (batch, device) = (profile.training.batch, device.clone());
        let seq_len = self.seq_len(profile);
        Ok(match self {
            Self::Recall(task) => Box::new(Recalling { task: *task, batch, seed, device }),
            Self::Text { tokens, .. } => {
                Box::new(Reading { blocks: Blocks::new("the text", tokens.clone(), seq_len, seed)?, batch, device })
            }
            Self::Pairs { pairs, marks, .. } => {
                let pairs = Pairs::new("the sentences", pairs.clone(), batch, seq_len - 1, seed)?;
                Box::new(Translating { pairs, marks: *marks, device })
            }
        })
    }

    /// What every model is judged by.
    ///
    /// # Errors
    /// Where there is too little.
    pub fn held_out(&self, profile: &TradeoffProfile, device: &Device) -> anyhow::Result<Vec<Batch>> {
        let (batch, most) = (profile.training.batch, profile.training.held_out);
        let batches = match self {
            Self::Recall(task) => {
                let lessons = Recalling { task: *task, batch, seed: HELD_OUT_SEED, device: device.clone() };
                lessons.batches(0, most.div_ceil(batch))?
            }
            Self::Text { held_out, .. } => held_out_text(held_out, self.seq_len(profile), batch, Some(most), device)?,
            Self::Pairs { held_out, marks, .. } => {
                let fits = |pair: &&Pair| pair.source.len().max(pair.target.len()) < self.seq_len(profile);
                let pairs: Vec<Pair> = held_out.iter().filter(fits).cloned().collect();
                held_out_pairs(&pairs, batch, *marks, device)?
            }
        };
        anyhow::ensure!(!batches.is_empty(), "nothing is left to hold out: give more text");
        Ok(batches)
    }
}

/// The tokenizer for a text of these lines.
trait Learn: Fn(Vec<&str>) -> Result<Tokenizer, TextError> {}

impl<F: Fn(Vec<&str>) -> Result<Tokenizer, TextError>> Learn for F {}

/// The ids of a text.
fn encode(tokenizer: &Tokenizer, text: &str) -> anyhow::Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|e| anyhow::anyhow!("encoding failed: {e}"))?;
    Ok(encoding.get_ids().to_vec())
}
