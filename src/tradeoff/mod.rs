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
pub use models::{Values, softmax_setup, swap, values_of};
pub use profile::{DecodeSizes, RowSpec, TradeoffProfile, Way, embedded, load, parse};
pub use row::{Row, Rows, SCHEMA_VERSION};
pub use run::{Lab, Outcome, Run, Teacher, runs};
pub use speed::{Bench, Speed};
pub use table::table;

use crate::{
    measure::{Build, Clock, Machine, SystemObserver},
    model::Setup,
    text::SIGNATURE,
    train::{Ended, Listener},
};

/// Who hears of a tradeoff.
pub trait Watcher: Listener {
    /// A model is begun; `at` of `of` are done.
    fn begun(&mut self, run: &Run, at: usize, of: usize);

    /// A model is written down: its row at the greatest depth. Its speed comes later.
    fn done(&mut self, row: &Row);

    /// A round over the speeds of all models is begun.
    fn timing(&mut self, round: usize, rounds: usize);
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
    /// Whether speeds that are there are measured anew.
    pub speeds_again: bool,
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
    /// Trains and judges every model that is not in `rows` yet, and then measures the speeds that are not there. Snapshots
    /// are kept beside the file until all is done.
    ///
    /// # Errors
    /// As models fail. What is written down stays.
    pub fn run(&self, id: &str, rows: &mut Rows, csv: &Path, watcher: &mut dyn Watcher) -> anyhow::Result<Ended> {
        let max_len = self.material.seq_len(self.profile);
        let pairs = matches!(self.material, Material::Pairs { .. });
        let softmax = match (&self.given, self.profile.model) {
            (Some(given), _) => given.setup.clone(),
            (None, Some(sizes)) => softmax_setup(sizes, self.material.vocab_size(), max_len, pairs),
            (None, None) => anyhow::bail!("profile {} converts a model that is there: give --model", self.profile.name),
        };
        // Every variant is had before hours have passed.
        for row in &self.profile.row {
            swap(&softmax, row).map_err(|why| anyhow::anyhow!("{}: {why}", row.variant))?;
        }
        let folder = snapshots_of(csv);
        if self.train(id, &softmax, rows, &folder, watcher)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        if self.time(&softmax, rows, watcher)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        // Where it cannot be removed, a folder more harms nobody.
        let _ = std::fs::remove_dir_all(&folder);
        Ok(Ended::Done)
    }

    fn train(
        &self,
        id: &str,
        softmax: &Setup,
        rows: &mut Rows,
        folder: &Path,
        watcher: &mut dyn Watcher,
    ) -> anyhow::Result<Ended> {
        let all = runs(self.profile);
        let is_teacher = |run: &Run| run.way == Way::Pretrained;
        let is_missing = |run: &Run, rows: &Rows| !rows.has(run);
        // A softmax model that is written down comes back from its snapshot, if others are still to be made of it.
        let wants_teacher = all.iter().any(|run| is_missing(run, rows) && run.way != Way::Scratch);
        let held_out = match all.iter().any(|run| is_missing(run, rows)) {
            true => self.material.held_out(self.profile, self.device)?,
            false => return Ok(Ended::Done),
        };
        let lab = Lab {
            profile: self.profile,
            material: self.material,
            held_out: &held_out,
            id,
            folder: folder.to_owned(),
            device: self.device,
            clock: self.clock,
            stop: self.stop,
        };
        let mut teacher = self.given.clone();
        for (at, run) in all.iter().enumerate() {
            let comes_back = is_teacher(run) && teacher.is_none() && wants_teacher;
            if rows.has(run) && !comes_back {
                continue;
            }
            watcher.begun(run, at, all.len());
            let Some(outcome) = lab.run(run, softmax, teacher.as_ref(), watcher)? else {
                return Ok(Ended::Stopped);
            };
            if !rows.has(run) {
                let made = self.rows(id, run, &outcome, teacher.as_ref());
                if let Some(last) = made.last() {
                    watcher.done(last);
                }
                rows.append(made)?;
            }
            if is_teacher(run) && teacher.is_none() {
                let Outcome { setup, values, progress, .. } = outcome;
                teacher = Some(Teacher { setup, values, tokens: Some(progress.tokens) });
            } else {
                lab.forget(run);
            }
        }
        Ok(Ended::Done)
    }

    /// Measures speeds where they are missing, or all of them: of models that are made alike once.
    fn time(&self, softmax: &Setup, rows: &mut Rows, watcher: &mut dyn Watcher) -> anyhow::Result<Ended> {
        let mut wanted: Vec<(Run, Setup)> = Vec::new();
        for run in runs(self.profile) {
            let setup = swap(softmax, &run.spec()).map_err(anyhow::Error::msg)?;
            let is_new = !wanted.iter().any(|(known, _)| known.spec() == run.spec());
            if is_new && (self.speeds_again || rows.lacks_speed(&run)) {
                wanted.push((run, setup));
            }
        }
        if wanted.is_empty() {
            return Ok(Ended::Done);
        }
        let (runs, setups): (Vec<Run>, Vec<Setup>) = wanted.into_iter().unzip();
        let mut bench = Bench {
            decode: &self.profile.decode,
            clock: self.clock,
            observer: &mut SystemObserver::default(),
            stop: self.stop,
        };
        let Some(speeds) = bench.speeds(&setups, &mut |round, of| watcher.timing(round, of))? else {
            return Ok(Ended::Stopped);
        };
        let speeds = runs.into_iter().zip(speeds).collect::<Vec<_>>();
        rows.set_speeds(&speeds, self.n_threads, &now())?;
        Ok(Ended::Done)
    }

    fn rows(&self, id: &str, run: &Run, outcome: &Outcome, teacher: Option<&Teacher>) -> Vec<Row> {
        // What a model is made of has learned too.
        let before = teacher.filter(|_| run.way != Way::Scratch).map_or(Some(0), |teacher| teacher.tokens);
        let build = Build::current();
        let at = |depth: &usize| Row {
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
            seq_len: *depth,
            build_version: build.build_version.clone(),
            build_commit: build.build_commit.clone(),
            cpu_info: self.machine.cpu_info.clone(),
            n_threads: self.n_threads,
            test_time: now(),
            ..Row::default()
        };
        self.profile.decode.lengths.iter().map(at).collect()
    }
}

/// The time of day, RFC 3339.
fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Where the snapshots of a tradeoff are kept.
#[must_use]
pub fn snapshots_of(csv: &Path) -> PathBuf {
    let mut name = csv.as_os_str().to_owned();
    name.push(".state");
    PathBuf::from(name)
}
