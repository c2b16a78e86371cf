//! What a table's rows say over length: where each linear variant passes softmax, and how steeply its time grows.

use super::{super::numbers::three, Table, name_among};
use crate::{
    spec::Workload,
    stats::{self, Crossover, crossover, scaling_exponent},
    store::Row,
};

/// One variant over the lengths: its time per token in each round.
struct Curve {
    name: String,
    is_softmax: bool,
    is_linear: bool,
    implementation: String,
    times: stats::Curve,
}

impl Curve {
    /// Where it passes softmax of the same implementation; `None` for what is not linear.
    fn passes(&self, all: &[Self]) -> Option<Crossover> {
        let base = all.iter().find(|c| c.is_softmax && c.implementation == self.implementation)?;
        crossover(&base.times, &self.times).filter(|_| self.is_linear && self.times.has_extent())
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
    for curve in curves.iter().filter(|c| c.times.has_extent()) {
        let passes = curve.passes(&curves).map(|c| format!("{} {of}", passing(&c, curve)));
        let grows = scaling_exponent(&curve.times).map(|s| {
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
    let (shortest, longest) = curve.times.range().unwrap_or_default();
    match crossover {
        Crossover::At { length, interval } => {
            let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(l), three(h)));
            format!("passes softmax at {} tokens{interval}", three(*length))
        }
        Crossover::NoneInRange => format!("does not pass softmax up to {longest} tokens"),
        Crossover::AlwaysFaster => format!("faster than softmax from {shortest} tokens on"),
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
        let at = curves.iter().position(|c| c.name == name).unwrap_or_else(|| {
            curves.push(Curve {
                name,
                is_softmax: row.variant == "softmax",
                is_linear: row.feature_dim.is_some(),
                implementation: row.implementation.clone(),
                times: stats::Curve::default(),
            });
            curves.len() - 1
        });
        curves[at].times.add(seq_len, rounds);
    }
    curves
}

/// The rounds' times per token of one sequence.
#[must_use]
pub fn per_token(row: &Row) -> Vec<Option<f64>> {
    let seq_len = usize::try_from(row.seq_len).unwrap_or(usize::MAX);
    let tokens = row.workload.parse::<Workload>().map_or(1, |w| w.tokens_per_call(seq_len)).max(1) as f64;
    row.figures().into_iter().map(|ns| (ns > 0.0).then_some(ns / tokens)).collect()
}
