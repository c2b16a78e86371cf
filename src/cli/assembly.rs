//! What every front end's run is put together from: files, recorder, instruments, executor, runner. Knows the order in which
//! they come to be, not who watches.

use std::{hint::black_box, path::PathBuf, rc::Rc, time::Duration};

use super::{
    Answer,
    args::RunArgs,
    outputs::{self, Opened},
    setup::{self, Setup},
};
use crate::{
    measure::{
        Build, Clock, LimitsCache, MonotonicClock, Observer, ObserverCost, SystemObserver, observer_cost, rss_bytes,
    },
    spec::{CellId, DeviceKind},
    store::{Recorder, Row, RunInfo},
    sweep::{Event, Outcome, Runner, Sink, World, nine_digits},
};

/// Whoever watches a run. The recorder hears every event before it does: what is on disk matters more.
pub(super) trait Front: Sink {
    /// Draws once more what is on the screen.
    fn redraw(&mut self);

    /// The run is about to begin. Told again when it is known what watching costs.
    fn begin(&mut self, beginning: &Beginning<'_>);

    /// What watching costs a block of work.
    fn watched(&mut self, cost: &ObserverCost) {
        let _ = cost;
    }
}

/// How a run begins.
pub(super) struct Beginning<'a> {
    pub(super) info: &'a RunInfo,
    /// Rows that an earlier process left.
    pub(super) rows: &'a [Row],
    /// The cells file.
    pub(super) file: Option<PathBuf>,
}

/// What the user may want while a run goes.
#[derive(Clone)]
pub(super) struct Wishes {
    /// Whether to end; asked between visits, and may take its time to answer.
    pub(super) stop: Rc<dyn Fn() -> bool>,
    /// Whether the visit in hand is to end; asked at any time.
    pub(super) stop_now: Rc<dyn Fn() -> bool>,
    /// Called between samples.
    pub(super) rest: Rc<dyn Fn()>,
    /// Whether to go on without a cell.
    pub(super) skip: Rc<dyn Fn(&CellId) -> bool>,
    /// Time that the run has stood still, which no budget counts.
    pub(super) rested: Rc<dyn Fn() -> Duration>,
}

impl Wishes {
    /// To be stopped by that, and nothing else.
    pub(super) fn until(stop: fn() -> bool) -> Self {
        let (stop, never) = (Rc::new(stop), Rc::new(|_: &CellId| false));
        Self {
            stop: stop.clone(),
            stop_now: stop,
            rest: Rc::new(|| {}),
            skip: never,
            rested: Rc::new(|| Duration::ZERO),
        }
    }
}

/// What came of a run.
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    /// All rows of its file.
    pub(super) rows: Vec<Row>,
    /// What went wrong beside it.
    pub(super) warnings: Vec<String>,
}

/// Measures. `tui_active` is what the rows say of a dashboard.
pub(super) fn measure(
    setup: &Setup,
    args: &RunArgs,
    tui_active: bool,
    wishes: &Wishes,
    front: &mut dyn Front,
) -> Answer<Measured> {
    let meta = super::run::meta_json(&args.meta)?;
    let mut template = Row::template("", &Build::current(), &setup::machine(), &setup.device_facts(), &meta);
    template.tui_active = Some(tui_active);
    let Opened { files, run_id, resumed, mut warnings } = outputs::open(args, &setup.plan, &template)?;
    template.run_id.clone_from(&run_id);
    let mut info = RunInfo { template, ci_target: setup.plan.settings.ci_target };
    let file = args.resume.as_ref().or(args.csv.as_ref()).filter(|f| *f != "-").map(PathBuf::from);
    let begin = |info: &RunInfo, front: &mut dyn Front| {
        front.begin(&Beginning { info, rows: &resumed.rows, file: file.clone() });
    };
    begin(&info, front);
    if let Some(cost) = watching_costs(front) {
        info.template.observer_overhead_pct = Some(nine_digits(cost.pct));
        front.watched(&cost);
        begin(&info, front);
    }
    let mut recorder = Recorder::new(info, files);
    let stop_now = Rc::clone(&wishes.stop_now);
    let rest = Rc::clone(&wishes.rest);
    let bench = setup.bench_until(args.dump.clone(), Box::new(move || stop_now()));
    let mut bench = bench.resting(Box::new(move || rest()));
    let limits = (setup.device.spec.kind == DeviceKind::Cpu).then(|| LimitsCache::new(setup.n_threads));
    let clock = RunningClock { clock: MonotonicClock::default(), rested: Rc::clone(&wishes.rested) };
    let mut instruments = (clock, SystemObserver::default(), limits);
    let runner = Runner {
        plan: &setup.plan,
        run_id,
        memory_default: setup.memory_default,
        restored: resumed.restored,
        world: World {
            executor: &mut bench,
            instruments: &mut instruments,
            sink: &mut Both(&mut recorder, front),
            stop: &*wishes.stop,
            skip: &*wishes.skip,
        },
    };
    let outcome = runner.run()?;
    warnings.extend(recorder.journal_error().map(outputs::no_journal));
    let rows = resumed.rows.iter().chain(recorder.rows()).cloned().collect();
    Ok(Measured { outcome, rows, warnings })
}

/// Numbers that a block of work passes over while the cost of watching is measured: a cache level's worth.
const WATCHED_NUMBERS: usize = 64 * 1024;

/// Passes of a block: about two milliseconds, shorter than any sample of a run, which makes the cost look larger.
const WATCHED_PASSES: usize = 100;

/// What looking and drawing before a block costs the block.
fn watching_costs(front: &mut dyn Front) -> Option<ObserverCost> {
    let mut observer = SystemObserver::default();
    let mut numbers = vec![1.0_f32; WATCHED_NUMBERS];
    let mut observe = || {
        observer.begin();
        black_box(rss_bytes());
        front.redraw();
        observer.end();
    };
    let mut work = || {
        for _ in 0..WATCHED_PASSES {
            numbers.iter_mut().for_each(|x| *x = 0.5 * *x + 0.5);
            black_box(&mut numbers);
        }
    };
    observer_cost(&MonotonicClock::default(), &mut observe, &mut work)
}

/// A clock that stands while the run does: what drawing and pauses take is taken from no budget.
struct RunningClock {
    clock: MonotonicClock,
    rested: Rc<dyn Fn() -> Duration>,
}

impl Clock for RunningClock {
    fn now(&self) -> Duration {
        self.clock.now().saturating_sub((self.rested)())
    }
}

/// The recorder hears everything first.
struct Both<'a>(&'a mut Recorder, &'a mut dyn Front);

impl Sink for Both<'_> {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.0.on_event(event)?;
        self.1.on_event(event)
    }
}
