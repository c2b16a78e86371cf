//! A run while it goes, from its events: provisional rows of the group in hand, final rows of those that are done, and where
//! the run stands. The statistics are the store's own, so that what is shown at the end is what the file holds.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    measure::ObserverCost,
    spec::CellId,
    store::{Row, RunInfo, assemble},
    sweep::{AssumedRates, CellRecord, Event, GroupRecord, Outcome, Plan, Prediction, Visit},
};

/// What is known of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellState {
    /// Its turn has not come.
    Waiting,
    /// It is being visited.
    Running,
    /// It has rounds, and more are to come.
    Provisional,
    /// It is done.
    Final,
}

/// How a run begins.
#[derive(Clone)]
pub(crate) struct Begun {
    /// What is measured.
    pub(crate) plan: Arc<Plan>,
    /// What all rows share.
    pub(crate) info: RunInfo,
    /// What each cell will need, in the plan's order.
    pub(crate) predictions: Vec<Option<Prediction>>,
    /// Rows that an earlier process left.
    pub(crate) rows: Vec<Row>,
    /// The cells file that is being written.
    pub(crate) file: Option<PathBuf>,
    /// What watching costs a block.
    pub(crate) observer: Option<ObserverCost>,
    /// The time that rows bear.
    pub(crate) now: fn() -> SystemTime,
}

/// A warning as it fired.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fired {
    pub(crate) text: String,
    pub(crate) times: u32,
    code: &'static str,
}

/// The last visit that measured something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LastVisit {
    pub(crate) cell: usize,
    pub(crate) visit: Visit,
}

/// The visit in hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Visiting {
    /// When it began, for people.
    pub(crate) since: SystemTime,
    /// The same since the dashboard opened.
    pub(crate) begun: Duration,
    /// How long it takes: as the last one to that cell, or else estimated.
    pub(crate) expected: Option<Duration>,
    /// Whether that was measured.
    pub(crate) is_known: bool,
}

/// A run from its events.
pub(crate) struct LiveRun {
    begun: Begun,
    /// One row per cell of the plan, in its order; those of cells that wait hold their key alone. Behind them, what runs
    /// before it have of cells that are not measured again.
    pub(crate) rows: Vec<Row>,
    pub(crate) states: Vec<CellState>,
    pub(crate) round: u32,
    pub(crate) max_rounds: u32,
    pub(crate) group: Option<usize>,
    pub(crate) groups_done: usize,
    /// Cells of the visit in hand.
    pub(crate) current: Vec<usize>,
    pub(crate) last: Option<LastVisit>,
    /// Where a visit has begun and not ended.
    pub(crate) visiting: Option<Visiting>,
    /// Since the dashboard opened, when events were last looked at.
    pub(crate) now: Duration,
    pub(crate) warnings: Vec<Fired>,
    /// Cells that the user goes on without.
    pub(crate) left_out: HashSet<usize>,
    pub(crate) outcome: Option<Outcome>,
    /// Since the dashboard opened.
    pub(crate) started: Duration,
    pub(crate) groups_at_start: usize,
    /// The group that the charts have turned to.
    pub(crate) followed: Option<usize>,
    /// Rounds of a cell in the run of all of them.
    pub(crate) usual_rounds: u32,
    /// Files of the runs that rows were kept of.
    kept_files: Vec<PathBuf>,
    places: HashMap<CellId, usize>,
    /// Index of each group's first cell.
    offsets: Vec<usize>,
    records: Vec<CellRecord>,
    /// Whether there are visits that no row shows yet.
    unsettled: bool,
}

/// Warnings that are kept to be shown.
const WARNINGS: usize = 50;

