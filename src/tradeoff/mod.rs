//! The paper's tables as one run: a softmax model, what conversion and finetuning make of it, the same variants from scratch,
//! and controls; quality beside speed and memory. Knows no command line and no screen.

mod bleu;
mod material;
mod models;
mod profile;
mod row;
mod run;
mod speed;
mod table;

use std::path::{Path, PathBuf};

use candle_core::Device;
use xxhash_rust::xxh3::xxh3_64;

pub use material::{Inputs, Material};
pub use models::{Known, Values, softmax_setup, swap, values_of};
pub use profile::{RowSpec, TradeoffProfile, Way, embedded, load, parse};
pub use row::{Row, Rows, SCHEMA_VERSION};
pub use run::{Lab, Outcome, Run, Teacher, runs};
pub use speed::{Speed, speeds};
pub use table::table;

use crate::{
    measure::{Build, Clock, Machine},
    text::SIGNATURE,
    train::{Ended, Listener},
};

/// Who hears of a tradeoff.
pub trait Watcher: Listener {
    /// A model is begun; `at` of `of` are done.
    fn begun(&mut self, run: &Run, at: usize, of: usize);

    /// A model is written down: its row at the greatest depth.
    fn done(&mut self, row: &Row);
}

/// A tradeoff and what it runs on.
pub struct Tradeoff<'a> {
    /// What to compare.
    pub profile: &'a TradeoffProfile,
    /// What is learned.
    pub material: &'a Material,
    /// A softmax model that is there already, in place of one that is trained here.
    pub given: Option<Teacher>,
    /// Where tensors live.
    pub device: &'a Device,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Whether the user has asked to stop.
    pub stop: &'a dyn Fn() -> bool,
    /// Where it runs.
    pub machine: &'a Machine,
    /// Threads of the run.
    pub n_threads: usize,
}

/// Hash of a profile, the files it reads and the name of a given model: what rows of one tradeoff share.
///
/// # Errors
/// Where a file cannot be read.
pub fn id_of(profile: &TradeoffProfile, inputs: &Inputs, given: Option<&str>) -> anyhow::Result<String> {
    let mut bytes = serde_json::to_vec(profile)?;
    bytes.extend(given.unwrap_or_default().as_bytes());
    let files = [&inputs.source, &inputs.target, &inputs.groups].into_iter().flatten().chain(&inputs.text);
    for file in files {
        let content = std::fs::read(file).map_err(|e| anyhow::anyhow!("cannot read {}: {e}", file.display()))?;
        bytes.extend(xxh3_64(&content).to_le_bytes());
    }
    Ok(format!("{:016x}", xxh3_64(&bytes)))
}

impl Tradeoff<'_> {
    /// Trains and judges every model that is not in `rows` yet. Snapshots are kept beside the file until all are done.
    ///
    /// # Errors
    /// As models fail. What is written down stays.
    pub fn run(&self, id: &str, rows: &mut Rows, csv: &Path, watcher: &mut dyn Watcher) -> anyhow::Result<Ended> {
        let held_out = self.material.held_out(self.profile, self.device)?;
        let lab = Lab {
            profile: self.profile,
            material: self.material,
            held_out: &held_out,
            id,
            folder: snapshots_of(csv),
            device: self.device,
            clock: self.clock,
            stop: self.stop,
        };
        let max_len = self.material.seq_len(self.profile);
        let pairs = matches!(self.material, Material::Pairs { .. });
        let softmax = match &self.given {
            Some(given) => given.setup.clone(),
            None => softmax_setup(self.profile, self.material.vocab_size(), max_len, pairs),
        };
        let all = runs(self.profile);
        // Every variant is had before hours have passed.
        for row in &self.profile.row {
            swap(&softmax, row).map_err(|why| anyhow::anyhow!("{}: {why}", row.variant))?;
        }
        let mut teacher = self.given.clone();
        for (at, run) in all.iter().enumerate() {
            let is_teacher = run.way == Way::Pretrained;
            if rows.has(run) && !(is_teacher && teacher.is_none()) {
                continue;
            }
            watcher.begun(run, at, all.len());
            // A softmax model that is written down comes back from its snapshot.
            let Some(outcome) = lab.run(run, &softmax, teacher.as_ref(), watcher)? else {
                return Ok(Ended::Stopped);
            };
            if !rows.has(run) {
                let made = self.rows(id, run, &outcome, teacher.as_ref());
                if let Some(last) = made.last() {
                    watcher.done(last);
                }
                rows.append(made)?;
            }
            if is_teacher && teacher.is_none() {
                let Outcome { setup, values, progress, .. } = outcome;
                teacher = Some(Teacher { setup, values, tokens: Some(progress.tokens) });
            } else {
                lab.forget(run);
            }
        }
        // Where it cannot be removed, a folder more harms nobody.
        let _ = std::fs::remove_dir_all(&lab.folder);
        Ok(Ended::Done)
    }

    fn rows(&self, id: &str, run: &Run, outcome: &Outcome, teacher: Option<&Teacher>) -> Vec<Row> {
        // What a model is made of has learned too.
        let before = teacher.filter(|_| run.way != Way::Scratch).map_or(Some(0), |teacher| teacher.tokens);
        let build = Build::current();
        let of = |speed: &Speed| Row {
            schema_version: SCHEMA_VERSION,
            profile: self.profile.name.clone(),
            profile_id: id.to_owned(),
            label: run.label_of_way(),
            task: self.profile.task.to_string(),
            variant: run.variant.to_string(),
            cross_variant: run.cross.as_ref().map(ToString::to_string),
            layers: run.layers.to_string(),
            way: run.way.to_string(),
            seed: run.seed,
            parameters: outcome.values.values().map(|t| t.elem_count() as u64).sum(),
            train_steps: outcome.progress.step,
            train_tokens: outcome.progress.tokens,
            total_tokens: before.map(|before| before + outcome.progress.tokens),
            train_s: (outcome.progress.seconds * 10.0).round() / 10.0,
            loss: outcome.score.loss,
            perplexity: outcome.score.loss.exp(),
            accuracy: outcome.score.accuracy.unwrap_or_default(),
            held_out_tokens: outcome.score.tokens as u64,
            bleu: outcome.bleu,
            bleu_signature: outcome.bleu.map(|_| SIGNATURE.to_owned()),
            batch_size: self.profile.decode.batch,
            seq_len: speed.len,
            tokens_per_s: (speed.tokens_per_s * 10.0).round() / 10.0,
            state_bytes: speed.state_bytes,
            build_version: build.build_version.clone(),
            build_commit: build.build_commit.clone(),
            cpu_info: self.machine.cpu_info.clone(),
            n_threads: self.n_threads,
            test_time: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        };
        outcome.speeds.iter().map(of).collect()
    }
}

/// Where the snapshots of a tradeoff are kept.
#[must_use]
pub fn snapshots_of(csv: &Path) -> PathBuf {
    let mut name = csv.as_os_str().to_owned();
    name.push(".state");
    PathBuf::from(name)
}
