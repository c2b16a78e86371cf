//! The first thing on the page: what the runs answer, in sentences and then in a table.

use maud::{Markup, html};

use super::{
    super::{
        answer::{Answer, Compared, Sureness, answer},
        look::Look,
        material::{Material, Panel},
        numbers::{bytes, length as tokens, thousands, three, time},
        summary::shape_title,
        text::{clean, plural},
    },
    figure::tag,
};
use crate::{stats::Crossover, store::Row};

/// Runs that get sentences of their own; the table has all.
const MAX_LEADS: usize = 4;

/// The section.
pub(super) fn answers(material: &Material) -> Markup {
    let panels = material.panels();
    let answers: Vec<(&Panel<'_>, Answer<'_>)> = panels.iter().map(|p| (p, answer(p))).collect();
    html! {
        section id="answer" class="answer" {
            h2 { "Answer" }
            @if answers.is_empty() { (nothing_read(material)) }
            @for (panel, answer) in leads(&answers) { (lead(panel, answer)) }
            @if answers.len() > 1 { (table(&answers)) }
        }
    }
}

/// One answer per run: of a whole model before that of a layer, at the largest batch.
fn leads<'a, 'b>(answers: &'b [(&'b Panel<'a>, Answer<'a>)]) -> Vec<&'b (&'b Panel<'a>, Answer<'a>)> {
    let rank = |(panel, answer): &(&Panel<'_>, Answer<'_>)| {
        let weight = match answer {
            Answer::Compared(_) => 0,
            Answer::Alone { .. } => 1,
            Answer::Nothing => 2,
        };
        let workload = match panel.first().workload.as_str() {
            "decode" | "generate" | "translate" => 0,
            "attention" => 1,
            "prefill" => 2,
            "forward" => 3,
            _ => 4,
        };
        (weight, workload, u64::MAX - panel.first().batch_size)
    };
    let mut runs: Vec<&str> = Vec::new();
    for (panel, _) in answers {
        if !runs.contains(&panel.run) {
            runs.push(panel.run);
        }
    }
    let best = |run: &&str| answers.iter().filter(|(p, _)| p.run == *run).min_by_key(|a| rank(a));
    runs.iter().take(MAX_LEADS).filter_map(best).collect()
}

fn lead(panel: &Panel<'_>, answer: &Answer<'_>) -> Markup {
    html! {
        div class="lead" {
            @if !panel.run.is_empty() { p class="run" { (clean(panel.run)) } }
            @match answer {
                Answer::Compared(c) => { (compared(panel, c)) }
                Answer::Alone { name, row, measured } => { (alone(panel, name, row, *measured)) }
                Answer::Nothing => { (nothing_measured(panel)) }
            }
        }
    }
}

/// `one token of a model`, `one step of a layer`: what was faster.
fn deed(workload: &str) -> &'static str {
    match workload {
        "attention" => "takes a decode step of one layer",
        "forward" => "passes whole sequences through one layer",
        "prefill" => "reads prompts",
        "decode" => "decodes",
        "generate" => "generates",
        "translate" => "translates",
        "train" => "trains",
        _ => "runs",
    }
}

fn compared(panel: &Panel<'_>, c: &Compared<'_>) -> Markup {
    let workload = panel.first().workload.as_str();
    let length = thousands(&c.row.seq_len.to_string());
    let batch = panel.first().batch_size;
    let name = clean(&c.name);
    let look = Look::of(&c.row.variant, 0);
    html! {
        p class="headline" {
            @match c.sureness() {
                Sureness::Faster => {
                    (tag(&name, look)) " " (deed(workload)) " " strong { (three(c.ratio)) "×" } " as fast as softmax at "
                    (length) " tokens, batch " (batch) "."
                }
                Sureness::Slower => {
                    "No linear variant is faster than softmax at " (length) " tokens, batch " (batch) ": "
                    (tag(&name, look)) ", the fastest, reaches " strong { (three(c.ratio)) "×" } " its speed."
                }
                Sureness::Open => {
                    "No clear difference at " (length) " tokens, batch " (batch) ": " (tag(&name, look))
                    ", the fastest linear variant, comes to " strong { (three(c.ratio)) "×" } " the speed of softmax."
                }
            }
        }
        dl class="facts" {
            (fact("From which length on", &from(c)))
            (fact("At what memory", &memory(c)))
            (fact("How sure", &sure(c)))
            (fact("Measured on", &clean(&shape_title(panel.first()))))
        }
    }
}

