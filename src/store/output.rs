//! Where output goes: a file opened before anything is measured, or stdout. Knows when a file may be written, not what
//! goes into it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// How an existing file is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// It is overwritten (`--force`).
    Overwrite,
    /// It is continued (`--resume`).
    Append,
}

/// Why output cannot go there.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file is there already.
    #[error("{path} exists; give another name, --resume {path} to continue it, or --force to overwrite it")]
    Exists {
        /// Where.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Unwritable {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// An open output. Every error of writing carries its name, and keeps its kind, so that a closed pipe can be told from
/// a full disk.
pub struct Output {
    name: String,
    inner: Box<dyn Write + Send>,
    is_empty: bool,
}

impl Output {
    /// Opens `target`: `-` is stdout.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn open(target: &str, existing: Existing) -> Result<Self, OutputError> {
        let [output] = Self::open_all([Some(target)], existing)?;
        output.ok_or_else(|| OutputError::Unwritable { path: target.to_owned(), source: io::ErrorKind::Other.into() })
    }

    /// Opens every target that is given, or none: nothing is overwritten before all of them are open, and files that
    /// this call made are removed where another cannot be opened.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn open_all<const N: usize>(
        targets: [Option<&str>; N],
        existing: Existing,
    ) -> Result<[Option<Self>; N], OutputError> {
        let mut opened: Vec<(&str, Target)> = Vec::new();
        let all = targets.into_iter().flatten().try_for_each(|target| {
            opened.push((target, Target::open(target, existing)?));
            Ok(())
        });
        let all = all.and_then(|()| {
            let overwritten = opened.iter().filter(|_| existing == Existing::Overwrite);
            overwritten.into_iter().try_for_each(|(name, target)| target.clear(name))
        });
        if let Err(error) = all {
            for (name, _) in opened.iter().filter(|(_, target)| target.is_new) {
                // What matters is why the other could not be opened; an empty file more harms nobody.
                let _ = fs::remove_file(name);
            }
            return Err(error);
        }
        let mut opened = opened.into_iter();
        Ok(targets.map(|target| {
            target.and_then(|_| opened.next()).map(|(name, target)| {
                let is_empty = target.is_empty();
                let inner: Box<dyn Write + Send> = match target.file {
                    Some(file) => Box::new(file),
                    None => Box::new(io::stdout()),
                };
                Self { name: if name == "-" { "stdout".to_owned() } else { name.to_owned() }, inner, is_empty }
            })
        }))
    }

    /// An output into memory or anything else that is written to.
    #[must_use]
    pub fn to_writer(name: &str, inner: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), inner, is_empty: true }
    }

    /// Whether it held nothing when it was opened, so that it needs a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Writes all of it and flushes.
    ///
    /// # Errors
    /// The system's error, of the same kind, with the name of the output.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.inner.write_all(bytes).and_then(|()| self.inner.flush());
        result.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", self.name)))
    }
}

/// A file that was opened and not yet changed.
struct Target {
    /// `None` is stdout.
    file: Option<File>,
    /// A device or a pipe (/dev/null, /dev/fd/3): it holds nothing that could be lost.
    is_special: bool,
    /// Whether opening it made it.
    is_new: bool,
}

impl Target {
    fn open(target: &str, existing: Existing) -> Result<Self, OutputError> {
        if target == "-" {
            return Ok(Self { file: None, is_special: true, is_new: false });
        }
        let path = Path::new(target);
        let is_special = is_special(path);
        let open = |options: &mut OpenOptions| options.append(existing == Existing::Append).write(true).open(path);
        let result = if is_special {
            open(&mut OpenOptions::new()).map(|file| (file, false))
        } else {
            match open(OpenOptions::new().create_new(true)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && existing != Existing::Refuse => {
                    open(OpenOptions::new().create(true)).map(|file| (file, false))
                }
                result => result.map(|file| (file, true)),
            }
        };
        match result {
            Ok((file, is_new)) => Ok(Self { file: Some(file), is_special, is_new }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
                Err(OutputError::Exists { path: target.to_owned() })
            }
            Err(source) => Err(OutputError::Unwritable { path: target.to_owned(), source }),
        }
    }

