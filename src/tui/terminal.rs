//! The terminal as the dashboard holds it: taken, given back whatever happens, drawn on. Knows no state of the dashboard.

use std::{
    io::{self, Stdout, Write, stdout},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{DisableBracketedPaste, EnableBracketedPaste},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode},
    },
    layout::Size,
};

use super::{app::App, view};

/// Whether the terminal is ours at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal that is ours until it is dropped.
pub(crate) struct Held(Terminal<CrosstermBackend<Stdout>>);

fn take() -> io::Result<()> {
    TAKEN.store(true, SeqCst);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, SetTitle("t2r"))
}

/// Gives the terminal back as it was, if it is ours. Safe to call from a panic hook or a signal's thread, and more than once.
pub(crate) fn release() {
    if TAKEN.swap(false, SeqCst) {
        // Where the terminal is gone there is nothing to give back.
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
    }
}

impl Held {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        let held = take().and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        held.map(Self).inspect_err(|_| release())
    }

    /// Draws a frame.
    pub(crate) fn draw(&mut self, app: &App) -> io::Result<()> {
        self.0.draw(|frame| view::render(app, frame)).map(|_| ())
    }

    /// Its size now.
    pub(crate) fn size(&self) -> io::Result<Size> {
        self.0.size()
    }

    /// Gives the terminal back, stops this process until it is told to go on, and takes the terminal again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        release();
        stop_here();
        take()?;
        // A new one draws everything. Clearing the old one would ask for the cursor's place, and the thread that reads keys
        // would get the answer.
        self.0 = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        release();
    }
}

#[cfg(unix)]
fn stop_here() {
    // Where the signal cannot be sent the dashboard just goes on.
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP);
}

#[cfg(not(unix))]
fn stop_here() {}
