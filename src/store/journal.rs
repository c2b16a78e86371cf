//! The journal of a run: finished visits of the group in hand, line by line, outside of the user's directories, so that
//! a killed run loses the visit in hand and no more. Knows nothing of rows.

use std::{
    collections::HashMap,
    env,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::template::Origin;
use crate::{spec::CellId, sweep::Visit};

/// First line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// Name of the run.
    pub run_id: String,
    /// Fingerprint of its plan.
    pub fingerprint: String,
    /// Build, machine and device that measure.
    pub origin: Origin,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    cell_id: CellId,
    visit: Visit,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalContent {
    /// Which run it is of.
    pub header: JournalHeader,
    /// Visits by cell, in the order in which they ended.
    pub visits: HashMap<CellId, Vec<Visit>>,
}

/// A journal that is being written.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Length up to which it must be kept: header, and visits of groups that a later run may go on with.
    keep: u64,
}

/// Directory of this program's state: `$XDG_STATE_HOME/t2r` or `~/.local/state/t2r`; `None` where neither is known.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state"))).map(|dir| dir.join("t2r"))
}

/// Where the journal of the run that writes that cells file lies.
#[must_use]
pub fn journal_path(state_dir: &Path, cells: &Path) -> PathBuf {
    let cells = std::path::absolute(cells).unwrap_or_else(|_| cells.to_owned());
    state_dir.join("journal").join(format!("{:016x}.jsonl", xxh3_64(cells.as_os_str().as_encoded_bytes())))
}

/// Reads a journal; `None` where there is none or it is not of this form. Lines after the first bad one, such as one
/// that was cut off, are left out.
#[must_use]
pub fn read_journal(path: &Path) -> Option<JournalContent> {
    let bytes = fs::read(path).ok()?;
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').take_while(|line| line.ends_with(b"\n"));
    let header = serde_json::from_slice(lines.next()?).ok()?;
    let mut visits: HashMap<CellId, Vec<Visit>> = HashMap::new();
    for entry in lines.map_while(|line| serde_json::from_slice::<Entry>(line).ok()) {
        visits.entry(entry.cell_id).or_default().push(entry.visit);
    }
    Some(JournalContent { header, visits })
}

impl Journal {
    /// Begins a journal with these visits (of an earlier process; empty for a fresh run) in it.
    ///
    /// # Errors
    /// Of the file system; a run can do without a journal, and says so.
    pub fn begin(path: &Path, header: &JournalHeader, visits: &HashMap<CellId, Vec<Visit>>) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut text = serde_json::to_vec(header)?;
        text.push(b'\n');
        let keep = text.len() as u64;
        for (cell_id, visits) in visits {
            for visit in visits {
                text.extend(line(cell_id, visit)?);
            }
        }
        // Written beside and renamed, so that being killed here does not lose what the earlier process left.
        super::output::replace(path, &text).map_err(io::Error::other)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, keep })
    }

    /// Adds a finished visit; it is in the system's hands when this returns.
    ///
    /// # Errors
    /// Of writing.
    pub fn add(&mut self, cell_id: &CellId, visit: &Visit) -> io::Result<()> {
        self.file.write_all(&line(cell_id, visit)?)
    }

    /// A group has ended. If its rows are final its visits are not needed any more; otherwise they stay.
    ///
    /// # Errors
    /// Of writing.
    pub fn end_group(&mut self, is_final: bool) -> io::Result<()> {
        if is_final {
            self.file.set_len(self.keep)
        } else {
            self.keep = self.file.seek(SeekFrom::End(0))?;
            Ok(())
        }
    }

    /// The run is complete: the journal goes.
    ///
    /// # Errors
    /// Of removing it.
    pub fn remove(self) -> io::Result<()> {
        drop(self.file);
        fs::remove_file(&self.path)
    }
}

fn line(cell_id: &CellId, visit: &Visit) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Entry { cell_id: cell_id.clone(), visit: visit.clone() })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::Conditions,
        sweep::{Measured, MemoryReading},
    };

    fn visit(round: u32) -> Visit {
        let measured = Measured {
            figure_ns: 0.1,
            samples_ns: vec![1.0 / 3.0, 1e-7],
            iters_per_sample: 1,
            warmup_count: 1,
            warmup_verified: true,
            first_ns: None,
            e2e_ns: Some(5.5),
            memory: MemoryReading::default(),
            timed_out: false,
        };
        let conditions = Conditions { foreign_cpu_pct: Some(1.5), ..Conditions::default() };
        Visit { round, attempt: 0, measured, conditions, elapsed_ns: 7 }
    }

    #[test]
    fn visits_are_kept_until_their_group_is_final() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = journal_path(dir.path(), Path::new("out.csv"));
        let header = JournalHeader { run_id: "r".to_owned(), fingerprint: "f".to_owned(), origin: Origin::default() };
        let mut journal = Journal::begin(&path, &header, &HashMap::new()).expect("begun");
        let (a, b) = (CellId("a".to_owned()), CellId("b".to_owned()));
        journal.add(&a, &visit(0)).expect("added");
        journal.add(&a, &visit(1)).expect("added");
        let read = || read_journal(&path).expect("a journal");
        assert_eq!(
            read(),
            JournalContent { header: header.clone(), visits: [(a.clone(), vec![visit(0), visit(1)])].into() }
        );
        journal.end_group(true).expect("ended");
        assert!(read().visits.is_empty());
        journal.add(&b, &visit(0)).expect("added");
        journal.end_group(false).expect("ended");
        journal.add(&a, &visit(2)).expect("added");
        journal.end_group(true).expect("ended");
        assert_eq!(read().visits, [(b, vec![visit(0)])].into());
        journal.remove().expect("removed");
        assert_eq!(read_journal(&path), None);
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("j.jsonl");
        let header = JournalHeader { run_id: "r".to_owned(), fingerprint: "f".to_owned(), origin: Origin::default() };
        let a = CellId("a".to_owned());
        let before = [(a.clone(), vec![visit(0)])].into();
        Journal::begin(&path, &header, &before).expect("begun").add(&a, &visit(1)).expect("added");
        let bytes = fs::read(&path).expect("readable");
        fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        assert_eq!(read_journal(&path).expect("a journal").visits, before);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), cut in 0usize..2000) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("j.jsonl");
            std::fs::write(&path, &bytes).expect("written");
            let _ = read_journal(&path);
            // A whole line, damaged: a visit is read as it was, or not at all.
            let line = serde_json::to_vec(&visit(0)).expect("a line");
            let mut damaged = line.clone();
            damaged.splice(cut % line.len().., bytes);
            std::fs::write(&path, &damaged).expect("written");
            let _ = read_journal(&path);
        }
    }
}
