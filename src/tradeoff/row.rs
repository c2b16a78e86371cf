//! The file of a tradeoff: one row per model and context depth, so that what is plotted is what is written.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{run::Run, speed::Speed};

/// Raised by a change of meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// One model at one depth. What could not be had is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Of these columns.
    pub schema_version: u32,
    /// Name of the profile.
    pub profile: String,
    /// Hash of profile and data: rows of one tradeoff share it.
    pub profile_id: String,
    /// Way, layers and seed in a few words.
    pub label: String,
    /// Task.
    pub task: String,
    /// Self-attention of the swapped layers.
    pub variant: String,
    /// Their cross-attention.
    pub cross_variant: Option<String>,
    /// Which layers are swapped.
    pub layers: String,
    /// How the model came to be.
    pub way: String,
    /// Seed.
    pub seed: u64,
    /// Numbers in the model.
    pub parameters: u64,
    /// Updates of this model itself.
    pub train_steps: u64,
    /// Targets that it learned from itself.
    pub train_tokens: u64,
    /// The same and what the model it was made of had learned from, where that is known.
    pub total_tokens: Option<u64>,
    /// Seconds of updating, of this model itself.
    pub train_s: f64,
    /// Mean cross-entropy on what is held out, nats per target.
    pub loss: f64,
    /// Its exponential.
    pub perplexity: f64,
    /// Share of targets that were the most likely token.
    pub accuracy: f64,
    /// Targets that were held out.
    pub held_out_tokens: u64,
    /// Of greedy translations (`pairs`).
    pub bleu: Option<f64>,
    /// How that was scored.
    pub bleu_signature: Option<String>,
    /// Sequences decoded at once.
    pub batch_size: usize,
    /// Tokens of context before the decoded ones.
    pub seq_len: usize,
    /// Over all sequences; empty until all models are there.
    pub tokens_per_s: Option<f64>,
    /// State of one sequence there.
    pub state_bytes: Option<u64>,
    /// Version of the program.
    pub build_version: String,
    /// Its commit.
    pub build_commit: Option<String>,
    /// Model of the CPU.
    pub cpu_info: String,
    /// Threads: that it was measured with, and trained with before it was.
    pub n_threads: usize,
    /// When the model was done, RFC 3339.
    pub test_time: String,
    /// 95 % interval of `tokens_per_s` over rounds.
    #[serde(default)]
    pub tokens_per_s_ci95_low: Option<f64>,
    /// Its other end.
    #[serde(default)]
    pub tokens_per_s_ci95_high: Option<f64>,
    /// Rounds in which it was measured, models taking turns; empty in files of versions that measured each by itself.
    #[serde(default)]
    pub speed_rounds: Option<usize>,
    /// CPU time that other processes took meanwhile, in percent of one core.
    #[serde(default)]
    pub foreign_cpu_pct: Option<f64>,
    /// When it was measured, RFC 3339.
    #[serde(default)]
    pub speed_time: Option<String>,
}

impl Row {
    /// Whether a model of that run and this one are made of the same, so that they are equally fast.
    #[must_use]
    pub fn is_made_as(&self, run: &Run) -> bool {
        self.variant == run.variant.to_string()
            && self.cross_variant == run.cross.as_ref().map(ToString::to_string)
            && self.layers == run.layers.to_string()
    }

    fn set_speed(&mut self, speed: &Speed, n_threads: usize, time: &str) {
        let round = |x: f64| (x * 10.0).round() / 10.0;
        self.tokens_per_s = speed.tokens_per_s.map(round);
        self.tokens_per_s_ci95_low = speed.interval.map(|(low, _)| round(low));
        self.tokens_per_s_ci95_high = speed.interval.map(|(_, high)| round(high));
        self.state_bytes = Some(speed.state_bytes);
        self.n_threads = n_threads;
        self.speed_rounds = Some(speed.rounds);
        self.foreign_cpu_pct = speed.foreign_cpu_pct.map(round);
        self.speed_time = Some(time.to_owned());
    }

    fn is_of(&self, run: &Run) -> bool {
        self.is_made_as(run) && (self.way.as_str(), self.seed) == (run.way.as_str(), run.seed)
    }
}

