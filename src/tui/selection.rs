//! Which part of the rows the charts show, and those charts. Shared by the screens that draw lines, so that a batch chosen on
//! one is the batch of the others.

use super::{
    board::{Curve, Metric, Passing, Sheet, curves, passings},
    keys::Action,
};
use crate::store::Row;

/// What is chosen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) sheet: usize,
    /// Index among the sheet's batches.
    pub(crate) batch: usize,
    /// Index among [`Metric::ALL`], where one chart is shown at a time.
    pub(crate) metric: usize,
    /// Whether y is linear.
    pub(crate) linear: bool,
}

impl Selection {
    /// Keeps within what there is.
    pub(crate) fn clamp(&mut self, sheets: &[Sheet]) {
        self.sheet = self.sheet.min(sheets.len().saturating_sub(1));
        let batches = sheets.get(self.sheet).map_or(0, |s| s.batches.len());
        self.batch = self.batch.min(batches.saturating_sub(1));
    }

    /// Takes an action; says whether it was one for a selection.
    pub(crate) fn act(&mut self, action: Action, sheets: &[Sheet]) -> bool {
        let batches = sheets.get(self.sheet).map_or(1, |s| s.batches.len().max(1));
        let n = sheets.len().max(1);
        match action {
            Action::NextBatch => self.batch = (self.batch + 1) % batches,
            Action::PreviousBatch => self.batch = (self.batch + batches - 1) % batches,
            Action::NextSheet => (self.sheet, self.batch) = ((self.sheet + 1) % n, usize::MAX),
            Action::PreviousSheet => (self.sheet, self.batch) = ((self.sheet + n - 1) % n, usize::MAX),
            Action::NextChart => self.metric = (self.metric + 1) % Metric::ALL.len(),
            Action::LogLinear => self.linear = !self.linear,
            _ => return false,
        }
        self.clamp(sheets);
        true
    }

    /// The batch that is shown.
    pub(crate) fn batch(&self, sheet: &Sheet) -> u64 {
        sheet.batches.get(self.batch).copied().unwrap_or_default()
    }
}

/// What is drawn of a selection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charts {
    pub(crate) speed: Vec<Curve>,
    pub(crate) memory: Vec<Curve>,
    pub(crate) latency: Vec<Curve>,
    /// 99th percentiles of single calls, where there are any.
    pub(crate) tails: Vec<Curve>,
    pub(crate) passings: Vec<Passing>,
}

impl Charts {
    /// The charts of what is chosen.
    pub(crate) fn of(selection: &Selection, sheets: &[Sheet], rows: &[Row]) -> Self {
        let Some(sheet) = sheets.get(selection.sheet) else { return Self::default() };
        let batch = selection.batch(sheet);
        let of = |metric| curves(sheet, rows, batch, metric);
        Self {
            speed: of(Metric::Speed),
            memory: of(Metric::Memory),
            latency: of(Metric::Latency),
            tails: of(Metric::Tail),
            passings: passings(sheet, rows, batch),
        }
    }

    /// The curves of a metric.
    pub(crate) fn curves(&self, metric: Metric) -> &[Curve] {
        match metric {
            Metric::Speed => &self.speed,
            Metric::Memory => &self.memory,
            Metric::Latency => &self.latency,
            Metric::Tail => &self.tails,
        }
    }
}
