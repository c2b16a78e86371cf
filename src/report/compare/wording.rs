//! What the parts of a comparison are called, on terminals, in files and on the page.

use std::collections::{HashMap, HashSet};

use crate::compare::{CellComparison, CellKey, Comparison, Needs, Verdict};

/// Variants that occur with several parameters: those alone are named with them.
pub(in crate::report) struct Names(HashSet<String>);

impl Names {
    /// The names within that comparison.
    pub(in crate::report) fn of(c: &Comparison) -> Self {
        Self::among(c.cells.iter().map(|cell| &cell.key))
    }

    /// The names among these cells.
    pub(super) fn among<'a>(keys: impl Iterator<Item = &'a CellKey>) -> Self {
        let mut params: HashMap<&str, HashSet<&str>> = HashMap::new();
        for key in keys {
            params.entry(key.get("variant")).or_default().insert(key.get("variant_params"));
        }
        Self(params.into_iter().filter(|(_, p)| p.len() > 1).map(|(variant, _)| variant.to_owned()).collect())
    }

    /// The variant of a key.
    pub(in crate::report) fn variant(&self, key: &CellKey) -> String {
        key.variant(self.0.contains(key.get("variant")))
    }
}

/// How many cells have which verdict: `12 cells: 2 slower, 10 unclear`.
pub(in crate::report) fn tally(c: &Comparison) -> String {
    let words = ["faster", "slower", "same", "unclear", "incomparable", "missing"];
    let counted = words.iter().map(|word| (c.count(word), word)).filter(|(n, _)| *n > 0);
    let counted: Vec<String> = counted.map(|(n, word)| format!("{n} {word}")).collect();
    let cells = if c.cells.len() == 1 { "cell" } else { "cells" };
    format!("{} {cells}: {}", c.cells.len(), counted.join(", "))
}

/// The candidate's values of the columns across which it is compared: `implementation=fused`.
pub(in crate::report) fn across(cell: &CellComparison) -> Option<String> {
    let pairs: Vec<String> = cell.across.iter().map(|(column, value)| format!("{column}={value}")).collect();
    (!pairs.is_empty()).then(|| pairs.join(" "))
}

/// What there is to say beyond the word of a verdict.
pub(super) fn detail(cell: &CellComparison) -> Option<String> {
    // Of one launch nobody knows how much another would differ.
    let at_least = if [cell.base, cell.candidate].iter().flatten().any(|m| m.launches < 2) { "at least " } else { "" };
    match &cell.verdict {
        Verdict::Unclear(Needs::OutOfReach) => Some(Needs::OutOfReach.advice()),
        Verdict::Unclear(needs) => Some(format!("{at_least}{}", needs.advice())),
        Verdict::Incomparable(why) => Some(why.clone()),
        Verdict::Missing(side) => Some(format!("not in the {side}")),
        Verdict::Faster | Verdict::Slower | Verdict::Same => None,
    }
}

/// A verdict with what there is to say beyond it: `unclear: 2 more launches a side would do`.
pub(in crate::report) fn verdict(cell: &CellComparison) -> String {
    let detail = detail(cell).map_or_else(String::new, |d| format!(": {d}"));
    format!("{}{detail}", cell.verdict.word())
}