fn fact(name: &str, text: &str) -> Markup {
    html! { div { dt { (name) } dd { (text) } } }
}

fn from(c: &Compared<'_>) -> String {
    match c.crossover {
        Some(Crossover::At { length, interval }) => {
            let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", tokens(l), tokens(h)));
            format!("faster than softmax from about {} tokens on{interval}", tokens(length))
        }
        Some(Crossover::AlwaysFaster) => {
            let shortest = thousands(&c.shortest.to_string());
            format!("faster than softmax at every length measured, from {shortest} tokens on")
        }
        Some(Crossover::NoneInRange) => "does not pass softmax at the lengths measured".to_owned(),
        None => "one length was measured, so where the lines cross is not known".to_owned(),
    }
}

fn memory(c: &Compared<'_>) -> String {
    match c.memory() {
        Some((softmax, own)) if softmax >= own => {
            let less =
                if own == 0 { String::new() } else { format!(", {}× less", three(softmax as f64 / own as f64)) };
            format!("{} of state where softmax keeps a cache of {}{less}", bytes(own), bytes(softmax))
        }
        Some((softmax, own)) => {
            let more = three(own as f64 / softmax as f64);
            format!("{} of state where softmax keeps a cache of {}, {more}× more", bytes(own), bytes(softmax))
        }
        None => "was not measured".to_owned(),
    }
}

fn sure(c: &Compared<'_>) -> String {
    let rounds = c.row.round_count.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let launches = if c.launches > 1 {
        format!("{} of ", plural(c.launches, "launch").replace("launchs", "launches"))
    } else {
        String::new()
    };
    let mut text = match c.interval {
        Some((low, high)) => {
            format!("95 % interval {}× to {}×, over {launches}{}", three(low), three(high), plural(rounds, "round"))
        }
        None => format!("{launches}{}, too few for an interval", plural(rounds, "round")),
    };
    match &c.next {
        Some((name, ratio, true)) => {
            text.push_str(&format!("; {} follows at {}×, and the intervals overlap", clean(name), three(*ratio)));
        }
        Some((name, ratio, false)) => {
            text.push_str(&format!("; {} follows at {}×, clear of it", clean(name), three(*ratio)))
        }
        None => {}
    }
    if !c.row.quality.is_empty() && c.row.quality != "good" {
        let why = if c.row.warnings.is_empty() { String::new() } else { format!(" ({})", c.row.warnings) };
        text.push_str(&clean(&format!("; the cell is marked {}{why}", c.row.quality)));
    }
    text
}

fn alone(panel: &Panel<'_>, name: &str, row: &Row, measured: usize) -> Markup {
    let speed = row.tokens_per_s.map_or_else(String::new, |t| format!("{} tokens/s", three(t)));
    html! {
        p class="headline" {
            (tag(&clean(name), Look::of(&row.variant, 0))) " " (deed(&row.workload)) " at " strong { (speed) } " with "
            (thousands(&row.seq_len.to_string())) " tokens, batch " (row.batch_size) "."
        }
        dl class="facts" {
            @if measured == 1 {
                (fact("Beside softmax", "one cell was measured, and nothing to compare it with; measure softmax in the same run"))
            } @else {
                (fact("Beside softmax", "softmax was not measured in the same group, so no ratio can be given"))
            }
            @if let Some(ns) = row.p50_ns { (fact("Time per call", &time(ns))) }
            @if let Some((n, _)) = super::super::figures::state_bytes(row) { (fact("Memory of attention", &bytes(n))) }
            (fact("Measured on", &clean(&shape_title(panel.first()))))
        }
    }
}

