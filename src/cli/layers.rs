//! Settings in layers: flag over environment over `t2r.toml` over the user's file; the profile lies below them all.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::Parser;
use serde::Deserialize;

use super::{
    Answer, Failure,
    args::{Fields, PlanArgs},
};
use crate::sweep::{DEFAULT_PROFILE, MeasureFields, Overrides, RunFields, SweepFields};

/// A file of settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    profile: Option<String>,
    sweep: SweepFields,
    measure: MeasureFields,
    run: RunFields,
}

/// Fields alone, for reading the environment exactly as flags are read.
#[derive(Debug, Parser)]
#[command(name = "T2R_*", no_binary_name = true)]
struct FieldsLine {
    #[command(flatten)]
    fields: Fields,
}

/// The profile's name and everything that covers it.
pub(super) fn resolve(args: &PlanArgs) -> Answer<(String, Overrides)> {
    let from_env = PlanArgs { profile: text("T2R_PROFILE"), shard: None, fields: environment(text)? };
    let mut profile = args.profile.clone().or(from_env.profile);
    let mut fields = over(args.fields.clone(), &from_env.fields);
    for path in [Some(PathBuf::from("t2r.toml")), user_file()].into_iter().flatten() {
        let below = read(&path)?;
        profile = profile.or(below.profile);
        fields = over(fields, &Fields { sweep: below.sweep, measure: below.measure, run: below.run });
    }
    Ok((profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned()), fields.overrides()))
}

fn over(top: Fields, under: &Fields) -> Fields {
    Fields {
        sweep: top.sweep.over(&under.sweep),
        measure: top.measure.over(&under.measure),
        run: top.run.over(&under.run),
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// `T2R_SEQ_LEN=64` is `--seq-len=64`.
fn environment(get: impl Fn(&str) -> Option<String>) -> Answer<Fields> {
    let names = SweepFields::NAMES.iter().chain(MeasureFields::NAMES).chain(RunFields::NAMES);
    let mut fields = Fields::default();
    for name in names {
        let variable = format!("T2R_{}", name.to_uppercase());
        let Some(value) = get(&variable) else { continue };
        let flag = format!("--{}={value}", name.replace('_', "-"));
        let one = FieldsLine::try_parse_from([flag]).map_err(|e| {
            let message = e.to_string();
            let first = message.lines().next().unwrap_or_default();
            Failure::Usage(format!("environment variable {variable}: {}", first.trim_start_matches("error: ")))
        })?;
        fields = over(fields, &one.fields);
    }
    Ok(fields)
}

/// `$XDG_CONFIG_HOME/t2r/config.toml` or `~/.config/t2r/config.toml`.
fn user_file() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let dir = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(dir.join("t2r").join("config.toml"))
}

/// A file that is not there says nothing.
fn read(path: &Path) -> Answer<Settings> {
    match fs::read_to_string(path) {
        Ok(text) => {
            toml::from_str(&text).map_err(|e| Failure::Usage(format!("settings {}: {}", path.display(), one_line(&e))))
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Settings::default()),
        Err(e) => Err(Failure::CouldNotRun(anyhow::Error::new(e).context(format!("settings {}", path.display())))),
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error
        .to_string()
        .lines()
        .filter(|l| !l.contains(" | ") && !l.trim_end().ends_with('|'))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SizeList;

    #[test]
    fn the_environment_reads_as_flags_do() {
        let get = |name: &str| match name {
            "T2R_SEQ_LEN" => Some("64-256*2".to_owned()),
            "T2R_ROUNDS" => Some("3".to_owned()),
            _ => None,
        };
        let fields = environment(get).unwrap();
        assert_eq!(fields.sweep.seq_len, Some(SizeList(vec![64, 128, 256])));
        assert_eq!(fields.measure.rounds, Some(3));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let bad = environment(|name| (name == "T2R_ROUNDS").then(|| "many".to_owned()));
        assert!(matches!(bad, Err(Failure::Usage(m)) if m.contains("T2R_ROUNDS") && m.contains("many")));
    }

    #[test]
    fn a_file_of_settings_has_no_unknown_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t2r.toml");
        assert_eq!(read(&path).unwrap(), Settings::default());
        fs::write(&path, "[measure]\nrounds = 4\n").unwrap();
        assert_eq!(read(&path).unwrap().measure.rounds, Some(4));
        fs::write(&path, "[measure]\nruonds = 4\n").unwrap();
        assert!(matches!(read(&path), Err(Failure::Usage(m)) if m.contains("ruonds") && m.contains("line 2")));
    }
}
