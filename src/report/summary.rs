//! The summary at the end of a run: rows in, readable text out. One table per workload and batch with crossovers and
//! scaling below it, and at the end how far the numbers can be trusted.

mod lines;
mod trends;

pub(super) use trends::crossovers;
pub use trends::per_token;

use std::collections::BTreeMap;

use super::text::plural;
use crate::store::Row;

/// Rows that are compared with each other: they differ in variant, implementation, feature size and length alone.
struct Table<'a> {
    title: String,
    rows: Vec<&'a Row>,
}

/// The summary of a run's rows.
#[must_use]
pub fn render_summary(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "nothing was measured\n".to_owned();
    }
    let mut out = String::new();
    for table in tables(rows) {
        out.push_str(&format!("\n{}\n", table.title));
        out.push_str(&lines::render(&table));
        out.push_str(&trends::render(&table));
    }
    out.push('\n');
    out.push_str(&trust(rows));
    out
}

/// The tables in the order of their first rows.
fn tables(rows: &[Row]) -> Vec<Table<'_>> {
    let mut keys: Vec<String> = Vec::new();
    let mut tables: Vec<Table<'_>> = Vec::new();
    for row in rows {
        let key = company(row);
        match keys.iter().position(|k| *k == key) {
            Some(i) => tables[i].rows.push(row),
            None => {
                keys.push(key);
                tables.push(Table { title: title(row), rows: vec![row] });
            }
        }
    }
    tables
}

/// Everything that two rows of a table share, as one text.
pub(super) fn company(r: &Row) -> String {
    let shape = (r.n_layers, r.d_model, r.n_heads, r.n_kv_heads, r.head_dim, r.ffn_dim, r.vocab_size);
    let run = (&r.workload, r.batch_size, &r.cache, &r.dtype, r.causal, &r.device_kind, r.n_threads, r.seed);
    format!("{run:?} {shape:?} {:?}", (&r.model, r.n_prompt, r.n_gen))
}

fn title(r: &Row) -> String {
    let shape = shape_title(r);
    let (_, rest) = shape.split_once(" · ").unwrap_or_default();
    format!("{} · batch {} · {rest}", r.workload, r.batch_size)
}

/// What the rows of a table share, batch left out: `attention · 8 heads of 64 · cold · f32 on cpu, 2 threads`.
#[must_use]
pub fn shape_title(r: &Row) -> String {
    let mut parts = vec![r.workload.clone()];
    match (r.n_layers, r.d_model) {
        (Some(layers), Some(width)) => parts.push(format!("{layers} layers of {width}")),
        _ => parts.push(format!("{} heads of {}", r.n_heads, r.head_dim)),
    }
    parts.extend((!r.cache.is_empty()).then(|| r.cache.clone()));
    let threads = plural(usize::try_from(r.n_threads).unwrap_or(usize::MAX), "thread");
    parts.push(format!("{} on {}, {threads}", r.dtype, r.device_kind));
    parts.join(" · ")
}

fn name_in(table: &Table<'_>, row: &Row) -> String {
    name_among(row, &table.rows)
}

/// What a row is called among others: the variant, and what tells it from others of that variant.
#[must_use]
pub fn name_among(row: &Row, others: &[&Row]) -> String {
    let differs = |of: &dyn Fn(&Row) -> String| others.iter().any(|r| r.variant == row.variant && of(r) != of(row));
    let mut name = row.variant.clone();
    if differs(&|r| r.variant_params.clone()) && !row.variant_params.is_empty() {
        name.push_str(&format!(":{}", row.variant_params));
    }
    if differs(&|r| r.implementation.clone()) {
        name.push_str(&format!(" {}", row.implementation));
    }
    match (row.feature_dim, row.cross_feature_dim) {
        (Some(m), Some(cross)) if differs(&|r| format!("{:?}", (r.feature_dim, r.cross_feature_dim))) => {
            name + &format!(" m={m}, {cross} across")
        }
        (Some(m), _) if differs(&|r| format!("{:?}", r.feature_dim)) => name + &format!(" m={m}"),
        _ => name,
    }
}

/// How many rows are good, and what was wrong with the others.
fn trust(rows: &[Row]) -> String {
    let mut status: BTreeMap<&str, usize> = BTreeMap::new();
    let mut quality: BTreeMap<&str, usize> = BTreeMap::new();
    let mut warnings: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *status.entry(&row.status).or_default() += 1;
        if !row.quality.is_empty() {
            *quality.entry(&row.quality).or_default() += 1;
        }
        for code in row.warnings.split_whitespace() {
            *warnings.entry(code).or_default() += 1;
        }
    }
    let counts =
        |map: &BTreeMap<&str, usize>| map.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ");
    let part = |what: &str, map| {
        let text = counts(map);
        if text.is_empty() { String::new() } else { format!("{what}: {text}\n") }
    };
    part("cells", &status) + &part("quality", &quality) + &part("warnings", &warnings)
}

#[cfg(test)]
mod tests;
