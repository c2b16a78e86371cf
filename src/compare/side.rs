//! One side of a comparison: the launches of one build on one machine, cell by cell. Keeps of each row what comparing
//! needs, so that many files fit in memory.

use std::collections::HashMap;

use super::{key::CellKey, types::Refused};
use crate::{
    store::Row,
    sweep::{Status, fingerprint_of},
};

/// Columns that describe the build and the machine, and the user's own; the first row of a run speaks for it.
pub(super) const ENVIRONMENT: [&str; 25] = [
    "build_version",
    "build_commit",
    "build_dirty",
    "build_profile",
    "build_features",
    "rustc_version",
    "candle_version",
    "device_name",
    "device_index",
    "device_mem_total_bytes",
    "driver_version",
    "cpu_info",
    "cpu_isa",
    "cpu_cores_physical",
    "cpu_threads_logical",
    "ram_total_bytes",
    "os",
    "kernel",
    "machine_id",
    "machine_label",
    "container",
    "ci",
    "timer",
    "tui_active",
    "meta",
];

/// What measured a side: rows of two origins are two sides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Commit of the build, with `+` where the tree was changed since.
    pub build: String,
    /// Hash of the machine's stable facts.
    pub machine_id: String,
    /// Name and ordinal of the accelerator, if any.
    pub device: String,
}

impl Origin {
    /// The origin that a row names.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        let changed = if row.build_dirty == Some(true) { "+" } else { "" };
        let index = row.device_index.map_or(String::new(), |i| format!(":{i}"));
        Self {
            build: format!("{}{changed}", row.build_commit),
            machine_id: row.machine_id.clone(),
            device: format!("{}{index}", row.device_name),
        }
    }
}

/// A launch of the program, and what surrounded it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub run_id: String,
    /// One value per environment column.
    pub(super) environment: Vec<String>,
    /// Warning codes of its rows, and how many rows bear each.
    pub(super) warnings: HashMap<String, usize>,
    /// Rows read.
    pub rows: usize,
}

/// What one launch measured of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Index into [`Side::runs`].
    pub run: usize,
    /// What became of the cell.
    pub status: String,
    /// Figures of its rounds in ns; empty where it has no speed.
    pub figures: Box<[f64]>,
    /// The values of the metrics that were asked for, in their order.
    pub values: Box<[Option<f64>]>,
    /// Limits of the machine at the cell's footprint.
    pub(super) limits: Limits,
}

/// What a machine reaches, as far as it was measured beside a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Limits {
    /// Of a stream.
    pub(super) gb_per_s: Option<f64>,
    /// Of a matrix product.
    pub(super) gflops: Option<f64>,
}

/// A cell of a side.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredCell {
    /// Its key.
    pub key: CellKey,
    /// One entry per launch.
    pub launches: Vec<Launch>,
}

/// All launches of one build on one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// What people call it.
    pub name: String,
    /// What measured it.
    pub origin: Origin,
    /// Its launches.
    pub runs: Vec<Run>,
    /// Its cells, in the order of their first rows.
    pub cells: Vec<MeasuredCell>,
    index: HashMap<CellKey, usize>,
}

/// Sorts rows into sides, by origin, as they are read.
#[derive(Debug, Default)]
pub struct Sides {
    name: String,
    metrics: Vec<String>,
    sides: Vec<Side>,
}

impl Sides {
    /// Sides of that name; of each row, the values of these columns are kept besides the figures.
    #[must_use]
    pub fn new(name: &str, metrics: &[String]) -> Self {
        Self { name: name.to_owned(), metrics: metrics.to_vec(), sides: Vec::new() }
    }

    /// Takes a row in. The same row twice counts once.
    ///
    /// # Errors
    /// Where the row contradicts another one of the same launch and cell, or was measured with other settings than the
    /// same cell in another launch.
    pub fn add(&mut self, row: &Row) -> Result<(), Refused> {
        let origin = Origin::of(row);
        let at = self.sides.iter().position(|s| s.origin == origin).unwrap_or_else(|| {
            self.sides.push(Side::new(&self.name, origin));
            self.sides.len() - 1
        });
        self.sides[at].add(row, &self.metrics)
    }

    /// The sides, in the order of their first rows; where there are several, each is named after what sets it apart.
    #[must_use]
    pub fn finish(mut self) -> Vec<Side> {
        if self.sides.len() > 1 {
            let origins: Vec<Origin> = self.sides.iter().map(|s| s.origin.clone()).collect();
            for side in &mut self.sides {
                side.name = format!("{} ({})", side.name, side.apart_from(&origins));
            }
        }
        self.sides
    }
}

impl Side {
    fn new(name: &str, origin: Origin) -> Self {
        Self { name: name.to_owned(), origin, runs: Vec::new(), cells: Vec::new(), index: HashMap::new() }
    }

