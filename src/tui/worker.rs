//! The measuring thread's side of the dashboard. While a run goes the two threads take turns: the screen is drawn, and events
//! are worked on, only while the measuring thread stands still between visits — or, after a key was pressed, between samples.
//! So nothing of the dashboard runs during a timed block, by construction and not by luck.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, Sender, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    host::{Ended, Host, Order},
    live_run::Begun,
    training::News,
};
use crate::{
    measure::without_peak,
    spec::CellId,
    sweep::{Event, panic_message},
    train::TrainEvent,
};

/// Rests are at least this far apart: at most four frames a second.
const BETWEEN_RESTS: Duration = Duration::from_millis(250);
/// A visit that takes longer is announced: the screen then stands still for so long that one wonders.
const LONG: Duration = Duration::from_secs(1);

/// The measuring thread's turn to stand still: it waits until this is dropped.
pub(crate) struct Rest {
    /// What happened since the last rest.
    pub(crate) events: Vec<Event>,
    /// Whether this is within a visit, where one does not pause.
    pub(crate) within_visit: bool,
    /// Ends the rest when dropped.
    pub(crate) _until: SyncSender<()>,
}

/// What the measuring thread tells.
pub(crate) enum Told {
    /// The run begins.
    Begun(Box<Begun>),
    /// It stands still.
    Rest(Rest),
    /// What a training said; it goes on meanwhile.
    News(Vec<News>),
    /// It is over.
    Ended(Result<Ended, String>),
}

/// What the screen's thread wants of a run; the measuring thread looks at it between visits.
#[derive(Debug, Default)]
pub(crate) struct Control {
    cancel: AtomicBool,
    /// A key was pressed: the next rest is due at once.
    attention: AtomicBool,
    /// A training is to stand still after the update in hand.
    pause: AtomicBool,
    skipped: Mutex<HashSet<CellId>>,
}

impl Control {
    /// The run is to end, its file whole.
    pub(crate) fn cancel(&self) {
        self.cancel.store(true, SeqCst);
    }

    /// There is something to draw.
    pub(crate) fn attention(&self) {
        self.attention.store(true, SeqCst);
    }

    /// Whether a training is to stand still.
    pub(crate) fn pause(&self, wanted: bool) {
        self.pause.store(wanted, SeqCst);
    }

    /// The run is to go on without these cells.
    pub(crate) fn skip(&self, cells: impl IntoIterator<Item = CellId>) {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).extend(cells);
    }
}

/// What a run tells its dashboard, and asks of it. Lives on the measuring thread.
pub(crate) struct Relay {
    control: Arc<Control>,
    tell: Box<dyn Fn(Told) -> bool + Send>,
    pending: RefCell<Vec<Event>>,
    news: RefCell<Vec<News>>,
    /// The cells of the visit in hand.
    visiting: RefCell<Vec<CellId>>,
    /// How long the last visit to a cell took.
    took: RefCell<HashMap<CellId, Duration>>,
    last: Cell<Option<Instant>>,
    rested: Cell<Duration>,
}

impl Relay {
    /// `tell` hands something to the screen's thread and says whether there is one.
    pub(crate) fn new(control: Arc<Control>, tell: Box<dyn Fn(Told) -> bool + Send>) -> Self {
        Self {
            control,
            tell,
            pending: RefCell::default(),
            news: RefCell::default(),
            visiting: RefCell::default(),
            took: RefCell::default(),
            last: Cell::default(),
            rested: Cell::default(),
        }
    }

    /// The run begins.
    pub(crate) fn begin(&self, begun: Begun) {
        (self.tell)(Told::Begun(Box::new(begun)));
    }

    /// Takes note of an event; the screen learns of it at the next rest, and of a visit that may be long before it begins.
    pub(crate) fn note(&self, event: &Event) {
        self.pending.borrow_mut().push(event.clone());
        match event {
            Event::VisitStarted(visit) => {
                self.visiting.borrow_mut().clone_from(&visit.cells);
                let took = |id| self.took.borrow().get(id).copied();
                if visit.cells.last().and_then(took).is_none_or(|took| took > LONG) {
                    self.rest(false);
                }
            }
            Event::VisitFinished(finished) => {
                let took = Duration::from_nanos(finished.visit.elapsed_ns);
                self.took.borrow_mut().insert(finished.cell_id.clone(), took);
            }
            Event::RunFinished(_) => self.rest(false),
            _ => {}
        }
    }

    /// Takes note of what a training said. The screen learns of it soon, at most four times a second but for what is rare, and
    /// the training never waits for it.
    pub(crate) fn news(&self, news: News) {
        let is_rare = !matches!(news, News::Event(TrainEvent::Step(_)));
        self.news.borrow_mut().push(news);
        if is_rare || self.is_due(true) {
            self.tell_news();
        }
    }

