//! One group from its first round to its records: rounds over those who were admitted, and how each ends. Knows nothing of
//! other groups or of files.

use std::{collections::HashMap, time::Duration};

use super::{
    event::{Event, RoundStarted, VisitFinished, VisitStarted, Warning},
    executor::{Visit, VisitError, VisitRequest},
    plan::Group,
    record::{CellRecord, GroupRecord, Status, StopReason, is_disturbed},
    settings::MeasureSettings,
    stopping::{order, stop_reason},
    visiting::{Visited, caught, visit},
    world::World,
};
use crate::spec::{Cell, CellId};

/// A round is repeated at most this often at once, so that one long disturbance does not use up all repeats.
const REPEATS_PER_ROUND: u32 = 2;

/// What one visit measures, and how far it has come.
pub(super) struct Unit {
    /// Indices of its cells that are still in the race, from short to long.
    pub(super) cells: Vec<usize>,
    /// Why it is done, once it is.
    stop: Option<StopReason>,
    /// Extra visits it had.
    repeats: u32,
    /// Time it took, earlier processes included.
    elapsed: Duration,
    /// Whether this process has visited it: if not, it is cold and warms up fully.
    visited: bool,
}

/// What ended a group before its cells were done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Interrupted,
    TimeUp,
}

/// A group while it runs.
pub(super) struct GroupRun<'r, 'w> {
    pub(super) index: usize,
    pub(super) group: &'r Group,
    pub(super) settings: &'r MeasureSettings,
    pub(super) seed: u64,
    pub(super) memory_budget: u64,
    /// Moment of the instruments' clock at which the run's time is up.
    pub(super) deadline: Option<Duration>,
    pub(super) restored: &'r HashMap<CellId, Vec<Visit>>,
    pub(super) world: &'r mut World<'w>,
}

/// What a group has come to so far.
pub(super) struct Progress {
    key: String,
    ids: Vec<CellId>,
    pub(super) records: Vec<CellRecord>,
    pub(super) units: Vec<Unit>,
    pub(super) cut: Option<Cut>,
}

impl GroupRun<'_, '_> {
    /// Runs the group; the flag says whether the user asked to stop.
    pub(super) fn run(mut self) -> anyhow::Result<(GroupRecord, bool)> {
        let unit = |cells: &Vec<usize>| Unit {
            cells: cells.clone(),
            stop: None,
            repeats: 0,
            elapsed: Duration::ZERO,
            visited: false,
        };
        let mut p = Progress {
            key: self.group.cells.first().map(Cell::group_key).unwrap_or_default(),
            ids: self.group.cells.iter().map(Cell::id).collect(),
            records: self.group.cells.iter().cloned().map(CellRecord::new).collect(),
            units: self.group.units.iter().map(unit).collect(),
            cut: None,
        };
        self.admit(&mut p);
        self.rounds(&mut p)?;
        self.close(&mut p);
        let interrupted = p.cut == Some(Cut::Interrupted);
        if !interrupted {
            self.read_peaks(&mut p);
        }
        Ok((GroupRecord { group: self.index, cells: p.records }, interrupted))
    }

    fn rounds(&mut self, p: &mut Progress) -> anyhow::Result<()> {
        for round in 0..self.settings.rounds {
            let order = order(self.seed, &p.key, round, p.units.len());
            self.note_skips(p);
            let active: Vec<usize> = order.into_iter().filter(|u| self.wants_round(p, *u)).collect();
            if active.is_empty() || p.cut.is_some() {
                break;
            }
            self.world.sink.on_event(&Event::RoundStarted(RoundStarted {
                group: self.index,
                round,
                max_rounds: self.settings.rounds,
                order: active.iter().flat_map(|u| &p.units[*u].cells).map(|i| p.ids[*i].clone()).collect(),
            }))?;
            for &u in &active {
                if self.is_cut(p) {
                    return Ok(());
                }
                self.note_skips(p);
                if !self.is_unwanted(&p.units[u], p) {
                    self.visit_round(p, u, round)?;
                }
            }
            for &u in &active {
                let unit = &p.units[u];
                if unit.stop.is_none() && !unit.cells.is_empty() {
                    let figures: Vec<Vec<f64>> = unit.cells.iter().map(|i| p.records[*i].figures()).collect();
                    p.units[u].stop = stop_reason(&figures, unit.elapsed, self.settings);
                }
            }
        }
        Ok(())
    }