    fn clear(&self, name: &str) -> Result<(), OutputError> {
        match &self.file {
            Some(file) if !self.is_special => {
                file.set_len(0).map_err(|source| OutputError::Unwritable { path: name.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> bool {
        let len = || self.file.as_ref().and_then(|file| file.metadata().ok()).map(|m| m.len());
        self.is_special || len() == Some(0)
    }
}

/// Whether that is there and neither a file nor a directory.
pub(super) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Whether an error comes of a closed pipe, which ends a program quietly.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// Writes a file in one step: where that fails, what was there stays and nothing half-written is left. A device or a pipe is
/// written to.
///
/// # Errors
/// See [`OutputError`].
pub fn write_whole(target: &str, existing: Existing, bytes: &[u8]) -> Result<(), OutputError> {
    let path = Path::new(target);
    let unwritable = |source| OutputError::Unwritable { path: target.to_owned(), source };
    if is_special(path) {
        let written = OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes));
        return written.map_err(unwritable);
    }
    match fs::canonicalize(path) {
        Ok(there) if there.is_dir() => Err(unwritable(io::ErrorKind::IsADirectory.into())),
        Ok(_) if existing == Existing::Refuse => Err(OutputError::Exists { path: target.to_owned() }),
        // Through a link, not in its place.
        Ok(there) => replace(&there, bytes),
        Err(_) => replace(path, bytes),
    }
}

/// Replaces a file by these bytes in one step: whoever looks sees the old or the new one, whole.
///
/// # Errors
/// Of writing the file beside it or of renaming that.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|source| {
        // The file beside is of no use to anyone; that it could not be removed changes nothing.
        let _ = fs::remove_file(&beside);
        OutputError::Unwritable { path: path.display().to_string(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_refused_overwritten_or_continued() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("out.csv");
        let name = path.to_str().expect("utf-8");
        Output::open(name, Existing::Refuse).expect("new").write_now(b"one\n").expect("written");
        let error = Output::open(name, Existing::Refuse).map(|_| ()).expect_err("exists").to_string();
        assert!(error.contains("--resume") && error.contains("--force"), "{error}");
        let mut more = Output::open(name, Existing::Append).expect("continued");
        assert!(!more.is_empty());
        more.write_now(b"two\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "one\ntwo\n");
        assert!(Output::open(name, Existing::Overwrite).expect("overwritten").is_empty());
        assert_eq!(fs::read_to_string(&path).expect("readable"), "");
    }

    #[test]
    fn a_file_is_written_as_a_whole_or_left_as_it_was() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("out.csv");
        let name = path.to_str().expect("utf-8");
        write_whole(name, Existing::Refuse, b"one\n").expect("new");
        assert!(matches!(write_whole(name, Existing::Refuse, b"two\n"), Err(OutputError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).expect("readable"), "one\n");
        write_whole(name, Existing::Overwrite, b"two\n").expect("overwritten");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "two\n");
        for target in [dir.path().to_path_buf(), dir.path().join("missing/out.csv")] {
            let error = write_whole(target.to_str().expect("utf-8"), Existing::Overwrite, b"x");
            assert!(matches!(error, Err(OutputError::Unwritable { .. })), "{error:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "nothing is left beside it");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_a_full_one_says_so() {
        write_whole("/dev/null", Existing::Refuse, b"x").expect("written");
        let error = write_whole("/dev/full", Existing::Refuse, b"x").expect_err("full").to_string();
        assert!(error.starts_with("cannot write /dev/full: "), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_found_out_at_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let inside = dir.path().join("missing/out.csv");
        for target in [dir.path(), inside.as_path()] {
            let name = target.to_str().expect("utf-8");
            let error = Output::open(name, Existing::Refuse).map(|_| ()).expect_err("unwritable");
            assert!(matches!(error, OutputError::Unwritable { .. }), "{error}");
        }
    }

    #[test]
    fn nothing_is_overwritten_or_left_behind_unless_all_can_be_opened() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name).to_str().expect("utf-8").to_owned();
        let (old, new, bad) = (at("old.csv"), at("new.csv"), at("missing/out.csv"));
        fs::write(&old, "mine\n").expect("written");
        let opened = Output::open_all([Some(&*old), Some(&*new), Some(&*bad)], Existing::Overwrite);
        let error = opened.map(|_| ()).expect_err("the last cannot be opened");
        assert!(error.to_string().contains("missing/out.csv"), "{error}");
        assert_eq!(fs::read_to_string(&old).expect("readable"), "mine\n");
        assert!(!Path::new(&new).exists());
        let [a, none, b] = Output::open_all([Some(&*old), None, Some(&*new)], Existing::Overwrite).expect("opened");
        assert!(a.is_some_and(|o| o.is_empty()) && none.is_none() && b.is_some_and(|o| o.is_empty()));
        assert_eq!(fs::read_to_string(&old).expect("readable"), "");
    }

    #[test]
    fn a_closed_pipe_is_told_from_a_full_disk() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, closed) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let error = Output::to_writer("x.csv", Box::new(Broken(kind))).write_now(b"x").expect_err("fails");
            assert!(error.to_string().contains("x.csv"));
            assert_eq!(is_closed_pipe(&anyhow::Error::from(error).context("while writing")), closed);
        }
    }
}
