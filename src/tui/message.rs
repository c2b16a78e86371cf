//! What goes into the dashboard's state and what comes out of it: messages, effects, and where a run stands.

use std::{path::PathBuf, time::Duration};

use ratatui::crossterm::event::KeyEvent;

use super::{
    compare::Entry,
    files::Opened,
    gauges::Gauges,
    host::{Choices, Ended, Order, Outlook, Unfinished},
    live_run::Begun,
    training::News,
};
use crate::{measure::MeasuredLimits, spec::CellId, sweep::Event};

/// Something happened.
pub(crate) enum Message {
    /// A key.
    Key(KeyEvent),
    /// Text was pasted.
    Pasted(String),
    /// Time passed; gauges where they were read.
    Tick(Duration, Option<Gauges>),
    /// What the choices come to.
    Planned(Box<Result<Outlook, String>>),
    /// A run begins.
    Begun(Box<Begun>),
    /// What a run said.
    Events(Vec<Event>),
    /// What a training said.
    News(Vec<News>),
    /// A run is over.
    Ended(Result<Ended, String>),
    /// Files were read.
    Opened(Vec<Result<Opened, String>>),
    /// A folder was read.
    Listed(PathBuf, Result<Vec<Entry>, String>),
    /// A file is there already.
    Exists(Export, String),
    /// Something was written, or not.
    Wrote(Result<String, String>),
    /// The limits were measured.
    Limits(Box<MeasuredLimits>),
    /// Runs that can be resumed.
    Unfinished(Vec<Unfinished>),
    /// Something to tell.
    Notice(String),
    /// A signal asked the process to end.
    Terminate,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Export {
    /// The rows, as CSV.
    Csv,
    /// The screen, as SVG or text by the name's ending.
    Screen,
}

/// What is to be done outside.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Say what the choices come to.
    Plan(Choices),
    /// Start a run.
    Start(Order),
    /// End the run, its file whole.
    Cancel,
    /// Go on without these cells.
    Skip(Vec<CellId>),
    /// Write something.
    Write { export: Export, path: String, force: bool },
    /// Read a file.
    Open(PathBuf),
    /// Read a folder.
    List(PathBuf),
    /// Measure what the machine can reach.
    MeasureLimits,
    /// Forget a run that was not finished.
    Forget(Unfinished),
    /// Suspend the process.
    Suspend,
    /// Leave. A run that goes is ended first.
    Quit,
}

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// There was none yet, or only files are shown.
    #[default]
    Idle,
    /// It was asked for.
    Starting,
    /// It goes; a pause may have been asked for.
    Running { pausing: bool },
    /// It is being ended.
    Cancelling,
    /// It is over.
    Finished,
}
