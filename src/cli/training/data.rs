//! From files to lessons and what is held out, by a model's tokenizer.

use std::path::PathBuf;

use anyhow::Context;
use candle_core::Device;
use xxhash_rust::xxh3::xxh3_64;

use super::args::{DataArgs, TrainArgs};
use crate::{
    checkpoint::Tokenizer,
    cli::{Answer, Failure},
    text::{Aligned, Blocks, END_OF_TEXT, PADDING, Pair, Pairs, TextError, read_aligned, read_text},
    train::{Batch, Lessons, Marks, Reading, Translating, held_out_pairs, held_out_text},
};

/// What is read before there is a tokenizer.
pub(super) enum Raw {
    /// Texts: what is learned and what is held out.
    Text {
        /// To learn.
        learned: String,
        /// Held out.
        held_out: String,
    },
    /// Sentences and their translations.
    Pairs {
        /// To learn.
        learned: Aligned,
        /// Held out.
        held_out: Aligned,
    },
}

/// What a training works on.
pub(super) struct Data {
    /// To learn.
    pub(super) lessons: Box<dyn Lessons>,
    /// Held out.
    pub(super) held_out: Vec<Batch>,
    /// What both are, with a hash of the ids.
    pub(super) name: String,
    /// What it comes to, for people.
    pub(super) outlook: String,
}

impl Raw {
    /// Reads the files.
    pub(super) fn read(args: &DataArgs) -> Answer<Self> {
        if !(0.0..1.0).contains(&args.validation_share) {
            let share = args.validation_share;
            return Err(Failure::Usage(format!("--validation-share {share}: give at least 0 and less than 1")));
        }
        match (&args.source, &args.target) {
            (Some(source), Some(target)) => {
                let aligned = read_aligned(source, target)?;
                let (learned, held_out) = match (&args.validation_source, &args.validation_target) {
                    (Some(source), Some(target)) => (aligned, read_aligned(source, target)?),
                    _ => split_pairs(aligned, args.validation_share),
                };
                Ok(Self::Pairs { learned, held_out })
            }
            _ if args.text.is_empty() => {
                Err(Failure::Usage("nothing to learn: give --text FILES, or --source FILE and --target FILE".into()))
            }
            _ => {
                let text = read_all(&args.text)?;
                not_empty("learn", &args.text, &text)?;
                let (learned, held_out) = match args.validation.is_empty() {
                    true => split_text(&text, args.validation_share),
                    false => (text, read_all(&args.validation)?),
                };
                not_empty("judge by", &args.validation, &held_out)?;
                Ok(Self::Text { learned, held_out })
            }
        }
    }

    /// Whether it is for an encoder-decoder.
    pub(super) fn is_aligned(&self) -> bool {
        matches!(self, Self::Pairs { .. })
    }

    /// The lines that are learned.
    pub(super) fn lines(&self) -> Vec<&str> {
        match self {
            Self::Text { learned, .. } => learned.split_inclusive('\n').collect(),
            Self::Pairs { learned, .. } => learned.source.iter().chain(&learned.target).map(String::as_str).collect(),
        }
    }

