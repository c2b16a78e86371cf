//! The training log: one CSV row per update, and per look at what is held out. Knows the format, not where it goes on.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use super::{Listener, TrainEvent, TrainStep, Validated};

/// Columns of the log. A missing value is empty.
pub const LOG_COLUMNS: [&str; 9] = [
    "step",
    "tokens",
    "loss",
    "lr",
    "grad_norm",
    "tokens_per_s",
    "memory_bytes",
    "validation_loss",
    "validation_accuracy",
];

/// Writes the log.
pub struct TrainLog {
    file: File,
    /// The update that has no row yet: a look may follow.
    pending: Option<TrainStep>,
}

impl TrainLog {
    /// Begins a log.
    ///
    /// # Errors
    /// Of the system.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(path)?;
        file.write_all(row(&LOG_COLUMNS)?.as_slice())?;
        Ok(Self { file, pending: None })
    }

    /// Goes on with a log after update `step`: later rows are of updates that were not kept, and are dropped.
    ///
    /// # Errors
    /// Of the system, and where the file is no such log.
    pub fn resume(path: &Path, step: u64) -> anyhow::Result<Self> {
        if !path.exists() {
            return Self::begin(path);
        }
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path)?;
        if reader.headers()?.iter().ne(LOG_COLUMNS) {
            anyhow::bail!("{} is no training log: expected the columns {}", path.display(), LOG_COLUMNS.join(","));
        }
        let mut kept = row(&LOG_COLUMNS)?;
        for record in reader.into_records() {
            let record = record?;
            // A row that was cut off in writing is of an update that was not kept.
            let of = record.get(0).and_then(|text| text.parse::<u64>().ok());
            if record.len() == LOG_COLUMNS.len() && of.is_some_and(|of| of <= step) {
                kept.extend(row(&record.iter().collect::<Vec<_>>())?);
            }
        }
        fs::write(path, kept)?;
        Ok(Self { file: OpenOptions::new().append(true).open(path)?, pending: None })
    }

    fn write(&mut self, step: Option<TrainStep>, seen: Option<&Validated>) -> anyhow::Result<()> {
        let text = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v}"));
        let number = step.map(|s| s.step).or(seen.map(|v| v.step)).unwrap_or_default();
        let cells = [
            number.to_string(),
            step.map_or_else(|| "0".to_owned(), |s| s.tokens.to_string()),
            text(step.map(|s| s.loss)),
            text(step.map(|s| s.learning_rate)),
            text(step.map(|s| s.grad_norm)),
            text(step.map(|s| (s.tokens_per_s * 10.0).round() / 10.0)),
            step.and_then(|s| s.memory_bytes).map_or_else(String::new, |bytes| bytes.to_string()),
            text(seen.map(|v| v.loss)),
            text(seen.and_then(|v| v.accuracy)),
        ];
        self.file.write_all(&row(&cells)?)?;
        Ok(self.file.flush()?)
    }

    fn write_pending(&mut self) -> anyhow::Result<()> {
        match self.pending.take() {
            Some(step) => self.write(Some(step), None),
            None => Ok(()),
        }
    }
}

fn row<S: AsRef<[u8]>>(cells: &[S]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    Ok(writer.into_inner()?)
}

impl Listener for TrainLog {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started(_) => Ok(()),
            TrainEvent::Step(step) => {
                self.write_pending()?;
                self.pending = Some(*step);
                // The last update may have no successor, but a look always follows it.
                Ok(())
            }
            TrainEvent::Validated(seen) => {
                let step = self.pending.take();
                self.write(step, Some(seen))
            }
            TrainEvent::Saved { .. } => self.write_pending(),
        }
    }
}

impl Drop for TrainLog {
    fn drop(&mut self) {
        // The row of the last update; a disk that is full has said so before.
        let _ = self.write_pending();
    }
}
