//! A program in a pseudo-terminal of its own, driven as a person would: keys in, a screen out, and the terminal as it was in the end.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{ioctl_tiocsctty, setsid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// A screen that does not come within this time does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary in a terminal of its own.
pub(crate) struct Session {
    pub(crate) child: Child,
    master: File,
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// All that was written, so that what came after the last frame can be read.
    written: Vec<u8>,
}

impl Session {
    /// The command as the leader of a session in a terminal of that size, deaf to the settings of whoever runs the tests.
    pub(crate) fn open(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let slave =
            open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("the terminal's end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let end = || Stdio::from(slave.try_clone().expect("a handle"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("T2R_")) {
            command.env_remove(name);
        }
        for name in ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "CI", "NO_COLOR", "COLORTERM"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        command.stdin(end()).stdout(end()).stderr(end());
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

    pub(crate) fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("sent");
    }

    /// Waits until the screen holds a text.
    pub(crate) fn wait_for(&mut self, text: &str) {
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

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        self.screen.screen_mut().set_size(nonzero(rows), nonzero(columns));
        tcsetwinsize(&self.master, size).expect("a size");
    }

    /// Waits for the end; the terminal must then be as it was: main screen, cursor shown, lines and signals cooked.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
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
