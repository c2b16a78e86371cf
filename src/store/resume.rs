//! Goes on with a cells file that an earlier process of the same plan began. Knows which rows stay; whole groups do or do
//! not.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
};

use super::{
    files::cells_csv,
    journal::{JournalContent, read_journal},
    output::{OutputError, replace},
    read::{ReadError, parse_cells},
    row::Row,
};
use crate::{
    spec::{Cell, CellId},
    sweep::{Group, Outcome, Plan, Restored, Status, fingerprint_of},
};

/// Why a file cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It is not a cells file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be rewritten.
    #[error(transparent)]
    Write(#[from] OutputError),
    /// It is the file of another plan.
    #[error("cannot resume {path}: {message}")]
    OtherPlan {
        /// Which file.
        path: String,
        /// What differs, and what to do.
        message: String,
    },
}

/// What goes on.
#[derive(Debug, Clone, Default)]
pub struct Resumed {
    /// Name of the run, if the file or its journal says: the rows to come bear it too.
    pub run_id: Option<String>,
    /// For the runner.
    pub restored: Restored,
    /// The rows that stayed, in order.
    pub rows: Vec<Row>,
}

/// Reads a cells file and its journal, holds them against the plan and leaves in the file only whole groups whose every
/// row is final. `journal` is where the journal lies, if anywhere.
///
/// # Errors
/// See [`ResumeError`]; the file is then as it was.
pub fn resume(cells: &Path, journal: Option<&Path>, plan: &Plan) -> Result<Resumed, ResumeError> {
    let path = cells.display().to_string();
    let bytes = fs::read(cells).map_err(|source| ReadError::Unreadable { path: path.clone(), source })?;
    // A line without its end may be cut off within a number, which then reads as another number.
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
    let (rows, unknown) = if whole == 0 {
        refuse_other_text(&path, &bytes)?;
        (Vec::new(), Vec::new())
    } else {
        let table = parse_cells(&path, &bytes[..whole])?;
        (table.rows, table.unknown_columns)
    };
    let refuse = |message: String| Err(ResumeError::OtherPlan { path: path.clone(), message });
    if let Some(column) = unknown.first() {
        return refuse(format!("its column {column} is unknown; a newer t2r wrote it, resume with that"));
    }
    if let Some(difference) = difference(&rows, plan) {
        return refuse(difference);
    }
    let journal = journal.and_then(read_journal).filter(|j| belongs(j, &rows, plan));
    let run_id = rows.first().map(|r| r.run_id.clone()).or_else(|| journal.as_ref().map(|j| j.header.run_id.clone()));
    let groups_done = complete_groups(&rows, plan);
    let done: HashSet<CellId> = groups_done.iter().flat_map(|g| &plan.groups[*g].cells).map(Cell::id).collect();
    let kept: Vec<Row> = rows.into_iter().filter(|r| done.contains(&CellId(r.cell_id.clone()))).collect();
    let text = cells_csv(&kept).unwrap_or_default();
    replace(cells, &text)?;
    let mut visits = journal.map(|j| j.visits).unwrap_or_default();
    visits.retain(|id, _| !done.contains(id));
    let restored = Restored { groups_done, outcome: outcome(&kept), visits };
    Ok(Resumed { run_id, restored, rows: kept })
}

/// A file without one whole line is ours only if it is the beginning of a header.
fn refuse_other_text(path: &str, bytes: &[u8]) -> Result<(), ResumeError> {
    let header = cells_csv(&[]).unwrap_or_default();
    if header.starts_with(bytes) {
        return Ok(());
    }
    let message = "not one whole line, and not the beginning of a cells file".to_owned();
    Err(ReadError::Invalid { path: path.to_owned(), line: 1, column: None, message }.into())
}

/// In what the file is not of this plan, if in anything.
fn difference(rows: &[Row], plan: &Plan) -> Option<String> {
    let planned: HashSet<CellId> = plan.cells().map(Cell::id).collect();
    let first = rows.first()?;
    if let Some(row) = rows.iter().find(|r| r.run_id != first.run_id) {
        return Some(format!("it holds two runs, {} and {}; give each its own file", first.run_id, row.run_id));
    }
    if let Some(r) = rows.iter().find(|r| !planned.contains(&CellId(r.cell_id.clone()))) {
        return Some(format!(
            "its cell {} ({} {}, batch {}, seq_len {}, {} threads, seed {}) is not in this plan; give the same profile \
             and options as before",
            r.cell_id, r.variant, r.workload, r.batch_size, r.seq_len, r.n_threads, r.seed
        ));
    }
    let (was, is) = (fingerprint_of(&first.run_id)?.to_owned(), plan.fingerprint());
    (was != is).then(|| {
        format!(
            "it was begun with other cells or other settings of measurement ({was}, now {is}); give the same profile \
             and options as before"
        )
    })
}

/// Whether a journal is of the run that wrote the rows, or of this plan where there are no rows.
fn belongs(journal: &JournalContent, rows: &[Row], plan: &Plan) -> bool {
    journal.header.fingerprint == plan.fingerprint()
        && rows.first().is_none_or(|row| row.run_id == journal.header.run_id)
}

fn complete_groups(rows: &[Row], plan: &Plan) -> BTreeSet<usize> {
    let is_final: HashSet<&str> = rows.iter().filter(|r| r.is_final()).map(|r| r.cell_id.as_str()).collect();
    let complete = |g: &Group| g.cells.iter().all(|c| is_final.contains(c.id().0.as_str()));
    plan.groups.iter().enumerate().filter(|(_, g)| complete(g)).map(|(i, _)| i).collect()
}

fn outcome(rows: &[Row]) -> Outcome {
    let mut outcome = Outcome::default();
    for row in rows {
        match row {
            r if r.status == Status::Ok.as_str() => outcome.cells_ok += 1,
            r if r.skipped_by_budget() => outcome.skipped_by_budget += 1,
            _ => outcome.cells_not_ok += 1,
        }
    }
    outcome
}

/// Leaves in a samples file or a JSON lines file only what belongs to these cells; a file that is not there is left so.
///
/// # Errors
/// Of reading and rewriting, and of lines that are of neither form.
pub fn retain_cells(path: &Path, kept: &[Row]) -> Result<(), ResumeError> {
    if !path.exists() {
        return Ok(());
    }
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ReadError::Unreadable { path: name.clone(), source })?;
    let ids: HashSet<&str> = kept.iter().map(|r| r.cell_id.as_str()).collect();
    let mut out = String::new();
    for (i, line) in text.split_inclusive('\n').filter(|l| l.ends_with('\n')).enumerate() {
        let is_header = i == 0 && line.starts_with("run_id,cell_id,");
        match cell_of(line) {
            _ if is_header => out.push_str(line),
            Some(id) if ids.contains(id.as_str()) => out.push_str(line),
            Some(_) => {}
            None => {
                let message = "expected a line of a samples file or a JSON lines file of t2r".to_owned();
                return Err(ReadError::Invalid { path: name, line: i as u64 + 1, column: None, message }.into());
            }
        }
    }
    Ok(replace(path, out.as_bytes())?)
}

/// The cell of a line of the samples file, whose second column it is, or of the JSON lines file.
fn cell_of(line: &str) -> Option<String> {
    if line.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        return Some(value.get("cell_id")?.as_str()?.to_owned());
    }
    line.split(',').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests;
