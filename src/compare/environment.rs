//! What differs around the cells, and whether a comparison shows what it seems to.

use super::{
    matching::Pair,
    side::{ENVIRONMENT, Side},
    types::{Difference, Fairness},
};

/// Warnings that bear on a comparison, and how many of a side's rows must have one before it is said.
const GRAVE: [(&str, &str); 5] = [
    ("swap", "was swapping"),
    ("throttled", "was throttled"),
    ("foreign_cpu", "shared the processor with other programs"),
    ("timed_out", "ran out of time"),
    ("unfused", "ran without kernels of its own"),
];

/// The environment columns in which two sides differ.
pub(super) fn differences(base: &Side, candidate: &Side) -> Vec<Difference> {
    let one = |(i, column): (usize, &&'static str)| {
        let (base, candidate) = (base.environment(i), candidate.environment(i));
        (base != candidate).then_some(Difference { column, base, candidate })
    };
    ENVIRONMENT.iter().enumerate().filter_map(one).collect()
}

/// What speaks against taking the ratios at their word.
pub(super) fn fairness(base: &Side, candidate: &Side, pairs: &[Pair<'_>]) -> Fairness {
    let mut objections = Vec::new();
    let mut say = |text: String| objections.push(text);
    let differ = |column: &str| {
        (base.fact(column) != candidate.fact(column)).then(|| (base.fact(column), candidate.fact(column)))
    };
    let other_machine = base.machine() != candidate.machine();
    let other_build = differ("build_commit").is_some() || differ("build_version").is_some();
    if other_machine && other_build {
        say("machine and build both differ: a ratio is not the one's or the other's alone".to_owned());
    }
    for column in ["build_profile", "build_features", "timer", "tui_active"] {
        if let Some((b, c)) = differ(column) {
            say(format!("{column} is '{b}' and '{c}'"));
        }
    }
    if let Some((b, c)) = differ("rustc_version").filter(|_| !other_build) {
        say(format!("the same commit was compiled by '{b}' and '{c}'"));
    }
    for side in [base, candidate] {
        if side.fact("build_dirty").contains("true") {
            say(format!("{} was built from a changed tree: its commit does not say what was measured", side.name));
        }
        if ["debug", "dev"].contains(&side.fact("build_profile").as_str()) {
            say(format!("{} is a build without optimisation", side.name));
        }
        let rows: usize = side.runs.iter().map(|r| r.rows).sum();
        for (code, what) in GRAVE {
            let bear: usize = side.runs.iter().filter_map(|r| r.warnings.get(code)).sum();
            if bear > 0 {
                say(format!("{} {what} in {bear} of {rows} rows ({code})", side.name));
            }
        }
    }
    if let Some(text) = threads(pairs) {
        say(text);
    }
    let most = |side: &Side| side.cells.iter().map(|c| c.launches.len()).max().unwrap_or(0);
    let single: Vec<&str> = [base, candidate].iter().filter(|s| most(s) < 2).map(|s| s.name.as_str()).collect();
    if !single.is_empty() {
        say(format!("one launch alone of {}: drift between launches is not in the intervals", single.join(" and ")));
    }
    Fairness { objections }
}

/// Matched cells that ran on other numbers of threads.
fn threads(pairs: &[Pair<'_>]) -> Option<String> {
    let of_pair = |pair: &Pair<'_>| {
        let threads = (pair.0?.key.get("n_threads").to_owned(), pair.1?.key.get("n_threads").to_owned());
        (threads.0 != threads.1).then_some(threads)
    };
    let (b, c) = pairs.iter().find_map(of_pair)?;
    Some(format!("{b} threads against {c}: machines as a whole are compared, not their cores (see per_core)"))
}
