//! Runs of the dashboard as they are kept in the user's state directory: where their rows go, what was chosen, and which of them
//! were not finished. Knows files, not screens.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::{
    store::{journal_path, read_cells, state_dir},
    tui::{Choices, Unfinished},
};

/// Runs that are offered to be resumed at most.
const MOST_OFFERED: usize = 20;

/// What is written beside a run.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Its cells file.
    file: PathBuf,
    /// What was chosen, as pairs of field and text.
    choices: Vec<(String, String)>,
    /// Cells of its plan.
    cells: usize,
}

/// A run that goes: while this lives, no other dashboard offers to resume it.
pub(super) struct Kept {
    _lock: File,
}

fn folder() -> Option<PathBuf> {
    state_dir().map(|dir| dir.join("runs"))
}

/// Where the rows of a run of that name go.
pub(super) fn autosave(run: &str) -> Option<PathBuf> {
    Some(folder()?.join(format!("{run}.csv")))
}

/// Writes down what a run is, and holds it.
///
/// # Errors
/// Of the file system: a run can do without, and then cannot be offered.
pub(super) fn keep(name: &str, file: &Path, choices: &Choices, cells: usize) -> io::Result<Kept> {
    let folder = folder().ok_or_else(|| io::Error::other("no state directory is known"))?;
    fs::create_dir_all(&folder)?;
    let file = std::path::absolute(file)?;
    let note = Note { file, choices: choices.texts(), cells };
    let mut lock = File::create(folder.join(format!("{name}.json")))?;
    lock.lock()?;
    lock.write_all(&serde_json::to_vec(&note)?)?;
    Ok(Kept { _lock: lock })
}

/// Takes hold of a run again that is being resumed.
///
/// # Errors
/// Where another dashboard holds it.
pub(super) fn hold(file: &Path) -> io::Result<Kept> {
    let note = note_of(file).ok_or_else(|| io::Error::other("no state directory is known"))?;
    let lock = File::open(note)?;
    match lock.try_lock() {
        Ok(()) => Ok(Kept { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another dashboard goes on with this run")),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The note beside the run that writes that file.
fn note_of(file: &Path) -> Option<PathBuf> {
    notes().into_iter().find(|path| read(path).is_some_and(|note| note.file == file))
}

fn notes() -> Vec<PathBuf> {
    let Some(entries) = folder().and_then(|f| fs::read_dir(f).ok()) else { return Vec::new() };
    let mut notes: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    // Names begin with the time.
    notes.sort();
    notes.reverse();
    notes
}

fn read(note: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

/// Runs whose journal is still there and whom nobody holds, the latest first. A complete run has no journal.
pub(super) fn unfinished() -> Vec<Unfinished> {
    let Some(state) = state_dir() else { return Vec::new() };
    let of = |path: &PathBuf| {
        let note = read(path)?;
        let journal = journal_path(&state, &note.file);
        if !journal.is_file() || !note.file.is_file() || File::open(path).ok()?.try_lock().is_err() {
            return None;
        }
        let rows = read_cells(&note.file).map(|t| t.rows.iter().filter(|r| r.is_final()).count()).ok()?;
        let when = fs::metadata(&journal).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let when = humantime::format_rfc3339_seconds(when).to_string().replace('T', " ").replace('Z', " UTC");
        let choices = Choices::from_texts(&note.choices).ok()?;
        let text = format!("{} · {when} · {rows} of {} cells", choices.profile, note.cells);
        Some(Unfinished { file: note.file, choices, text })
    };
    notes().iter().filter_map(of).take(MOST_OFFERED).collect()
}

/// Forgets an unfinished run: its journal goes, so that it is not offered again; its rows stay.
///
/// # Errors
/// Of removing, for people.
pub(super) fn forget(run: &Unfinished) -> Result<(), String> {
    let Some(state) = state_dir() else { return Ok(()) };
    let journal = journal_path(&state, &run.file);
    fs::remove_file(&journal).map_err(|e| format!("cannot remove {}: {e}", journal.display()))
}
