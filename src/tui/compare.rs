//! The state of Compare: files laid over the rows at hand, cell by cell, and what differs between the machines. Knows rows and
//! their intervals, not how they are drawn.

use std::{collections::HashMap, path::PathBuf};

use super::keys::Action;
use crate::{
    stats::median,
    store::{Row, interval_of},
};

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// What to know of it: a cut-off line, columns that are not known.
    pub(crate) note: String,
}

/// An entry of the picker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) is_dir: bool,
}

/// Where a file is picked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Picker {
    pub(crate) dir: PathBuf,
    pub(crate) entries: Vec<Entry>,
    pub(crate) at: usize,
    /// Why a file or a folder could not be read.
    pub(crate) error: Option<String>,
}

/// What is said of a cell in two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The rows at hand are faster than the file.
    Faster,
    Slower,
    /// The intervals meet: more rounds would tell, or there is no difference.
    Unclear,
    /// One side has no speed, or no interval.
    Incomparable,
    /// The file lacks the cell.
    Missing,
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Unclear => "unclear",
            Self::Incomparable => "incomparable",
            Self::Missing => "missing",
        }
    }
}

/// A cell in both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    /// Index among the rows at hand.
    pub(crate) own: usize,
    /// Index among the file's rows.
    pub(crate) other: Option<usize>,
    /// Time in the file over time at hand: above 1 the rows at hand are faster.
    pub(crate) ratio: Option<f64>,
    /// Bounds of that ratio that hold for whatever the two medians are within their intervals.
    pub(crate) bounds: Option<(f64, f64)>,
    pub(crate) verdict: Verdict,
}

/// A column in which the two machines or builds differ.
pub(crate) type Difference = (&'static str, String, String);

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compare {
    pub(crate) files: Vec<Loaded>,
    /// Index of the file that the table is against.
    pub(crate) against: usize,
    pub(crate) picker: Option<Picker>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) differences: Vec<Difference>,
    pub(crate) at: usize,
    /// Whether the cells are the same but for implementation, device, threads and seed.
    pub(crate) across: bool,
    pub(crate) by_verdict: bool,
    pub(crate) reverse: bool,
}

impl Compare {
    /// The file that the table is against.
    pub(crate) fn other(&self) -> Option<&Loaded> {
        self.files.get(self.against)
    }

    /// Matches the rows of the first file, which are those at hand, with the others'.
    pub(crate) fn refresh_among(&mut self) {
        if self.files.len() < 2 {
            (self.pairs, self.differences) = (Vec::new(), Vec::new());
            return;
        }
        self.against = self.against.max(1);
        let own = std::mem::take(&mut self.files[0].rows);
        self.refresh(&own);
        self.files[0].rows = own;
    }

    /// Matches the rows at hand with the file's.
    pub(crate) fn refresh(&mut self, own: &[Row]) {
        self.against = self.against.min(self.files.len().saturating_sub(1));
        let Some(other) = self.files.get(self.against) else {
            (self.pairs, self.differences) = (Vec::new(), Vec::new());
            return;
        };
        let of = |key: fn(&Row) -> String| -> HashMap<String, usize> {
            other.rows.iter().enumerate().map(|(i, r)| (key(r), i)).collect()
        };
        let mut key: fn(&Row) -> String = |row| row.cell_id.clone();
        let mut places = of(key);
        self.across = !own.iter().any(|row| places.contains_key(&row.cell_id));
        if self.across {
            // Another implementation, or another machine: the same cells but for that.
            key = without_run;
            places = of(key);
        }
        self.pairs = own
            .iter()
            .enumerate()
            .filter(|(_, row)| !row.status.is_empty())
            .map(|(i, row)| pair(i, row, places.get(&key(row)).map(|o| (*o, &other.rows[*o]))))
            .collect();
        if self.by_verdict {
            self.pairs.sort_by_key(|p| p.verdict);
        }
        if self.reverse {
            self.pairs.reverse();
        }
        self.at = self.at.min(self.pairs.len().saturating_sub(1));
        self.differences = own.first().zip(other.rows.first()).map_or_else(Vec::new, |(a, b)| differences(a, b));
    }

    /// How many cells got each verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.pairs.iter().filter(|p| p.verdict == verdict).count()
    }

    /// Takes an action; says whether the pairs must be refreshed.
    pub(crate) fn act(&mut self, action: Action) -> bool {
        let last = self.pairs.len().saturating_sub(1);
        match action {
            Action::Up => self.at = self.at.saturating_sub(1),
            Action::Down => self.at = (self.at + 1).min(last),
            Action::PageUp => self.at = self.at.saturating_sub(10),
            Action::PageDown => self.at = (self.at + 10).min(last),
            Action::First => self.at = 0,
            Action::Last => self.at = last,
            Action::Left | Action::Right if self.files.len() > 1 => {
                let n = self.files.len();
                self.against = if action == Action::Right { self.against + 1 } else { self.against + n - 1 } % n;
                return true;
            }
            Action::Sort => {
                self.by_verdict = !self.by_verdict;
                return true;
            }
            Action::Reverse => {
                self.reverse = !self.reverse;
                return true;
            }
            Action::CloseFile => {
                self.files.pop();
                return true;
            }
            _ => {}
        }
        false
    }
}