    /// Tells what was noted of a training and not told yet.
    fn tell_news(&self) {
        let news = std::mem::take(&mut *self.news.borrow_mut());
        if !news.is_empty() {
            (self.tell)(Told::News(news));
            self.last.set(Some(Instant::now()));
        }
    }

    /// Between updates of a training: stands still while the user wants a pause, and says whether it is to end.
    pub(crate) fn between_updates(&self) -> bool {
        if self.control.pause.load(SeqCst) {
            self.tell_news();
            self.rest(false);
        }
        self.is_cancelled()
    }

    /// Between visits: rests if it is time, and says whether the run is to end.
    pub(crate) fn between_visits(&self) -> bool {
        if self.is_due(true) {
            self.rest(false);
        }
        self.is_cancelled()
    }

    /// Between samples: rests if a key was pressed. What the screen takes of memory is not the cell's.
    pub(crate) fn between_samples(&self) {
        if self.is_due(false) {
            without_peak(|| self.rest(true));
        }
    }

    /// Draws a frame now: what watching costs is measured with it.
    pub(crate) fn draw(&self) {
        self.rest(true);
    }

    /// Whether the run is to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.control.cancel.load(SeqCst)
    }

    /// Whether the run is to go on without that cell.
    pub(crate) fn skips(&self, cell: &CellId) -> bool {
        self.control.skipped.lock().unwrap_or_else(PoisonError::into_inner).contains(cell)
    }

    /// Whether the visit in hand is to end at its next sample: the run is to, or is to go on without all that it measures.
    pub(crate) fn is_cut_short(&self) -> bool {
        let visiting = self.visiting.borrow();
        self.is_cancelled() || (!visiting.is_empty() && visiting.iter().all(|cell| self.skips(cell)))
    }

    /// Time that this thread has stood still, pauses included.
    pub(crate) fn rested(&self) -> Duration {
        self.rested.get()
    }

    fn is_due(&self, unasked: bool) -> bool {
        let waited = self.last.get().is_none_or(|last| last.elapsed() >= BETWEEN_RESTS);
        waited && (unasked || self.control.attention.load(SeqCst))
    }

    fn rest(&self, within_visit: bool) {
        let begun = Instant::now();
        self.control.attention.store(false, SeqCst);
        let events = std::mem::take(&mut *self.pending.borrow_mut());
        let (until, over): (SyncSender<()>, Receiver<()>) = sync_channel(1);
        if (self.tell)(Told::Rest(Rest { events, within_visit, _until: until })) {
            // An answer and a dropped sender both end the rest: without a screen the run goes on.
            let _ = over.recv();
        }
        self.last.set(Some(Instant::now()));
        self.rested.set(self.rested.get() + begun.elapsed());
    }
}

/// Measures on a thread of its own. Whatever happens there, the end is told.
///
/// # Errors
/// Where the system gives no thread.
pub(crate) fn spawn<T: From<Told> + Send + 'static>(
    host: Arc<dyn Host>,
    order: Order,
    control: Arc<Control>,
    sender: Sender<T>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("measuring".to_owned()).spawn(move || {
        let to_screen = sender.clone();
        let relay = Rc::new(Relay::new(control, Box::new(move |told| to_screen.send(told.into()).is_ok())));
        let result = catch_unwind(AssertUnwindSafe(|| host.measure(&order, Rc::clone(&relay))));
        relay.tell_news();
        let ended = match result {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(error)) => Err(described(&error)),
            Err(panic) => {
                let why = panic_message(panic.as_ref());
                Err(format!("a mistake of the program: {why}; its file holds what was done"))
            }
        };
        // Where the screen is gone there is nobody to tell.
        let _ = sender.send(Told::Ended(ended).into());
    })
}