fn nothing_measured(panel: &Panel<'_>) -> Markup {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for row in &panel.rows {
        let text = if row.status_detail.is_empty() {
            row.status.clone()
        } else {
            format!("{}: {}", row.status, row.status_detail)
        };
        match reasons.iter_mut().find(|(reason, _)| *reason == text) {
            Some((_, n)) => *n += 1,
            None => reasons.push((text, 1)),
        }
    }
    html! {
        p class="headline" { "No cell has a speed: " (plural(panel.rows.len(), "cell")) ", none of them measured." }
        ul class="reasons" {
            @for (reason, n) in reasons.iter().take(5) { li { (clean(reason)) " (" (plural(*n, "cell")) ")" } }
            @if reasons.len() > 5 { li { "and " (reasons.len() - 5) " more; all cells are below" } }
        }
    }
}

fn nothing_read(material: &Material) -> Markup {
    let has_others = !material.training.is_empty() || !material.quality.is_empty();
    html! {
        @if material.cells.is_empty() && has_others {
            p { "No cells were given: what follows are the training logs and qualities alone." }
        } @else {
            p class="headline" { "There are no cells yet." }
            p {
                "The file has a header and no row: the run ended before its first group did. "
                code { "t2r --resume FILE" } " goes on with it."
            }
        }
    }
}

fn table(answers: &[(&Panel<'_>, Answer<'_>)]) -> Markup {
    let has_runs = answers.iter().any(|(p, _)| !p.run.is_empty());
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Answers by workload and batch" {
            table class="answers" {
                caption { "Fastest linear variant at the longest length, by workload and batch" }
                thead { tr {
                    th scope="col" { "workload" } th scope="col" class="n" { "batch" } th scope="col" class="n" { "tokens" }
                    th scope="col" { "fastest" } th scope="col" class="n" { "× softmax" }
                    th scope="col" { "95 % interval" } th scope="col" { "faster from, tokens" }
                    th scope="col" class="n" { "state" } th scope="col" class="n" { "softmax's cache" }
                    @if has_runs { th scope="col" { "run" } }
                } }
                tbody { @for (panel, answer) in answers { (table_row(panel, answer, has_runs)) } }
            }
        }
    }
}

fn table_row(panel: &Panel<'_>, answer: &Answer<'_>, has_runs: bool) -> Markup {
    let first = panel.first();
    html! {
        tr {
            th scope="row" { (clean(&first.workload)) }
            td class="n" { (first.batch_size) }
            @match answer {
                Answer::Compared(c) => {
                    td class="n" { (thousands(&c.row.seq_len.to_string())) }
                    td { (tag(&clean(&c.name), Look::of(&c.row.variant, 0))) }
                    td class="n" { strong { (three(c.ratio)) "×" } }
                    td { @if let Some((low, high)) = c.interval { (three(low)) " to " (three(high)) } @else { "too few rounds" } }
                    td { (from_short(c)) }
                    @match c.memory() {
                        Some((softmax, own)) => { td class="n" { (bytes(own)) } td class="n" { (bytes(softmax)) } }
                        None => { td class="n" { "–" } td class="n" { "–" } }
                    }
                }
                Answer::Alone { name, row, .. } => {
                    td class="n" { (thousands(&row.seq_len.to_string())) }
                    td { (tag(&clean(name), Look::of(&row.variant, 0))) }
                    td colspan="5" { "no softmax beside it" }
                }
                Answer::Nothing => { td class="n" { "–" } td colspan="6" { "not measured" } }
            }
            @if has_runs { td { (clean(panel.run)) } }
        }
    }
}

fn from_short(c: &Compared<'_>) -> String {
    match c.crossover {
        Some(Crossover::At { length, interval }) => {
            let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", tokens(l), tokens(h)));
            format!("{}{interval}", tokens(length))
        }
        Some(Crossover::AlwaysFaster) => format!("below {}", thousands(&c.shortest.to_string())),
        Some(Crossover::NoneInRange) => "none in range".to_owned(),
        None => "–".to_owned(),
    }
}
