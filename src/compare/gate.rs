//! A gate: which metrics may become how much worse, and whether they have. Fails only what clears its threshold.

use std::str::FromStr;

use super::{
    evidence::{Evidence, MIN_LAUNCHES},
    key::CellKey,
    matching::{Pair, check, pairs},
    pairing::evidence,
    side::{MeasuredCell, Side},
    spread::Spreads,
    types::{Needs, Options, Refused},
};
use crate::{
    spec::{KEY_COLUMNS, nearest},
    stats::{Interval, holm},
    store::{COLUMNS, Row},
    sweep::Status,
};

/// Probability that a gate fails anything that is within its threshold, over all its lines.
const ALPHA: f64 = 0.05;
/// Columns that are the median round figure, which is known round by round, and whether more of it is faster.
const OF_ROUNDS: [(&str, bool); 2] = [("p50_ns", false), ("tokens_per_s", true)];
/// Columns that are counted, not measured: one launch knows them.
const COUNTED: [&str; 4] = ["state_bytes_pred", "state_bytes_measured", "flops_est", "bytes_moved_est"];

/// `COLUMN:+10%`: the candidate may not have more than 10 % more than the base; `COLUMN:-10%`: no more than 10 % less.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// A numeric column that is not of the key.
    pub column: String,
    /// The change that may not be passed, in percent, without its sign.
    pub percent: f64,
    /// Whether the threshold is passed from above: the sign as written, because +0 % and −0 % differ.
    pub more_is_worse: bool,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected COLUMN:+N% or COLUMN:-N%, e.g. p50_ns:+10%";
        let (column, change) = text.split_once(':').ok_or_else(|| format!("'{text}': {expected}"))?;
        let column = column.trim();
        if !Row::has_number(column) || KEY_COLUMNS.contains(&column) {
            let numbers = COLUMNS.iter().copied().filter(|c| Row::has_number(c) && !KEY_COLUMNS.contains(c));
            return Err(format!("'{column}' is no numeric column of a cells file{}", nearest(column, numbers)));
        }
        let change = change.trim();
        let more_is_worse = match change.chars().next() {
            Some('+') => true,
            Some('-') => false,
            _ => return Err(format!("'{change}' says neither + nor -; {expected}")),
        };
        let percent = change[1..].strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        let percent = percent.filter(|p| p.is_finite() && *p >= 0.0 && (more_is_worse || *p < 100.0));
        let percent = percent.ok_or_else(|| format!("'{change}' is no percentage; {expected}"))?;
        Ok(Self { column: column.to_owned(), percent, more_is_worse })
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.more_is_worse { '+' } else { '-' };
        write!(f, "{}:{sign}{}%", self.column, self.percent)
    }
}

impl Rule {
    /// The threshold as a share: 0.1 is +10 %, −0.1 is −10 %.
    fn threshold(&self) -> f64 {
        if self.more_is_worse { self.percent / 100.0 } else { -self.percent / 100.0 }
    }
}

/// How a line of a gate came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its interval is within the threshold.
    Passed,
    /// It has passed the threshold, beyond doubt; or the cell is not measured any more.
    Failed(String),
    /// Neither, for this reason.
    Unclear(String),
}

/// One rule at one cell, or a cell that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct GateLine {
    /// Key of the cell.
    pub key: CellKey,
    /// The rule; `None` where it is about the cell as a whole.
    pub rule: Option<Rule>,
    /// Change from base to candidate as a share: 0.1 is 10 % more.
    pub change: Option<f64>,
    /// Its own 95 % interval.
    pub interval: Option<Interval>,
    /// p-value of the threshold not being passed, adjusted over the gate by Holm's method.
    pub p_holm: Option<f64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// A line that has evidence.
struct Tested {
    line: usize,
    p_passes: f64,
    p_fails: f64,
    may_fail: bool,
    needs: Needs,
}

/// Holds a candidate against a base by these rules. `metrics` are the columns that both sides kept, in their order.
///
/// # Errors
/// As [`super::compare`].
pub fn gate(
    base: &Side,
    candidate: &Side,
    (rules, metrics): (&[Rule], &[String]),
    options: &Options,
    spreads: &Spreads,
) -> Result<Vec<GateLine>, Refused> {
    check(options)?;
    let (mut lines, mut tested) = (Vec::new(), Vec::new());
    for pair in pairs(base, candidate, options)? {
        let Some(b) = pair.0 else { continue };
        if let Some(outcome) = whole_cell(b, pair.1) {
            lines.push(line(b, None, outcome));
            continue;
        }
        for rule in rules {
            let metric = metrics.iter().position(|m| *m == rule.column);
            let found = evidence_of(rule, metric, &pair, base, candidate, spreads);
            let (evidence, may_fail) = match found {
                Ok(found) => found,
                Err(why) => {
                    lines.push(line(b, Some(rule), Outcome::Unclear(why)));
                    continue;
                }
            };
            let ratio = evidence.ratio();
            let change = |ratio: f64| ratio.recip() - 1.0;
            let border = -rule.threshold().ln_1p();
            let (below, above) = (evidence.p_below(border), evidence.p_above(border));
            let (p_fails, p_passes) = if rule.more_is_worse { (below, above) } else { (above, below) };
            // +0 % of what is counted: no more is no failure, and is known.
            let p_passes = if may_fail == Known::Counted && p_fails >= 1.0 { 0.0 } else { p_passes };
            tested.push(Tested {
                line: lines.len(),
                p_passes,
                p_fails,
                may_fail: may_fail == Known::Counted || evidence.launches() >= MIN_LAUNCHES,
                needs: Needs::Launches(MIN_LAUNCHES.saturating_sub(evidence.launches()).max(1)),
            });
            lines.push(GateLine {
                change: Some(change(ratio.ratio)),
                interval: ratio.interval.map(|(low, high)| (change(high), change(low))),
                ..line(b, Some(rule), Outcome::Passed)
            });
        }
    }
    settle(&mut lines, &tested);
    Ok(lines)
}

