//! `report`: reads result files of every kind, and writes the page and the figures.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    Answer, Ending, Failure,
    args::{ReportArgs, Talk},
    say,
    setup::count,
};
use crate::{
    measure::Build,
    report::{CellsFrom, Material, QualityFrom, TrainingFrom, render_page, sections, standalone},
    store::{Existing, Output, OutputError, TableKind, kind_of, parse_cells, parse_quality, parse_training},
};

/// Answers `report`.
pub(super) fn report(args: &ReportArgs, talk: Talk) -> Answer<Ending> {
    refuse_twice(&args.files)?;
    let material = read(&args.files)?;
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
        say(&format!("{}: {} of {}", written.join(", "), count(cells, "cell"), count(args.files.len(), "file")));
    }
    Ok(Ending::Done)
}

/// A file given twice would be two runs that agree too well.
fn refuse_twice(files: &[PathBuf]) -> Answer<()> {
    let mut seen = HashSet::new();
    for file in files {
        let path = fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        if !seen.insert(path) {
            return Err(Failure::Usage(format!("{} is given twice; give each file once", file.display())));
        }
    }
    Ok(())
}

/// Reads every file as what its header says it is.
fn read(files: &[PathBuf]) -> anyhow::Result<Material> {
    let mut material = Material::default();
    for (file, name) in files.iter().zip(names(files)) {
        let path = file.display().to_string();
        let bytes = fs::read(file).with_context(|| format!("cannot read {path}"))?;
        match kind_of(&path, &bytes)? {
            TableKind::Cells => material.cells.push(CellsFrom { name, table: parse_cells(&path, &bytes)? }),
            TableKind::Training => material.training.push(TrainingFrom { name, table: parse_training(&path, &bytes)? }),
            TableKind::Quality => material.quality.push(QualityFrom { name, table: parse_quality(&path, &bytes)? }),
        }
    }
    Ok(material)
}

/// What people call the files: their names without the extension, with the folder where that is not enough.
fn names(files: &[PathBuf]) -> Vec<String> {
    let stem = |file: &Path| file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
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
    let opened = Output::open(target, existing).map_err(|error| match error {
        OutputError::Exists { path } => anyhow::anyhow!("{path} exists; give another name, or --force to overwrite it"),
        error => error.into(),
    });
    Ok(opened?.write_now(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_their_stems_unless_two_would_be_the_same() {
        let files = ["a/x.csv", "b/x.csv", "c/y.csv"].map(PathBuf::from);
        assert_eq!(names(&files), ["a/x.csv", "b/x.csv", "y"]);
    }
}
