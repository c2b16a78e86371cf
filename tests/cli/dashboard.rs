//! The dashboard in a pseudo-terminal, driven as a person would, and where there is no terminal for it.

use std::{fs::read_to_string, path::Path, process::Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    TINY, stderr, t2r, temp,
    terminal::Session,
    tiny,
    training::{PRETRAIN, write_text},
};

/// The binary in a terminal of its own.
fn opened(dir: &Path, args: &[&str], size: (u16, u16)) -> Session {
    let mut command = Command::new(env!("CARGO_BIN_EXE_t2r"));
    command.current_dir(dir).env("HOME", dir.join("home")).args(args);
    Session::open(command, size)
}

/// Column of each row of a CSV file whose fields before it hold no commas in quotes.
fn column(text: &str, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let at = reader.headers().expect("a header").iter().position(|h| h == name).expect("the column");
    reader.records().map(|r| r.expect("a row")[at].to_owned()).collect()
}

#[test]
fn a_sweep_is_set_up_run_looked_at_exported_and_left() {
    let dir = temp();
    let mut session = opened(dir.path(), &TINY, (100, 30));
    session.wait_for("What to run");
    session.wait_for("2 cells");
    // Down to the lengths, and another list of them.
    session.send("\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B\r\x1516,32\r");
    session.wait_for("4 cells");
    session.send("s");
    session.wait_for("finished");
    session.send("3");
    session.wait_for("Cells 1/4");
    session.resize(70, 22);
    // Only at this width is the title cut there.
    session.wait_for("on cpu, 1 …");
    session.send("6");
    session.wait_for("Machine and build");
    session.send("2w\x15out.csv\r");
    session.wait_for("wrote 4 rows to out.csv");
    session.send("q");
    let (status, after) = session.end();
    assert_eq!(status.code(), Some(0));
    let summary = after.rsplit("\x1b[?1049l").next().unwrap_or_default();
    assert!(summary.contains("vs softmax") && summary.contains("rows are in"), "{summary}");

    let with = read_to_string(dir.path().join("out.csv")).expect("written");
    let mut args = tiny(&["--csv", "headless.csv"]);
    let at = args.iter().position(|a| *a == "16").expect("the length");
    args[at] = "16,32";
    t2r(dir.path(), &args).code(0);
    let without = read_to_string(dir.path().join("headless.csv")).expect("written");
    assert_eq!(with.lines().next(), without.lines().next());
    for name in ["cell_id", "status", "state_bytes_measured", "max_abs_err"] {
        assert_eq!(column(&with, name), column(&without, name), "{name}");
    }
    assert!(column(&with, "tui_active").iter().all(|v| v == "true"));
    assert!(column(&without, "tui_active").iter().all(|v| v == "false"));
    assert!(column(&with, "observer_overhead_pct").iter().all(|v| !v.is_empty()));
}

#[test]
fn a_long_generation_is_gone_on_without_at_its_next_token() {
    let dir = temp();
    let args = ["--profile", "smoke", "--workload", "generate", "--variants", "t2r", "--seq-len", "500000"];
    let more = ["--implementation", "reference", "--batch", "1", "--threads", "1", "--cell-timeout", "10m"];
    let mut session = opened(dir.path(), &[&args[..], &more, &["--csv", "long.csv"]].concat(), (120, 40));
    session.wait_for("What to run");
    session.send("s");
    session.wait_for("timed since");
    session.send("n");
    session.wait_for("going on without t2r");
    session.wait_for("finished");
    session.send("q");
    assert_eq!(session.end().0.code(), Some(0));
    let rows = read_to_string(dir.path().join("long.csv")).expect("written");
    for name in ["status", "stop_reason"] {
        assert_eq!(column(&rows, name), ["skipped"], "{name}");
    }
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let dir = temp();
    let mut session = opened(dir.path(), &TINY, (80, 24));
    session.wait_for("What to run");
    let pid = Pid::from_child(&session.child);
    kill_process(pid, Signal::TERM).expect("sent");
    let (status, _) = session.end();
    assert_eq!(status.code(), Some(130));
}

#[test]
fn results_are_viewed_without_measuring() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "a.csv"])).code(0);
    let mut session = opened(dir.path(), &["view", "a.csv", "a.csv"], (120, 40));
    session.wait_for("a.csv");
    session.send("4");
    session.wait_for("here against a.csv");
    // Nobody waits for this one, so that it goes on at once: the screen must come back.
    session.send("\x1a");
    session.send("3");
    session.wait_for("Cells 1/2");
    session.send("q");
    let (status, _) = session.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_training_is_watched_and_its_log_viewed() {
    let dir = temp();
    write_text(dir.path());
    let mut session = opened(dir.path(), &[&PRETRAIN[..], &["--tui"]].concat(), (120, 40));
    session.wait_for("6/6 updates");
    session.wait_for("done");
    session.send("q");
    let (status, after) = session.end();
    assert_eq!(status.code(), Some(0));
    // The answer comes when the screen is the terminal's again.
    let answer = after.rsplit("\x1b[?1049l").next().unwrap_or_default();
    assert!(answer.contains("perplexity") && answer.contains("pretrain"), "{answer}");
    let plain = PRETRAIN.map(|arg| if arg == "base" { "plain" } else { arg });
    t2r(dir.path(), &plain).code(0);
    let log = |model: &str| read_to_string(dir.path().join(model).join("training/pretrain.csv")).expect("a log");
    assert_eq!(column(&log("base"), "loss"), column(&log("plain"), "loss"));

    let mut session = opened(dir.path(), &["view", "base/training/pretrain.csv"], (80, 24));
    session.wait_for("pretrain.csv");
    session.wait_for("6 updates");
    session.send("q");
    assert_eq!(session.end().0.code(), Some(0));
}

#[test]
fn a_training_that_cannot_begin_says_so_on_the_terminal() {
    let dir = temp();
    let mut session = opened(dir.path(), &["finetune", "nothing", "--text", "none.txt", "--tui"], (80, 24));
    session.wait_for("cannot read none.txt");
    assert_eq!(session.end().0.code(), Some(1));
}

#[test]
fn where_there_is_no_terminal_it_is_refused_or_done_without() {
    let dir = temp();
    for args in [tiny(&["--tui"]), tiny(&["--tui", "--csv", "-"])] {
        let text = stderr(&t2r(dir.path(), &args).code(2));
        assert!(text.contains("--tui"), "{text}");
    }
    let text = stderr(&t2r(dir.path(), &["view", "a.csv"]).code(2));
    assert!(text.contains("terminal"), "{text}");
    t2r(dir.path(), &tiny(&["--no-tui"])).code(0);
    let text = stderr(&t2r(dir.path(), &tiny(&["--tui", "--no-tui"])).code(2));
    assert!(text.contains("cannot be used with"), "{text}");
}
