//! The dashboard's loop: waits for keys and for the measuring thread, updates the state, does what comes of it, draws. While
//! something is timed it only waits: keys are kept until the measuring thread stands still.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{self, Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};

use super::{
    app::{App, Effect, Message},
    errands,
    files::Opened,
    gauges::{Gauges, SystemGauges},
    host::{Choices, Host, Order},
    keys::Screen,
    panics::PanicHook,
    terminal::Held,
    theme::Theme,
    worker::{self, Control, Rest, Told},
};
use crate::{measure::MeasuredLimits, store::Row};

/// How often gauges are read while nothing is timed.
const READINGS: Duration = Duration::from_secs(2);
/// Messages that are worked on between two frames at most.
const BURST: usize = 256;

/// What a signal is to call.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// What the dashboard opens with.
pub(crate) enum Shows {
    /// What to run.
    Setup,
    /// Files that were read.
    Files(Vec<Opened>),
    /// What the host measures first: a training, which begins at once.
    Training,
}

/// How the dashboard opens.
pub(crate) struct Opening {
    pub(crate) choices: Choices,
    pub(crate) theme: Theme,
    pub(crate) shows: Shows,
    /// Called once with what a signal is to call.
    pub(crate) on_signal: Box<dyn FnOnce(Wake)>,
}

/// What is left when it closes.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Rows of the last run.
    pub(crate) rows: Vec<Row>,
    /// Where they are kept.
    pub(crate) files: Vec<PathBuf>,
    /// What was told last.
    pub(crate) notice: Option<String>,
    /// Why the last run broke off or did not begin, if it did.
    pub(crate) failed: Option<String>,
    /// Whether something still goes on.
    pub(crate) is_busy: bool,
}

/// What the loop waits for.
enum Incoming {
    Terminal(TerminalEvent),
    TerminalGone(String),
    Told(Told),
    Limits(Box<MeasuredLimits>),
    Complaint(String),
    Signal,
}

impl From<Told> for Incoming {
    fn from(told: Told) -> Self {
        Self::Told(told)
    }
}

/// Opens the dashboard and returns when the user has left it.
///
/// # Errors
/// Of the terminal.
pub(crate) fn open(host: Arc<dyn Host>, opening: Opening) -> anyhow::Result<Left> {
    let (sender, incoming) = channel();
    let of_signal = sender.clone();
    (opening.on_signal)(Box::new(move || drop(of_signal.send(Incoming::Signal))));
    let to_screen = sender.clone();
    let _hook = PanicHook::install(move |text| drop(to_screen.send(Incoming::Complaint(text))));
    let held = Held::take()?;
    read_keys(sender.clone())?;
    let app = App::new(opening.theme, host.facts(), opening.choices);
    let mut session = Session {
        app,
        host,
        held,
        sender,
        control: Arc::default(),
        thread: None,
        resting: None,
        begun: None,
        kept: Vec::new(),
        interrupts: 0,
        suspend: false,
        quit: false,
        is_alone: false,
        gauges: SystemGauges::default(),
        read_at: None,
        opened: Instant::now(),
    };
    let shown = catch_unwind(AssertUnwindSafe(|| {
        session.start(opening.shows);
        session.run(&incoming)
    }));
    let left = session.left();
    match shown {
        Ok(Ok(())) if !session.is_alone => Ok(left),
        Ok(result) => {
            session.end_run(incoming);
            result.map(|()| left)
        }
        Err(_) => {
            session.end_run(incoming);
            let failed = "the dashboard broke off by a mistake of the program; its rows are kept".to_owned();
            Ok(Left { failed: Some(failed), is_busy: false, ..left })
        }
    }
}

