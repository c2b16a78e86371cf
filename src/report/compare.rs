//! A comparison as text: cells with verdicts, means, trends, what differs around them, and gates. Knows layout, not
//! statistics.

mod around;
mod cells;
mod gate;
mod wording;

use serde::Serialize;
pub(super) use wording::{Names, across, tally, verdict};

use super::{Format, Listing};
use crate::compare::{Comparison, GateLine};

/// A comparison and what a gate makes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The comparison.
    pub comparison: Comparison,
    /// The lines of the gate, where there is one.
    pub gate: Option<Vec<GateLine>>,
}

/// Every comparison as JSON has it.
#[derive(Serialize)]
struct AsJson<'a> {
    base: &'a str,
    candidate: &'a str,
    cells: Listing,
    means: Listing,
    trends: Listing,
    is_fair: bool,
    objections: &'a [String],
    environment: Listing,
    spreads: Listing,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Listing>,
}

/// The comparisons in that form: CSV has the cells alone, the others have everything.
///
/// # Errors
/// None in practice: it is written into memory.
pub fn render_comparisons(all: &[Compared], format: Format) -> anyhow::Result<String> {
    match format {
        Format::Csv => cells::listing(all.iter().map(|c| &c.comparison)).render(format),
        Format::Json => {
            let json: Vec<AsJson<'_>> = all.iter().map(as_json).collect();
            Ok(serde_json::to_string_pretty(&json)? + "\n")
        }
        Format::Table | Format::Md => {
            let texts: anyhow::Result<Vec<String>> = all.iter().map(|c| text(c, format)).collect();
            Ok(texts?.join("\n"))
        }
    }
}

/// The lines of a gate alone, and what they come to.
///
/// # Errors
/// None in practice.
pub fn render_gate(lines: &[GateLine], format: Format) -> anyhow::Result<String> {
    gate::render(lines, format)
}

fn as_json(c: &Compared) -> AsJson<'_> {
    let comparison = &c.comparison;
    AsJson {
        base: &comparison.base,
        candidate: &comparison.candidate,
        cells: cells::listing([comparison]),
        means: around::means(comparison),
        trends: around::trends(comparison),
        is_fair: comparison.fairness.objections.is_empty(),
        objections: &comparison.fairness.objections,
        environment: around::environment(comparison),
        spreads: around::spreads(comparison),
        gate: c.gate.as_ref().map(|lines| gate::listing(lines)),
    }
}

fn text(c: &Compared, format: Format) -> anyhow::Result<String> {
    let comparison = &c.comparison;
    let head = |level: &str, title: &str| match format {
        Format::Md => format!("\n{level} {title}\n\n"),
        _ => format!("\n{title}\n"),
    };
    let mut out = head("##", &format!("{} against {}", comparison.candidate, comparison.base));
    out.push_str(&counts(comparison));
    for (title, listing) in cells::tables(comparison) {
        out.push_str(&head("###", &title));
        out.push_str(&listing.render(format)?);
    }
    let sections = [
        ("Geometric means over cells", around::means_for_people(comparison)),
        ("Over length", around::trends_for_people(comparison)),
        (
            "Per core, per GB/s and per GFLOP/s: how many times faster if both had as much",
            cells::normalised(comparison),
        ),
        ("What differs around", around::environment(comparison)),
    ];
    for (title, listing) in sections.iter().filter(|(_, listing)| !listing.is_empty()) {
        out.push_str(&head("###", title));
        out.push_str(&listing.render(format)?);
    }
    out.push_str(&head("###", "Is it fair?"));
    out.push_str(&around::fairness(comparison, format));
    if let Some(lines) = &c.gate {
        out.push_str(&head("###", "Gate"));
        out.push_str(&gate::render(lines, format)?);
    }
    Ok(out.trim_start_matches('\n').to_owned())
}

/// How many cells have which verdict, and what the columns mean.
fn counts(c: &Comparison) -> String {
    format!(
        "{}\n× is time of the base over time of the candidate, above 1 the candidate is faster, with the 95 % interval of \
         that ratio alone;\nverdicts hold together: at most one comparison in twenty claims anything false\n",
        tally(c)
    )
}

#[cfg(test)]
mod tests;
