//! The dashboard in a pseudo-terminal, driven as a person would, and where there is no terminal for it.

use std::{
    fs::{File, read_to_string},
    io::{Read, Write},
    num::NonZero,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    TINY, stderr, t2r, temp, tiny,
    training::{PRETRAIN, write_text},
};

/// A screen that does not come within this time does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary in a terminal of its own.
struct Session {
    child: Child,
    master: File,
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// All that was written, so that what came after the last frame can be read.
    written: Vec<u8>,
}

impl Session {
    fn open(dir: &Path, args: &[&str], (columns, rows): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let slave =
            open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("the terminal's end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let end = || Stdio::from(slave.try_clone().expect("a handle"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_t2r"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("T2R_")) {
            command.env_remove(name);
        }
        command.current_dir(dir).env("HOME", dir.join("home")).env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        for name in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "CI", "NO_COLOR", "COLORTERM"] {
            command.env_remove(name);
        }
        command.args(args).stdin(end()).stdout(end()).stderr(end());
        // SAFETY: between fork and exec only two system calls are made, which allocate nothing and take no lock.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(rustix::stdio::stdin())?)
            });
        }
        let child = command.spawn().expect("spawned");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a handle");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(n) = reader.read(&mut bytes) {
                if n == 0 || sender.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, master, slave, output, screen: screen(columns, rows), written: Vec::new() }
    }

    fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("sent");
    }

    /// Waits until the screen holds a text.
    fn wait_for(&mut self, text: &str) {
        // Gauges go on being drawn while nothing comes.
        let since = Instant::now();
        while !self.screen.screen().contents().contains(text) {
            let left = PATIENCE.saturating_sub(since.elapsed());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("'{text}' did not come; the screen:\n{}", self.screen.screen().contents());
            };
            self.screen.process(&bytes);
            self.written.extend(bytes);
        }
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        self.screen.screen_mut().set_size(nonzero(rows), nonzero(columns));
        tcsetwinsize(&self.master, size).expect("a size");
    }

    /// Waits for the end; the terminal must then be as it was: main screen, cursor shown, lines and signals cooked.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("ended");
        let modes = tcgetattr(&self.slave).expect("modes").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        drop(self.slave);
        // With the last handle gone the reader comes to the end.
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.screen.process(&bytes);
            self.written.extend(bytes);
        }
        assert!(!self.screen.screen().alternate_screen() && !self.screen.screen().hide_cursor());
        (status, String::from_utf8_lossy(&self.written).into_owned())
    }
}

fn nonzero(n: u16) -> NonZero<u16> {
    NonZero::new(n).expect("a size")
}

fn screen(columns: u16, rows: u16) -> vt100::Parser {
    vt100::Parser::new(nonzero(rows), nonzero(columns), 0)
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
    let mut session = Session::open(dir.path(), &TINY, (100, 30));
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
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let dir = temp();
    let mut session = Session::open(dir.path(), &TINY, (80, 24));
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
    let mut session = Session::open(dir.path(), &["view", "a.csv", "a.csv"], (120, 40));
    session.wait_for("a.csv");
    session.send("4");
    session.wait_for("Here against a.csv");
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
    let mut session = Session::open(dir.path(), &[&PRETRAIN[..], &["--tui"]].concat(), (120, 40));
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

    let mut session = Session::open(dir.path(), &["view", "base/training/pretrain.csv"], (80, 24));
    session.wait_for("pretrain.csv");
    session.wait_for("6 updates");
    session.send("q");
    assert_eq!(session.end().0.code(), Some(0));
}

#[test]
fn a_training_that_cannot_begin_says_so_on_the_terminal() {
    let dir = temp();
    let mut session = Session::open(dir.path(), &["finetune", "nothing", "--text", "none.txt", "--tui"], (80, 24));
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