    /// Puts a launch of a cell in by hand: a simulation makes millions.
    #[cfg(test)]
    pub(super) fn simulate(&mut self, run: usize, key: &CellKey, figures: Box<[f64]>) {
        let launch =
            Launch { run, status: "ok".to_owned(), figures, values: Box::default(), limits: Limits::default() };
        if let Some(at) = self.index.get(key) {
            self.cells[*at].launches.push(launch);
        } else {
            self.index.insert(key.clone(), self.cells.len());
            self.cells.push(MeasuredCell { key: key.clone(), launches: vec![launch] });
        }
    }

    #[cfg(test)]
    pub(super) fn empty(name: &str, origin: Origin) -> Self {
        Self::new(name, origin)
    }

    /// The cell of that key.
    #[must_use]
    pub fn cell(&self, key: &CellKey) -> Option<&MeasuredCell> {
        self.index.get(key).map(|i| &self.cells[*i])
    }

    fn add(&mut self, row: &Row, metrics: &[String]) -> Result<(), Refused> {
        let run = self.run_of(row);
        let key = CellKey::of(row);
        let launch = Launch {
            run,
            status: row.status.clone(),
            figures: if row.status == Status::Ok.as_str() { usable(row.figures()) } else { Box::default() },
            values: metrics.iter().map(|m| row.number(m).filter(|v| v.is_finite())).collect(),
            limits: Limits {
                gb_per_s: limit(row.achieved_gb_per_s, row.pct_of_peak_bandwidth),
                gflops: limit(row.achieved_gflops, row.pct_of_peak_flops),
            },
        };
        let Some(&at) = self.index.get(&key) else {
            self.index.insert(key.clone(), self.cells.len());
            self.cells.push(MeasuredCell { key, launches: vec![launch] });
            self.note(run, row);
            return Ok(());
        };
        let cell = &mut self.cells[at];
        if let Some(known) = cell.launches.iter().find(|l| l.run == run) {
            if *known == launch {
                return Ok(());
            }
            return Err(Refused(format!(
                "run {} has the cell {} ({} {}, batch {}, seq_len {}) twice, with other values; give the file it \
                 belongs to alone",
                row.run_id, row.cell_id, row.variant, row.workload, row.batch_size, row.seq_len
            )));
        }
        let other = &self.runs[cell.launches[0].run].run_id;
        if fingerprint_of(other) != fingerprint_of(&row.run_id) {
            return Err(Refused(format!(
                "{}: the runs {other} and {} were measured with other settings or cells, so that they are no launches \
                 of one thing; give them as sides of their own",
                self.name, row.run_id
            )));
        }
        cell.launches.push(launch);
        self.note(run, row);
        Ok(())
    }

    fn run_of(&mut self, row: &Row) -> usize {
        // Rows of a run follow each other.
        if let Some(at) = self.runs.iter().rposition(|r| r.run_id == row.run_id) {
            return at;
        }
        self.runs.push(Run {
            run_id: row.run_id.clone(),
            environment: ENVIRONMENT.iter().map(|column| row.text(column)).collect(),
            warnings: HashMap::new(),
            rows: 0,
        });
        self.runs.len() - 1
    }

    fn note(&mut self, run: usize, row: &Row) {
        let run = &mut self.runs[run];
        run.rows += 1;
        for code in row.warnings.split_whitespace() {
            *run.warnings.entry(code.to_owned()).or_default() += 1;
        }
    }

    /// Machine and device, as one text.
    pub(super) fn machine(&self) -> String {
        format!("{} {}", self.origin.machine_id, self.origin.device)
    }

    /// The values of an environment column over the runs, each once.
    pub(super) fn environment(&self, column: usize) -> String {
        let mut values: Vec<&str> = Vec::new();
        for run in &self.runs {
            let value = run.environment[column].as_str();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.join("; ")
    }

    pub(super) fn fact(&self, column: &str) -> String {
        ENVIRONMENT.iter().position(|c| *c == column).map_or(String::new(), |i| self.environment(i))
    }

    /// What sets this side apart from sides of the other origins.
    fn apart_from(&self, origins: &[Origin]) -> String {
        let differs = |of: fn(&Origin) -> &String| origins.iter().any(|o| of(o) != of(&self.origin));
        let mut parts = Vec::new();
        if differs(|o| &o.machine_id) {
            let label = self.fact("machine_label");
            parts.push(if label.is_empty() { self.origin.machine_id.clone() } else { label });
        }
        if differs(|o| &o.device) {
            parts.push(if self.origin.device.is_empty() { "cpu".to_owned() } else { self.origin.device.clone() });
        }
        if differs(|o| &o.build) {
            parts.push(if self.origin.build.is_empty() {
                "unknown build".to_owned()
            } else {
                self.origin.build.clone()
            });
        }
        parts.join(", ")
    }
}

/// Figures fit for logarithms; a file of another program's making may hold others.
fn usable(figures: Vec<f64>) -> Box<[f64]> {
    if figures.iter().all(|f| f.is_finite() && *f > 0.0) { figures.into_boxed_slice() } else { Box::default() }
}

/// A limit from what was reached of it.
fn limit(achieved: Option<f64>, pct: Option<f64>) -> Option<f64> {
    let limit = 100.0 * achieved? / pct?;
    (limit.is_finite() && limit > 0.0).then_some(limit)
}
