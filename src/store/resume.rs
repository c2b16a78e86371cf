//! Goes on with a cells file that an earlier process of the same plan began. Knows which rows stay; whole groups do or do
//! not.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    files::{SAMPLE_COLUMNS, cells_csv},
    journal::{JournalContent, read_journal},
    output::{OutputError, is_special, replace},
    read::{ReadError, parse_cells},
    row::Row,
    template::Origin,
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

/// Where the files of a run lie.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The cells file.
    pub cells: &'a Path,
    /// `--samples-csv`; it need not be there.
    pub samples: Option<&'a Path>,
    /// `--jsonl`; it need not be there.
    pub json_lines: Option<&'a Path>,
    /// The journal; it need not be there.
    pub journal: Option<&'a Path>,
}

/// What is to be written before the run goes on; nothing has been changed yet.
#[derive(Debug)]
#[must_use = "the files still hold groups that are not whole"]
pub struct Pending(Vec<(PathBuf, Vec<u8>)>);

impl Pending {
    /// Leaves in each file only what stays.
    ///
    /// # Errors
    /// Of writing.
    pub fn write(self) -> Result<(), ResumeError> {
        self.0.iter().try_for_each(|(path, bytes)| Ok(replace(path, bytes)?))
    }
}

/// Reads the files of a run and holds them against the plan and against what measures now; of their content, whole
/// groups whose every row is final are to stay. Changes nothing: [`Pending`] does. Of a file of several launches it is
/// about the one with that number, from 1, and the others stay as they are; without a number all rows are one run's, which
/// its shards may have measured.
///
/// # Errors
/// See [`ResumeError`].
pub fn resume(
    places: &Places<'_>,
    plan: &Plan,
    now: &Origin,
    launch: Option<usize>,
) -> Result<(Resumed, Pending), ResumeError> {
    let path = places.cells.display().to_string();
    let refuse = |message: String| Err(ResumeError::OtherPlan { path: path.clone(), message });
    if is_special(places.cells) {
        return refuse("it is not a file; nothing can be continued there".to_owned());
    }
    let bytes = fs::read(places.cells).map_err(|source| ReadError::Unreadable { path: path.clone(), source })?;
    // A line without its end may be cut off within a number, which then reads as another number.
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
    let (rows, unknown) = if whole == 0 {
        refuse_other_text(&path, &bytes)?;
        (Vec::new(), Vec::new())
    } else {
        let table = parse_cells(&path, &bytes[..whole])?;
        (table.rows, table.unknown_columns)
    };
    if let Some(column) = unknown.first() {
        return refuse(format!("its column {column} is unknown; a newer t2r wrote it, resume with that"));
    }
    if let Some(difference) = difference(&rows, plan, launch.is_some()) {
        return refuse(difference);
    }
    let own = launch.map(|launch| run_of_launch(&rows, launch));
    let is_own = |row: &Row| own.as_ref().is_none_or(|own| own.as_ref() == Some(&row.run_id));
    let all = rows;
    let rows: Vec<Row> = all.iter().filter(|row| is_own(row)).cloned().collect();
    let journal = places.journal.and_then(read_journal);
    let is_other = |j: &JournalContent| !j.visits.is_empty() && j.header.fingerprint != plan.fingerprint();
    if rows.is_empty() && journal.as_ref().is_some_and(is_other) {
        let message = "its first group was begun with other cells or other settings; give the same profile and options \
                       as before, or begin anew with --csv and --force";
        return refuse(message.to_owned());
    }
    let journal = journal.filter(|j| belongs(j, &rows, plan, now));
    let run_id = rows.first().map(|r| r.run_id.clone()).or_else(|| journal.as_ref().map(|j| j.header.run_id.clone()));
    let groups_done = complete_groups(&rows, plan);
    let done: HashSet<CellId> = groups_done.iter().flat_map(|g| &plan.groups[*g].cells).map(Cell::id).collect();
    let kept: Vec<Row> = rows.into_iter().filter(|r| done.contains(&CellId(r.cell_id.clone()))).collect();
    if let Some(difference) = kept.iter().find_map(|row| Origin::of(row).difference(now)) {
        return refuse(format!("its {difference}"));
    }
    // In the order of the file, by which launches are counted.
    let stays = |row: &&Row| !is_own(row) || done.contains(&CellId(row.cell_id.clone()));
    let stay: Vec<Row> = all.iter().filter(stays).cloned().collect();
    let mut pending = vec![(places.cells.to_owned(), cells_csv(&stay).unwrap_or_default())];
    let runs = stay.iter().map(|r| r.run_id.as_str()).chain(run_id.as_deref()).collect();
    let keep = Keep { runs, rows: stay.iter().map(|r| (r.run_id.as_str(), r.cell_id.as_str())).collect() };
    let others = [(places.samples, Form::Samples), (places.json_lines, Form::JsonLines)];
    for (other, form) in others.into_iter().filter_map(|(path, form)| Some((path?, form))) {
        if other.exists() && !is_special(other) {
            pending.push((other.to_owned(), retained(other, form, &keep)?));
        }
    }
    let mut visits = journal.map(|j| j.visits).unwrap_or_default();
    visits.retain(|id, _| !done.contains(id));
    let restored = Restored { groups_done, outcome: outcome(&kept), visits };
    Ok((Resumed { run_id, restored, rows: kept }, Pending(pending)))
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
fn difference(rows: &[Row], plan: &Plan, has_launches: bool) -> Option<String> {
    let planned: HashSet<CellId> = plan.cells().map(Cell::id).collect();
    let first = rows.first()?;
    let is = plan.fingerprint();
    if let Some(row) = rows.iter().find(|r| fingerprint_of(&r.run_id) != fingerprint_of(&first.run_id)) {
        return Some(format!("it holds two runs, {} and {}; give each its own file", first.run_id, row.run_id));
    }
    let mut seen = HashSet::new();
    if let Some(row) = rows.iter().find(|r| !has_launches && !seen.insert(&r.cell_id)) {
        return Some(format!(
            "it holds the cell {} twice, of several launches; say how many: --launches N",
            row.cell_id
        ));
    }
    if let Some(r) = rows.iter().find(|r| !planned.contains(&CellId(r.cell_id.clone()))) {
        return Some(format!(
            "its cell {} ({} {}, batch {}, seq_len {}, {} threads, seed {}) is not in this plan; give the same profile \
             and options as before",
            r.cell_id, r.variant, r.workload, r.batch_size, r.seq_len, r.n_threads, r.seed
        ));
    }
    let Some(was) = fingerprint_of(&first.run_id) else {
        return Some(format!(
            "its run_id '{}' is not of t2r's form, so that nothing says how it was measured; give a new file with --csv",
            first.run_id
        ));
    };
    (was != is).then(|| {
        format!(
            "it was begun with other cells or other settings of measurement ({was}, now {is}); give the same profile \
             and options as before"
        )
    })
}

/// The name of the launch with that number, from 1, if there is one yet.
fn run_of_launch(rows: &[Row], launch: usize) -> Option<String> {
    let mut runs: Vec<&String> = Vec::new();
    for row in rows {
        if !runs.contains(&&row.run_id) {
            runs.push(&row.run_id);
        }
    }
    runs.into_iter().nth(launch.saturating_sub(1)).cloned()
}

/// Whether a journal is of the run that wrote the rows, or of this plan where there are no rows, and of the same origin.
fn belongs(journal: &JournalContent, rows: &[Row], plan: &Plan, now: &Origin) -> bool {
    journal.header.fingerprint == plan.fingerprint()
        && journal.header.origin.difference(now).is_none()
        && (rows.is_empty() || rows.iter().any(|row| row.run_id == journal.header.run_id))
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

/// What a file beside the cells file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Samples,
    JsonLines,
}

/// What stays in the files beside the cells file.
struct Keep<'a> {
    /// Every run that is known.
    runs: HashSet<&'a str>,
    /// Run and cell of the rows that stay.
    rows: HashSet<(&'a str, &'a str)>,
}

