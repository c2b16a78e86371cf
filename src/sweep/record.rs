//! What became of a cell: its state, its visits and why it stopped. Knows no file format; rows are made of it elsewhere.

use std::collections::BTreeMap;

use super::executor::{CheckReport, Prediction, Visit};
use crate::spec::{Cell, words};

/// A visit during which other processes took more of one core than this, in percent, is marked and repeated.
pub const FOREIGN_CPU_LIMIT_PCT: f64 = 15.0;

words! {
    /// What became of a cell.
    Status("status") {
        /// Measured.
        Ok = "ok",
        /// Not tried, for a reason given.
        Skipped = "skipped",
        /// Memory ran out while trying.
        Oom = "oom",
        /// Nothing was measured within the cell's time.
        Timeout = "timeout",
        /// It failed or panicked.
        Error = "error",
        /// Its code disagrees with the slow reference, so that its speed means nothing.
        Incorrect = "incorrect",
        /// The run was interrupted before the cell was done.
        Interrupted = "interrupted",
    }
}

words! {
    /// Why a cell got no more rounds.
    StopReason("stop reason") {
        /// Its interval is within the target.
        Confidence = "confidence",
        /// It had all its rounds.
        Rounds = "rounds",
        /// Its own time was up.
        CellTime = "cell_time",
        /// The run's time was up.
        TimeBudget = "time_budget",
        /// The user asked to stop.
        Interrupted = "interrupted",
        /// The user went on without it.
        Skipped = "skipped",
    }
}

/// What the machine reaches at a cell's footprint and direction, measured in the same run; `None` where it was not.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Peaks {
    /// Of an sgemm, GFLOP/s.
    pub gflops: Option<f64>,
    /// Of a stream, GB/s.
    pub gb_per_s: Option<f64>,
}

/// A cell and all that is known of it at the end of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct CellRecord {
    /// What was to be measured.
    pub cell: Cell,
    /// What became of it.
    pub status: Status,
    /// Why, in words, where `status` is not `ok`; empty otherwise.
    pub detail: String,
    /// Why it got no more rounds; `None` where it had none.
    pub stop_reason: Option<StopReason>,
    /// Whether it was skipped because the memory budget forbade it.
    pub over_memory_budget: bool,
    /// What it needs, where that is known.
    pub prediction: Option<Prediction>,
    /// How its code compares with the slow reference, where that was tried.
    pub check: Option<CheckReport>,
    /// What the machine reaches there, measured as the group ends, if the cell was.
    pub peaks: Peaks,
    /// Every visit that measured something, in order.
    pub visits: Vec<Visit>,
}

impl CellRecord {
    /// A record of a cell that nothing is known of.
    #[must_use]
    pub fn new(cell: Cell) -> Self {
        Self {
            cell,
            status: Status::Ok,
            detail: String::new(),
            stop_reason: None,
            over_memory_budget: false,
            prediction: None,
            check: None,
            peaks: Peaks::default(),
            visits: Vec::new(),
        }
    }

    /// The visit that counts in each round, by round: the one that other processes disturbed least.
    #[must_use]
    pub fn rounds(&self) -> Vec<&Visit> {
        let foreign = |v: &Visit| v.conditions.foreign_cpu_pct.unwrap_or(0.0);
        let mut rounds: BTreeMap<u32, &Visit> = BTreeMap::new();
        for visit in &self.visits {
            let best = rounds.entry(visit.round).or_insert(visit);
            if foreign(visit) < foreign(best) {
                *best = visit;
            }
        }
        rounds.into_values().collect()
    }

    /// The figures of the rounds, in ns per call, by round.
    #[must_use]
    pub fn figures(&self) -> Vec<f64> {
        self.rounds().iter().map(|v| v.measured.figure_ns).collect()
    }

    /// Whether the cell was skipped by one of the budgets, which is no failure.
    #[must_use]
    pub fn skipped_by_budget(&self) -> bool {
        self.status == Status::Skipped && (self.over_memory_budget || self.stop_reason == Some(StopReason::TimeBudget))
    }

    pub(super) fn end(&mut self, status: Status, detail: impl Into<String>) {
        self.status = status;
        self.detail = detail.into();
    }
}

/// Whether a visit was marked because other processes used the processor.
#[must_use]
pub fn is_disturbed(visit: &Visit) -> bool {
    visit.conditions.foreign_cpu_pct.is_some_and(|pct| pct > FOREIGN_CPU_LIMIT_PCT)
}

/// All cells of a group, in the plan's order.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRecord {
    /// Index of the group in the plan.
    pub group: usize,
    /// One record per cell of the group.
    pub cells: Vec<CellRecord>,
}

/// How a run ended, counted in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Cells with status `ok`.
    pub cells_ok: usize,
    /// Cells with any other status, budgets excepted.
    pub cells_not_ok: usize,
    /// Cells that a budget of memory or time skipped.
    pub skipped_by_budget: usize,
    /// Whether the user asked to stop.
    pub interrupted: bool,
}

impl Outcome {
    /// Counts one more cell.
    pub fn count(&mut self, record: &CellRecord) {
        match record.status {
            Status::Ok => self.cells_ok += 1,
            _ if record.skipped_by_budget() => self.skipped_by_budget += 1,
            _ => self.cells_not_ok += 1,
        }
    }
}
