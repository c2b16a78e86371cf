//! Texts from files: as they are, or line by line and aligned.

use std::{collections::BTreeMap, fs, path::Path};

use xxhash_rust::xxh3::xxh3_64;

use super::TextError;

/// A whole file. A byte order mark at its beginning is dropped, nothing else is changed.
///
/// # Errors
/// Where it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, TextError> {
    let name = || path.display().to_string();
    let bytes = fs::read(path).map_err(|source| TextError::Unreadable { path: name(), source })?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let good = e.utf8_error().valid_up_to();
            let line = 1 + e.as_bytes()[..good].iter().filter(|b| **b == b'\n').count();
            return Err(TextError::NotUtf8 { path: name(), line });
        }
    };
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The lines of a file without their ends, be they LF or CR LF.
///
/// # Errors
/// As [`read_text`].
pub fn read_lines(path: &Path) -> Result<Vec<String>, TextError> {
    Ok(read_text(path)?.lines().map(str::to_owned).collect())
}

/// Sentences and their translations, line by line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aligned {
    /// To translate.
    pub source: Vec<String>,
    /// The translations.
    pub target: Vec<String>,
}

/// Two files of which line n of one belongs to line n of the other.
///
/// # Errors
/// As [`read_text`], and where they have not as many lines.
pub fn read_aligned(source: &Path, target: &Path) -> Result<Aligned, TextError> {
    let aligned = Aligned { source: read_lines(source)?, target: read_lines(target)? };
    same_length((source, aligned.source.len()), (target, aligned.target.len()))?;
    Ok(aligned)
}

fn same_length(first: (&Path, usize), second: (&Path, usize)) -> Result<(), TextError> {
    if first.1 == second.1 {
        return Ok(());
    }
    Err(TextError::Misaligned {
        first: first.0.display().to_string(),
        first_lines: first.1,
        second: second.0.display().to_string(),
        second_lines: second.1,
    })
}

/// Whole groups of pairs held out, about `share` of the pairs: what `groups` says of line n is the group of pair n. Groups are
/// chosen by a hash of their name, so that neither order nor other groups decide. Returns what is kept and what is held out.
///
/// # Errors
/// Where there are not as many groups as pairs, or one side would be empty.
pub fn split_by_group(
    aligned: Aligned,
    groups: &[String],
    share: f64,
    names: (&Path, &Path),
) -> Result<(Aligned, Aligned), TextError> {
    same_length((names.0, aligned.source.len()), (names.1, groups.len()))?;
    let mut sizes: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    groups.iter().for_each(|group| *sizes.entry((xxh3_64(group.as_bytes()), group)).or_default() += 1);
    let wanted = (share * groups.len() as f64).ceil() as usize;
    let mut held = 0;
    let mut is_held: BTreeMap<&str, bool> = BTreeMap::new();
    for ((_, group), size) in &sizes {
        is_held.insert(group, held < wanted);
        held += if held < wanted { *size } else { 0 };
    }
    let (mut kept, mut out) = (Aligned::default(), Aligned::default());
    for ((source, target), group) in aligned.source.into_iter().zip(aligned.target).zip(groups) {
        let side = if is_held.get(group.as_str()).copied().unwrap_or(false) { &mut out } else { &mut kept };
        side.source.push(source);
        side.target.push(target);
    }
    match (kept.source.is_empty(), out.source.is_empty()) {
        (false, false) => Ok((kept, out)),
        _ => Err(TextError::Empty(format!("one side of {} split by {}", names.0.display(), names.1.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn marks_and_line_ends_are_no_text() {
        let file = written("\u{feff}a\r\nb\n\nc".as_bytes());
        assert_eq!(read_lines(file.path()).unwrap(), ["a", "b", "", "c"]);
        assert_eq!(read_text(file.path()).unwrap(), "a\r\nb\n\nc");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_place() {
        let latin = written(b"one\ntwo\nthr\xe9e\n");
        let error = read_text(latin.path()).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains(&*latin.path().to_string_lossy()), "{error}");
        let (two, three) = (written(b"a\nb\n"), written(b"a\nb\nc\n"));
        let error = read_aligned(two.path(), three.path()).unwrap_err().to_string();
        assert!(error.contains("has 2 lines") && error.contains("has 3"), "{error}");
        assert!(matches!(read_text(Path::new("/no/such")), Err(TextError::Unreadable { .. })));
    }

    #[test]
    fn no_group_is_on_both_sides() {
        let lines: Vec<String> = (0..200).map(|i| i.to_string()).collect();
        let groups: Vec<String> = (0..200).map(|i| format!("g{}", i * i % 17)).collect();
        let aligned = Aligned { source: lines.clone(), target: lines };
        let names = (Path::new("s"), Path::new("g"));
        let (kept, held) = split_by_group(aligned.clone(), &groups, 0.1, names).unwrap();
        assert_eq!(kept.source.len() + held.source.len(), 200);
        assert!((20..=60).contains(&held.source.len()), "{}", held.source.len());
        let of = |side: &Aligned| -> BTreeSet<String> {
            side.source.iter().map(|line| groups[line.parse::<usize>().unwrap()].clone()).collect()
        };
        assert!(of(&kept).is_disjoint(&of(&held)));
        assert!(split_by_group(aligned.clone(), &groups[1..], 0.1, names).is_err());
        assert!(split_by_group(aligned, &vec!["one".to_owned(); 200], 0.1, names).is_err());
    }
}