impl LiveRun {
    /// A run that begins at that moment of the dashboard.
    #[must_use]
    pub(crate) fn new(begun: Begun, started: Duration) -> Self {
        let plan = &begun.plan;
        let ids: Vec<CellId> = plan.cells().map(crate::spec::Cell::id).collect();
        let places: HashMap<CellId, usize> = ids.iter().cloned().enumerate().map(|(i, id)| (id, i)).collect();
        let offsets = plan
            .groups
            .iter()
            .scan(0, |at, group| {
                let offset = *at;
                *at += group.cells.len();
                Some(offset)
            })
            .collect();
        let mut rows: Vec<Row> = plan
            .cells()
            .enumerate()
            .map(|(i, cell)| {
                let mut row = begun.info.template.clone();
                row.set_key(cell);
                row.state_bytes_pred = begun.predictions.get(i).copied().flatten().map(|p| p.state_bytes);
                row
            })
            .collect();
        let mut states = vec![CellState::Waiting; rows.len()];
        for row in &begun.rows {
            if let Some(&i) = places.get(&CellId(row.cell_id.clone())) {
                rows[i] = row.clone();
                states[i] = CellState::Final;
            }
        }
        Self {
            rows,
            states,
            round: 0,
            max_rounds: plan.settings.rounds,
            group: None,
            groups_done: 0,
            current: Vec::new(),
            last: None,
            visiting: None,
            now: started,
            warnings: Vec::new(),
            left_out: HashSet::new(),
            outcome: None,
            started,
            groups_at_start: 0,
            followed: None,
            usual_rounds: plan.settings.rounds,
            kept_files: Vec::new(),
            places,
            offsets,
            records: Vec::new(),
            unsettled: false,
            begun,
        }
    }

    /// Takes over what a run before it has of cells that are not in the plan; gives back what it had of those that are.
    pub(crate) fn follow_up(&mut self, before: Self) -> Vec<Row> {
        let is_again = |row: &Row| self.places.contains_key(&CellId(row.cell_id.clone()));
        let (again, kept): (Vec<Row>, Vec<Row>) = before.written().into_iter().partition(is_again);
        self.states.resize(self.states.len() + kept.len(), CellState::Final);
        self.rows.extend(kept);
        self.usual_rounds = before.usual_rounds;
        self.kept_files = before.kept_files;
        if before.begun.file != self.begun.file {
            self.kept_files.extend(before.begun.file);
        }
        again
    }

