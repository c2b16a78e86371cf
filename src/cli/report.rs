//! `report`: reads result files of every kind, and writes the page and the figures.

use std::{collections::HashSet, fs, path::Path};

use anyhow::Context;

use super::{
    Answer, Ending, Failure,
    args::{ReportArgs, Talk},
    say, say_cut,
    setup::count,
};
use crate::{
    measure::Build,
    report::{CellsFrom, Material, QualityFrom, TrainingFrom, render_page, sections, standalone},
    store::{
        CellsTable, Existing, Found, Output, OutputError, ReadError, Row, TableKind, gather, kind_of, parse_quality,
        parse_rows, parse_training, read_bytes, write_whole,
    },
};

/// Answers `report`.
pub(super) fn report(args: &ReportArgs, talk: Talk) -> Answer<Ending> {
    let (material, files) = read(&found(&args.files)?)?;
    // All is rendered before anything is written: a page that cannot be made leaves no file.
    let page =
        args.output.as_ref().map(|target| Ok::<_, anyhow::Error>((target, render_page(&material, &Build::current())?)));
    let page = page.transpose()?;
    let figures = args.figures.as_ref().map(|dir| Ok::<_, anyhow::Error>((dir, drawn(&material)?))).transpose()?;
    let existing = if args.force { Existing::Overwrite } else { Existing::Refuse };
    let mut written = Vec::new();
    if let Some((target, page)) = page {
        write(target, existing, &page)?;
        written.extend((target != "-").then(|| target.clone()));
    }
    if let Some((dir, figures)) = figures {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, svg) in &figures {
            write(&dir.join(name).display().to_string(), existing, svg)?;
        }
        written.push(format!("{} in {}", count(figures.len(), "figure"), dir.display()));
    }
    if !talk.quiet && !written.is_empty() {
        let cells = material.cells.iter().map(|c| c.table.rows.len()).sum();
        say(&format!("{}: {} of {}", written.join(", "), count(cells, "cell"), count(files, "file")));
    }
    Ok(Ending::Done)
}

/// The files that the names mean. A file twice would be two runs that agree too well.
fn found(names: &[String]) -> Answer<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut seen = HashSet::new();
    for name in names {
        for file in gather(name)? {
            if !seen.insert(fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone())) {
                let path = file.path.display();
                return Err(Failure::Usage(format!("{path} is given twice; give each file once")));
            }
            found.push(file);
        }
    }
    Ok(found)
}

/// Reads every file as what its header says it is. One that was found in a directory and is none of these is passed
/// over, and said to be.
fn read(files: &[Found]) -> anyhow::Result<(Material, usize)> {
    let mut material = Material::default();
    let mut known = Known::default();
    let (mut files_read, paths) = (0, files.iter().map(|f| f.path.as_path()).collect::<Vec<_>>());
    for (file, name) in files.iter().zip(names(&paths)) {
        let (path, bytes) = read_bytes(&file.path)?;
        let kind = match kind_of(&path, &bytes) {
            Err(e @ ReadError::Invalid { line: 1, .. }) if file.by_directory => {
                say(&format!("warning: passed over {e}"));
                continue;
            }
            kind => kind?,
        };
        files_read += 1;
        match kind {
            TableKind::Cells => {
                let table = parse_rows(&path, &bytes)?;
                say_cut(&path, table.is_truncated);
                let table = known.without(table, &path);
                material.cells.extend(table.map(|table| CellsFrom { name, table }));
            }
            TableKind::Training => {
                let table = parse_training(&path, &bytes)?;
                say_cut(&path, table.is_truncated);
                material.training.push(TrainingFrom { name, table });
            }
            TableKind::Quality => {
                let table = parse_quality(&path, &bytes)?;
                say_cut(&path, table.is_truncated);
                material.quality.push(QualityFrom { name, table });
            }
        }
    }
    Ok((material, files_read))
}

/// Rows that were read, by run and cell: the same again, from a merged file or the JSON lines of a run, would be another
/// run that agrees too well.
#[derive(Default)]
struct Known(HashSet<(String, String)>);

impl Known {
    /// A table without the rows of earlier ones; `None` where nothing else was in it.
    fn without(&mut self, mut table: CellsTable, path: &str) -> Option<CellsTable> {
        let all = table.rows.len();
        let of = |row: &Row| (row.run_id.clone(), row.cell_id.clone());
        let own: HashSet<(String, String)> = table.rows.iter().map(of).collect();
        table.rows.retain(|row| !self.0.contains(&of(row)));
        self.0.extend(own);
        let again = all - table.rows.len();
        if again > 0 {
            say(&format!("warning: {path}: {} of it read already and left out", count(again, "row")));
        }
        (again == 0 || !table.rows.is_empty()).then_some(table)
    }
}

/// What people call the files: their names without the extension, with the folder where that is not enough.
fn names(files: &[&Path]) -> Vec<String> {
    let stem = |file: &Path| match file.to_str() {
        Some("-") => "stdin".to_owned(),
        _ => file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned(),
    };
    let stems: Vec<String> = files.iter().map(|f| stem(f)).collect();
    let is_alone = |name: &String| stems.iter().filter(|s| *s == name).count() == 1;
    files.iter().zip(&stems).map(|(f, s)| if is_alone(s) { s.clone() } else { f.display().to_string() }).collect()
}

/// Every chart under its file name.
fn drawn(material: &Material) -> anyhow::Result<Vec<(String, String)>> {
    let sections = sections(material);
    let charts = sections.iter().flat_map(|s| &s.figures).flat_map(|f| &f.charts);
    let one = |chart| Ok(standalone(chart)?.map(|svg| (format!("{}.svg", chart.id), svg)));
    charts.filter_map(|chart| one(chart).transpose()).collect()
}

fn write(target: &str, existing: Existing, text: &str) -> anyhow::Result<()> {
    if target == "-" {
        return Ok(Output::open(target, existing)?.write_now(text.as_bytes())?);
    }
    write_whole(target, existing, text.as_bytes()).map_err(|error| match error {
        OutputError::Exists { path } => anyhow::anyhow!("{path} exists; give another name, or --force to overwrite it"),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_their_stems_unless_two_would_be_the_same() {
        let files = ["a/x.csv", "b/x.csv", "c/y.csv", "-"].map(Path::new);
        assert_eq!(names(&files), ["a/x.csv", "b/x.csv", "y", "stdin"]);
    }
}
