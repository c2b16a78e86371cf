//! What a run needs around it: instruments, and the state that an earlier process left. Knows no platform; a scripted
//! twin makes every test of the runner exact.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    event::Sink,
    executor::{Executor, Prediction, Visit},
    record::{Outcome, Peaks},
};
use crate::{
    measure::{Clock, Conditions, Limits, Observer},
    spec::CellId,
};

/// Reads the clock and the machine around a visit.
pub trait Instruments {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// A visit begins.
    fn begin(&mut self);

    /// The visit that began last has ended: what the machine did meanwhile.
    fn end(&mut self) -> Conditions;

    /// What the machine reaches where a cell that needs this works. Asked for between visits and by the thread that
    /// visits, because measuring it loads the machine.
    fn peaks(&mut self, needs: &Prediction) -> Peaks;
}

/// A clock, an observer and the limits of the processor are the instruments of a run on it. Without limits (a run on
/// another device) there are no peaks.
impl<C: Clock, O: Observer, L: Limits> Instruments for (C, O, Option<L>) {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn begin(&mut self) {
        self.1.begin();
    }

    fn end(&mut self) -> Conditions {
        self.1.end()
    }

    fn peaks(&mut self, needs: &Prediction) -> Peaks {
        self.2.as_mut().map_or_else(Peaks::default, |limits| Peaks {
            gflops: limits.sgemm_gflops(),
            gb_per_s: limits.stream(needs.footprint_bytes, needs.direction),
        })
    }
}

/// Whom a run deals with.
pub struct World<'a> {
    /// Runs cells.
    pub executor: &'a mut dyn Executor,
    /// Reads clock and machine.
    pub instruments: &'a mut dyn Instruments,
    /// Hears every event.
    pub sink: &'a mut dyn Sink,
    /// Whether the user asked to stop. Asked between visits, where it may take its time to answer.
    pub stop: &'a dyn Fn() -> bool,
    /// Whether the user asked to go on without that cell.
    pub skip: &'a dyn Fn(&CellId) -> bool,
}

/// What an earlier process of the same run left behind; empty for a fresh run.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Indices of groups that are complete.
    pub groups_done: BTreeSet<usize>,
    /// Outcome of the cells of those groups.
    pub outcome: Outcome,
    /// Finished visits of cells whose groups are not complete.
    pub visits: HashMap<CellId, Vec<Visit>>,
}

/// Nine significant digits: far below any clock's error, short in a file, and read back exactly by every parser.
#[must_use]
pub fn nine_digits(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// Shortens every number of a visit, so that a visit restored from a journal equals the one that was measured.
pub(super) fn shorten(visit: &mut Visit) {
    let Visit { measured: m, conditions: c, .. } = visit;
    m.figure_ns = nine_digits(m.figure_ns);
    m.samples_ns.iter_mut().for_each(|s| *s = nine_digits(*s));
    let optional = [
        &mut m.first_ns,
        &mut m.e2e_ns,
        &mut c.foreign_cpu_pct,
        &mut c.load_avg_1m,
        &mut c.cpu_freq_hz,
        &mut c.temp_c,
        &mut c.energy_j,
    ];
    for value in optional {
        *value = value.filter(|v| v.is_finite()).map(nine_digits);
    }
}
