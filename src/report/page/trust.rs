//! How far the numbers can be trusted: what became of the cells, and what was wrong with which.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::{
    material::Material,
    text::{clean, plural},
};

/// What a warning code means.
const CODES: [(&str, &str); 9] = [
    ("wide_interval", "the interval is wider than was asked for"),
    ("few_rounds", "fewer rounds than an interval needs"),
    ("foreign_cpu", "other programs used the processor in a round"),
    ("unverified_warmup", "samples had not settled when measuring began"),
    ("swap", "memory was swapped meanwhile"),
    ("throttled", "the processor slowed down"),
    ("timed_out", "a visit ran into its time limit"),
    ("memory_budget", "would not fit in memory, so it was not tried"),
    ("unfused", "a GPU without kernels of its own: slow, not noisy"),
];

/// The section; nothing where no cells were given.
pub(super) fn trust(material: &Material) -> Markup {
    let mut status: BTreeMap<&str, usize> = BTreeMap::new();
    let mut quality: BTreeMap<&str, usize> = BTreeMap::new();
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, row) in material.rows() {
        *status.entry(&row.status).or_default() += 1;
        if !row.quality.is_empty() {
            *quality.entry(&row.quality).or_default() += 1;
        }
        for code in row.warnings.split_whitespace() {
            *codes.entry(code).or_default() += 1;
        }
    }
    let meaning = |code: &str| CODES.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text);
    let observed = material.rows().filter_map(|(_, r)| r.observer_overhead_pct).reduce(f64::max);
    html! {
        @if !material.cells.is_empty() {
            section id="trust" {
                h2 { "How far to trust it" }
                div class="counts" {
                    (counts("Cells", &status))
                    (counts("Quality of those measured", &quality))
                }
                @if codes.is_empty() {
                    @if !status.is_empty() { p { "No cell bears a warning." } }
                } @else {
                    table {
                        caption { "Warnings" }
                        thead { tr { th scope="col" { "code" } th scope="col" class="n" { "cells" } th scope="col" { "meaning" } } }
                        tbody {
                            @for (code, n) in &codes {
                                tr { th scope="row" { code { (clean(code)) } } td class="n" { (n) } td { (meaning(code)) } }
                            }
                        }
                    }
                }
                @if let Some(pct) = observed {
                    p { "Watching and drawing cost a block of work at most " (super::super::numbers::three(pct)) " %." }
                }
                (files(material))
            }
        }
    }
}

fn counts(name: &str, of: &BTreeMap<&str, usize>) -> Markup {
    html! {
        @if !of.is_empty() {
            dl { dt { (name) } @for (word, n) in of { dd { strong { (n) } " " (clean(word)) } } }
        }
    }
}

/// What is to be known about files: cut off, or of a newer version.
fn files(material: &Material) -> Markup {
    html! {
        ul class="files" {
            @for file in &material.cells {
                li {
                    (clean(&file.name)) ": " (plural(file.table.rows.len(), "cell"))
                    @if file.table.is_truncated { ", and a last line that was cut off and is left out" }
                    @if !file.table.unknown_columns.is_empty() {
                        ", and " (plural(file.table.unknown_columns.len(), "column")) " that this version does not know"
                    }
                }
            }
        }
    }
}
