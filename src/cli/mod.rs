//! The command line: what was asked for, resolved and carried out. Knows flags, layers of settings and streams; the
//! exit codes themselves are `main`'s.

mod about;
mod args;
mod assembly;
mod compare;
mod convert;
mod dashboard;
mod eval;
mod gate;
mod generate;
mod launches;
mod layers;
mod list;
mod merge;
mod models;
mod outputs;
mod report;
mod run;
mod runs;
mod setup;
mod stop;
mod training;

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{CommandFactory, FromArgMatches};

use args::{Command, Line, RunArgs, Talk};

use crate::spec::without_backtrace;

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Done,
    /// A gate has failed.
    GateFailed,
    /// Some cells are not `ok`, and nobody waived that.
    SomeNotOk,
    /// The user asked to stop; files are complete as far as they go.
    Interrupted,
}

/// Why a command did not run.
#[derive(Debug)]
pub enum Failure {
    /// The parser refused the line, or answered with help or version.
    Refused(clap::Error),
    /// The options make no sense, together or alone.
    Usage(String),
    /// Another process of this program has said why, and ended with this code.
    Told(u8),
    /// The options are right, the world is not.
    CouldNotRun(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::CouldNotRun(error.into())
    }
}

/// Shorthand for what every command answers.
type Answer<T> = Result<T, Failure>;

/// Carries out a command line.
///
/// # Errors
/// See [`Failure`].
pub fn command(args: impl IntoIterator<Item = OsString>) -> Result<Ending, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let parser = Line::command().color(args::colour_of(&args));
    let matches = parser.clone().try_get_matches_from(args).map_err(Failure::Refused)?;
    let line = Line::from_arg_matches(&matches).map_err(|e| Failure::Refused(e.with_cmd(&parser)))?;
    if line.command.is_some() && !line.run.is_empty() {
        return Err(Failure::Usage(
            "options go behind the subcommand: t2r run --rounds 6, not t2r --rounds 6 run".into(),
        ));
    }
    match line.command {
        None => start(&line.run, line.talk),
        Some(Command::Run(args)) => start(&args, line.talk),
        Some(Command::View { files }) => dashboard::view(files, line.talk),
        Some(Command::Compare(args)) => compare::compare(&args, line.talk),
        Some(Command::Merge(args)) => merge::merge(&args, line.talk),
        Some(Command::List { what }) => list::list(&what, line.talk),
        Some(Command::Env { measure, format }) => list::env(measure, format),
        Some(Command::Convert(args)) => convert::convert(&args, line.talk),
        Some(Command::Eval(args)) => eval::eval(&args, line.talk),
        Some(Command::Generate(args)) => generate::generate(&args, line.talk),
        Some(Command::Pretrain(args)) => training::pretrain(&args, line.talk),
        Some(Command::Finetune(args)) => training::finetune(&args, line.talk),
        Some(Command::Translate(args)) => training::translate(&args, line.talk),
        Some(Command::Tradeoff(args)) => training::tradeoff(&args, line.talk),
        Some(Command::Report(args)) => report::report(&args, line.talk),
        Some(Command::Completions { shell }) => about::completions(shell),
        Some(Command::Man { dir }) => about::man(dir.as_deref()),
    }
}

/// A run goes to the dashboard where there is a terminal for it, and does without one otherwise.
fn start(args: &RunArgs, talk: Talk) -> Answer<Ending> {
    if dashboard::is_wanted(args, talk)? { dashboard::open(args, talk) } else { run::run(args, talk) }
}

/// Panics say where and why in one line, without a backtrace: inside a cell they become its status, and the run goes on.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic");
        let place = panic.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
        say(&format!("warning: {}{place}", message.lines().next().unwrap_or_default()));
    }));
}

/// Tells an error and its causes on stderr.
pub fn complain(error: &anyhow::Error) {
    let mut last = without_backtrace(&error.to_string()).to_owned();
    let mut text = format!("error: {last}");
    for cause in error.chain().skip(1) {
        let cause = without_backtrace(&cause.to_string()).to_owned();
        // Transparent wrappers, and messages that quote their cause, would say it twice.
        if !last.contains(&cause) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        last = cause;
    }
    say(&text);
}

/// Writes a line to stderr. Where stderr is gone there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Says that a file's last line is left out, where it was cut off in writing.
fn say_cut(path: &str, is_truncated: bool) {
    if is_truncated {
        say(&format!("warning: {path}: its last line is cut off and left out"));
    }
}

/// Writes an answer to stdout.
fn answer(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