/// The file.
pub struct Rows {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Rows {
    /// A new file.
    ///
    /// # Errors
    /// Where there is one, unless it may be overwritten.
    pub fn begin(path: &Path, force: bool) -> anyhow::Result<Self> {
        if path.exists() && !force {
            let name = path.display();
            anyhow::bail!(
                "{name} exists; give another name, --resume {name} to continue it, or --force to overwrite it"
            );
        }
        let rows = Self { path: path.to_owned(), rows: Vec::new() };
        rows.rewrite()?;
        Ok(rows)
    }

    /// Goes on with a file of the same tradeoff; models that are not there at every depth are left out.
    ///
    /// # Errors
    /// Where it is no such file, or of another tradeoff.
    pub fn resume(path: &Path, profile_id: &str, depths: usize) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path)?;
        let mut rows: Vec<Row> = Vec::new();
        let header = reader.headers()?.clone();
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
        let last = records.len().saturating_sub(1);
        for (i, record) in records.iter().enumerate() {
            match record.deserialize::<Row>(Some(&header)) {
                Ok(row) => rows.push(row),
                // The last row may have been cut off in writing.
                Err(_) if i == last && record.len() < header.len() => {}
                Err(e) => anyhow::bail!("{}: row {}: {e}", path.display(), i + 1),
            }
        }
        if let Some(other) = rows.iter().find(|row| row.profile_id != profile_id) {
            let (path, then) = (path.display(), &other.profile_id);
            anyhow::bail!(
                "{path} is of another tradeoff: its profile and data have the id {then}, these have {profile_id}"
            );
        }
        let whole = |row: &Row| rows.iter().filter(|other| same_model(row, other)).count() == depths;
        let rows = rows.iter().filter(|row| whole(row)).cloned().collect();
        let rows = Self { path: path.to_owned(), rows };
        rows.rewrite()?;
        Ok(rows)
    }

    /// All rows.
    #[must_use]
    pub fn all(&self) -> &[Row] {
        &self.rows
    }

    /// Whether that model is done.
    #[must_use]
    pub fn has(&self, run: &Run) -> bool {
        self.rows.iter().any(|row| row.is_of(run))
    }

    /// Appends the rows of one model and flushes.
    ///
    /// # Errors
    /// Of the system.
    pub fn append(&mut self, rows: Vec<Row>) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&csv_of(&rows, false)?)?;
        file.flush()?;
        self.rows.extend(rows);
        Ok(())
    }

    /// Whether a model made as that run has no speed yet.
    #[must_use]
    pub fn lacks_speed(&self, run: &Run) -> bool {
        self.rows.iter().any(|row| row.is_made_as(run) && row.tokens_per_s.is_none())
    }

    /// Writes speeds, each of all models that are made as a run, in place of what was there.
    ///
    /// # Errors
    /// Of the system.
    pub fn set_speeds(&mut self, speeds: &[(Run, Vec<Speed>)], n_threads: usize, time: &str) -> anyhow::Result<()> {
        for row in &mut self.rows {
            let of_row = speeds.iter().find(|(run, _)| row.is_made_as(run));
            let at_depth = of_row.and_then(|(_, speeds)| speeds.iter().find(|speed| speed.len == row.seq_len));
            if let Some(speed) = at_depth {
                row.set_speed(speed, n_threads, time);
            }
        }
        self.rewrite()
    }

    fn rewrite(&self) -> anyhow::Result<()> {
        let mut bytes = csv_of(&self.rows, true)?;
        if self.rows.is_empty() {
            // The header is written with the first row, and here there is none.
            let header = csv_of(&[Row::default()], true)?;
            bytes = header.split_inclusive(|b| *b == b'\n').next().unwrap_or_default().to_vec();
        }
        // Beside and moved into place, so that the file is whole at any time.
        let mut beside = self.path.clone().into_os_string();
        beside.push(".part");
        fs::write(&beside, bytes)?;
        Ok(fs::rename(&beside, &self.path)?)
    }
}

fn same_model(a: &Row, b: &Row) -> bool {
    let key =
        |row: &Row| (row.variant.clone(), row.cross_variant.clone(), row.layers.clone(), row.way.clone(), row.seed);
    key(a) == key(b)
}