/// The lines of a samples file or a JSON lines file that stay. A line of any other kind or run is an error: it belongs
/// to someone else.
fn retained(path: &Path, form: Form, keep: &Keep<'_>) -> Result<Vec<u8>, ResumeError> {
    let name = path.display().to_string();
    let wrong = |line: usize, message: String| {
        Err(ResumeError::Read(ReadError::Invalid { path: name.clone(), line: line as u64 + 1, column: None, message }))
    };
    let bytes = fs::read(path).map_err(|source| ReadError::Unreadable { path: name.clone(), source })?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // The last line may be cut off within a character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
        Err(e) => {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            return wrong(line, "not UTF-8; give another name".to_owned());
        }
    };
    let header = (form == Form::Samples).then(|| SAMPLE_COLUMNS.join(",") + "\n");
    let mut out = String::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let header = header.as_deref().filter(|_| i == 0);
        if !line.ends_with('\n') {
            // It was cut off and goes, if it is the beginning of a line of ours.
            let begins: Vec<String> = match (header, form) {
                (Some(header), _) => vec![header.to_owned()],
                (None, Form::Samples) => keep.runs.iter().map(|run| format!("{run},")).collect(),
                (None, Form::JsonLines) => vec!["{\"schema_version\":".to_owned()],
            };
            let is_ours = begins.iter().any(|begin| begin.starts_with(line) || line.starts_with(begin));
            if !is_ours || header.is_some_and(|h| line.len() >= h.len()) {
                return wrong(i, format!("not the beginning of a line of {}; give another name", form.name()));
            }
            continue;
        }
        if let Some(header) = header {
            if line != header {
                return wrong(i, "not the header of a samples file of t2r; give another name".to_owned());
            }
            out.push_str(line);
            continue;
        }
        let Some((run_id, cell_id)) = form.ids(line) else {
            return wrong(i, format!("not a line of {}; give another name", form.name()));
        };
        if !keep.runs.contains(run_id.as_str()) {
            let mut runs: Vec<&str> = keep.runs.iter().copied().collect();
            runs.sort_unstable();
            let of =
                if runs.is_empty() { "no run that is known".to_owned() } else { format!("run {}", runs.join(", ")) };
            return wrong(i, format!("a line of run {run_id}, while the cells file is of {of}; give another name"));
        }
        if keep.rows.contains(&(run_id.as_str(), cell_id.as_str())) {
            out.push_str(line);
        }
    }
    Ok(out.into_bytes())
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Samples => "a samples file of t2r",
            Self::JsonLines => "a JSON lines file of t2r",
        }
    }

    /// Run and cell of a whole line, if it is one of this form.
    fn ids(self, line: &str) -> Option<(String, String)> {
        match self {
            Self::Samples => {
                let fields: Vec<&str> = line.split(',').collect();
                (fields.len() == SAMPLE_COLUMNS.len()).then(|| (fields[0].to_owned(), fields[1].to_owned()))
            }
            Self::JsonLines => {
                let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
                let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
                Some((text("run_id")?, text("cell_id")?))
            }
        }
    }
}

#[cfg(test)]
mod tests;
