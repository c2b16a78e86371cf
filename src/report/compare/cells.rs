//! The cells of a comparison: one flat list for programs, a table per workload and batch for people.

use serde_json::Value;

use super::{
    super::{
        Listing,
        numbers::{three, time},
        text::plural,
    },
    wording::{Names, across, detail, verdict},
};
use crate::{
    compare::{CellComparison, CellKey, Comparison, Measured, Needs, Ratio, Verdict},
    spec::KEY_COLUMNS,
};

/// Columns of the flat list behind the names of the sides and the key.
const METRICS: [&str; 16] = [
    "base_ns",
    "candidate_ns",
    "ratio",
    "ratio_ci95_low",
    "ratio_ci95_high",
    "p_holm",
    "verdict",
    "verdict_detail",
    "across",
    "more_launches",
    "more_rounds",
    "base_launches",
    "candidate_launches",
    "ratio_per_core",
    "ratio_per_gb_per_s",
    "ratio_per_gflops",
];

/// Every cell of every comparison, by the names of the columns of a cells file.
pub(super) fn listing<'a>(comparisons: impl IntoIterator<Item = &'a Comparison>) -> Listing {
    let sides = ["base", "candidate"];
    let columns: Vec<&'static str> = sides.iter().chain(&KEY_COLUMNS).chain(&METRICS).copied().collect();
    let mut list = Listing::new(&columns);
    for comparison in comparisons {
        for cell in &comparison.cells {
            let mut row: Vec<Value> = vec![comparison.base.clone().into(), comparison.candidate.clone().into()];
            row.extend(cell.key.iter().map(|(column, value)| key_value(column, value)));
            row.extend(metrics(cell));
            list.push(row);
        }
    }
    list
}

/// A value of the key, as a number or a boolean where it is one.
fn key_value(column: &str, value: &str) -> Value {
    match value {
        "" => Value::Null,
        _ if column == "causal" => value.parse::<bool>().map_or_else(|_| value.into(), Value::from),
        _ if crate::store::Row::has_number(column) => value.parse::<u64>().map_or_else(|_| value.into(), Value::from),
        _ => value.into(),
    }
}

fn metrics(cell: &CellComparison) -> Vec<Value> {
    let (launches, rounds) = match cell.verdict {
        Verdict::Unclear(Needs::Launches(n)) => (Some(n), None),
        Verdict::Unclear(Needs::Rounds(n)) => (None, Some(n)),
        _ => (None, None),
    };
    let interval = cell.ratio.and_then(|r| r.interval);
    vec![
        cell.base.map(|m| m.ns).into(),
        cell.candidate.map(|m| m.ns).into(),
        cell.ratio.map(|r| r.ratio).into(),
        interval.map(|i| i.0).into(),
        interval.map(|i| i.1).into(),
        cell.p_holm.into(),
        cell.verdict.word().into(),
        detail(cell).into(),
        across(cell).into(),
        launches.into(),
        rounds.into(),
        cell.base.map(|m| m.launches).into(),
        cell.candidate.map(|m| m.launches).into(),
        cell.normalised.per_core.into(),
        cell.normalised.per_gb_per_s.into(),
        cell.normalised.per_gflops.into(),
    ]
}

/// `1.25× [1.19, 1.31]`.
pub(super) fn ratio(ratio: &Ratio) -> String {
    let interval = ratio.interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(l), three(h)));
    format!("{}×{interval}", three(ratio.ratio))
}

/// A table per workload, batch and shape, with its title.
pub(super) fn tables(c: &Comparison) -> Vec<(String, Listing)> {
    let names = Names::of(c);
    let has_across = c.cells.iter().any(|cell| !cell.across.is_empty());
    let columns = ["variant", "implementation", "seq_len", "candidate has", "base", "candidate", "×", "verdict"];
    let columns: Vec<&str> = columns.into_iter().filter(|c| has_across || *c != "candidate has").collect();
    let mut tables: Vec<(CellKey, String, Listing)> = Vec::new();
    for cell in &c.cells {
        let company = cell.key.without(&[
            "variant",
            "variant_params",
            "implementation",
            "seq_len",
            "feature_dim",
            "cross_feature_dim",
        ]);
        let at = tables.iter().position(|(key, ..)| *key == company).unwrap_or_else(|| {
            tables.push((company.clone(), title(&cell.key), Listing::new(&columns)));
            tables.len() - 1
        });
        let measured = |m: &Option<Measured>| m.as_ref().map(|m| time(m.ns));
        let mut row: Vec<Value> = vec![
            names.variant(&cell.key).into(),
            cell.key.get("implementation").into(),
            cell.key.number("seq_len").into(),
        ];
        row.extend(has_across.then(|| across(cell).into()));
        row.extend::<[Value; 4]>([
            measured(&cell.base).into(),
            measured(&cell.candidate).into(),
            cell.ratio.as_ref().map(ratio).into(),
            verdict(cell).into(),
        ]);
        tables[at].2.push(row);
    }
    tables.into_iter().map(|(_, title, listing)| (title, listing)).collect()
}

/// What the cells of a table share, in words.
fn title(key: &CellKey) -> String {
    let mut parts = vec![key.get("workload").to_owned(), format!("batch {}", key.get("batch_size"))];
    match (key.number("n_layers"), key.number("d_model")) {
        (Some(layers), Some(width)) => parts.push(format!("{layers} layers of {width}")),
        _ => parts.push(format!("{} heads of {}", key.get("n_heads"), key.get("head_dim"))),
    }
    let cache = key.get("cache");
    parts.extend((!cache.is_empty()).then(|| cache.to_owned()));
    let threads = key.get("n_threads");
    let threads = threads.parse().map_or_else(|_| format!("{threads} threads"), |n| plural(n, "thread"));
    parts.push(format!("{} on {}, {threads}", key.get("dtype"), key.get("device_kind")));
    parts.join(" · ")
}

/// Ratios per unit of what the machines have; nothing where both have as much of everything.
pub(super) fn normalised(c: &Comparison) -> Listing {
    let names = Names::of(c);
    let mut list =
        Listing::new(&["variant", "workload", "batch_size", "seq_len", "×", "per core", "per GB/s", "per GFLOP/s"]);
    let shown = |v: Option<f64>| v.map(|v| format!("{}×", three(v)));
    let is_other_machine = c.environment.iter().any(|d| d.column == "machine_id");
    for cell in c.cells.iter().filter(|_| is_other_machine) {
        let Some(plain) = cell.ratio else { continue };
        let n = cell.normalised;
        list.push(vec![
            names.variant(&cell.key).into(),
            cell.key.get("workload").into(),
            cell.key.number("batch_size").into(),
            cell.key.number("seq_len").into(),
            shown(Some(plain.ratio)).into(),
            shown(n.per_core).into(),
            shown(n.per_gb_per_s).into(),
            shown(n.per_gflops).into(),
        ]);
    }
    list
}
