//! Tells on stderr how far a run is. It hears of events between visits and draws at once, with no thread of its own, so
//! that nothing is drawn while something is timed.

mod training;

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
pub use training::TrainProgress;

use crate::{
    spec::CellId,
    sweep::{CellRecord, Event, GroupRecord, Plan, Sink, Span, Status, event::Warning},
};

/// Steps of the bar that one group takes.
const STEPS: u64 = 1000;

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A bar, for terminals.
    Bar {
        /// With a line for every finished cell.
        verbose: bool,
    },
    /// A line for every finished group, for logs.
    Lines {
        /// And one for every finished cell.
        verbose: bool,
    },
    /// Not at all.
    Silent,
}

/// Progress of one run.
pub struct Progress {
    manner: Manner,
    bar: ProgressBar,
    groups: usize,
    labels: HashMap<CellId, String>,
    titles: Vec<String>,
    done: u64,
    warned: HashSet<&'static str>,
    started: Instant,
    /// Groups that this process has finished.
    finished: u32,
    time_budget: Option<Duration>,
}

/// Time that the groups left will take if they take as long as those that this process has finished, within the budget.
fn time_left(elapsed: Duration, finished: u32, left: usize, budget: Option<Duration>) -> Option<Duration> {
    let each = elapsed.checked_div(finished)?;
    let left = each.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
    Some(budget.map_or(left, |budget| left.min(budget.saturating_sub(elapsed))))
}

impl Progress {
    /// Of a run of that plan.
    #[must_use]
    pub fn new(plan: &Plan, manner: Manner) -> Self {
        let target = if matches!(manner, Manner::Bar { .. }) {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(plan.groups.len() as u64 * STEPS), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}% {elapsed} +{eta}  {wide_msg}") {
            bar.set_style(style);
        }
        let labels = plan.cells().map(|c| (c.id(), c.label())).collect();
        let title = |cells: &[crate::spec::Cell]| {
            cells.last().map_or_else(String::new, |c| {
                let cache = c.cache.map_or_else(String::new, |cache| format!(" · {cache}"));
                format!("{} · batch {} · {}{cache}", c.workload, c.batch_size, c.seq_len)
            })
        };
        let titles = plan.groups.iter().map(|g| title(&g.cells)).collect();
        let (groups, time_budget) = (plan.groups.len(), plan.settings.time_budget);
        let (warned, started) = (HashSet::new(), Instant::now());
        Self { manner, bar, groups, labels, titles, done: 0, warned, started, finished: 0, time_budget }
    }

    /// Draws once more what is on the screen.
    pub fn redraw(&self) {
        self.bar.tick();
    }

    fn line(&self, text: &str) {
        match self.manner {
            Manner::Bar { .. } => self.bar.println(text),
            // Where stderr is gone there is nobody to tell.
            Manner::Lines { .. } => drop(writeln!(io::stderr().lock(), "{text}")),
            Manner::Silent => {}
        }
    }

    fn label(&self, cell: &CellId) -> &str {
        self.labels.get(cell).map_or("", String::as_str)
    }

    fn cell(&self, record: &CellRecord) {
        if self.is_verbose() {
            let detail = if record.detail.is_empty() { String::new() } else { format!(": {}", record.detail) };
            self.line(&format!("  {} · {}{detail}", record.cell.label(), record.status));
        }
    }

    /// Each kind of warning is told once: all of them are in the rows.
    fn warning(&mut self, warning: &Warning) {
        let is_new = self.warned.insert(warning.code);
        if is_new || self.is_verbose() {
            let rest = if self.is_verbose() { "" } else { "; more of these are only counted" };
            self.line(&format!("warning: {}{rest}", warning.text));
        }
    }

    fn is_verbose(&self) -> bool {
        matches!(self.manner, Manner::Bar { verbose: true } | Manner::Lines { verbose: true })
    }

    fn group(&mut self, group: &GroupRecord) {
        self.done += 1;
        self.finished += 1;
        self.bar.set_position(self.done * STEPS);
        if matches!(self.manner, Manner::Lines { .. }) {
            let title = self.titles.get(group.group).map_or("", String::as_str);
            let ok = group.cells.iter().filter(|c| c.status == Status::Ok).count();
            let cells = group.cells.len();
            let left = self.groups.saturating_sub(usize::try_from(self.done).unwrap_or(usize::MAX));
            let time = time_left(self.started.elapsed(), self.finished, left, self.time_budget).filter(|_| left > 0);
            let time = time.map_or(String::new(), |t| {
                format!(", about {} left", Span(Duration::from_secs(t.as_secs_f64().round().max(1.0) as u64)))
            });
            self.line(&format!("[{}/{}] {title}: {ok} of {cells} cells ok{time}", group.group + 1, self.groups));
        }
    }
}

impl Sink for Progress {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::RunStarted(run) => {
                self.done = run.groups_done as u64;
                self.started = Instant::now();
                self.bar.set_position(self.done * STEPS);
                self.bar.reset_eta();
            }
            Event::RoundStarted(round) => {
                let within = STEPS * u64::from(round.round) / u64::from(round.max_rounds.max(1));
                self.bar.set_position(self.done * STEPS + within.min(STEPS));
            }
            Event::VisitStarted(visit) => {
                let label = visit.cells.last().map_or("", |cell| self.label(cell));
                self.bar.set_message(format!("{label} · round {}", visit.round + 1));
            }
            Event::CellFinished(record) => self.cell(record),
            Event::Warning(warning) => self.warning(warning),
            Event::GroupFinished(group) => self.group(group),
            Event::RunFinished(_) => self.bar.finish_and_clear(),
            Event::GroupStarted(_) | Event::VisitFinished(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_groups_left_at_the_pace_so_far() {
        let s = Duration::from_secs;
        assert_eq!(time_left(s(40), 2, 4, None), Some(s(80)));
        assert_eq!(time_left(s(40), 2, 4, Some(s(100))), Some(s(60)));
        assert_eq!(time_left(s(40), 2, 4, Some(s(30))), Some(s(0)));
        assert_eq!(time_left(s(40), 0, 4, None), None);
    }
}
