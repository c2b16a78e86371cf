//! Reads a cells file by the names of its columns. Knows what makes a file unreadable and where, not what its rows are
//! for.

use std::{fs, io, path::Path};

use csv::{ByteRecord, ErrorKind, ReaderBuilder, StringRecord};

use super::row::{COLUMNS, Row, SCHEMA_VERSION};
use crate::spec::{KEY_COLUMNS, nearest};

/// Columns outside of the key that no file can do without.
const NEEDED: [&str; 4] = ["schema_version", "run_id", "cell_id", "status"];

/// What a cells file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellsTable {
    /// Its rows, in order.
    pub rows: Vec<Row>,
    /// Columns that this version does not know, in order.
    pub unknown_columns: Vec<String>,
    /// Whether the last line was cut off, and left out.
    pub is_truncated: bool,
}

/// Why a file is no cells file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}, line {line}{}: {message}", .column.as_deref().map(|c| format!(", column {c}")).unwrap_or_default())]
    Invalid {
        /// Which file.
        path: String,
        /// From 1.
        line: u64,
        /// Name of the column, where it is about one.
        column: Option<String>,
        /// What was read and what was expected.
        message: String,
    },
}

/// Reads a cells file from disk.
///
/// # Errors
/// See [`ReadError`].
pub fn read_cells(path: &Path) -> Result<CellsTable, ReadError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| ReadError::Unreadable { path: name.clone(), source })?;
    parse_cells(&name, &bytes)
}

/// Reads the bytes of a cells file; `path` is what errors call it. A byte-order mark and CR LF are accepted.
///
/// # Errors
/// [`ReadError::Invalid`].
pub fn parse_cells(path: &str, bytes: &[u8]) -> Result<CellsTable, ReadError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let here = |line, column, message| ReadError::Invalid { path: path.to_owned(), line, column, message };
    let found = reader.read_byte_record(&mut record).map_err(|e| here(1, None, e.to_string()))?;
    if !found {
        return Err(here(1, None, "the file is empty; expected the header of a cells file".to_owned()));
    }
    let header = StringRecord::from_byte_record(record.clone())
        .map_err(|e| here(1, None, format!("the header is not UTF-8: {e}")))?;
    let unknown_columns = check_header(&header).map_err(|(column, message)| here(1, column, message))?;
    let mut table = CellsTable { unknown_columns, ..CellsTable::default() };
    let ends_within_a_line = bytes.last() != Some(&b'\n');
    loop {
        let found = reader.read_byte_record(&mut record).map_err(|e| here(0, None, e.to_string()))?;
        if !found {
            return Ok(table);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let is_cut = ends_within_a_line && reader.position().byte() >= bytes.len() as u64;
        match row(&record, &header) {
            // Cut within the last column a line has all its fields, but half an object.
            Ok(row) if is_cut && !row.meta.is_empty() && !is_json(&row.meta) => table.is_truncated = true,
            Ok(row) => table.rows.push(row),
            Err(_) if is_cut => table.is_truncated = true,
            Err((column, message)) => return Err(here(line, column, message)),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A column, where it is about one, and what is wrong.
type Wrong = (Option<String>, String);

/// The columns that are not known, all of them metrics.
fn check_header(header: &StringRecord) -> Result<Vec<String>, Wrong> {
    for needed in NEEDED.iter().chain(&KEY_COLUMNS) {
        if !header.iter().any(|h| h == *needed) {
            return Err((
                Some((*needed).to_owned()),
                "missing; a cells file has it, so this may be another kind of file".to_owned(),
            ));
        }
    }
    let mut unknown = Vec::new();
    let key_ends = header.iter().enumerate().filter(|(_, h)| KEY_COLUMNS.contains(h)).map(|(i, _)| i).max();
    for (i, column) in header.iter().enumerate() {
        if header.iter().take(i).any(|h| h == column) {
            return Err((Some(column.to_owned()), "the column occurs twice".to_owned()));
        }
        if COLUMNS.contains(&column) {
            continue;
        }
        // Rows that differ in a key which is not understood would be taken for the same cell.
        if Some(i) < key_ends {
            let near = nearest(column, KEY_COLUMNS);
            let message = format!("unknown key column{near}; the file is of a newer version of t2r");
            return Err((Some(column.to_owned()), message));
        }
        unknown.push(column.to_owned());
    }
    Ok(unknown)
}

fn row(record: &ByteRecord, header: &StringRecord) -> Result<Row, Wrong> {
    let text = StringRecord::from_byte_record(record.clone()).map_err(|e| {
        let field = e.utf8_error().field();
        (header.get(field).map(str::to_owned), "not UTF-8".to_owned())
    })?;
    if text.len() != header.len() {
        return Err((None, format!("{} fields; the header has {}", text.len(), header.len())));
    }
    let version = header.iter().position(|h| h == "schema_version").and_then(|i| text.get(i)).unwrap_or_default();
    if version.parse::<u32>().is_ok_and(|v| v > SCHEMA_VERSION) {
        let message = format!("version {version} is newer than {SCHEMA_VERSION}; read it with a newer t2r");
        return Err((Some("schema_version".to_owned()), message));
    }
    text.deserialize::<Row>(Some(header)).map_err(|error| match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            let field = err.field().and_then(|i| usize::try_from(i).ok());
            let value = field.and_then(|i| text.get(i)).unwrap_or_default();
            (field.and_then(|i| header.get(i)).map(str::to_owned), format!("'{value}': {}", err.kind()))
        }
        _ => (None, error.to_string()),
    })
}

#[cfg(test)]
mod tests;
