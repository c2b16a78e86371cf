//! The binary as its users meet it: exit codes, streams, files.

mod comparing;
#[cfg(unix)]
mod dashboard;
mod files;
#[cfg(unix)]
mod leaving;
mod listing;
mod models;
mod report;
#[cfg(unix)]
#[path = "../terminal/mod.rs"]
mod terminal;
mod training;
mod usage;

use std::path::Path;

use assert_cmd::{Command, assert::Assert};

/// The binary in an empty directory of its own, deaf to the settings of whoever runs the tests.
fn t2r(dir: &Path, args: &[&str]) -> Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_t2r"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("T2R_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).env("HOME", dir.join("home")).env_remove("XDG_STATE_HOME").env_remove("XDG_CONFIG_HOME");
    let assert = command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "1").args(args).assert();
    // Errors are for people, whatever a shell is set to.
    assert!(!stderr(&assert).contains("   0: "), "{args:?}: {}", stderr(&assert));
    assert
}

/// The smallest run that measures: two variants, one length, two short rounds.
const TINY: [&str; 18] = [
    "--profile",
    "smoke",
    "--workload",
    "attention",
    "--variants",
    "softmax,t2r",
    "--cache",
    "warm",
    "--seq-len",
    "16",
    "--batch",
    "1",
    "--rounds",
    "2",
    "--min-block",
    "1ms",
    "--threads",
    "1",
];

fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TINY.iter().chain(more).copied().collect()
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}
