//! Two sides compared, cell by cell and as a whole.

use super::{
    environment::{differences, fairness},
    evidence::{Evidence, MIN_ROUNDS, Sample},
    matching::{Pair, check, pairs},
    means::means,
    side::{Limits, MeasuredCell, Side},
    spread::Spreads,
    trends::trends,
    types::{CellComparison, Comparison, Measured, Needs, Normalised, Options, Refused, Verdict},
    verdict::decide,
};
use crate::{
    stats::{mean, median},
    sweep::Status,
};

/// Compares a candidate with a base. `spreads` is what is known of the machines; [`Spreads::of`] both sides at the least.
///
/// # Errors
/// Where the sides cannot be matched: unknown key columns, several cells that could be meant, not one cell in common.
pub fn compare(base: &Side, candidate: &Side, options: &Options, spreads: &Spreads) -> Result<Comparison, Refused> {
    check(options)?;
    let pairs = pairs(base, candidate, options)?;
    if !pairs.iter().any(|(b, c)| b.is_some() && c.is_some()) {
        return Err(nothing_in_common(base, candidate));
    }
    let mut cells: Vec<CellComparison> = pairs.iter().filter_map(|pair| outline(pair, base, candidate)).collect();
    let of_pair = |pair: &Pair<'_>| evidence(pair, base, candidate, spreads);
    let (at, found): (Vec<usize>, Vec<Evidence>) =
        pairs.iter().enumerate().filter_map(|(i, pair)| Some((i, of_pair(pair)?))).unzip();
    for ((i, e), (p, verdict)) in at.into_iter().zip(&found).zip(decide(&found, options.same_within)) {
        let cell = &mut cells[i];
        (cell.ratio, cell.p_holm, cell.verdict) = (Some(e.ratio()), Some(p), verdict);
        cell.normalised = normalised(&pairs[i], e.ratio().ratio, base, candidate);
    }
    Ok(Comparison {
        base: base.name.clone(),
        candidate: candidate.name.clone(),
        means: means(&pairs, base, candidate, spreads),
        base_trends: trends(base),
        candidate_trends: trends(candidate),
        environment: differences(base, candidate),
        fairness: fairness(base, candidate, &pairs),
        spreads: spreads.known(&[base.machine(), candidate.machine()]),
        cells,
    })
}

/// What the command line can do about it.
pub(crate) const ACROSS_HINT: &str = ". Columns that may differ are named with --across COLUMN";

fn nothing_in_common(base: &Side, candidate: &Side) -> Refused {
    let differing = base.cells.first().zip(candidate.cells.first()).map(|(b, c)| {
        let of = b.key.iter().zip(c.key.iter()).filter(|(x, y)| x.1 != y.1);
        of.map(|((column, was), (_, is))| format!("{column} '{was}' and '{is}'")).collect::<Vec<_>>().join(", ")
    });
    let hint = differing
        .filter(|d| !d.is_empty())
        .map_or(String::new(), |d| format!("; their first cells differ in {d}{ACROSS_HINT}"));
    Refused(format!("{} and {} have no cell in common{hint}", base.name, candidate.name))
}

/// The figures of the launches that measured a cell.
pub(super) fn figures(cell: &MeasuredCell) -> Vec<&[f64]> {
    cell.launches.iter().map(|l| &*l.figures).filter(|f| !f.is_empty()).collect()
}

/// What two cells say of their ratio; `None` where one is missing or has too little.
pub(super) fn evidence(pair: &Pair<'_>, base: &Side, candidate: &Side, spreads: &Spreads) -> Option<Evidence> {
    let (b, c) = (pair.0?, pair.1?);
    let (left, right) = (base.machine(), candidate.machine());
    let base_sample = Sample::of(&figures(b), &left, spreads.of_cell(&left, Some(&b.key)));
    let candidate_sample = Sample::of(&figures(c), &right, spreads.of_cell(&right, Some(&c.key)));
    Evidence::of(&base_sample, &candidate_sample)
}

/// All of a cell but its ratio, with the verdict it has if there is no evidence. Every pair has a cell.
fn outline(pair: &Pair<'_>, base: &Side, candidate: &Side) -> Option<CellComparison> {
    let key = pair.0.or(pair.1)?.key.clone();
    let verdict = match pair {
        (Some(_), None) => Verdict::Missing("candidate"),
        (None, _) => Verdict::Missing("base"),
        (Some(b), Some(c)) => match status(b).map(|s| (s, base)).or_else(|| status(c).map(|s| (s, candidate))) {
            Some((status, side)) => Verdict::Incomparable(format!("{status} in {}", side.name)),
            None => Verdict::Unclear(few_rounds(b, c)),
        },
    };
    Some(CellComparison {
        across: pair.0.zip(pair.1).map_or_else(Vec::new, |(b, c)| b.key.differences(&c.key)),
        key,
        base: pair.0.and_then(measured),
        candidate: pair.1.and_then(measured),
        ratio: None,
        p_holm: None,
        verdict,
        normalised: Normalised::default(),
    })
}

/// What became of a cell, where no launch has a speed of it.
fn status(cell: &MeasuredCell) -> Option<String> {
    if !figures(cell).is_empty() {
        return None;
    }
    let status = cell.launches.last().map(|l| l.status.clone()).unwrap_or_default();
    Some(if status == Status::Ok.as_str() { "no round figures".to_owned() } else { status })
}

fn few_rounds(base: &MeasuredCell, candidate: &MeasuredCell) -> Needs {
    let rounds = |cell| figures(cell).iter().map(|f| f.len()).sum::<usize>();
    Needs::Rounds(MIN_ROUNDS.saturating_sub(rounds(base).min(rounds(candidate))))
}

fn measured(cell: &MeasuredCell) -> Option<Measured> {
    let figures = figures(cell);
    let logs: Vec<f64> = figures.iter().filter_map(|f| median(f)).map(f64::ln).collect();
    Some(Measured { ns: mean(&logs)?.exp(), launches: figures.len(), rounds: figures.iter().map(|f| f.len()).sum() })
}

/// The ratio times what the base has over what the candidate has.
fn normalised(pair: &Pair<'_>, ratio: f64, base: &Side, candidate: &Side) -> Normalised {
    let cores = |side: &Side| side.fact("cpu_cores_physical").parse::<f64>().ok().filter(|n| *n > 0.0);
    let limit = |cell: Option<&MeasuredCell>, of: fn(&Limits) -> Option<f64>| {
        let values: Vec<f64> = cell?.launches.iter().filter_map(|l| of(&l.limits)).collect();
        median(&values)
    };
    let per = |b: Option<f64>, c: Option<f64>| Some(ratio * b? / c?);
    Normalised {
        per_core: per(cores(base), cores(candidate)),
        per_gb_per_s: per(limit(pair.0, |l| l.gb_per_s), limit(pair.1, |l| l.gb_per_s)),
        per_gflops: per(limit(pair.0, |l| l.gflops), limit(pair.1, |l| l.gflops)),
    }
}
