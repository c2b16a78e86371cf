//! How a run ends that does not run to its end: interrupted, or with nobody reading.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use t2r::store::{COLUMNS, read_cells};

use crate::temp;

/// A hundred short groups: minutes if left alone.
const LONG: [&str; 16] = [
    "--profile",
    "smoke",
    "--workload",
    "attention",
    "--cache",
    "warm",
    "--seq-len",
    "16",
    "--batch",
    "1-100+1",
    "--rounds",
    "6",
    "--min-block",
    "20ms",
    "--csv",
    "out.csv",
];

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
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stderr = BufReader::new(run.stderr.take().expect("piped"));
        let visited = stderr.by_ref().lines().map_while(Result::ok).any(|line| line.starts_with("[1/100]"));
        Command::new("kill").args([signal, &run.id().to_string()]).status().expect("kill");
        stderr.read_to_string(&mut String::new()).expect("readable");
        let status = run.wait().expect("ended");
        assert!(visited, "no group was finished");
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
