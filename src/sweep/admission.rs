//! Who of a group is admitted to its rounds: each cell is predicted and checked before it is tried. Knows why a cell may not
//! run, not how a round goes.

use super::{
    executor::VisitError,
    group_run::{Cut, GroupRun, Progress},
    quantity::Bytes,
    record::{CellRecord, Status},
    visiting::caught,
};

impl GroupRun<'_, '_> {
    /// Predicts and checks every cell; those that fail leave their units.
    pub(super) fn admit(&mut self, p: &mut Progress) {
        for u in 0..p.units.len() {
            for i in p.units[u].cells.clone() {
                self.predict(&mut p.records[i]);
            }
            p.keep_running(u);
            if self.is_cut(p) {
                return;
            }
            // A check depends on all but the length, so the cells of a unit share one.
            let Some(&longest) = p.units[u].cells.last() else { continue };
            let cell = &self.group.cells[longest];
            let executor = &mut *self.world.executor;
            match caught(|| executor.check(cell)) {
                Err(VisitError::Interrupted) => {
                    p.cut = Some(Cut::Interrupted);
                    return;
                }
                Err(error) => p.fail(u, &error),
                Ok(report) => {
                    for i in p.units[u].cells.clone() {
                        p.records[i].check = Some(report);
                        if !report.passed {
                            let (abs, rel) = (report.max_abs_err, report.max_rel_err);
                            p.records[i].end(
                                Status::Incorrect,
                                format!("differs from the f64 reference by {abs:.3e} absolute, {rel:.3e} relative"),
                            );
                        }
                    }
                    p.keep_running(u);
                }
            }
        }
    }

    fn predict(&self, record: &mut CellRecord) {
        match self.world.executor.predict(&record.cell) {
            Err(reason) => record.end(Status::Skipped, reason),
            Ok(prediction) => {
                record.prediction = Some(prediction);
                let need = prediction.memory_bytes;
                if need > self.memory_budget {
                    let budget = self.memory_budget;
                    record.over_memory_budget = true;
                    record.end(
                        Status::Skipped,
                        format!(
                            "needs {} ({need} bytes), over the memory budget of {} (--memory-budget)",
                            Bytes(need),
                            Bytes(budget)
                        ),
                    );
                }
            }
        }
    }
}
