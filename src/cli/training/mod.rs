//! What `pretrain` and `finetune` share: from options to data, recipe and a training that is logged, kept and told.

mod args;
mod bleu;
mod data;
mod finetune;
mod folder;
mod pretrain;
mod school;
mod tradeoff;
mod translate;
mod watch;

pub(super) use args::{FinetuneArgs, PretrainArgs, TradeoffArgs, TranslateArgs};
pub(super) use bleu::{BleuArgs, score};
pub(super) use finetune::finetune;
pub(super) use pretrain::pretrain;
pub(super) use tradeoff::tradeoff;
pub(super) use translate::translate;