/// An error with its causes in one line.
fn described(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::sweep::{Outcome, event::VisitStarted};

    #[test]
    fn the_measuring_thread_stands_still_until_the_screen_is_done() {
        let (sender, receiver) = channel::<Told>();
        let control = Arc::new(Control::default());
        let (order, of_thread) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&control));
        let log = Arc::clone(&order);
        let thread = std::thread::spawn(move || {
            let relay = Relay::new(of_thread, Box::new(move |told| sender.send(told).is_ok()));
            for i in 0..3 {
                relay.note(&Event::RunFinished(Outcome { cells_ok: i, ..Outcome::default() }));
                log.lock().expect("log").push(format!("visit {i}"));
            }
            relay.rested()
        });
        for i in 0..3 {
            let Ok(Told::Rest(rest)) = receiver.recv() else { panic!("no rest") };
            assert_eq!((rest.events.len(), rest.within_visit), (1, false));
            order.lock().expect("log").push(format!("drawn {i}"));
            drop(rest);
        }
        thread.join().expect("no panic");
        let log = order.lock().expect("log").clone();
        assert_eq!(log, ["drawn 0", "visit 0", "drawn 1", "visit 1", "drawn 2", "visit 2"]);
    }

    #[test]
    fn within_a_visit_only_a_key_makes_it_rest() {
        let rests = Arc::new(Mutex::new(0));
        let (control, count) = (Arc::new(Control::default()), Arc::clone(&rests));
        let relay = Relay::new(
            Arc::clone(&control),
            Box::new(move |told| {
                if let Told::Rest(rest) = told {
                    assert!(rest.within_visit);
                    *count.lock().expect("count") += 1;
                }
                true
            }),
        );
        relay.between_samples();
        assert_eq!(*rests.lock().expect("count"), 0);
        control.attention();
        relay.between_samples();
        assert_eq!(*rests.lock().expect("count"), 1);
        // The next one would come too soon.
        control.attention();
        relay.between_samples();
        assert_eq!(*rests.lock().expect("count"), 1);
    }

    #[test]
    fn a_visit_that_may_be_long_is_announced_and_a_short_one_is_not() {
        let plan = crate::tui::scripted::plan(crate::tui::scripted::GRID);
        let all = crate::tui::scripted::events(&plan, false, |_| 0.0);
        let rests = Arc::new(Mutex::new(0));
        let count = Arc::clone(&rests);
        let tell = move |_| {
            *count.lock().expect("count") += 1;
            true
        };
        let relay = Relay::new(Arc::default(), Box::new(tell));
        let started = all.iter().find(|e| matches!(e, Event::VisitStarted(_))).expect("a visit");
        let finished = all.iter().find(|e| matches!(e, Event::VisitFinished(_))).expect("its end");
        let ends_after = |ns| {
            let mut event = finished.clone();
            if let Event::VisitFinished(finished) = &mut event {
                finished.visit.elapsed_ns = ns;
            }
            event
        };
        // Nothing is known of the first; the second is as short, the third as long as the one before it.
        for (event, rested) in [
            (started.clone(), 1),
            (ends_after(1_000_000), 1),
            (started.clone(), 1),
            (ends_after(5_000_000_000), 1),
            (started.clone(), 2),
        ] {
            relay.note(&event);
            assert_eq!(*rests.lock().expect("count"), rested);
        }
    }

    #[test]
    fn a_training_tells_what_is_rare_at_once_and_never_waits() {
        let (sender, receiver) = channel::<Told>();
        let control = Arc::new(Control::default());
        let relay = Relay::new(Arc::clone(&control), Box::new(move |told| sender.send(told).is_ok()));
        let step = News::Event(TrainEvent::Step(crate::train::TrainStep {
            step: 1,
            steps: 2,
            tokens: 8,
            loss: 1.0,
            learning_rate: 0.1,
            grad_norm: 1.0,
            tokens_per_s: 8.0,
            memory_bytes: None,
        }));
        let news = || receiver.try_iter().map(|t| if let Told::News(n) = t { n.len() } else { 99 }).collect::<Vec<_>>();
        relay.news(News::Line("a".to_owned()));
        (0..3).for_each(|_| relay.news(step.clone()));
        assert_eq!(news(), [1]);
        relay.news(News::Line("b".to_owned()));
        assert_eq!(news(), [4]);
        assert!(!relay.between_updates() && news().is_empty());
        control.cancel();
        assert!(relay.between_updates());
    }

    #[test]
    fn a_visit_is_cut_short_where_all_that_it_measures_is_skipped() {
        let control = Arc::new(Control::default());
        let relay = Relay::new(Arc::clone(&control), Box::new(|_| false));
        let [a, b] = ["a", "b"].map(|id| CellId(id.to_owned()));
        let visit = |cells: &[&CellId]| {
            let cells = cells.iter().map(|id| (*id).clone()).collect();
            relay.note(&Event::VisitStarted(VisitStarted { cells, round: 0, attempt: 0 }));
        };
        assert!(!relay.is_cut_short());
        visit(&[&a, &b]);
        control.skip([a.clone()]);
        assert!(!relay.is_cut_short());
        control.skip([b.clone()]);
        assert!(relay.is_cut_short() && !relay.is_cancelled());
        visit(&[&CellId("c".to_owned())]);
        assert!(!relay.is_cut_short());
        control.cancel();
        assert!(relay.is_cut_short());
    }

    #[test]
    fn wishes_are_heard_and_a_missing_screen_stops_nothing() {
        let control = Arc::new(Control::default());
        let relay = Relay::new(Arc::clone(&control), Box::new(|_| false));
        assert!(!relay.between_visits());
        let cell = CellId("a".to_owned());
        control.skip([cell.clone()]);
        control.cancel();
        assert!(relay.between_visits() && relay.skips(&cell) && !relay.skips(&CellId("b".to_owned())));
    }
}