    /// Where the rows are kept, those measured last at the end.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.kept_files.iter().chain(&self.begun.file).cloned().collect()
    }

    /// What it runs.
    #[must_use]
    pub(crate) fn plan(&self) -> &Plan {
        &self.begun.plan
    }

    pub(crate) fn begun(&self) -> &Begun {
        &self.begun
    }

    /// The rows that something is known of: what `w` writes.
    pub(crate) fn written(&self) -> Vec<Row> {
        let known = self.rows.iter().zip(&self.states).filter(|(row, _)| !row.status.is_empty());
        known.map(|(row, _)| row.clone()).collect()
    }

    /// Rounds done and to be done at most, of the whole run.
    pub(crate) fn share_done(&self) -> f64 {
        let groups = self.begun.plan.groups.len().max(1) as f64;
        let within = f64::from(self.round) / f64::from(self.max_rounds.max(1));
        let in_hand = if self.group.is_some() { within.min(1.0) } else { 0.0 };
        ((self.groups_done as f64 + in_hand) / groups).min(1.0)
    }

    /// Time left if the rest goes at the pace so far, within the time budget.
    pub(crate) fn time_left(&self, now: Duration) -> Option<Duration> {
        let done = self.share_done() - self.groups_at_start as f64 / self.begun.plan.groups.len().max(1) as f64;
        let elapsed = now.saturating_sub(self.started);
        if done <= 0.01 || self.outcome.is_some() {
            return None;
        }
        let left = elapsed.as_secs_f64() / done * (1.0 - self.share_done());
        let budget = self.begun.plan.settings.time_budget.map(|b| b.saturating_sub(elapsed));
        let left = Duration::try_from_secs_f64(left).ok()?;
        Some(budget.map_or(left, |b| left.min(b)))
    }

    /// Takes note of an event; says whether rows changed.
    pub(crate) fn on_event(&mut self, event: &Event) -> bool {
        match event {
            Event::RunStarted(run) => {
                self.groups_done = run.groups_done;
                self.groups_at_start = run.groups_done;
                false
            }
            Event::GroupStarted(group) => self.start_group(group.group),
            Event::RoundStarted(round) => {
                self.round = round.round;
                self.max_rounds = round.max_rounds;
                false
            }
            Event::VisitStarted(visit) => {
                self.leave_current();
                self.current = visit.cells.iter().filter_map(|id| self.places.get(id).copied()).collect();
                for &i in &self.current {
                    self.states[i] = CellState::Running;
                }
                self.visiting = self.current.last().map(|cell| self.visit_begins(*cell));
                false
            }
            Event::VisitFinished(finished) => self.finish_visit(&finished.cell_id, &finished.visit),
            Event::Warning(warning) => {
                if let Some(known) = self.warnings.iter_mut().find(|w| w.code == warning.code) {
                    known.times += 1;
                    known.text.clone_from(&warning.text);
                } else if self.warnings.len() < WARNINGS {
                    self.warnings.push(Fired { text: warning.text.clone(), times: 1, code: warning.code });
                }
                false
            }
            Event::CellFinished(_) => false,
            Event::GroupFinished(group) => self.finish_group(group),
            Event::RunFinished(outcome) => {
                self.leave_current();
                self.outcome = Some(*outcome);
                true
            }
        }
    }

    fn start_group(&mut self, group: usize) -> bool {
        let Some(of_plan) = self.begun.plan.groups.get(group) else { return false };
        let offset = self.offsets[group];
        self.group = Some(group);
        self.round = 0;
        let prediction = |i: usize| self.begun.predictions.get(offset + i).copied().flatten();
        self.records = of_plan
            .cells
            .iter()
            .enumerate()
            .map(|(i, cell)| CellRecord { prediction: prediction(i), ..CellRecord::new(cell.clone()) })
            .collect();
        false
    }

    /// What is known of a visit that begins; the last of its cells is the one that takes longest.
    fn visit_begins(&self, cell: usize) -> Visiting {
        let in_group =
            self.group.and_then(|g| Some((self.begun.plan.groups.get(g)?, cell.checked_sub(self.offsets[g])?)));
        let last = in_group.and_then(|(_, i)| self.records.get(i)?.visits.last());
        let estimate = || {
            let (group, i) = in_group?;
            let prediction = self.begun.predictions.get(cell).copied().flatten()?;
            let all = self.begun.plan.cell_seconds(group, i, &prediction, &AssumedRates::default());
            Duration::try_from_secs_f64(all / f64::from(self.max_rounds.max(1))).ok()
        };
        Visiting {
            since: (self.begun.now)(),
            begun: self.now,
            expected: last.map(|visit| Duration::from_nanos(visit.elapsed_ns)).or_else(estimate),
            is_known: last.is_some(),
        }
    }

    /// Cells whose visit is over are what their rounds make of them.
    fn leave_current(&mut self) {
        self.visiting = None;
        for i in std::mem::take(&mut self.current) {
            if self.states[i] == CellState::Running {
                let at = self.group.map_or(0, |g| self.offsets[g]);
                let waits = i.checked_sub(at).and_then(|k| self.records.get(k)).is_none_or(|r| r.visits.is_empty());
                self.states[i] = if waits { CellState::Waiting } else { CellState::Provisional };
            }
        }
    }

    fn finish_visit(&mut self, id: &CellId, visit: &Visit) -> bool {
        let (Some(group), Some(&cell)) = (self.group, self.places.get(id)) else { return false };
        let offset = self.offsets[group];
        let Some(record) = cell.checked_sub(offset).and_then(|i| self.records.get_mut(i)) else { return false };
        record.visits.push(visit.clone());
        self.last = Some(LastVisit { cell, visit: visit.clone() });
        self.visiting = None;
        self.unsettled = true;
        true
    }

    /// Makes provisional rows of the visits since the last time: once for all events that come together.
    pub(crate) fn settle(&mut self) {
        let Some(group) = self.group.filter(|_| std::mem::take(&mut self.unsettled)) else { return };
        let offset = self.offsets[group];
        // Those without a visit have nothing to show, and a twin is all that a ratio needs of the others.
        let known: Vec<usize> = (0..self.records.len()).filter(|i| !self.records[*i].visits.is_empty()).collect();
        let cells = known.iter().map(|i| self.records[*i].clone()).collect();
        let rows = assemble(&GroupRecord { group, cells }, &self.begun.info, (self.begun.now)());
        for (i, row) in known.into_iter().zip(rows) {
            self.rows[offset + i] = row;
            if self.states[offset + i] != CellState::Running {
                self.states[offset + i] = CellState::Provisional;
            }
        }
    }

    fn finish_group(&mut self, group: &GroupRecord) -> bool {
        let Some(&offset) = self.offsets.get(group.group) else { return false };
        let rows = assemble(group, &self.begun.info, (self.begun.now)());
        for (i, row) in rows.into_iter().enumerate().take(self.rows.len().saturating_sub(offset)) {
            self.rows[offset + i] = row;
            self.states[offset + i] = CellState::Final;
        }
        self.current.clear();
        self.visiting = None;
        self.records.clear();
        self.unsettled = false;
        self.group = None;
        self.groups_done += 1;
        true
    }
}

#[cfg(test)]
mod tests;
