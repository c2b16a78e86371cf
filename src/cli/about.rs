//! What the binary says of itself: its version with what it was built from and with, completions, the manual.

use std::{fs, path::Path, sync::LazyLock};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Answer, Ending, args::Line};
use crate::measure::{Build, isa};

/// The answer of `--version`.
pub(super) fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| version_of(&Build::current(), isa()));
    &TEXT
}

fn version_of(build: &Build, isa: &str) -> String {
    let known = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "unknown".to_owned());
    let changed = if build.build_dirty == Some(true) { " with changes" } else { "" };
    let features = if build.build_features.is_empty() { "none" } else { &build.build_features };
    format!(
        "{}\ncommit    {}{changed}\nprofile   {}\nfeatures  {features}\ncompiler  {}\ncandle    {}\nkernels   {isa} on \
         this {} machine",
        build.build_version,
        known(&build.build_commit),
        known(&build.build_profile),
        known(&build.rustc_version),
        known(&build.candle_version),
        std::env::consts::ARCH,
    )
}

/// Answers `completions`.
pub(super) fn completions(shell: Shell) -> Answer<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Line::command(), "t2r", &mut script);
    super::answer(&String::from_utf8(script)?)?;
    Ok(Ending::Done)
}

/// Answers `man`.
pub(super) fn man(dir: Option<&Path>) -> Answer<Ending> {
    match dir {
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(Line::command(), dir)
                .with_context(|| format!("cannot write into {}", dir.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Line::command()).render(&mut page)?;
            super::answer(&String::from_utf8(page)?)?;
        }
    }
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_what_it_was_built_from_and_with() {
        let build = Build {
            build_version: "0.1.0".to_owned(),
            build_commit: Some("0123456789ab".to_owned()),
            build_dirty: Some(true),
            build_profile: Some("dist".to_owned()),
            build_features: "cuda,mkl".to_owned(),
            rustc_version: None,
            candle_version: Some("0.11.1".to_owned()),
        };
        let text = version_of(&build, "avx2+fma");
        assert!(
            text.starts_with("0.1.0\ncommit    0123456789ab with changes\nprofile   dist\nfeatures  cuda,mkl\n"),
            "{text}"
        );
        assert!(text.contains("compiler  unknown\n") && text.contains("kernels   avx2+fma on this"), "{text}");
    }
}