/// Reads the terminal on a thread of its own, which ends with the process.
fn read_keys(sender: Sender<Incoming>) -> io::Result<()> {
    let read = move || {
        loop {
            let told = match event::read() {
                Ok(event) => sender.send(Incoming::Terminal(event)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    // There is no terminal any more; the loop leaves, and so does this thread.
                    let _ = sender.send(Incoming::TerminalGone(e.to_string()));
                    return;
                }
            };
            if told.is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read).map(|_| ())
}

struct Session {
    app: App,
    host: Arc<dyn Host>,
    held: Held,
    sender: Sender<Incoming>,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
    /// The measuring thread stands still, and waits for this to be dropped.
    resting: Option<Rest>,
    begun: Option<Message>,
    /// Messages that came while something was timed.
    kept: Vec<Message>,
    /// Ctrl-C among them.
    interrupts: u32,
    suspend: bool,
    quit: bool,
    /// There is no terminal any more.
    is_alone: bool,
    gauges: SystemGauges,
    read_at: Option<Instant>,
    opened: Instant,
}

impl Session {
    fn start(&mut self, shows: Shows) {
        self.tick();
        self.act(Effect::Plan(self.app.setup.choices.clone()));
        match shows {
            Shows::Setup => {
                let runs = self.host.unfinished();
                self.update(Message::Unfinished(runs));
            }
            Shows::Files(files) => {
                let is_quality = files.iter().all(|file| matches!(file, Opened::Quality(_)));
                self.app.opened(files.into_iter().map(Ok).collect());
                self.app.screen = if is_quality { Screen::Tradeoff } else { Screen::Live };
                self.app.compare.against = self.app.compare.against.min(1);
                self.app.refresh_rows();
            }
            Shows::Training => {
                self.app.begin_training();
                self.act(Effect::Start(Order::default()));
            }
        }
    }

    fn run(&mut self, incoming: &Receiver<Incoming>) -> anyhow::Result<()> {
        while !self.quit {
            if !self.is_timing() {
                self.held.draw(&self.app)?;
                self.end_rest()?;
            }
            if self.quit {
                break;
            }
            let first = if self.is_timing() {
                incoming.recv().map_err(RecvTimeoutError::from)
            } else {
                incoming.recv_timeout(READINGS)
            };
            match first {
                Ok(one) => {
                    self.take(one);
                    // What came together is drawn together: a storm of resizes is one frame.
                    for _ in 0..BURST {
                        let Ok(more) = incoming.try_recv() else { break };
                        self.take(more);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    /// Whether a thread measures right now, so that nothing may be done here. A training is no measurement.
    fn is_timing(&self) -> bool {
        self.app.measuring_limits || (self.thread.is_some() && self.resting.is_none() && !self.app.trains)
    }

    /// After drawing: lets the measuring thread go on, unless it is to pause.
    fn end_rest(&mut self) -> io::Result<()> {
        let between = self.resting.as_ref().is_none_or(|rest| !rest.within_visit);
        if self.suspend && between {
            self.suspend = false;
            self.held.suspend()?;
            self.held.draw(&self.app)?;
        }
        if !(self.app.wants_pause() && between) {
            self.resting = None;
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Terminal(TerminalEvent::Key(key)) => self.key(key),
            Incoming::Terminal(TerminalEvent::Paste(text)) => self.update_when_free(Message::Pasted(text)),
            // Sizes are asked for when drawing.
            Incoming::Terminal(_) => self.control.attention(),
            Incoming::TerminalGone(why) => {
                self.app.notice = Some(format!("the terminal is gone: {why}"));
                (self.quit, self.is_alone) = (true, true);
            }
            // At once: what comes of it may be told next.
            Incoming::Complaint(text) => self.update(Message::Notice(text)),
            Incoming::Limits(limits) => {
                self.update(Message::Limits(limits));
                self.catch_up();
            }
            Incoming::Signal => self.update(Message::Terminate),
            Incoming::Told(Told::News(news)) => {
                self.tick();
                self.update(Message::News(news));
            }
            Incoming::Told(Told::Begun(begun)) => self.begun = Some(Message::Begun(begun)),
            Incoming::Told(Told::Rest(mut rest)) => {
                let events = std::mem::take(&mut rest.events);
                self.resting = Some(rest);
                self.tick();
                if let Some(begun) = self.begun.take() {
                    self.update(begun);
                }
                self.update(Message::Events(events));
                self.catch_up();
            }
            Incoming::Told(Told::Ended(ended)) => {
                if let Some(thread) = self.thread.take() {
                    // What it had to say it has said.
                    let _ = thread.join();
                }
                self.resting = None;
                self.tick();
                if let Some(begun) = self.begun.take() {
                    self.update(begun);
                }
                self.update(Message::Ended(ended));
                self.catch_up();
            }
        }
    }

    fn key(&mut self, key: KeyEvent) {
        let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_ctrl_c && self.is_timing() {
            // A visit may be long: who asks twice does not want to wait for its end, who asks thrice for nothing.
            self.interrupts += 1;
            match self.interrupts {
                1 => {}
                2 => self.update(Message::Terminate),
                _ => self.quit = true,
            }
        }
        self.update_when_free(Message::Key(key));
    }

    fn update_when_free(&mut self, message: Message) {
        if self.is_timing() {
            self.kept.push(message);
            self.control.attention();
        } else {
            self.update(message);
        }
    }

    fn catch_up(&mut self) {
        self.interrupts = 0;
        for message in std::mem::take(&mut self.kept) {
            self.update(message);
        }
    }

    fn tick(&mut self) {
        let is_due = self.read_at.is_none_or(|at| at.elapsed() >= READINGS / 2);
        let gauges = is_due.then(|| Gauges { gpu_memory: self.host.gpu_memory(), ..self.gauges.read() });
        if is_due {
            self.read_at = Some(Instant::now());
        }
        self.update(Message::Tick(self.opened.elapsed(), gauges));
    }

    fn update(&mut self, message: Message) {
        let effect = self.app.update(message);
        self.control.pause(self.app.wants_pause());
        if let Some(effect) = effect {
            self.act(effect);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Plan(choices) => {
                let outlook = self.host.outlook(&choices);
                self.update(Message::Planned(Box::new(outlook)));
            }
            Effect::Start(order) => self.measure(order),
            Effect::Cancel => self.control.cancel(),
            Effect::Skip(cells) => self.control.skip(cells),
            Effect::Write { export, path, force } => {
                let size = self.held.size().unwrap_or_default();
                let message = errands::write(&self.app, export, &path, force, size);
                self.update(message);
            }
            Effect::Open(path) => self.update(Message::Opened(vec![errands::read(&path)])),
            Effect::List(dir) => {
                let entries = errands::list(&dir);
                self.update(Message::Listed(dir, entries));
            }
            Effect::MeasureLimits => self.measure_limits(),
            Effect::Forget(run) => {
                if let Err(why) = self.host.forget(&run) {
                    self.update(Message::Notice(why));
                }
            }
            Effect::Suspend => self.suspend = true,
            Effect::Quit => self.quit = true,
        }
    }

    fn measure(&mut self, order: Order) {
        self.control = Arc::default();
        // Drawn once more before the measuring thread has its say.
        let _ = self.held.draw(&self.app);
        match worker::spawn(Arc::clone(&self.host), order, Arc::clone(&self.control), self.sender.clone()) {
            Ok(thread) => self.thread = Some(thread),
            Err(e) => self.update(Message::Ended(Err(format!("no thread to measure on: {e}")))),
        }
    }

    fn measure_limits(&mut self) {
        let _ = self.held.draw(&self.app);
        let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
        let measure = move || drop(sender.send(Incoming::Limits(Box::new(host.limits()))));
        if let Err(e) = std::thread::Builder::new().name("limits".to_owned()).spawn(measure) {
            self.app.measuring_limits = false;
            self.update(Message::Notice(format!("no thread to measure on: {e}")));
        }
    }

    /// Ends a run that nobody can watch any more, its file whole.
    fn end_run(&mut self, incoming: Receiver<Incoming>) {
        self.control.cancel();
        // What waits to be shown holds the run up.
        self.resting = None;
        drop(incoming);
        if let Some(thread) = self.thread.take() {
            // What it had to say it has said.
            let _ = thread.join();
        }
    }

    fn left(&self) -> Left {
        let run = self.app.run.as_ref();
        Left {
            rows: run.map(super::live_run::LiveRun::written).unwrap_or_default(),
            files: run.map(super::live_run::LiveRun::files).unwrap_or_default(),
            notice: self.app.notice.clone(),
            failed: self.app.failed.clone(),
            is_busy: self.thread.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
