//! A profile as written: TOML, from the binary itself or from a file. Knows its fields and where a mistake stands in
//! it, not what cells it comes to.

use std::{fs, path::Path};

use serde::Deserialize;

use super::fields::{MeasureFields, RunFields, SweepFields};
use crate::spec::nearest;

/// The profiles in the binary: name and text.
const EMBEDDED: [(&str, &str); 8] = [
    ("quick", include_str!("../../profiles/quick.toml")),
    ("smoke", include_str!("../../profiles/smoke.toml")),
    ("attention", include_str!("../../profiles/attention.toml")),
    ("paper-lm", include_str!("../../profiles/paper-lm.toml")),
    ("train", include_str!("../../profiles/train.toml")),
    ("paper-mt", include_str!("../../profiles/paper-mt.toml")),
    ("paper-mt-base", include_str!("../../profiles/paper-mt-base.toml")),
    ("long-context", include_str!("../../profiles/long-context.toml")),
];

/// The profile of a run that names none.
pub const DEFAULT_PROFILE: &str = "quick";

/// A sweep as people write it down.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of an embedded profile, or the path it was read from.
    #[serde(skip)]
    pub name: String,
    /// What it is for, in one line.
    pub description: String,
    /// Where to run.
    #[serde(default)]
    pub run: RunFields,
    /// How to measure.
    #[serde(default)]
    pub measure: MeasureFields,
    /// What a sweep does not say.
    #[serde(default)]
    pub defaults: SweepFields,
    /// The sweeps; a profile without any is one sweep of its defaults.
    #[serde(default)]
    pub sweep: Vec<SweepFields>,
}

/// Why a profile could not be had. All of them are mistakes of usage.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No embedded profile has that name.
    #[error(
        "unknown profile '{name}'{nearest}; known: {known}; a file is named by a path with '/' or the ending .toml"
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// "did you mean", or nothing.
        nearest: String,
        /// All names.
        known: String,
    },
    /// The file could not be read.
    #[error("profile {path}: {source}")]
    Unreadable {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a profile.
    #[error("profile {name}, line {line}, column {column}: {message}")]
    Invalid {
        /// Name or path.
        name: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What was read and what was expected.
        message: String,
    },
}

/// Name and description of every embedded profile.
#[must_use]
pub fn embedded() -> Vec<(&'static str, String)> {
    let description = |name, text| parse(name, text).map(|p| p.description).unwrap_or_default();
    EMBEDDED.iter().map(|(name, text)| (*name, description(name, text))).collect()
}

/// The profile of that name, or the one at that path if it holds a `/` or ends in `.toml`.
///
/// # Errors
/// Unknown name, unreadable file, or a text that is not a profile, with file, line and the nearest right name.
pub fn load(name_or_path: &str) -> Result<Profile, ProfileError> {
    let is_path =
        name_or_path.contains(['/', '\\']) || Path::new(name_or_path).extension().is_some_and(|e| e == "toml");
    if is_path {
        let text = fs::read_to_string(name_or_path)
            .map_err(|source| ProfileError::Unreadable { path: name_or_path.to_owned(), source })?;
        return parse(name_or_path, &text);
    }
    let names = || EMBEDDED.iter().map(|(name, _)| *name);
    match EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        Some((name, text)) => parse(name, text),
        None => Err(ProfileError::Unknown {
            name: name_or_path.to_owned(),
            nearest: nearest(name_or_path, names()),
            known: names().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Reads the text of a profile; `name` is what errors call it.
///
/// # Errors
/// [`ProfileError::Invalid`].
pub fn parse(name: &str, text: &str) -> Result<Profile, ProfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match toml::from_str::<Profile>(text) {
        Ok(profile) => Ok(Profile { name: name.to_owned(), ..profile }),
        Err(error) => {
            let before = error.span().and_then(|s| text.get(..s.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let message = with_nearest(error.message().trim_end());
            Err(ProfileError::Invalid { name: name.to_owned(), line, column, message })
        }
    }
}

/// Adds "did you mean" to serde's ``unknown field `x`, expected one of `a`, `b` ``.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), quoted.next()) {
        (true, Some(found)) => format!("unknown field '{found}'{}; {}", nearest(found, quoted), expected(message)),
        _ if message == "invalid type: map, expected a sequence" => {
            "a table where a list of tables belongs; a profile's sweeps are written [[sweep]]".to_owned()
        }
        _ => message.replace('\n', " "),
    }
}

fn expected(message: &str) -> String {
    message.split_once(", ").map_or_else(String::new, |(_, rest)| rest.replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("my.toml", text).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn every_embedded_profile_reads_and_says_what_it_is_for() {
        for (name, description) in embedded() {
            load(name).unwrap_or_else(|e| panic!("{e}"));
            assert!(description.len() > 10 && !description.contains('\n'), "{name}: '{description}'");
        }
        assert!(EMBEDDED.iter().any(|(name, _)| *name == DEFAULT_PROFILE));
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_the_nearest_right_name() {
        let message = error("description = 'x'\n[[sweep]]\nbatchs = 1\n");
        assert!(
            message.starts_with("profile my.toml, line 3, column 1: unknown field 'batchs', did you mean 'batch'?"),
            "{message}"
        );
        let message = error("description = 'x'\n[measure]\nci_taget = 0.1\n");
        assert!(message.contains("did you mean 'ci_target'?"), "{message}");
        let message = error("description = 'x'\n[defaults]\nworkload = ['atention']\n");
        assert!(message.contains("line 3") && message.contains("did you mean 'attention'?"), "{message}");
        let message = error("description = 'x'\n[measure]\nmin_block = '25'\n");
        assert!(message.contains("line 3") && message.contains("25ms"), "{message}");
        let message = error("description = 'x'\n[defaults\n");
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn a_sweep_in_single_brackets_is_told_the_double_ones() {
        let error = parse("t", "description = 'x'\n[sweep]\nbatch = 1\n").expect_err("single brackets").to_string();
        assert!(error.contains("written [[sweep]]"), "{error}");
    }

    #[test]
    fn one_value_or_a_list_are_both_lists() {
        let one = parse("p", "description='x'\n[defaults]\nworkload='decode'\nbatch=4\ncache='warm'").expect("reads");
        let many =
            parse("p", "description='x'\n[defaults]\nworkload=['decode']\nbatch=[4]\ncache=['warm']").expect("reads");
        assert_eq!(one, many);
    }

    #[test]
    fn unknown_names_list_the_known_ones_and_paths_are_read_from_disk() {
        let message = load("qick").expect_err("no such profile").to_string();
        assert!(message.contains("did you mean 'quick'?") && message.contains("long-context"), "{message}");
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("mine.toml");
        fs::write(&path, "description = 'mine'\n").expect("written");
        let name = path.to_str().expect("utf-8");
        assert_eq!(load(name).map(|p| p.description).map_err(|e| e.to_string()), Ok("mine".to_owned()));
        assert!(load("./missing.toml").is_err_and(|e| e.to_string().contains("./missing.toml")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|([a-z_]{1,12} ?= ?(\\[|\"|[0-9k*-]|true|\\]){1,6}\n|\\[{1,2}[a-z]{1,8}\\]{1,2}\n){0,8}") {
            let _ = parse("t", &text);
        }

        #[test]
        fn a_damaged_profile_is_read_or_refused(at in 0usize..4000, with in "\\PC{0,3}") {
            let (_, text) = EMBEDDED[0];
            let at = (0..=at % text.len()).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let damaged = format!("{}{with}{}", &text[..at], text[at..].chars().skip(1).collect::<String>());
            if let Err(error) = parse("t", &damaged) {
                proptest::prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