fn settle(lines: &mut [GateLine], tested: &[Tested]) {
    let adjusted = holm(&tested.iter().map(|t| t.p_fails).collect::<Vec<_>>());
    for (t, p) in tested.iter().zip(adjusted) {
        let line = &mut lines[t.line];
        line.p_holm = Some(p);
        let rule = line.rule.as_ref().map(ToString::to_string).unwrap_or_default();
        line.outcome = match () {
            () if p <= ALPHA && t.may_fail => Outcome::Failed(format!("past {rule}")),
            () if t.p_passes <= ALPHA => Outcome::Passed,
            () if !t.may_fail => Outcome::Unclear(format!("a gate wants 3 launches a side: {}", t.needs.advice())),
            () => Outcome::Unclear("its interval holds the threshold; more launches would narrow it".to_owned()),
        };
    }
}

fn line(cell: &MeasuredCell, rule: Option<&Rule>, outcome: Outcome) -> GateLine {
    GateLine { key: cell.key.clone(), rule: rule.cloned(), change: None, interval: None, p_holm: None, outcome }
}

/// What is to be said of a cell that is not measured on both sides.
fn whole_cell(base: &MeasuredCell, candidate: Option<&MeasuredCell>) -> Option<Outcome> {
    let ok = |cell: &MeasuredCell| cell.launches.iter().any(|l| l.status == Status::Ok.as_str());
    let last = |cell: &MeasuredCell| cell.launches.last().map(|l| l.status.clone()).unwrap_or_default();
    let Some(candidate) = candidate else { return Some(Outcome::Unclear("missing in the candidate".to_owned())) };
    match (ok(base), ok(candidate)) {
        (true, true) => None,
        (false, _) => Some(Outcome::Unclear(format!("{} in the base", last(base)))),
        (true, false) => {
            let (text, status) = (format!("was ok, is {}", last(candidate)), last(candidate));
            let is_worse = [Status::Error, Status::Incorrect, Status::Oom, Status::Timeout];
            Some(if is_worse.iter().any(|s| s.as_str() == status) {
                Outcome::Failed(text)
            } else {
                Outcome::Unclear(text)
            })
        }
    }
}

/// How a metric is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Measured,
    Counted,
}

/// Evidence of the ratio base / candidate of a metric.
fn evidence_of(
    rule: &Rule,
    metric: Option<usize>,
    pair: &Pair<'_>,
    base: &Side,
    candidate: &Side,
    spreads: &Spreads,
) -> Result<(Evidence, Known), String> {
    if let Some((_, more_is_faster)) = OF_ROUNDS.iter().find(|(column, _)| *column == rule.column) {
        let (from, to, pair) =
            if *more_is_faster { (candidate, base, (pair.1, pair.0)) } else { (base, candidate, *pair) };
        let found = evidence(&pair, from, to, spreads);
        return found.map(|e| (e, Known::Measured)).ok_or_else(|| "too few rounds or launches".to_owned());
    }
    let values = |cell: Option<&MeasuredCell>| -> Vec<f64> {
        let launches = cell.map(|c| &c.launches[..]).unwrap_or_default();
        launches.iter().filter_map(|l| *l.values.get(metric?)?).collect()
    };
    let (left, right) = (values(pair.0), values(pair.1));
    if left.is_empty() || right.is_empty() {
        return Err(format!("{} is blank", rule.column));
    }
    if left.iter().chain(&right).any(|v| *v <= 0.0) {
        let all_alike = left.iter().chain(&right).all(|v| *v == left[0]);
        return if all_alike {
            Evidence::of_launches(&[0.0; 2], &[0.0; 2], true).map(|e| (e, Known::Counted)).ok_or_else(String::new)
        } else {
            Err(format!("{} is 0 on a side, of which there is no percentage", rule.column))
        };
    }
    let constant = |values: &[f64]| values.iter().all(|v| *v == values[0]);
    let logs = |values: &[f64]| values.iter().map(|v| v.ln()).collect::<Vec<f64>>();
    if COUNTED.contains(&rule.column.as_str()) && constant(&left) && constant(&right) {
        let (b, c) = (left[0].ln(), right[0].ln());
        return Evidence::of_launches(&[b; 2], &[c; 2], true).map(|e| (e, Known::Counted)).ok_or_else(String::new);
    }
    let same_machine = base.machine() == candidate.machine();
    Evidence::of_launches(&logs(&left), &logs(&right), same_machine)
        .map(|e| (e, Known::Measured))
        .ok_or_else(|| format!("{} has one value a launch: 3 launches a side are wanted", rule.column))
}
