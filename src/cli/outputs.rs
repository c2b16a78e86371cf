//! The files of a run: opened, or taken up again, before anything is measured.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::SystemTime,
};

use super::{Answer, Failure, args::RunArgs, say};
use crate::{
    store::{
        CellsFile, Existing, Files, Journal, JournalHeader, JsonLinesFile, Origin, Output, Places, Resumed, Row,
        SamplesFile, journal_path, read_cells, resume, state_dir,
    },
    sweep::Plan,
};

/// Open files, the name of the run and what an earlier process left.
pub(super) struct Opened {
    pub(super) files: Files,
    pub(super) run_id: String,
    pub(super) resumed: Resumed,
}

/// Opens every output of a run, or fails before any harm is done. `template` says what measures.
pub(super) fn open<'a>(args: &'a RunArgs, plan: &Plan, template: &Row) -> Answer<Opened> {
    refuse_twice(args)?;
    if let Some(dir) = &args.dump {
        std::fs::create_dir_all(dir)
            .map_err(|e| anyhow::Error::new(e).context(format!("cannot write {}", dir.display())))?;
    }
    let cells = args.resume.as_ref().or(args.csv.as_ref());
    let journal = cells.filter(|c| *c != "-").and_then(|c| Some(journal_path(&state_dir()?, Path::new(c))));
    let target = |t: &'a Option<String>| t.as_deref();
    let targets = [cells.map(String::as_str), target(&args.samples_csv), target(&args.jsonl)];
    // What an earlier launch of the same command wrote is gone on with.
    let goes_on = args.launch.is_some_and(|launch| launch.index > 1);
    let existing = match (&args.resume, args.force) {
        _ if goes_on => Existing::Append,
        (Some(_), _) => Existing::Append,
        (None, true) => Existing::Overwrite,
        (None, false) => Existing::Refuse,
    };
    let origin = Origin::of(template);
    let resumed = match &args.resume {
        Some(file) => {
            let other = |t: &'a Option<String>| t.as_deref().filter(|t| *t != "-").map(Path::new);
            let (samples, json_lines) = (other(&args.samples_csv), other(&args.jsonl));
            let places = Places { cells: Path::new(file), samples, json_lines, journal: journal.as_deref() };
            let (resumed, pending) = resume(&places, plan, &origin, args.launch.map(|l| l.index))?;
            // That all can be opened is known before the first is rewritten.
            drop(Output::open_all(targets, existing)?);
            pending.write()?;
            resumed
        }
        None => Resumed::default(),
    };
    // All are opened before the first is written to.
    let [cells, samples, json_lines] = Output::open_all(targets, existing)?;
    let run_id = resumed.run_id.clone().unwrap_or_else(|| plan.run_id(SystemTime::now(), std::process::id()));
    let files = Files {
        cells: cells.map(|o| if goes_on { Ok(CellsFile::go_on(o)) } else { CellsFile::begin(o) }).transpose()?,
        samples: samples
            .map(|o| if goes_on { Ok(SamplesFile::go_on(o)) } else { SamplesFile::begin(o) })
            .transpose()?,
        json_lines: json_lines.map(JsonLinesFile::begin),
        journal: journal.and_then(|path| begin_journal(&path, &run_id, plan, origin, &resumed)),
    };
    Ok(Opened { files, run_id, resumed })
}

/// The cells that the file to be resumed has already; none for a fresh run.
pub(super) fn done(args: &RunArgs) -> Answer<HashSet<String>> {
    let Some(file) = &args.resume else { return Ok(HashSet::new()) };
    let rows = read_cells(Path::new(file))?.rows;
    Ok(rows.into_iter().filter(Row::is_final).map(|row| row.cell_id).collect())
}

/// A run can do without a journal, and says so.
fn begin_journal(path: &Path, run_id: &str, plan: &Plan, origin: Origin, resumed: &Resumed) -> Option<Journal> {
    let header = JournalHeader { run_id: run_id.to_owned(), fingerprint: plan.fingerprint(), origin };
    Journal::begin(path, &header, &resumed.restored.visits).inspect_err(|e| no_journal(&e.to_string())).ok()
}

/// Warns that being killed would now cost more than a visit.
pub(super) fn no_journal(why: &str) {
    say(&format!("warning: no journal ({why}): if this run is killed, the group in hand starts anew"));
}

/// Two outputs in one file would be neither.
fn refuse_twice(args: &RunArgs) -> Answer<()> {
    let outputs = [
        ("--csv", &args.csv),
        ("--resume", &args.resume),
        ("--samples-csv", &args.samples_csv),
        ("--jsonl", &args.jsonl),
    ];
    let mut seen: HashMap<std::path::PathBuf, &str> = HashMap::new();
    for (flag, target) in outputs {
        let Some(target) = target else { continue };
        let path = std::path::absolute(target).unwrap_or_else(|_| target.into());
        if let Some(other) = seen.insert(path, flag) {
            return Err(Failure::Usage(format!("{other} and {flag} both go to '{target}'; give each its own")));
        }
    }
    match &args.resume {
        Some(file) if file == "-" => Err(Failure::Usage("--resume needs a file, found '-'".into())),
        _ => Ok(()),
    }
}
