//! Texts as models learn and are judged by them: files, blocks of tokens, aligned pairs, a made-up task, BLEU. Knows no
//! model and no tensor.

mod bleu;
mod blocks;
mod files;
mod order;
mod pairs;
mod recall;
mod thirteen_a;
mod vocabulary;

pub use bleu::{Bleu, SIGNATURE, bleu};
pub use blocks::{Blocks, windows};
pub use files::{Aligned, read_aligned, read_lines, read_text, split_by_group};
pub use order::Order;
pub use pairs::{Pair, Pairs};
pub use recall::Recall;
pub use thirteen_a::tokenize_13a;
pub use vocabulary::{END_OF_TEXT, PADDING, learn_bpe};

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not UTF-8.
    #[error(
        "{path} is not UTF-8: line {line} holds a byte that begins no character; convert it first (iconv -t UTF-8)"
    )]
    NotUtf8 {
        /// The file.
        path: String,
        /// Line of the first bad byte, from 1.
        line: usize,
    },
    /// There is too little of it.
    #[error("{what} has {found} tokens, and {needed} are needed; give more text or a smaller --seq-len")]
    TooShort {
        /// Which text.
        what: String,
        /// Tokens there are.
        found: usize,
        /// Tokens that one block needs.
        needed: usize,
    },
    /// Nothing is left to learn from.
    #[error("{0} holds nothing to learn from")]
    Empty(String),
    /// Two files do not go line by line.
    #[error(
        "{first} has {first_lines} lines and {second} has {second_lines}: line n of one must belong to line n of the other"
    )]
    Misaligned {
        /// One file.
        first: String,
        /// Its lines.
        first_lines: usize,
        /// The other.
        second: String,
        /// Its lines.
        second_lines: usize,
    },
    /// A vocabulary cannot be learned.
    #[error("no vocabulary of {size} entries can be learned: {why}")]
    Vocabulary {
        /// Entries that were asked for.
        size: usize,
        /// Why not.
        why: String,
    },
}
