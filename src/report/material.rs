//! What a report is made of: runs of cells, training logs, qualities. Values only: knows no file beyond its name.

use std::collections::HashSet;

use super::summary::company;
use crate::store::{CellsTable, QualityTable, Row, TrainingTable};

/// A file of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct CellsFrom {
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub table: CellsTable,
}

/// A training log.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingFrom {
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub table: TrainingTable,
}

/// A file that sets quality beside speed.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityFrom {
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub table: QualityTable,
}

/// All that was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Material {
    /// In the order given.
    pub cells: Vec<CellsFrom>,
    /// In the order given.
    pub training: Vec<TrainingFrom>,
    /// In the order given.
    pub quality: Vec<QualityFrom>,
}

/// Cells that are read together: of one run, one workload, one shape and one batch; they differ in variant,
/// implementation, feature size and length alone.
#[derive(Debug, Clone)]
pub(super) struct Panel<'a> {
    /// What people call the run; empty where there is but one.
    pub(super) run: &'a str,
    /// Everything the rows share but the run.
    pub(super) key: String,
    /// Never empty; in the order of the file.
    pub(super) rows: Vec<&'a Row>,
}

impl<'a> Panel<'a> {
    /// A row that speaks for what all share.
    pub(super) fn first(&self) -> &'a Row {
        self.rows[0]
    }

    /// Longest length at which a row satisfies `has`.
    pub(super) fn longest(&self, has: impl Fn(&Row) -> bool) -> Option<u64> {
        self.rows.iter().filter(|r| has(r)).map(|r| r.seq_len).max()
    }
}

impl Material {
    /// Every row with the name of its file.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.cells.iter().flat_map(|file| file.table.rows.iter().map(|row| (file.name.as_str(), row)))
    }

    /// The panels: workloads and shapes in the order of their first rows, and within one the runs, batches ascending.
    pub(super) fn panels(&self) -> Vec<Panel<'_>> {
        let is_one = self.cells.len() < 2;
        let mut panels: Vec<Panel<'_>> = Vec::new();
        for (run, row) in self.rows() {
            let (run, key) = (if is_one { "" } else { run }, company(row));
            match panels.iter_mut().find(|p| p.run == run && p.key == key) {
                Some(panel) => panel.rows.push(row),
                None => panels.push(Panel { run, key, rows: vec![row] }),
            }
        }
        let mut shapes: Vec<String> = Vec::new();
        for panel in &panels {
            let shape = shape_of(panel);
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        let rank = |panel: &Panel<'_>| shapes.iter().position(|s| *s == shape_of(panel));
        let runs: Vec<&str> = self.cells.iter().map(|c| c.name.as_str()).collect();
        let place = |panel: &Panel<'_>| runs.iter().position(|r| *r == panel.run);
        panels.sort_by_cached_key(|p| (rank(p), p.first().batch_size, place(p)));
        panels
    }

    /// Distinct machines of the rows.
    pub(super) fn machines(&self) -> usize {
        self.rows().map(|(_, row)| row.machine_id.as_str()).collect::<HashSet<_>>().len()
    }
}

/// The key of a panel but for its batch.
pub(super) fn shape_of(panel: &Panel<'_>) -> String {
    let row = Row { batch_size: 0, ..panel.first().clone() };
    company(&row)
}
