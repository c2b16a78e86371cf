//! Walks the groups of a plan and tells what happens. Knows groups and budgets, not how a round goes nor what a file is.

use super::{
    event::{Event, GroupStarted, RunStarted},
    group_run::{GroupRun, TIME_IS_UP},
    plan::Plan,
    record::{CellRecord, GroupRecord, Outcome, Status, StopReason},
    world::{Restored, World},
};
use crate::spec::Cell;

/// Runs a plan.
pub struct Runner<'a> {
    /// What to run.
    pub plan: &'a Plan,
    /// Name of the run.
    pub run_id: String,
    /// Bytes that a cell may need where the plan does not say: 80 % of what the machine and its cgroup leave.
    pub memory_default: u64,
    /// What an earlier process of this run left.
    pub restored: Restored,
    /// Executor, instruments, sink and the wish to stop.
    pub world: World<'a>,
}

impl Runner<'_> {
    /// Runs every group that is not done yet.
    ///
    /// # Errors
    /// Only those of the sink: a cell that fails becomes a record, and the run goes on.
    pub fn run(mut self) -> anyhow::Result<Outcome> {
        let plan = self.plan;
        let deadline = plan.settings.time_budget.map(|budget| self.world.instruments.now().saturating_add(budget));
        let mut outcome = self.restored.outcome;
        self.world.sink.on_event(&Event::RunStarted(RunStarted {
            run_id: self.run_id.clone(),
            groups: plan.groups.len(),
            cells: plan.cells().count(),
            groups_done: self.restored.groups_done.len(),
        }))?;
        for (index, group) in plan.groups.iter().enumerate() {
            if self.restored.groups_done.contains(&index) {
                continue;
            }
            if (self.world.stop)() {
                outcome.interrupted = true;
                break;
            }
            let is_late = deadline.is_some_and(|deadline| self.world.instruments.now() >= deadline);
            let (record, interrupted) = if is_late {
                (out_of_time(index, &group.cells), false)
            } else {
                let cells = group.cells.iter().map(Cell::id).collect();
                self.world.sink.on_event(&Event::GroupStarted(GroupStarted { group: index, cells }))?;
                let run = GroupRun {
                    index,
                    group,
                    settings: &plan.settings,
                    seed: plan.seed,
                    memory_budget: plan.settings.memory_budget.unwrap_or(self.memory_default),
                    deadline,
                    restored: &self.restored.visits,
                    world: &mut self.world,
                };
                run.run()?
            };
            for cell in &record.cells {
                outcome.count(cell);
                self.world.sink.on_event(&Event::CellFinished(Box::new(cell.clone())))?;
            }
            self.world.sink.on_event(&Event::GroupFinished(record))?;
            if interrupted {
                outcome.interrupted = true;
                break;
            }
        }
        self.world.sink.on_event(&Event::RunFinished(outcome))?;
        Ok(outcome)
    }
}

/// The record of a group that did not begin in time.
fn out_of_time(group: usize, cells: &[Cell]) -> GroupRecord {
    let skipped = |cell: &Cell| CellRecord {
        status: Status::Skipped,
        detail: TIME_IS_UP.to_owned(),
        stop_reason: Some(StopReason::TimeBudget),
        ..CellRecord::new(cell.clone())
    };
    GroupRecord { group, cells: cells.iter().map(skipped).collect() }
}

#[cfg(test)]
mod tests;