    /// Whether the user wants to go on without all of a unit.
    fn is_unwanted(&self, unit: &Unit, p: &Progress) -> bool {
        unit.cells.iter().all(|i| (self.world.skip)(&p.ids[*i]))
    }

    /// Ends the units that the user wants to go on without; one that is done stays as it is.
    fn note_skips(&self, p: &mut Progress) {
        for u in 0..p.units.len() {
            let unit = &p.units[u];
            if unit.stop.is_none() && !unit.cells.is_empty() && self.is_unwanted(unit, p) {
                p.units[u].stop = Some(StopReason::Skipped);
            }
        }
    }

    /// Whether a unit has another round: it is not done, or it is the twin of one that is not.
    fn wants_round(&self, p: &Progress, u: usize) -> bool {
        let unit = &p.units[u];
        if unit.cells.is_empty() {
            return false;
        }
        let is_needed = || {
            p.units
                .iter()
                .filter(|other| other.stop.is_none())
                .flat_map(|other| &other.cells)
                .any(|i| self.group.twin_of(*i).is_some_and(|twin| unit.cells.contains(&twin)))
        };
        match unit.stop {
            None => true,
            Some(StopReason::Confidence) => !self.is_unwanted(unit, p) && is_needed(),
            Some(_) => false,
        }
    }

    /// Visits a unit once, and again while others use the processor and repeats are left.
    fn visit_round(&mut self, p: &mut Progress, u: usize, round: u32) -> anyhow::Result<()> {
        for attempt in 0..=REPEATS_PER_ROUND {
            if attempt > 0 {
                p.units[u].repeats += 1;
            }
            let disturbed = match self.restored(p, u, round, attempt) {
                Some(visited) => self.note(p, u, visited, true)?,
                None => self.visit_now(p, u, round, attempt)?,
            };
            let unit = &p.units[u];
            let goes_on = unit.stop.is_none() && unit.repeats < self.settings.max_repeats() && !unit.cells.is_empty();
            if !disturbed || !goes_on || attempt == REPEATS_PER_ROUND || self.is_cut(p) {
                break;
            }
        }
        Ok(())
    }

    /// What an earlier process measured in that attempt, if it finished it for every cell of the unit.
    fn restored(&self, p: &Progress, u: usize, round: u32, attempt: u32) -> Option<Visited> {
        let of_cell = |i: &usize| {
            let visits = self.restored.get(&p.ids[*i])?;
            visits.iter().rev().find(|v| (v.round, v.attempt) == (round, attempt)).cloned()
        };
        let visits: Vec<Option<Visit>> =
            p.units[u].cells.iter().map(|i| of_cell(i).map(Some)).collect::<Option<_>>()?;
        let last = visits.last()?.as_ref()?;
        let timed_out = last.measured.timed_out;
        let elapsed = Duration::from_nanos(last.elapsed_ns);
        Some(Visited { visits, timed_out, elapsed })
    }

    fn visit_now(&mut self, p: &mut Progress, u: usize, round: u32, attempt: u32) -> anyhow::Result<bool> {
        let unit = &mut p.units[u];
        let ids = unit.cells.iter().map(|i| p.ids[*i].clone()).collect();
        self.world.sink.on_event(&Event::VisitStarted(VisitStarted { cells: ids, round, attempt }))?;
        let cells: Vec<&Cell> = unit.cells.iter().map(|i| &self.group.cells[*i]).collect();
        let first_visit = unit.cells.last().and_then(|i| p.records[*i].visits.first());
        let request = VisitRequest {
            first: !unit.visited,
            iters_per_sample: first_visit.map(|v| v.measured.iters_per_sample),
            min_block: self.settings.min_block(cells.first().and_then(|c| c.cache)),
            samples_per_round: self.settings.samples_per_round,
            cell_timeout: self.settings.cell_timeout.saturating_sub(unit.elapsed),
        };
        unit.visited = true;
        let World { executor, instruments, .. } = &mut *self.world;
        match visit(&mut **executor, &mut **instruments, &cells, &request, (round, attempt)) {
            Ok(visited) => self.note(p, u, visited, false),
            Err(VisitError::Interrupted) => {
                self.note_skips(p);
                if !self.is_unwanted(&p.units[u], p) {
                    p.cut = Some(Cut::Interrupted);
                }
                Ok(false)
            }
            Err(error) => {
                p.fail(u, &error);
                Ok(false)
            }
        }
    }