fn csv_of(rows: &[Row], header: bool) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tradeoff::Way;

    fn run(seed: u64) -> Run {
        let variant = "t2r:32".parse().unwrap();
        Run { variant, cross: None, layers: "all".parse().unwrap(), way: Way::Finetuned, seed }
    }

    fn row(seed: u64, seq_len: usize) -> Row {
        let (variant, layers, way) = ("t2r:32".to_owned(), "all".to_owned(), "finetuned".to_owned());
        Row { variant, layers, way, seed, seq_len, profile_id: "p".to_owned(), ..Row::default() }
    }

    #[test]
    fn whole_models_are_kept_and_a_torn_row_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let mut rows = Rows::begin(&path, false).unwrap();
        assert!(Rows::begin(&path, false).is_err());
        rows.append(vec![row(0, 16), row(0, 64)]).unwrap();
        rows.append(vec![row(1, 16)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4);
        fs::write(&path, format!("{text}1,x,p,tex")).unwrap();
        let rows = Rows::resume(&path, "p", 2).unwrap();
        assert_eq!(rows.all(), [row(0, 16), row(0, 64)]);
        assert!(rows.has(&run(0)) && !rows.has(&run(1)));
        let error = Rows::resume(&path, "q", 2).err().unwrap().to_string();
        assert!(error.contains("another tradeoff"), "{error}");
    }

    #[test]
    fn a_file_without_rows_has_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        Rows::begin(&path, false).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("schema_version,profile,profile_id,label,task,variant,") && text.lines().count() == 1,
            "{text}"
        );
        assert!(Rows::resume(&path, "p", 2).unwrap().all().is_empty());
    }

    #[test]
    fn a_file_of_a_version_that_knew_fewer_columns_goes_on() {
        // As 0.1.0 of commit 8e136c1 wrote it, machine and times apart.
        let text = "schema_version,profile,profile_id,label,task,variant,cross_variant,layers,way,seed,parameters,train_steps,\
                    train_tokens,total_tokens,train_s,loss,perplexity,accuracy,held_out_tokens,bleu,bleu_signature,batch_size,\
                    seq_len,tokens_per_s,state_bytes,build_version,build_commit,cpu_info,n_threads,test_time\n\
                    1,tradeoff-smoke,37ad383eab297a80,\"finetuned, seed 0\",recall,t2r:32,,all,finetuned,0,74304,120,15360,66560,2.9,\
                    1.0585714131593704,2.8822505015935276,0.5458984375,1024,,,4,16,282665.5,16896,0.1.0,8e136c13ea67,CPU,2,\
                    2026-11-24T19:12:42Z\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.csv");
        fs::write(&path, text).unwrap();
        let profile = crate::tradeoff::load("tradeoff-smoke").unwrap();
        let id = crate::tradeoff::id_of(&profile, &crate::tradeoff::Inputs::default(), None).unwrap();
        let mut rows = Rows::resume(&path, &id, 1).unwrap();
        assert!(rows.has(&run(0)) && !rows.lacks_speed(&run(0)));
        assert_eq!((rows.all()[0].tokens_per_s, rows.all()[0].speed_rounds), (Some(282_665.5), None));
        let speed = Speed {
            len: 16,
            tokens_per_s: Some(1234.56),
            interval: Some((1200.0, 1300.0)),
            rounds: 6,
            state_bytes: 7,
            foreign_cpu_pct: None,
        };
        rows.set_speeds(&[(run(1), vec![speed])], 3, "now").unwrap();
        let again = Rows::resume(&path, &id, 1).unwrap();
        assert_eq!(again.all(), rows.all());
        let Row { tokens_per_s, tokens_per_s_ci95_low, state_bytes, perplexity, speed_time, .. } = &again.all()[0];
        assert_eq!((*tokens_per_s, *tokens_per_s_ci95_low, *state_bytes), (Some(1234.6), Some(1200.0), Some(7)));
        assert_eq!((*perplexity, speed_time.as_deref()), (2.882_250_501_593_527_6, Some("now")));
        assert_eq!(again.all()[0].n_threads, 3);
    }
}
