//! What the dashboard does with files: reading, listing, writing. Knows the disk, not the screen.

use std::{fs, path::Path};

use ratatui::layout::Size;

use super::{
    app::{App, Export, Message},
    compare::{Entry, Loaded},
    export,
    files::{CUT, Opened},
    quality::QualityFile,
    training::Course,
};
use crate::{
    report::plural,
    store::{
        CellsTable, Existing, OutputError, TableKind, cells_csv, kind_of, parse_cells, parse_quality, parse_training,
        write_whole,
    },
};

/// Entries of a folder that are listed at most.
const MOST_ENTRIES: usize = 2000;

/// Reads a file as what its header says it is.
///
/// # Errors
/// For people: what cannot be read, and where.
pub(crate) fn read(path: &Path) -> Result<Opened, String> {
    let shown = path.display().to_string();
    let name = path.file_name().map_or_else(|| shown.clone(), |n| n.to_string_lossy().into_owned());
    let bytes = fs::read(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let opened = kind_of(&shown, &bytes).and_then(|kind| {
        Ok(match kind {
            TableKind::Cells => Opened::Cells(cells(name, parse_cells(&shown, &bytes)?)),
            TableKind::Training => Opened::Training(Box::new(Course::of_log(name, parse_training(&shown, &bytes)?))),
            TableKind::Quality => Opened::Quality(QualityFile::new(name, parse_quality(&shown, &bytes)?)),
        })
    });
    opened.map_err(|e| e.to_string())
}

fn cells(name: String, table: CellsTable) -> Loaded {
    let mut note = String::new();
    if table.is_truncated {
        note.push_str(CUT);
    }
    if !table.unknown_columns.is_empty() {
        note.push_str(&format!("; columns not known here: {}", table.unknown_columns.join(", ")));
    }
    Loaded { name, rows: table.rows, note }
}

/// Folders and CSV files of a folder, folders first; the folder above, where there is one.
pub(crate) fn list(dir: &Path) -> Result<Vec<Entry>, String> {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let read = fs::read_dir(&absolute);
    let (absolute, read) = match read {
        Ok(read) => (absolute, read),
        // `results` is where the picker starts, and need not be there.
        Err(_) if dir == Path::new("results") => {
            let here = std::path::absolute(".").unwrap_or_else(|_| ".".into());
            let read = fs::read_dir(&here).map_err(|e| format!("cannot read {}: {e}", here.display()))?;
            (here, read)
        }
        Err(e) => return Err(format!("cannot read {}: {e}", absolute.display())),
    };
    let mut entries: Vec<Entry> = read
        .flatten()
        .filter_map(|entry| {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_dir = path.is_dir();
            let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
            ((is_dir && !name.starts_with('.')) || is_csv).then_some(Entry { name, path, is_dir })
        })
        .take(MOST_ENTRIES)
        .collect();
    entries.sort_by(|a, b| b.is_dir.cmp(&a.is_dir).then_with(|| a.name.cmp(&b.name)));
    if let Some(parent) = absolute.parent() {
        entries.insert(0, Entry { name: "..".to_owned(), path: parent.to_owned(), is_dir: true });
    }
    Ok(entries)
}

/// Writes the rows or the screen.
pub(crate) fn write(app: &App, export: Export, path: &str, force: bool, size: Size) -> Message {
    let (bytes, what) = match export {
        Export::Csv => {
            let rows = app.rows_to_write();
            match cells_csv(&rows) {
                Ok(bytes) => {
                    (bytes, format!("{}{}", plural(rows.len(), "row"), if app.is_busy() { " so far" } else { "" }))
                }
                Err(e) => return Message::Wrote(Err(e.to_string())),
            }
        }
        Export::Screen => {
            let shot = export::screenshot(app, size);
            let is_svg = Path::new(path).extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
            let text = if is_svg { export::svg(&shot, export::look(app.theme)) } else { export::text(&shot) };
            (text.into_bytes(), "the screen".to_owned())
        }
    };
    if path == "-" {
        return Message::Wrote(Err("stdout is this screen; give a file".to_owned()));
    }
    match write_whole(path, if force { Existing::Overwrite } else { Existing::Refuse }, &bytes) {
        Ok(()) => Message::Wrote(Ok(format!("wrote {what} to {path}"))),
        Err(OutputError::Exists { .. }) => Message::Exists(export, path.to_owned()),
        Err(e) => Message::Wrote(Err(e.to_string())),
    }
}
