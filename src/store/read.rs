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
    collected(|take| each_cell(path, bytes, take))
}

/// All that a reading hands over, in memory.
pub(super) fn collected(
    read: impl FnOnce(&mut Take<'_>) -> Result<Reading, ReadError>,
) -> Result<CellsTable, ReadError> {
    let mut rows = Vec::new();
    let reading = read(&mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(CellsTable { rows, unknown_columns: reading.unknown_columns, is_truncated: reading.is_truncated })
}

/// What was found beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Columns that this version does not know, in order.
    pub unknown_columns: Vec<String>,
    /// Whether the last line was cut off, and left out.
    pub is_truncated: bool,
}

/// Whoever takes rows in, one by one; what it has against a row becomes an error with the row's line.
pub type Take<'a> = dyn FnMut(Row) -> Result<(), String> + 'a;

/// Hands the rows of a cells file to `take`, one by one, so that not all of them need be in memory.
///
/// # Errors
/// [`ReadError::Invalid`], also with what `take` answers.
pub fn each_cell(path: &str, bytes: &[u8], take: &mut Take<'_>) -> Result<Reading, ReadError> {
    let here = |line, column, message| ReadError::Invalid { path: path.to_owned(), line, column, message };
    let bytes = table_text(bytes).map_err(|message| here(1, None, message))?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let found = reader.read_byte_record(&mut record).map_err(|e| here(1, None, e.to_string()))?;
    if !found {
        return Err(here(1, None, "the file is empty; expected the header of a cells file".to_owned()));
    }
    let header = StringRecord::from_byte_record(record.clone())
        .map_err(|e| here(1, None, format!("the header is not UTF-8: {e}")))?;
    let names: Vec<&str> = header.iter().collect();
    let unknown_columns = check_columns(&names).map_err(|(column, message)| here(1, column, message))?;
    let mut reading = Reading { unknown_columns, is_truncated: false };
    let ends_within_a_line = bytes.last() != Some(&b'\n');
    loop {
        let found = reader.read_byte_record(&mut record).map_err(|e| here(reader_line(&e), None, e.to_string()))?;
        if !found {
            return Ok(reading);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let is_last = reader.position().byte() >= bytes.len() as u64;
        match row(&record, &header) {
            // Cut within the last column a line has all its fields, but half an object.
            Ok(row) if is_last && ends_within_a_line && !row.meta.is_empty() && !is_json(&row.meta) => {
                reading.is_truncated = true;
            }
            Ok(row) => take(row).map_err(|message| here(line, None, message))?,
            // No field of ours has a line break: the rest of the file was taken for one field.
            Err(_) if record.iter().any(|field| field.contains(&b'\n')) => {
                return Err(here(line, None, "a quotation mark opens a field and none closes it".to_owned()));
            }
            Err(_) if is_last && ends_within_a_line => reading.is_truncated = true,
            Err((column, message)) => return Err(here(line, column, message)),
        }
    }
}

/// The text of a table behind its byte-order mark.
pub(super) fn table_text(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("the file is UTF-16; save it as UTF-8".to_owned());
    }
    Ok(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

/// What a header of a single column may mean.
pub(super) fn separator_hint(names: &[&str]) -> &'static str {
    match names {
        [one] if one.contains(';') => "; its columns are separated by semicolons, and must be by commas",
        [one] if one.contains('\t') => "; its columns are separated by tabs, and must be by commas",
        _ => "",
    }
}

fn reader_line(error: &csv::Error) -> u64 {
    error.position().map_or(0, csv::Position::line)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A column, where it is about one, and what is wrong.
pub(super) type Wrong = (Option<String>, String);

/// The columns that are not known, all of them metrics.
pub(super) fn check_columns(names: &[&str]) -> Result<Vec<String>, Wrong> {
    for needed in NEEDED.iter().chain(&KEY_COLUMNS) {
        if !names.contains(needed) {
            return Err((
                Some((*needed).to_owned()),
                format!("missing; a cells file has it, so this may be another kind of file{}", separator_hint(names)),
            ));
        }
    }
    let mut unknown = Vec::new();
    let key_ends = names.iter().enumerate().filter(|(_, h)| KEY_COLUMNS.contains(h)).map(|(i, _)| i).max();
    for (i, &column) in names.iter().enumerate() {
        if names[..i].contains(&column) {
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
    for (name, value) in header.iter().zip(&text) {
        check_value(name, value).map_err(|message| (Some(name.to_owned()), message))?;
    }
    text.deserialize::<Row>(Some(header)).map_err(|error| match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            let field = err.field().and_then(|i| usize::try_from(i).ok());
            let value = field.and_then(|i| text.get(i)).unwrap_or_default();
            (field.and_then(|i| header.get(i)).map(str::to_owned), format!("'{}': {}", shortened(value), err.kind()))
        }
        _ => (None, error.to_string()),
    })
}

/// What a type alone does not say of a value: numbers are finite, and times of rounds are positive.
pub(super) fn check_value(column: &str, value: &str) -> Result<(), String> {
    if column == "round_values" && !value.is_empty() {
        let expected = |why: &str| format!("'{}': expected an array of positive times in ns{why}", shortened(value));
        let figures: Vec<f64> = serde_json::from_str(value).map_err(|e| expected(&format!(" ({e})")))?;
        return if figures.iter().all(|f| *f > 0.0) { Ok(()) } else { Err(expected("")) };
    }
    let has_letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    if has_letters && Row::has_number(column) && value.parse::<f64>().is_ok_and(|v| !v.is_finite()) {
        return Err(format!("'{value}' is no finite number; a value that is missing is left empty"));
    }
    Ok(())
}

/// The beginning of a text, fit for a message.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests;
