//! Which cell of one side is which of the other: by key, and across columns that may differ.

use std::collections::HashMap;

use super::{
    key::CellKey,
    side::{MeasuredCell, Side},
    types::{Options, Refused},
};
use crate::spec::{KEY_COLUMNS, nearest};

/// Columns across which no ratio means anything.
const NEVER_ACROSS: [(&str, &str); 2] = [
    ("workload", "their calls are different things"),
    ("cache", "a cached state against one that is not says nothing of either"),
];
/// Columns that belong to the run rather than to what is measured: between machines they may differ.
const OF_THE_RUN: [&str; 2] = ["n_threads", "device_kind"];

/// A cell of either side with its counterpart, if it has one.
pub(super) type Pair<'a> = (Option<&'a MeasuredCell>, Option<&'a MeasuredCell>);

/// Refuses columns that are none of the key, or across which no ratio means anything.
pub(super) fn check(options: &Options) -> Result<(), Refused> {
    for column in &options.across {
        if let Some((_, why)) = NEVER_ACROSS.iter().find(|(never, _)| never == column) {
            return Err(Refused(format!("cells of unlike {column} are not compared: {why}")));
        }
        if !KEY_COLUMNS.contains(&column.as_str()) {
            let near = nearest(column, KEY_COLUMNS);
            return Err(Refused(format!("'{column}' is no key column{near}; they are: {}", KEY_COLUMNS.join(", "))));
        }
    }
    Ok(())
}

/// Every cell of the base in its order, then those that only the candidate has.
///
/// # Errors
/// Where several cells differ in nothing but the columns that may.
pub(super) fn pairs<'a>(base: &'a Side, candidate: &'a Side, options: &Options) -> Result<Vec<Pair<'a>>, Refused> {
    let mut partner: HashMap<&CellKey, &MeasuredCell> = HashMap::new();
    let mut taken: HashMap<&CellKey, ()> = HashMap::new();
    for cell in &base.cells {
        if let Some(other) = candidate.cell(&cell.key) {
            partner.insert(&cell.key, other);
            taken.insert(&other.key, ());
        }
    }
    let mut across: Vec<&str> = options.across.iter().map(String::as_str).collect();
    if base.machine() != candidate.machine() {
        across.extend(OF_THE_RUN);
    }
    if !across.is_empty() {
        let left = by_reduced(base.cells.iter().filter(|c| !partner.contains_key(&c.key)), &across);
        let right = by_reduced(candidate.cells.iter().filter(|c| !taken.contains_key(&c.key)), &across);
        for (key, left) in &left {
            let Some(right) = right.get(key) else { continue };
            match (&left[..], &right[..]) {
                ([one], [other]) => {
                    partner.insert(&one.key, *other);
                    taken.insert(&other.key, ());
                }
                (many, [_]) if many.len() > 1 => return Err(ambiguous(base, many, &across)),
                (_, many) => return Err(ambiguous(candidate, many, &across)),
            }
        }
    }
    let of_base = base.cells.iter().map(|cell| (Some(cell), partner.get(&cell.key).copied()));
    let of_candidate = candidate.cells.iter().filter(|c| !taken.contains_key(&c.key)).map(|cell| (None, Some(cell)));
    Ok(of_base.chain(of_candidate).collect())
}

fn by_reduced<'a>(
    cells: impl Iterator<Item = &'a MeasuredCell>,
    across: &[&str],
) -> HashMap<CellKey, Vec<&'a MeasuredCell>> {
    let mut map: HashMap<CellKey, Vec<&MeasuredCell>> = HashMap::new();
    for cell in cells {
        map.entry(cell.key.without(across)).or_default().push(cell);
    }
    map
}

fn ambiguous(side: &Side, cells: &[&MeasuredCell], across: &[&str]) -> Refused {
    let values = |cell: &&MeasuredCell| {
        let differing = across.iter().map(|c| format!("{c}={}", cell.key.get(c)));
        differing.collect::<Vec<_>>().join(" ")
    };
    let all: Vec<String> = cells.iter().map(values).collect();
    let of = cells.first().map_or(String::new(), |c| {
        format!(
            "{} {}, batch {}, seq_len {}",
            c.key.get("variant"),
            c.key.get("workload"),
            c.key.get("batch_size"),
            c.key.get("seq_len")
        )
    });
    Refused(format!(
        "{}: which of its cells ({of}) is meant: {}? Choose with --where COLUMN=VALUE",
        side.name,
        all.join(" or ")
    ))
}
