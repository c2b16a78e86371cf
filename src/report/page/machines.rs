//! What measured the runs, side by side: facts of machine and build, those that differ marked.

use maud::{Markup, html};

use super::super::{
    material::Material,
    numbers::bytes,
    text::{clean, shortened},
};
use crate::store::Row;

/// A fact of a run: its name, and its text in a row.
type Fact = (&'static str, fn(&Row) -> String);

const FACTS: [Fact; 14] = [
    ("machine", |r| if r.machine_label.is_empty() { r.machine_id.clone() } else { r.machine_label.clone() }),
    ("processor", |r| r.cpu_info.clone()),
    ("vector instructions", |r| r.cpu_isa.clone()),
    ("cores", |r| number(r.cpu_cores_physical)),
    ("threads of the run", |r| r.n_threads.to_string()),
    ("memory", |r| r.ram_total_bytes.map(bytes).unwrap_or_default()),
    ("device", |r| if r.device_name.is_empty() { r.device_kind.clone() } else { r.device_name.clone() }),
    ("system", |r| r.os.clone()),
    ("kernel", |r| r.kernel.clone()),
    ("container", |r| r.container.map(|c| if c { "yes" } else { "no" }.to_owned()).unwrap_or_default()),
    ("t2r", |r| r.build_version.clone()),
    ("commit", |r| format!("{}{}", r.build_commit, if r.build_dirty == Some(true) { " with changes" } else { "" })),
    ("features", |r| if r.build_features.is_empty() { "none".to_owned() } else { r.build_features.clone() }),
    ("compiler", |r| r.rustc_version.clone()),
];

fn number(n: Option<u64>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}

/// A machine in a few words.
pub(super) fn machine(row: &Row) -> String {
    let label = if row.machine_label.is_empty() { &row.cpu_info } else { &row.machine_label };
    let cores = row.cpu_cores_physical.map_or_else(String::new, |n| format!(", {n} cores"));
    shortened(&format!("{label}{cores}"), 60)
}

/// The section; nothing where no cells were given.
pub(super) fn machines(material: &Material) -> Markup {
    let runs: Vec<(&str, &Row)> =
        material.cells.iter().filter_map(|f| Some((f.name.as_str(), f.table.rows.first()?))).collect();
    html! {
        @if !runs.is_empty() {
            section id="machines" {
                h2 { "Machines and builds" }
                div class="scroll" tabindex="0" role="region" aria-label="Machines and builds" {
                    table class="facts" {
                        caption class="for-ears" { "Machines and builds" }
                        thead { tr { th scope="col" { "" } @for (name, _) in &runs { th scope="col" { (clean(name)) } } } }
                        tbody {
                            @for (name, of) in FACTS { (fact(name, &runs.iter().map(|(_, row)| of(row)).collect::<Vec<_>>())) }
                        }
                    }
                }
            }
        }
    }
}

fn fact(name: &str, values: &[String]) -> Markup {
    let differs = values.windows(2).any(|w| w[0] != w[1]);
    html! {
        @if values.iter().any(|v| !v.is_empty()) {
            tr class=[differs.then_some("differs")] {
                th scope="row" { (name) @if differs { span class="for-ears" { " (differs)" } } }
                @for value in values { td { @if value.is_empty() { "–" } @else { (clean(value)) } } }
            }
        }
    }
}
