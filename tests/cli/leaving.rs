//! How a run ends that does not run to its end: interrupted, or with nobody reading.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use t2r::store::{COLUMNS, read_cells};

use crate::temp;

/// Runs for minutes if left alone.
const LONG: [&str; 14] = [
    "--profile",
    "smoke",
    "--workload",
    "attention",
    "--cache",
    "warm",
    "--rounds",
    "1000",
    "--ci-target",
    "0.0001",
    "--min-block",
    "20ms",
    "--csv",
    "out.csv",
];

/// Finished visits in the journals of that directory: lines after each one's header.
fn visits(journals: &Path) -> usize {
    let files = fs::read_dir(journals).into_iter().flatten().flatten();
    let lines = |text: String| text.matches('\n').count().saturating_sub(1);
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).map(lines).sum()
}

#[test]
fn an_interrupted_run_leaves_complete_files_and_130() {
    for signal in ["-INT", "-TERM"] {
        let dir = temp();
        let out = dir.path().join("out.csv");
        let mut run = Command::new(env!("CARGO_BIN_EXE_t2r"))
            .current_dir(dir.path())
            .env("HOME", dir.path().join("home"))
            .env_remove("XDG_STATE_HOME")
            .args(LONG)
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        // Up to a minute, on a machine that has much else to do.
        let visited = (0..3000).any(|_| {
            thread::sleep(Duration::from_millis(20));
            visits(&dir.path().join("home/.local/state/t2r/journal")) > 0
        });
        Command::new("kill").args([signal, &run.id().to_string()]).status().expect("kill");
        let status = run.wait().expect("ended");
        assert!(visited, "no visit was finished");
        assert_eq!(status.code(), Some(130), "{signal}");
        let text = fs::read_to_string(&out).expect("readable");
        assert!(text.ends_with('\n') && text.starts_with(&COLUMNS.join(",")));
        let rows = read_cells(&out).expect("a cells file").rows;
        assert!(!rows.is_empty() && rows.iter().any(|r| r.p50_ns.is_some()), "{text}");
        assert!(rows.iter().all(|r| ["interrupted", "ok"].contains(&r.status.as_str())), "{text}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for args in [&["list", "cells", "--profile", "smoke", "-q"][..], &["--profile", "smoke", "--csv", "-", "-q"][..]] {
        let dir = temp();
        let mut run = Command::new(env!("CARGO_BIN_EXE_t2r"))
            .current_dir(dir.path())
            .env("HOME", dir.path().join("home"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        drop(run.stdout.take());
        let output = run.wait_with_output().expect("ended");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
