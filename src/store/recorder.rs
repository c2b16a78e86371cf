//! The sink that makes a run durable: journals visits, and writes a group's rows as it ends. Knows the order in which
//! things must reach the disk, not how any of them looks.

use std::time::SystemTime;

use super::{
    assemble::{RunInfo, assemble},
    files::{CellsFile, JsonLinesFile, SamplesFile},
    journal::Journal,
    row::Row,
};
use crate::sweep::{CellRecord, Event, GroupRecord, Sink};

/// The files of a run; each may be absent.
#[derive(Default)]
pub struct Files {
    /// `--csv`.
    pub cells: Option<CellsFile>,
    /// `--samples-csv`.
    pub samples: Option<SamplesFile>,
    /// `--jsonl`.
    pub json_lines: Option<JsonLinesFile>,
    /// The journal, where the state directory can be written.
    pub journal: Option<Journal>,
}

/// Writes a run down while it goes.
pub struct Recorder {
    info: RunInfo,
    files: Files,
    now: fn() -> SystemTime,
    rows: Vec<Row>,
    is_complete: bool,
    journal_error: Option<String>,
}

impl Recorder {
    /// A recorder into these files.
    #[must_use]
    pub fn new(info: RunInfo, files: Files) -> Self {
        Self::with_time(info, files, SystemTime::now)
    }

    /// The same with another source of the time that rows bear.
    #[must_use]
    pub fn with_time(info: RunInfo, files: Files, now: fn() -> SystemTime) -> Self {
        Self { info, files, now, rows: Vec::new(), is_complete: true, journal_error: None }
    }

    /// The rows written so far by this process.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Why the journal was given up, if it was: the run goes on without, but a kill would then lose its group.
    #[must_use]
    pub fn journal_error(&self) -> Option<&str> {
        self.journal_error.as_deref()
    }

    fn write_group(&mut self, group: &GroupRecord) -> anyhow::Result<()> {
        let rows = assemble(group, &self.info, (self.now)());
        // Samples first: after a kill between the two, resuming drops samples that have no row, and could not make up
        // samples for a row that has none.
        let pairs = || rows.iter().zip(&group.cells);
        if let Some(samples) = &mut self.files.samples {
            pairs().try_for_each(|(row, record): (&Row, &CellRecord)| samples.append(row, record))?;
        }
        if let Some(json_lines) = &mut self.files.json_lines {
            pairs().try_for_each(|(row, record)| json_lines.append(row, record))?;
        }
        if let Some(cells) = &mut self.files.cells {
            cells.append(&rows)?;
        }
        let is_final = rows.iter().all(Row::is_final);
        self.is_complete &= is_final;
        self.journal(|journal| journal.end_group(is_final));
        self.rows.extend(rows);
        Ok(())
    }

    /// Does something to the journal; one that fails is given up, because the run is worth more than its journal.
    fn journal(&mut self, act: impl FnOnce(&mut Journal) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.files.journal.as_mut().map(act) {
            self.journal_error = Some(error.to_string());
            self.files.journal = None;
        }
    }
}

impl Sink for Recorder {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::VisitFinished(v) if !v.restored => self.journal(|journal| journal.add(&v.cell_id, &v.visit)),
            Event::GroupFinished(group) => self.write_group(group)?,
            Event::RunFinished(outcome) if self.is_complete && !outcome.interrupted => {
                if let Some(Err(error)) = self.files.journal.take().map(Journal::remove) {
                    self.journal_error = Some(error.to_string());
                }
            }
            _ => {}
        }
        Ok(())
    }
}
