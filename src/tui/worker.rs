//! The measuring thread's side of the dashboard. While a run goes the two threads take turns: the screen is drawn, and events
//! are worked on, only while the measuring thread stands still between visits — or, after a key was pressed, between samples.
//! So nothing of the dashboard runs during a timed block, by construction and not by luck.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
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
};
use crate::{measure::without_peak, spec::CellId, sweep::Event};

/// Rests are at least this far apart: at most four frames a second.
const BETWEEN_RESTS: Duration = Duration::from_millis(250);

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
    /// It is over.
    Ended(Result<Ended, String>),
}

/// What the screen's thread wants of a run; the measuring thread looks at it between visits.
#[derive(Debug, Default)]
pub(crate) struct Control {
    cancel: AtomicBool,
    /// A key was pressed: the next rest is due at once.
    attention: AtomicBool,
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
    last: Cell<Option<Instant>>,
    rested: Cell<Duration>,
}

impl Relay {
    /// `tell` hands something to the screen's thread and says whether there is one.
    pub(crate) fn new(control: Arc<Control>, tell: Box<dyn Fn(Told) -> bool + Send>) -> Self {
        let (pending, last, rested) = (RefCell::default(), Cell::default(), Cell::default());
        Self { control, tell, pending, last, rested }
    }

    /// The run begins.
    pub(crate) fn begin(&self, begun: Begun) {
        (self.tell)(Told::Begun(Box::new(begun)));
    }

    /// Takes note of an event; the screen learns of it at the next rest.
    pub(crate) fn note(&self, event: &Event) {
        self.pending.borrow_mut().push(event.clone());
        if matches!(event, Event::RunFinished(_)) {
            self.rest(false);
        }
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
        let result = catch_unwind(AssertUnwindSafe(|| host.measure(&order, relay)));
        let ended = match result {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(error)) => Err(described(&error)),
            Err(_) => Err("the run broke off by a mistake of the program; its file holds what was done".to_owned()),
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
    use crate::sweep::Outcome;

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
