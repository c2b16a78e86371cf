//! Scripted twins of executor, instruments and sink: time passes only as the script says, so that tests are exact.

use std::{cell::Cell as Slot, cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use super::{
    CheckReport, Direction, Event, Executor, Instruments, Measured, MemoryReading, Outcome, Peaks, Plan, Prediction,
    Restored, Runner, Sink, VisitError, VisitRequest, World,
};
use crate::{
    measure::Conditions,
    spec::{Cell, CellId},
};

/// What a script says of the `n`-th visit (from 0) to a cell: the figure in ns.
pub(crate) type Figures = dyn FnMut(&Cell, u32) -> Result<f64, VisitError>;

/// What a script predicts of a cell.
pub(crate) type Predictions = dyn Fn(&Cell) -> Result<Prediction, String>;

/// What a script finds when it checks a cell.
pub(crate) type Checks = dyn Fn(&Cell) -> Result<CheckReport, VisitError>;

/// An executor that measures what its script says.
pub(crate) struct ScriptedExecutor {
    pub(crate) figures: Box<Figures>,
    pub(crate) predict: Box<Predictions>,
    pub(crate) check: Box<Checks>,
    /// Visits per cell so far; a resumed process starts with those of the earlier one.
    pub(crate) counts: HashMap<CellId, u32>,
    /// Every visit: variant of the first cell, and what was asked.
    pub(crate) log: Vec<(String, VisitRequest)>,
    /// Time that a visit takes.
    pub(crate) visit_time: Duration,
    pub(crate) clock: Rc<Slot<Duration>>,
}

/// Predictions of a small cell.
pub(crate) fn small() -> Prediction {
    Prediction {
        state_bytes: 1024,
        memory_bytes: 4096,
        flops: 2000.0,
        bytes_moved: 1024.0,
        footprint_bytes: 4096,
        direction: Direction::Read,
    }
}

impl ScriptedExecutor {
    pub(crate) fn new(figures: impl FnMut(&Cell, u32) -> Result<f64, VisitError> + 'static) -> Self {
        Self {
            figures: Box::new(figures),
            predict: Box::new(|_| Ok(small())),
            check: Box::new(|_| Ok(CheckReport { max_abs_err: 1e-7, max_rel_err: 1e-6, passed: true })),
            counts: HashMap::new(),
            log: Vec::new(),
            visit_time: Duration::from_secs(1),
            clock: Rc::default(),
        }
    }
}

impl Executor for ScriptedExecutor {
    fn predict(&self, cell: &Cell) -> Result<Prediction, String> {
        (self.predict)(cell)
    }

    fn check(&mut self, cell: &Cell) -> Result<CheckReport, VisitError> {
        (self.check)(cell)
    }

    fn visit(&mut self, unit: &[&Cell], request: &VisitRequest) -> Result<Vec<Measured>, VisitError> {
        self.log.push((unit[0].variant.to_string(), request.clone()));
        self.clock.set(self.clock.get() + self.visit_time);
        let mut out = Vec::new();
        for cell in unit {
            let count = self.counts.entry(cell.id()).or_default();
            let n = *count;
            *count += 1;
            let figure_ns = (self.figures)(cell, n)?;
            out.push(Measured {
                figure_ns,
                samples_ns: vec![figure_ns * 1.25, figure_ns, figure_ns * 0.75],
                iters_per_sample: 4,
                warmup_count: if request.first { 3 } else { 1 },
                warmup_verified: true,
                first_ns: request.first.then_some(figure_ns * 2.0),
                e2e_ns: None,
                memory: MemoryReading { state_bytes: Some(1024), ..MemoryReading::default() },
                timed_out: false,
            });
        }
        Ok(out)
    }
}

/// Instruments whose clock the executor advances, and whose foreign CPU share is scripted per visit.
pub(crate) struct ScriptedInstruments {
    pub(crate) clock: Rc<Slot<Duration>>,
    pub(crate) foreign_cpu_pct: Box<dyn FnMut(u32) -> f64>,
    pub(crate) visits: u32,
}

impl Instruments for ScriptedInstruments {
    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn begin(&mut self) {}

    fn peaks(&mut self, _: &Prediction) -> Peaks {
        Peaks { gflops: Some(100.0), gb_per_s: Some(10.0) }
    }

    fn end(&mut self) -> Conditions {
        let n = self.visits;
        self.visits += 1;
        Conditions { foreign_cpu_pct: Some((self.foreign_cpu_pct)(n)), energy_j: Some(2.0), ..Conditions::default() }
    }
}

/// A sink that keeps every event.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) RefCell<Vec<Event>>);

impl Sink for &Kept {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }
}

/// Runs a plan on scripted twins; `stop_after` is the number of visits after which the user asks to stop.
pub(crate) fn run(
    plan: &Plan,
    executor: &mut ScriptedExecutor,
    foreign: impl FnMut(u32) -> f64 + 'static,
    restored: Restored,
    stop_after: Option<u32>,
) -> (Vec<Event>, Outcome) {
    let kept = Kept::default();
    let outcome = run_into(plan, executor, foreign, restored, stop_after, &mut &kept).expect("the sink never fails");
    (kept.0.into_inner(), outcome)
}

/// Like [`run`], into a sink of the caller's.
pub(crate) fn run_into(
    plan: &Plan,
    executor: &mut ScriptedExecutor,
    foreign: impl FnMut(u32) -> f64 + 'static,
    restored: Restored,
    stop_after: Option<u32>,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let clock = executor.clock.clone();
    let mut instruments = ScriptedInstruments { clock: clock.clone(), foreign_cpu_pct: Box::new(foreign), visits: 0 };
    let (start, visit_time) = (clock.get(), executor.visit_time);
    let stop = move || stop_after.is_some_and(|n| clock.get() >= start + visit_time * n);
    let world = World { executor, instruments: &mut instruments, sink, stop: &stop, skip: &|_| false };
    Runner { plan, run_id: "20260131T120000Z-00000000-0000".to_owned(), memory_default: 1 << 30, restored, world }.run()
}
