//! What stands around the cells of a comparison: means, trends, environment, fairness.

use serde_json::Value;

use super::{
    super::{Format, Listing, numbers::three},
    cells::ratio,
    wording::Names,
};
use crate::{
    compare::{Comparison, Trend},
    stats::Crossover,
};

/// Means as programs read them.
pub(super) fn means(c: &Comparison) -> Listing {
    let mut list =
        Listing::new(&["workload", "variant", "implementation", "cells", "ratio", "ratio_ci95_low", "ratio_ci95_high"]);
    for m in &c.means {
        let interval = m.ratio.interval;
        list.push(vec![
            m.key.get("workload").into(),
            m.key.variant(true).into(),
            m.key.get("implementation").into(),
            m.cells.into(),
            m.ratio.ratio.into(),
            interval.map(|i| i.0).into(),
            interval.map(|i| i.1).into(),
        ]);
    }
    list
}

/// Means as people read them.
pub(super) fn means_for_people(c: &Comparison) -> Listing {
    let names = Names::of(c);
    let mut list = Listing::new(&["workload", "variant", "implementation", "cells", "×"]);
    for m in &c.means {
        list.push(vec![
            m.key.get("workload").into(),
            names.variant(&m.key).into(),
            m.key.get("implementation").into(),
            m.cells.into(),
            ratio(&m.ratio).into(),
        ]);
    }
    list
}

/// The word of a crossover, and its length and interval where it has one.
fn crossover(trend: &Trend) -> (Value, Value, Value, Value) {
    match trend.crossover {
        None => (Value::Null, Value::Null, Value::Null, Value::Null),
        Some(Crossover::NoneInRange) => ("none in range".into(), Value::Null, Value::Null, Value::Null),
        Some(Crossover::AlwaysFaster) => ("always faster".into(), Value::Null, Value::Null, Value::Null),
        Some(Crossover::At { length, interval }) => {
            ("at".into(), length.into(), interval.map(|i| i.0).into(), interval.map(|i| i.1).into())
        }
    }
}

/// Crossovers and exponents of both sides as programs read them.
pub(super) fn trends(c: &Comparison) -> Listing {
    let mut list = Listing::new(&[
        "side",
        "workload",
        "variant",
        "implementation",
        "batch_size",
        "crossover",
        "crossover_seq_len",
        "crossover_ci95_low",
        "crossover_ci95_high",
        "exponent",
        "exponent_ci95_low",
        "exponent_ci95_high",
    ]);
    for (side, trend) in sides(c) {
        let (word, length, low, high) = crossover(trend);
        let interval = trend.scaling.and_then(|s| s.interval);
        list.push(vec![
            side.into(),
            trend.key.get("workload").into(),
            trend.key.variant(true).into(),
            trend.key.get("implementation").into(),
            trend.key.number("batch_size").into(),
            word,
            length,
            low,
            high,
            trend.scaling.map(|s| s.exponent).into(),
            interval.map(|i| i.0).into(),
            interval.map(|i| i.1).into(),
        ]);
    }
    list
}

fn sides(c: &Comparison) -> impl Iterator<Item = (&str, &Trend)> {
    let base = c.base_trends.iter().map(|t| (c.base.as_str(), t));
    base.chain(c.candidate_trends.iter().map(|t| (c.candidate.as_str(), t)))
}

/// Crossovers and exponents as people read them: the two sides beside each other.
pub(super) fn trends_for_people(c: &Comparison) -> Listing {
    let mut list = Listing::new(&[
        "workload",
        "variant",
        "implementation",
        "batch_size",
        "passes softmax, base",
        "passes softmax, candidate",
        "time per token grows as, base",
        "candidate",
    ]);
    let names = Names::of(c);
    // Columns across which a cell was compared; a trend has the same counterpart as its cells.
    let mut across: Vec<&str> = c.cells.iter().flat_map(|cell| &cell.across).map(|(column, _)| *column).collect();
    across.sort_unstable();
    across.dedup();
    for base in &c.base_trends {
        let same = |t: &&Trend| t.key == base.key;
        let alike = |t: &&Trend| t.key.without(&across) == base.key.without(&across);
        let other = c.candidate_trends.iter().find(same).or_else(|| c.candidate_trends.iter().find(alike));
        list.push(vec![
            base.key.get("workload").into(),
            names.variant(&base.key).into(),
            base.key.get("implementation").into(),
            base.key.number("batch_size").into(),
            passing(base).into(),
            other.and_then(passing).into(),
            growing(base).into(),
            other.and_then(growing).into(),
        ]);
    }
    list
}

fn passing(trend: &Trend) -> Option<String> {
    Some(match trend.crossover? {
        Crossover::At { length, interval } => {
            let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(l), three(h)));
            format!("at {}{interval}", three(length))
        }
        Crossover::NoneInRange => format!("not up to {}", trend.lengths.1),
        Crossover::AlwaysFaster => format!("from {} on", trend.lengths.0),
    })
}

fn growing(trend: &Trend) -> Option<String> {
    let s = trend.scaling?;
    let interval = s.interval.map_or_else(String::new, |(l, h)| format!(" [{l:.2}, {h:.2}]"));
    Some(format!("seq_len^{:.2}{interval}", s.exponent))
}

/// The environment columns that differ.
pub(super) fn environment(c: &Comparison) -> Listing {
    let mut list = Listing::new(&["column", "base", "candidate"]);
    for d in &c.environment {
        list.push(vec![d.column.into(), d.base.clone().into(), d.candidate.clone().into()]);
    }
    list
}

/// What machines differ from themselves.
pub(super) fn spreads(c: &Comparison) -> Listing {
    let mut list = Listing::new(&["machine_id", "spread_pct", "launches", "cells"]);
    for s in &c.spreads {
        let pct = 100.0 * s.log_sd.exp_m1();
        list.push(vec![s.machine_id.clone().into(), pct.into(), s.launches.into(), s.cells.into()]);
    }
    list
}

/// Whether the ratios can be taken at their word.
pub(super) fn fairness(c: &Comparison, format: Format) -> String {
    let item = if format == Format::Md { "- " } else { "  " };
    let mut out = if c.fairness.objections.is_empty() {
        format!("{item}nothing that was recorded speaks against it\n")
    } else {
        c.fairness.objections.iter().map(|o| format!("{item}{o}\n")).collect()
    };
    for s in &c.spreads {
        out.push_str(&format!(
            "{item}launches of the same differ by {:.1} % (one standard deviation) on machine {}, over {} launches and \
             {} cells\n",
            100.0 * s.log_sd.exp_m1(),
            s.machine_id,
            s.launches,
            s.cells
        ));
    }
    out
}
