//! Every cell in a table that can be sorted and filtered. Numbers carry the value of the file as `data-value`.

use maud::{Markup, html};

use super::{
    super::{
        figures::state_bytes,
        look::Look,
        material::Material,
        numbers::{thousands, three},
        text::{clean, plural},
    },
    figure::tag,
};
use crate::store::Row;

/// Heading, unit included, and whether it holds numbers.
const COLUMNS: [(&str, bool); 13] = [
    ("variant", false),
    ("workload", false),
    ("code", false),
    ("batch", true),
    ("length", true),
    ("m", true),
    ("time per call, µs", true),
    ("tokens/s", true),
    ("× softmax", true),
    ("state, MiB", true),
    ("rounds", true),
    ("status", false),
    ("quality", false),
];

/// The section; nothing where no cells were given.
pub(super) fn cells(material: &Material) -> Markup {
    let rows: Vec<(&str, &Row)> = material.rows().collect();
    let has_runs = material.cells.len() > 1;
    html! {
        @if !rows.is_empty() {
            section id="cells" {
                h2 { "All cells" }
                p class="note" {
                    "Brackets hold the 95 % interval. A heading sorts, once more the other way. All columns are in the CSV."
                }
                p class="filter" hidden {
                    label for="filter" { "Show rows with " }
                    input id="filter" type="search" placeholder="t2r decode 4,096" aria-controls="cells-table";
                    " " output id="filter-count" { (plural(rows.len(), "cell")) }
                }
                div class="scroll" tabindex="0" role="region" aria-label="All cells" {
                    table id="cells-table" class="sortable" {
                        caption class="for-ears" { "All cells" }
                        thead { tr {
                            @for (heading, is_number) in COLUMNS {
                                th scope="col" class=[is_number.then_some("n")] aria-sort="none" { (heading) }
                            }
                            @if has_runs { th scope="col" aria-sort="none" { "run" } }
                        } }
                        tbody { @for (run, row) in &rows { (table_row(row, has_runs.then_some(run))) } }
                    }
                }
            }
        }
    }
}

fn table_row(row: &Row, run: Option<&&str>) -> Markup {
    let name = if row.variant_params.is_empty() {
        row.variant.clone()
    } else {
        format!("{}:{}", row.variant, row.variant_params)
    };
    let not_ok = (row.status != "ok").then_some("not-ok");
    html! {
        tr class=[not_ok] data-run=(clean(&row.run_id)) data-cell=(clean(&row.cell_id)) {
            th scope="row" { (tag(&clean(&name), Look::of(&row.variant, 0))) }
            td { (clean(&row.workload)) }
            td { (clean(&row.implementation)) }
            (number("batch_size", Some(row.batch_size as f64), |v| thousands(&v.to_string()), None))
            (number("seq_len", Some(row.seq_len as f64), |v| thousands(&v.to_string()), None))
            (number("feature_dim", row.feature_dim.map(|m| m as f64), |v| thousands(&v.to_string()), None))
            (number("p50_ns", row.p50_ns, |v| three(v / 1000.0), scaled(row.ci95_low_ns.zip(row.ci95_high_ns))))
            (number("tokens_per_s", row.tokens_per_s, three, row.tokens_per_s_ci95_low.zip(row.tokens_per_s_ci95_high)))
            (number(
                "speedup_vs_softmax",
                row.speedup_vs_softmax.filter(|_| row.variant != "softmax"),
                |v| format!("{}×", three(v)),
                row.speedup_ci95_low.zip(row.speedup_ci95_high),
            ))
            @match state_bytes(row) {
                Some((n, column)) => { (number(column, Some(n as f64), |v| three(v / 1_048_576.0), None)) }
                None => { (number("state_bytes_measured", None, three, None)) }
            }
            (number("round_count", row.round_count.map(|n| n as f64), |v| thousands(&v.to_string()), None))
            td { (status(row)) }
            td { (clean(&row.quality)) @if !row.warnings.is_empty() { span class="codes" { " " (clean(&row.warnings)) } } }
            @if let Some(run) = run { td { (clean(run)) } }
        }
    }
}

fn status(row: &Row) -> String {
    let reason = if row.status_detail.is_empty() { String::new() } else { format!(": {}", row.status_detail) };
    clean(&format!("{}{reason}", row.status))
}

fn scaled(interval: Option<(f64, f64)>) -> Option<(f64, f64)> {
    interval.map(|(low, high)| (low / 1000.0, high / 1000.0))
}

/// A cell of a number: the value as the file has it beside the one that is shown.
fn number(column: &str, value: Option<f64>, shown: impl Fn(f64) -> String, interval: Option<(f64, f64)>) -> Markup {
    html! {
        @match value {
            Some(value) => {
                td class="n" data-column=(column) data-value=(value) {
                    (shown(value))
                    @if let Some((low, high)) = interval { span class="interval" { " [" (three(low)) ", " (three(high)) "]" } }
                }
            }
            None => { td class="n" data-column=(column) { "–" } }
        }
    }
}