/// The key of a cell, save what belongs to the run or to the code.
fn without_run(row: &Row) -> String {
    let shape = (row.n_layers, row.d_model, row.n_heads, row.n_kv_heads, row.head_dim, row.ffn_dim, row.vocab_size);
    let what = (&row.workload, &row.variant, &row.variant_params, row.causal, &row.dtype, &row.model, &row.cache);
    let sizes = (row.batch_size, row.seq_len, row.n_prompt, row.n_gen, row.feature_dim, row.cross_feature_dim);
    format!("{what:?} {sizes:?} {shape:?}")
}

fn pair(own: usize, row: &Row, other: Option<(usize, &Row)>) -> Pair {
    let Some((at, other)) = other else {
        return Pair { own, other: None, ratio: None, bounds: None, verdict: Verdict::Missing };
    };
    let ratio = median(&other.figures()).zip(median(&row.figures())).map(|(theirs, ours)| theirs / ours);
    let bounds = interval_of(other).zip(interval_of(row)).map(|(theirs, ours)| (theirs.0 / ours.1, theirs.1 / ours.0));
    let verdict = match bounds {
        _ if row.status != "ok" || other.status != "ok" || ratio.is_none() => Verdict::Incomparable,
        Some((low, _)) if low > 1.0 => Verdict::Faster,
        Some((_, high)) if high < 1.0 => Verdict::Slower,
        Some(_) => Verdict::Unclear,
        None => Verdict::Incomparable,
    };
    Pair { own, other: Some(at), ratio, bounds, verdict }
}

fn differences(a: &Row, b: &Row) -> Vec<Difference> {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |v| v.to_string())
    }
    let facts = |r: &Row| -> Vec<(&'static str, String)> {
        vec![
            ("cpu", r.cpu_info.clone()),
            ("instructions", r.cpu_isa.clone()),
            ("cores", text(r.cpu_cores_physical)),
            ("threads of the run", r.n_threads.to_string()),
            ("memory", text(r.ram_total_bytes.map(crate::report::numbers::bytes))),
            ("device", r.device_name.clone()),
            ("implementation", r.implementation.clone()),
            ("os", r.os.clone()),
            ("kernel", r.kernel.clone()),
            ("container", text(r.container)),
            ("commit", r.build_commit.clone()),
            ("changed since", text(r.build_dirty)),
            ("features", r.build_features.clone()),
            ("compiler", r.rustc_version.clone()),
            ("seed", r.seed.to_string()),
            ("dashboard on", text(r.tui_active)),
        ]
    };
    let both = facts(a).into_iter().zip(facts(b));
    both.filter(|((_, a), (_, b))| a != b).map(|((name, a), (_, b))| (name, a, b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, centre: f64, half: f64) -> Row {
        Row {
            cell_id: id.to_owned(),
            status: "ok".to_owned(),
            round_values: format!("[{centre}]"),
            ci95_low_ns: Some(centre - half),
            ci95_high_ns: Some(centre + half),
            ..Row::default()
        }
    }

    #[test]
    fn a_verdict_comes_from_the_intervals_and_never_from_a_bare_percentage() {
        let own = [row("a", 100.0, 1.0), row("b", 100.0, 60.0), row("c", 100.0, 1.0), row("d", 100.0, 1.0)];
        let mut failed = row("c", 50.0, 1.0);
        failed.status = "error".to_owned();
        let rows = vec![row("a", 110.0, 1.0), row("b", 110.0, 1.0), failed];
        let mut compare = Compare { files: vec![Loaded { rows, ..Loaded::default() }], ..Compare::default() };
        compare.refresh(&own);
        let verdicts: Vec<Verdict> = compare.pairs.iter().map(|p| p.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::Unclear, Verdict::Incomparable, Verdict::Missing]);
        assert!((compare.pairs[0].ratio.expect("a ratio") - 1.1).abs() < 1e-12);
        let (low, high) = compare.pairs[0].bounds.expect("bounds");
        assert!((low - 109.0 / 101.0).abs() < 1e-12 && (high - 111.0 / 99.0).abs() < 1e-12);
        compare.files[0].rows[0] = row("a", 90.0, 1.0);
        compare.refresh(&own);
        assert_eq!(compare.pairs[0].verdict, Verdict::Slower);
    }

    #[test]
    fn only_facts_that_differ_are_listed() {
        let a = Row { cpu_info: "A".to_owned(), n_threads: 2, ..Row::default() };
        let b = Row { cpu_info: "B".to_owned(), n_threads: 2, ..Row::default() };
        assert_eq!(differences(&a, &b), [("cpu", "A".to_owned(), "B".to_owned())]);
    }
}
