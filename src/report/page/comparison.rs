//! Runs held against the first one: verdicts, ratios and means as `compare` makes them.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{
    super::{
        compare::{Names, across, tally, verdict},
        look::Look,
        material::{CellsFrom, Material},
        numbers::{thousands, three, time},
        text::clean,
    },
    figure::tag,
};
use crate::compare::{
    CellComparison, Comparison, Measured, Options, Ratio, Refused, Side, Sides, Spreads, VariantMean, compare,
};

/// A run beside the first.
enum Beside {
    Compared(Box<Comparison>),
    Refused { base: String, candidate: String, why: String },
}

/// The sides of all files against the first side; those that have no workload in common with it are not of one kind.
fn beside(material: &Material) -> Vec<Beside> {
    let sides = material.cells.iter().filter(|f| !f.table.rows.is_empty()).map(sides);
    let sides: Vec<Result<Vec<Side>, (String, Refused)>> = sides.collect();
    let good: Vec<&Side> = sides.iter().flatten().flatten().collect();
    let Some((base, candidates)) = good.split_first() else { return Vec::new() };
    let spreads = Spreads::of(good.iter().copied());
    let one = |candidate: &&Side| {
        if shared(base, candidate, "workload").is_empty() {
            return None;
        }
        let across = shared(base, candidate, "implementation").is_empty().then(|| "implementation".to_owned());
        let options = Options { across: across.into_iter().collect(), ..Options::default() };
        let refused = |why: Refused| Beside::Refused {
            base: base.name.clone(),
            candidate: candidate.name.clone(),
            why: why.to_string(),
        };
        Some(compare(base, candidate, &options, &spreads).map_or_else(refused, |c| Beside::Compared(Box::new(c))))
    };
    let unsorted = sides.iter().filter_map(|s| s.as_ref().err()).map(|(name, why)| Beside::Refused {
        base: base.name.clone(),
        candidate: name.clone(),
        why: why.to_string(),
    });
    candidates.iter().filter_map(one).chain(unsorted).collect()
}

fn sides(file: &CellsFrom) -> Result<Vec<Side>, (String, Refused)> {
    let mut sides = Sides::new(&file.name, &[]);
    file.table.rows.iter().try_for_each(|row| sides.add(row)).map_err(|why| (file.name.clone(), why))?;
    Ok(sides.finish())
}

/// The values of a key column that both sides have.
fn shared<'a>(base: &'a Side, candidate: &'a Side, column: &str) -> BTreeSet<&'a str> {
    let of = |side: &'a Side| -> BTreeSet<&'a str> { side.cells.iter().map(|c| c.key.get(column)).collect() };
    of(base).intersection(&of(candidate)).copied().collect()
}

/// The section; `None` where there is nothing to compare.
pub(super) fn comparisons(material: &Material) -> Option<Markup> {
    let all = beside(material);
    let section = html! {
        section id="comparison" {
            h2 { "Runs side by side" }
            p class="note" {
                "× is time of the base over time of the candidate: above 1 the candidate is faster. Brackets hold the "
                "95 % interval of a ratio alone; verdicts hold together, at most one comparison in twenty claims anything "
                "false. " code { "t2r compare" } " says more."
            }
            @for beside in &all { (one(beside)) }
        }
    };
    (!all.is_empty()).then_some(section)
}

fn one(beside: &Beside) -> Markup {
    html! {
        @match beside {
            Beside::Refused { candidate, base, why } => {
                h3 { (clean(candidate)) " against " (clean(base)) }
                p { "Not comparable: " (clean(why)) }
            }
            Beside::Compared(c) => {
                h3 { (clean(&c.candidate)) " against " (clean(&c.base)) }
                p { (tally(c)) "." }
                @for objection in &c.fairness.objections { p class="objection" { (clean(objection)) } }
                @let names = Names::of(c);
                (means(c, &names))
                (cells(c, &names))
            }
        }
    }
}

fn variant(name: &str) -> Markup {
    tag(&clean(name), Look::of(name, 0))
}

fn ratio(ratio: &Ratio) -> Markup {
    html! {
        strong { (three(ratio.ratio)) "×" }
        @if let Some((low, high)) = ratio.interval { span class="interval" { " [" (three(low)) ", " (three(high)) "]" } }
    }
}

fn means(c: &Comparison, names: &Names) -> Markup {
    html! {
        @if !c.means.is_empty() {
            table {
                caption { "Geometric means over cells" }
                thead { tr {
                    th scope="col" { "workload" } th scope="col" { "variant" } th scope="col" { "code" }
                    th scope="col" class="n" { "cells" } th scope="col" class="n" { "×" }
                } }
                tbody { @for m in &c.means { (mean(m, names)) } }
            }
        }
    }
}

fn mean(m: &VariantMean, names: &Names) -> Markup {
    html! {
        tr {
            th scope="row" { (clean(m.key.get("workload"))) } td { (variant(&names.variant(&m.key))) }
            td { (clean(m.key.get("implementation"))) }
            td class="n" { (m.cells) } td class="n" { (ratio(&m.ratio)) }
        }
    }
}

fn cells(c: &Comparison, names: &Names) -> Markup {
    let has_across = c.cells.iter().any(|cell| !cell.across.is_empty());
    html! {
        details {
            summary { "Cells" }
            div class="scroll" tabindex="0" role="region" aria-label="Compared cells" {
                table class="sortable" {
                    caption class="for-ears" { "Compared cells" }
                    thead { tr {
                        @for heading in ["variant", "workload", "code"] { th scope="col" aria-sort="none" { (heading) } }
                        @for heading in ["batch", "length", "base", "candidate", "×", "× per core", "× per GB/s", "× per GFLOP/s"] {
                            th scope="col" class="n" aria-sort="none" { (heading) }
                        }
                        @if has_across { th scope="col" aria-sort="none" { "candidate has" } }
                        th scope="col" aria-sort="none" { "verdict" }
                    } }
                    tbody { @for cell in &c.cells { (cell_row(cell, names, has_across)) } }
                }
            }
        }
    }
}

fn cell_row(cell: &CellComparison, names: &Names, has_across: bool) -> Markup {
    let key = &cell.key;
    let (batch, length) = (key.number("batch_size"), key.number("seq_len"));
    let whole = |n: Option<u64>| n.map_or_else(String::new, |n| thousands(&n.to_string()));
    let measured = |m: &Option<Measured>| m.map(|m| m.ns);
    html! {
        tr {
            th scope="row" { (variant(&names.variant(key))) } td { (clean(key.get("workload"))) } td { (clean(key.get("implementation"))) }
            td class="n" data-column="batch_size" data-value=[batch] { (whole(batch)) }
            td class="n" data-column="seq_len" data-value=[length] { (whole(length)) }
            @for ns in [measured(&cell.base), measured(&cell.candidate)] {
                td class="n" data-column="ns" data-value=[ns] { (ns.map_or_else(|| "–".to_owned(), time)) }
            }
            td class="n" data-column="ratio" data-value=[cell.ratio.map(|r| r.ratio)] {
                @match &cell.ratio { Some(r) => { (ratio(r)) } None => { "–" } }
            }
            @let n = cell.normalised;
            @for normalised in [n.per_core, n.per_gb_per_s, n.per_gflops] {
                td class="n" data-column="normalised" data-value=[normalised] {
                    (normalised.map_or_else(|| "–".to_owned(), |r| format!("{}×", three(r))))
                }
            }
            @if has_across { td { (across(cell).as_deref().map_or_else(String::new, clean)) } }
            td class={ "verdict-" (cell.verdict.word()) } { (clean(&verdict(cell))) }
        }
    }
}
