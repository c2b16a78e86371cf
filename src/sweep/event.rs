//! What a run says while it goes, once, to whoever listens. Knows neither files nor screens.

use super::{
    executor::Visit,
    record::{CellRecord, GroupRecord, Outcome},
};
use crate::spec::CellId;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins.
    RunStarted(RunStarted),
    /// A group begins.
    GroupStarted(GroupStarted),
    /// A round over the group's cells begins.
    RoundStarted(RoundStarted),
    /// A visit begins.
    VisitStarted(VisitStarted),
    /// A visit ended with something measured; one event per cell of the unit.
    VisitFinished(Box<VisitFinished>),
    /// A cell is done; its group may not be.
    CellFinished(Box<CellRecord>),
    /// Something that the user should know.
    Warning(Warning),
    /// A group is done: its rows can be written.
    GroupFinished(GroupRecord),
    /// The run is over.
    RunFinished(Outcome),
}

/// The run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStarted {
    /// Name of the run.
    pub run_id: String,
    /// Groups of the plan.
    pub groups: usize,
    /// Cells of the plan.
    pub cells: usize,
    /// Groups that an earlier process of this run completed.
    pub groups_done: usize,
}

/// A group begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStarted {
    /// Index in the plan.
    pub group: usize,
    /// Its cells, in the plan's order.
    pub cells: Vec<CellId>,
}

/// A round begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundStarted {
    /// Index of the group in the plan.
    pub group: usize,
    /// From 0.
    pub round: u32,
    /// Most rounds there can be.
    pub max_rounds: u32,
    /// Cells that will be visited, in that order.
    pub order: Vec<CellId>,
}

/// A visit begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitStarted {
    /// The cells it measures.
    pub cells: Vec<CellId>,
    /// From 0.
    pub round: u32,
    /// 0, or more for a repeated round.
    pub attempt: u32,
}

/// A visit ended.
#[derive(Debug, Clone, PartialEq)]
pub struct VisitFinished {
    /// The cell.
    pub cell_id: CellId,
    /// What it measured.
    pub visit: Visit,
    /// Whether it was restored from an earlier process of this run rather than measured now.
    pub restored: bool,
}

/// Something that the user should know: a code to branch on and a text to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Short stable word, e.g. `foreign_cpu`.
    pub code: &'static str,
    /// What happened and what to do about it.
    pub text: String,
    /// The cell it is about, if it is about one.
    pub cell_id: Option<CellId>,
}

/// Listens to a run.
pub trait Sink {
    /// Takes note of one event.
    ///
    /// # Errors
    /// Whatever makes going on pointless, such as a full disk; the run ends with that error.
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()>;
}

impl<F: FnMut(&Event) -> anyhow::Result<()>> Sink for F {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self(event)
    }
}
