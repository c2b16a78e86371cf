//! `merge`: many files made one.

use std::collections::HashSet;

use super::{
    Answer, Ending, Failure,
    args::{MergeArgs, Talk},
    gate::read,
    say,
    setup::count,
};
use crate::store::{CellsFile, Existing, Merge, Output, Row, gather, pool};

/// Answers `merge`.
pub(super) fn merge(args: &MergeArgs, talk: Talk) -> Answer<Ending> {
    let mut merge = Merge::default();
    let mut files = 0;
    for name in &args.files {
        for found in gather(name)? {
            let path = found.path.display().to_string();
            let reading = read(&found, &mut |row| merge.add(&path, row).map_err(|e| e.to_string()))?;
            files += 1;
            if let Some(column) = reading.unknown_columns.first() {
                let why = format!("{path}: its column {column} is unknown and would be lost; merge with the newer t2r");
                return Err(Failure::CouldNotRun(anyhow::Error::msg(why)));
            }
        }
    }
    let (duplicates, replaced) = (merge.duplicates, merge.replaced);
    let mut rows = merge.into_rows();
    let runs = distinct(&rows, |r| &r.run_id);
    if args.pool {
        rows = pool(&rows)?;
    }
    let existing = if args.force { Existing::Overwrite } else { Existing::Refuse };
    // Everything is read before anything is written: the output may be one of the inputs.
    CellsFile::begin(Output::open(&args.output, existing)?)?.append(&rows)?;
    if !talk.quiet {
        let cells = distinct(&rows, |r| &r.cell_id);
        let again = if duplicates > 0 { format!("; {} there twice", count(duplicates, "row")) } else { String::new() };
        let gave = if replaced > 0 {
            format!("; {} of interrupted cells gave way", count(replaced, "row"))
        } else {
            String::new()
        };
        say(&format!(
            "{}, {}, {}: {}{again}{gave}",
            count(files, "file"),
            count(runs, "run"),
            count(cells, "cell"),
            count(rows.len(), "row")
        ));
    }
    Ok(Ending::Done)
}

fn distinct(rows: &[Row], of: fn(&Row) -> &String) -> usize {
    rows.iter().map(of).collect::<HashSet<_>>().len()
}
