//! Files of rows as people name them: a file, a pattern, a directory, `-`. Knows where rows are, not what for.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    json_lines::{are_json_lines, each_json_line},
    read::{CellsTable, ReadError, Reading, Take, collected, each_cell},
};

/// Endings of files that may hold rows.
const ENDINGS: [&str; 2] = ["csv", "jsonl"];

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is; `-` is stdin.
    pub path: PathBuf,
    /// Whether it was found in a directory rather than named: then it may be something else.
    pub by_directory: bool,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Nothing has that name.
    #[error("{0}: no such file, directory or pattern that matches one")]
    Nothing(String),
    /// A directory without rows.
    #[error("{0}: no .csv or .jsonl file in this directory")]
    EmptyDirectory(String),
    /// The pattern makes no sense.
    #[error("'{pattern}' is no pattern: {source}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        source: glob::PatternError,
    },
    /// A directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The files that a name means, sorted.
///
/// # Errors
/// See [`GatherError`].
pub fn gather(name: &str) -> Result<Vec<Found>, GatherError> {
    let path = Path::new(name);
    if name == "-" || path.is_file() || (path.exists() && !path.is_dir()) {
        return Ok(vec![Found { path: path.to_owned(), by_directory: false }]);
    }
    if path.is_dir() {
        let mut found = Vec::new();
        walk(path, &mut found)?;
        found.sort();
        let found: Vec<Found> = found.into_iter().map(|path| Found { path, by_directory: true }).collect();
        return if found.is_empty() { Err(GatherError::EmptyDirectory(name.to_owned())) } else { Ok(found) };
    }
    let matches = glob::glob(name).map_err(|source| GatherError::Pattern { pattern: name.to_owned(), source })?;
    let mut found = Vec::new();
    for path in matches.filter_map(Result::ok) {
        if path.is_dir() {
            let mut inside = Vec::new();
            walk(&path, &mut inside)?;
            found.extend(inside.into_iter().map(|path| Found { path, by_directory: true }));
        } else {
            found.push(Found { path, by_directory: false });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if found.is_empty() { Err(GatherError::Nothing(name.to_owned())) } else { Ok(found) }
}

/// Files of rows below a directory. What begins with a dot is left alone, and so are links to directories, which may
/// lead round in circles.
fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), GatherError> {
    let unreadable = |source| GatherError::Unreadable { path: dir.display().to_string(), source };
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending)) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// The bytes of a file, or of stdin for `-`, and what errors call it.
///
/// # Errors
/// [`ReadError::Unreadable`].
pub fn read_bytes(path: &Path) -> Result<(String, Vec<u8>), ReadError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        return match read {
            Ok(_) => Ok(("stdin".to_owned(), bytes)),
            Err(source) => Err(ReadError::Unreadable { path: "stdin".to_owned(), source }),
        };
    }
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Ok((name, bytes)),
        Err(source) => Err(ReadError::Unreadable { path: name, source }),
    }
}

/// Hands the rows of a file to `take`: CSV, or JSON lines where it begins with a brace.
///
/// # Errors
/// See [`ReadError`].
pub fn each_row(path: &Path, take: &mut Take<'_>) -> Result<Reading, ReadError> {
    let (name, bytes) = read_bytes(path)?;
    each_row_of(&name, &bytes, take)
}

/// The rows of a file's bytes, all of them in memory; `name` is what errors call it.
///
/// # Errors
/// [`ReadError::Invalid`].
pub fn parse_rows(name: &str, bytes: &[u8]) -> Result<CellsTable, ReadError> {
    collected(|take| each_row_of(name, bytes, take))
}

fn each_row_of(name: &str, bytes: &[u8], take: &mut Take<'_>) -> Result<Reading, ReadError> {
    if are_json_lines(bytes) { each_json_line(name, bytes, take) } else { each_cell(name, bytes, take) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[Found], dir: &Path) -> Vec<String> {
        let name = |f: &Found| f.path.strip_prefix(dir).expect("inside").to_string_lossy().into_owned();
        found.iter().map(name).collect()
    }

    #[test]
    fn files_patterns_and_directories_are_found_in_order() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(dir.path().join("b/.hidden")).expect("made");
        for file in ["b/2.csv", "b/1.csv", "b/README.md", "b/.hidden/3.csv", "a.jsonl", "b/[odd].csv"] {
            fs::write(dir.path().join(file), "").expect("written");
        }
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let all = gather(&at("")).expect("found");
        assert_eq!(names(&all, dir.path()), ["a.jsonl", "b/1.csv", "b/2.csv", "b/[odd].csv"]);
        assert!(all.iter().all(|f| f.by_directory));
        assert_eq!(names(&gather(&at("b/?.csv")).expect("found"), dir.path()), ["b/1.csv", "b/2.csv"]);
        // A file of that very name is no pattern.
        assert_eq!(names(&gather(&at("b/[odd].csv")).expect("found"), dir.path()), ["b/[odd].csv"]);
        assert!(matches!(gather(&at("b/9.csv")), Err(GatherError::Nothing(_))));
        assert!(matches!(gather(&at("b/.hidden/..x**")), Err(GatherError::Pattern { .. })));
        fs::create_dir(dir.path().join("empty")).expect("made");
        assert!(matches!(gather(&at("empty")), Err(GatherError::EmptyDirectory(_))));
        assert_eq!(gather("-").expect("stdin").len(), 1);
    }
}
