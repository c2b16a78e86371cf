//! What a table's rows say over length: where each linear variant passes softmax, and how steeply its time grows.

use super::{super::numbers::three, Table, name_among};
use crate::{
    spec::Workload,
    stats::{Crossover, Series, crossover, scaling_exponent},
    store::Row,
};

/// One variant over the lengths: its time per token in each round.
struct Curve {
    name: String,
    is_softmax: bool,
    is_linear: bool,
    implementation: String,
    points: Vec<(usize, Vec<Option<f64>>)>,
}

impl Curve {
    fn series(&self) -> Vec<Series<'_>> {
        self.points.iter().map(|(seq_len, rounds)| Series { seq_len: *seq_len, rounds }).collect()
    }

    /// Where it passes softmax of the same implementation; `None` for what is not linear.
    fn passes(&self, all: &[Self]) -> Option<Crossover> {
        let base = all.iter().find(|c| c.is_softmax && c.implementation == self.implementation)?;
        crossover(&base.series(), &self.series()).filter(|_| self.is_linear && self.points.len() > 1)
    }
}

/// Where each linear variant of rows that are compared with each other passes softmax, under the name it has among them.
pub(in crate::report) fn crossovers(rows: &[&Row]) -> Vec<(String, Crossover)> {
    let curves = curves(rows);
    curves.iter().filter_map(|curve| Some((curve.name.clone(), curve.passes(&curves)?))).collect()
}

/// Crossovers and scaling exponents of the table, a line per variant; nothing where there is but one length.
pub(super) fn render(table: &Table<'_>) -> String {
    let curves = curves(&table.rows);
    let of = table.rows.first().map_or("", |r| match r.workload.as_str() {
        "generate" | "translate" => "over the whole generation",
        "forward" | "prefill" => "over a whole sequence",
        "train" => "in a training step",
        _ => "per step",
    });
    let mut out = String::new();
    for curve in curves.iter().filter(|c| c.points.len() > 1) {
        let passes = curve.passes(&curves).map(|c| format!("{} {of}", passing(&c, curve)));
        let grows = scaling_exponent(&curve.series()).map(|s| {
            let interval = s.interval.map_or_else(String::new, |(low, high)| format!(" [{low:.2}, {high:.2}]"));
            format!("time per token grows as seq_len^{:.2}{interval}", s.exponent)
        });
        let parts: Vec<String> = [passes, grows].into_iter().flatten().collect();
        if !parts.is_empty() {
            out.push_str(&format!("  {}: {}\n", curve.name, parts.join("; ")));
        }
    }
    out
}

fn passing(crossover: &Crossover, curve: &Curve) -> String {
    let lengths = || curve.points.iter().map(|(len, _)| *len);
    match crossover {
        Crossover::At { length, interval } => {
            let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(l), three(h)));
            format!("passes softmax at {} tokens{interval}", three(*length))
        }
        Crossover::NoneInRange => format!("does not pass softmax up to {} tokens", lengths().max().unwrap_or(0)),
        Crossover::AlwaysFaster => format!("faster than softmax from {} tokens on", lengths().min().unwrap_or(0)),
    }
}

/// The curves of the rows that have figures, in the order of the table.
fn curves(rows: &[&Row]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows.iter().filter(|r| r.status == "ok") {
        let rounds = per_token(row);
        let Ok(seq_len) = usize::try_from(row.seq_len) else { continue };
        if rounds.is_empty() || seq_len == 0 {
            continue;
        }
        let name = name_among(row, rows);
        match curves.iter_mut().find(|c| c.name == name) {
            Some(curve) => curve.points.push((seq_len, rounds)),
            None => curves.push(Curve {
                name,
                is_softmax: row.variant == "softmax",
                is_linear: row.feature_dim.is_some(),
                implementation: row.implementation.clone(),
                points: vec![(seq_len, rounds)],
            }),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by_key(|(len, _)| *len);
    }
    curves
}

/// The rounds' times per token of one sequence.
#[must_use]
pub fn per_token(row: &Row) -> Vec<Option<f64>> {
    let takes_sequences = row.workload.parse::<Workload>().is_ok_and(Workload::takes_sequences);
    let tokens = if takes_sequences { row.seq_len.max(1) as f64 } else { 1.0 };
    row.figures().into_iter().map(|ns| (ns > 0.0).then_some(ns / tokens)).collect()
}