    /// Takes the visits into the records and tells of them; says whether they were disturbed.
    fn note(&mut self, p: &mut Progress, u: usize, visited: Visited, restored: bool) -> anyhow::Result<bool> {
        let mut disturbed = false;
        p.units[u].elapsed += visited.elapsed;
        if visited.timed_out {
            p.units[u].stop.get_or_insert(StopReason::CellTime);
        }
        for (i, visit) in p.units[u].cells.iter().zip(visited.visits) {
            let Some(visit) = visit else { continue };
            let cell_id = p.ids[*i].clone();
            if is_disturbed(&visit) && !disturbed && !restored {
                let pct = visit.conditions.foreign_cpu_pct.unwrap_or_default();
                let text = format!("{}: other processes used {pct:.0}% of a core", p.records[*i].cell.label());
                let warning = Warning { code: "foreign_cpu", text, cell_id: Some(cell_id.clone()) };
                self.world.sink.on_event(&Event::Warning(warning))?;
            }
            disturbed |= is_disturbed(&visit);
            p.records[*i].visits.push(visit.clone());
            self.world.sink.on_event(&Event::VisitFinished(Box::new(VisitFinished { cell_id, visit, restored })))?;
        }
        Ok(disturbed)
    }

    /// Whether the user asked to stop or the run's time is up; remembers which.
    pub(super) fn is_cut(&self, p: &mut Progress) -> bool {
        if p.cut.is_none() {
            let time_up = || self.deadline.is_some_and(|deadline| self.world.instruments.now() >= deadline);
            p.cut = if (self.world.stop)() {
                Some(Cut::Interrupted)
            } else if time_up() {
                Some(Cut::TimeUp)
            } else {
                None
            };
        }
        p.cut.is_some()
    }

    /// Measures what the machine reaches where the measured cells work, now that nothing else is running.
    fn read_peaks(&mut self, p: &mut Progress) {
        for record in p.records.iter_mut().filter(|r| !r.visits.is_empty()) {
            if let Some(prediction) = &record.prediction {
                // What was measured of the cell stands without its peaks.
                record.peaks = caught(|| Ok(self.world.instruments.peaks(prediction))).unwrap_or_default();
            }
        }
    }

    /// Says of every cell that is still in the race how it ended.
    fn close(&self, p: &mut Progress) {
        for unit in &p.units {
            for &i in &unit.cells {
                let record = &mut p.records[i];
                let nothing = record.visits.is_empty();
                record.stop_reason = Some(unit.stop.unwrap_or(match p.cut {
                    Some(Cut::Interrupted) => StopReason::Interrupted,
                    Some(Cut::TimeUp) => StopReason::TimeBudget,
                    None => StopReason::Rounds,
                }));
                match record.stop_reason {
                    Some(StopReason::Interrupted) => record.end(Status::Interrupted, "the run was interrupted"),
                    Some(StopReason::Skipped) if nothing => record.end(Status::Skipped, "the user went on without it"),
                    Some(StopReason::TimeBudget) if nothing => record.end(Status::Skipped, TIME_IS_UP),
                    _ if nothing => {
                        let limit = humantime::format_duration(self.settings.cell_timeout);
                        record.end(Status::Timeout, format!("nothing was measured within {limit} (--cell-timeout)"));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Why cells that did not begin in time were not measured.
pub(super) const TIME_IS_UP: &str = "the run's time was up before its turn (--time-budget)";

impl Progress {
    /// Takes cells that have ended out of their unit.
    pub(super) fn keep_running(&mut self, u: usize) {
        let records = &self.records;
        self.units[u].cells.retain(|i| records[*i].status == Status::Ok);
    }

    /// Ends all cells of a unit with an error.
    pub(super) fn fail(&mut self, u: usize, error: &VisitError) {
        let status = if matches!(error, VisitError::OutOfMemory(_)) { Status::Oom } else { Status::Error };
        for i in std::mem::take(&mut self.units[u].cells) {
            self.records[i].end(status, error.to_string());
        }
    }
}
