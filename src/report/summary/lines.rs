//! The lines of one table of the summary: time, rate, state, speedup. Knows layout, not statistics.

use super::{
    super::numbers::{bytes, thousands, three, time},
    Table, name_in,
};
use crate::{
    stats::{median, relative_half_width},
    store::{Row, interval_of},
};

/// Texts longer than this would push the table off the screen.
const MAX_NOTE: usize = 160;

/// One line per row, below a header, aligned.
pub(super) fn render(table: &Table<'_>) -> String {
    let step = match table.rows.first().map_or("", |r| r.workload.as_str()) {
        "forward" => "time/sequence",
        "prefill" => "first token",
        _ => "time/step",
    };
    let header = ["variant", "seq_len", step, "±", "tokens/s", "state", "vs softmax", ""];
    let mut lines: Vec<[String; 8]> = vec![header.map(str::to_owned)];
    lines.extend(table.rows.iter().map(|row| cells(table, row)));
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let one = |line: &[String; 8]| {
        let padded = line.iter().zip(&widths).enumerate().map(|(i, (text, w))| match i {
            0 | 6 | 7 => format!("{text:<w$}"),
            _ => format!("{text:>w$}"),
        });
        format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(one).collect()
}

fn cells(table: &Table<'_>, row: &Row) -> [String; 8] {
    let figure = median(&row.figures());
    let half = figure.and_then(|centre| relative_half_width(interval_of(row)?, centre));
    [
        name_in(table, row),
        thousands(&row.seq_len.to_string()),
        figure.map_or_else(blank, time),
        half.map_or_else(blank, |share| format!("{}%", three(100.0 * share))),
        row.tokens_per_s.map_or_else(blank, three),
        row.state_bytes_pred.map_or_else(blank, bytes),
        speedup(row),
        note(row),
    ]
}

fn blank() -> String {
    "–".to_owned()
}

fn speedup(row: &Row) -> String {
    let Some(ratio) = row.speedup_vs_softmax else { return blank() };
    let interval = row.speedup_ci95_low.zip(row.speedup_ci95_high);
    let interval = interval.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", three(low), three(high)));
    if row.variant == "softmax" { String::new() } else { format!("{}×{interval}", three(ratio)) }
}

/// What became of a cell that is not `ok`.
fn note(row: &Row) -> String {
    if row.status == "ok" {
        return String::new();
    }
    let detail = if row.status_detail.is_empty() { String::new() } else { format!(": {}", row.status_detail) };
    let text = format!("{}{detail}", row.status);
    if text.chars().count() <= MAX_NOTE {
        return text;
    }
    text.chars().take(MAX_NOTE - 1).chain(['…']).collect()
}