    /// Ids, in batches.
    pub(super) fn encoded(
        &self,
        tokenizer: &Tokenizer,
        train: &TrainArgs,
        held_out_size: usize,
        device: &Device,
    ) -> Answer<Data> {
        let (batch, seq_len, seed) = (train.batch, train.seq_len, train.seed);
        if batch == 0 || seq_len < 2 {
            return Err(Failure::Usage(format!("--batch {batch} --seq-len {seq_len}: expected at least 1 and 2")));
        }
        match self {
            Self::Text { learned, held_out } => {
                let (ids, held_ids) = (tokenizer.encode(learned)?, tokenizer.encode(held_out)?);
                let name = format!("text {:016x}, batch {batch}, seq_len {seq_len}", hash([&ids, &held_ids]));
                let held_out = held_out_text(&held_ids, seq_len, batch, Some(held_out_size), device)?;
                let outlook = outlook(format!("{} tokens of text to learn", ids.len()), &held_out)?;
                let blocks = Blocks::new("the text to learn", ids, seq_len, seed)?;
                let lessons = Box::new(Reading { blocks, batch, device: device.clone() });
                Ok(Data { lessons, held_out, name, outlook })
            }
            Self::Pairs { learned, held_out } => {
                let marks = marks(tokenizer)?;
                let (pairs, held) = (encode_pairs(tokenizer, learned)?, encode_pairs(tokenizer, held_out)?);
                let all = pairs.iter().chain(&held).flat_map(|pair| [&pair.source, &pair.target]);
                let name = format!("pairs {:016x}, batch {batch}, seq_len {seq_len}", hash(all));
                // One place is left for the mark of begin or end.
                let most = seq_len - 1;
                let fits = |pair: &&Pair| [&pair.source, &pair.target].iter().all(|s| (1..=most).contains(&s.len()));
                let held: Vec<Pair> = held.iter().filter(fits).take(held_out_size).cloned().collect();
                let held_out = held_out_pairs(&held, batch, marks, device)?;
                let there = pairs.len();
                let pairs = Pairs::new("the sentences to learn", pairs, batch, most, seed)?;
                let kept = pairs.all().len();
                let outlook = outlook(format!("{kept} of {there} pairs to learn, up to {most} tokens"), &held_out)?;
                let lessons = Box::new(Translating { pairs, marks, device: device.clone() });
                Ok(Data { lessons, held_out, name, outlook })
            }
        }
    }
}

/// Ids of the tokens that are no words, in a model that translates.
pub(super) fn marks(tokenizer: &Tokenizer) -> anyhow::Result<Marks> {
    let end = tokenizer.id(END_OF_TEXT);
    let end = end.with_context(|| format!("the tokenizer has no {END_OF_TEXT} to end a sentence with"))?;
    Ok(Marks { end, padding: tokenizer.id(PADDING).unwrap_or(end) })
}

fn outlook(learned: String, held_out: &[Batch]) -> anyhow::Result<String> {
    let n: usize = held_out.iter().map(|batch| batch.n_targets).sum();
    anyhow::ensure!(n > 0, "nothing is held out to judge by: give more text, or a larger --validation-share");
    Ok(format!("{learned}, {n} targets held out"))
}

fn read_all(files: &[PathBuf]) -> Result<String, TextError> {
    files.iter().map(|file| read_text(file)).collect()
}

/// Refuses files that nothing is in; there may be none.
fn not_empty(to: &str, files: &[PathBuf], text: &str) -> anyhow::Result<()> {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    anyhow::ensure!(files.is_empty() || !text.trim().is_empty(), "there is no text to {to} in {}", names.join(", "));
    Ok(())
}

/// The last part of a text is held out.
fn split_text(text: &str, share: f64) -> (String, String) {
    let wanted = (text.len() as f64 * (1.0 - share)) as usize;
    let at = (wanted..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    (text[..at].to_owned(), text[at..].to_owned())
}

/// The last pairs are held out.
fn split_pairs(mut learned: Aligned, share: f64) -> (Aligned, Aligned) {
    let at = (learned.source.len() as f64 * (1.0 - share)) as usize;
    let (source, target) = (learned.source.split_off(at), learned.target.split_off(at));
    (learned, Aligned { source, target })
}

fn encode_pairs(tokenizer: &Tokenizer, aligned: &Aligned) -> Answer<Vec<Pair>> {
    let both = aligned.source.iter().zip(&aligned.target);
    both.map(|(s, t)| Ok(Pair { source: tokenizer.encode(s)?, target: tokenizer.encode(t)? })).collect()
}

fn hash<'a>(ids: impl IntoIterator<Item = &'a Vec<u32>>) -> u64 {
    let bytes: Vec<u8> =
        ids.into_iter().flat_map(|ids| ids.iter().copied().chain([u32::MAX])).flat_map(u32::to_le_bytes).collect();
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_between_characters() {
        for share in [0.0, 0.05, 0.5, 0.99] {
            let (learned, held_out) = split_text("äöüßé🦀", share);
            assert_eq!(learned.clone() + &held_out, "äöüßé🦀", "{share}");
        }
        assert_eq!(split_text("abcdefghij", 0.2), ("abcdefgh".to_owned(), "ij".to_owned()));
    }

    #[test]
    fn the_hash_knows_where_one_sequence_ends() {
        assert_ne!(hash([&vec![1, 2], &vec![3]]), hash([&vec![1], &vec![2, 3]]));
    }
}
