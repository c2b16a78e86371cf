//! The answer that a panel gives: which variant, from which length on, by how much, at what memory, and how sure that is.
//! Knows no layout.

use super::{
    figures::{of_one_run, state_bytes},
    material::Panel,
    summary::{crossovers, name_among},
};
use crate::{
    stats::{Crossover, Interval},
    store::Row,
};

/// What a panel says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer<'a> {
    /// A linear variant beside softmax.
    Compared(Compared<'a>),
    /// Speeds, and no softmax measured with them.
    Alone {
        /// The fastest at the longest length, as the panel calls it.
        name: String,
        /// Its row.
        row: &'a Row,
        /// Cells with a speed.
        measured: usize,
    },
    /// No cell has a speed.
    Nothing,
}

/// The fastest linear variant at the longest length that was measured of it and of softmax.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared<'a> {
    /// What the panel calls it.
    pub(super) name: String,
    /// Its row.
    pub(super) row: &'a Row,
    /// Softmax at the same length, of the same implementation.
    pub(super) softmax: Option<&'a Row>,
    /// Times faster than softmax.
    pub(super) ratio: f64,
    /// Interval of that.
    pub(super) interval: Option<Interval>,
    /// From which length on.
    pub(super) crossover: Option<Crossover>,
    /// Shortest length of its line.
    pub(super) shortest: u64,
    /// The next fastest linear variant, and whether its interval reaches into the winner's.
    pub(super) next: Option<(String, f64, bool)>,
    /// Launches that its cell comes from.
    pub(super) launches: usize,
}

/// Whether the winner's advantage is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sureness {
    /// The interval lies above 1.
    Faster,
    /// The interval lies below 1.
    Slower,
    /// The interval holds 1, or there is none.
    Open,
}

impl Compared<'_> {
    /// What the interval says.
    pub(super) fn sureness(&self) -> Sureness {
        match self.interval {
            Some((low, _)) if low > 1.0 => Sureness::Faster,
            Some((_, high)) if high < 1.0 => Sureness::Slower,
            _ => Sureness::Open,
        }
    }

    /// Bytes that softmax keeps and the winner keeps.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        Some((state_bytes(self.softmax?)?.0, state_bytes(self.row)?.0))
    }
}

/// A linear variant that has a clean ratio.
fn competes(row: &Row) -> bool {
    row.status == "ok"
        && row.variant != "softmax"
        && row.feature_dim.is_some()
        && row.speedup_vs_softmax.is_some_and(|s| s.is_finite() && s > 0.0)
}

/// The answer of a panel.
pub(super) fn answer<'a>(panel: &Panel<'a>) -> Answer<'a> {
    compared(panel).map(Answer::Compared).or_else(|| alone(panel)).unwrap_or(Answer::Nothing)
}

fn compared<'a>(panel: &Panel<'a>) -> Option<Compared<'a>> {
    let longest = panel.longest(competes)?;
    let at_end: Vec<&Row> = panel.rows.iter().copied().filter(|r| r.seq_len == longest && competes(r)).collect();
    let mut names: Vec<String> = Vec::new();
    for row in &at_end {
        let name = name_among(row, &panel.rows);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Of several launches the middle one speaks for the variant.
    let of_name = |name: &String| -> Option<(String, &'a Row)> {
        let mut rows: Vec<&'a Row> = at_end.iter().copied().filter(|r| name_among(r, &panel.rows) == *name).collect();
        rows.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        Some((name.clone(), *rows.get(rows.len() / 2)?))
    };
    let mut ranked: Vec<(String, &Row)> = names.iter().filter_map(of_name).collect();
    ranked.sort_by(|a, b| ratio(b.1).total_cmp(&ratio(a.1)));
    let mut ranked = ranked.into_iter();
    let (name, row) = ranked.next()?;
    let interval = interval(row);
    let next = ranked.next().map(|(name, second)| {
        let reaches = second.speedup_ci95_high.zip(interval).is_none_or(|(high, (low, _))| high >= low);
        (name, ratio(second), reaches)
    });
    let is_twin = |r: &&&Row| {
        r.variant == "softmax"
            && (r.seq_len, &r.implementation, &r.run_id) == (longest, &row.implementation, &row.run_id)
    };
    let own = || panel.rows.iter().filter(|r| name_among(r, &panel.rows) == name);
    Some(Compared {
        ratio: ratio(row),
        softmax: panel.rows.iter().find(is_twin).copied(),
        interval,
        crossover: crossovers(&of_one_run(panel)).into_iter().find(|(n, _)| *n == name).map(|(_, c)| c),
        shortest: own().filter(|r| competes(r)).map(|r| r.seq_len).min().unwrap_or(longest),
        next,
        launches: own().filter(|r| r.seq_len == longest).count(),
        name,
        row,
    })
}

fn ratio(row: &Row) -> f64 {
    row.speedup_vs_softmax.unwrap_or(0.0)
}

fn interval(row: &Row) -> Option<Interval> {
    row.speedup_ci95_low.zip(row.speedup_ci95_high)
}

fn alone<'a>(panel: &Panel<'a>) -> Option<Answer<'a>> {
    let has = |r: &Row| r.status == "ok" && r.tokens_per_s.is_some_and(|t| t.is_finite() && t > 0.0);
    let longest = panel.longest(has)?;
    let rows = panel.rows.iter().copied().filter(|r| has(r));
    let measured = rows.clone().count();
    let row = rows
        .filter(|r| r.seq_len == longest)
        .max_by(|a, b| a.tokens_per_s.unwrap_or(0.0).total_cmp(&b.tokens_per_s.unwrap_or(0.0)))?;
    Some(Answer::Alone { name: name_among(row, &panel.rows), row, measured })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Softmax grows with the length, `elu` and `t2r` do not; six rounds.
    fn row(variant: &str, seq_len: u64, ns: f64, speedup: (f64, f64, f64)) -> Row {
        let (ratio, low, high) = speedup;
        Row {
            status: "ok".to_owned(),
            workload: "decode".to_owned(),
            variant: variant.to_owned(),
            batch_size: 1,
            seq_len,
            feature_dim: (variant != "softmax").then_some(32),
            tokens_per_s: Some(1e9 / ns),
            round_values: format!("[{ns},{ns},{ns},{ns},{ns},{ns}]"),
            speedup_vs_softmax: Some(ratio),
            speedup_ci95_low: Some(low),
            speedup_ci95_high: Some(high),
            state_bytes_measured: Some(if variant == "softmax" { 64 * seq_len } else { 128 }),
            ..Row::default()
        }
    }

    fn panel(rows: &[Row]) -> Panel<'_> {
        Panel { run: "", key: String::new(), rows: rows.iter().collect() }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("softmax", 16, 16.0, (1.0, 1.0, 1.0)),
            row("elu", 16, 40.0, (0.4, 0.3, 0.5)),
            row("t2r", 16, 32.0, (0.5, 0.4, 0.6)),
            row("softmax", 64, 64.0, (1.0, 1.0, 1.0)),
            row("elu", 64, 40.0, (1.6, 1.2, 1.9)),
            row("t2r", 64, 32.0, (2.0, 1.8, 2.2)),
        ]
    }

    #[test]
    fn the_fastest_at_the_longest_length_wins_and_its_rival_is_named() {
        let rows = rows();
        let Answer::Compared(c) = answer(&panel(&rows)) else { panic!("compared") };
        assert_eq!((c.name.as_str(), c.ratio, c.interval), ("t2r", 2.0, Some((1.8, 2.2))));
        assert_eq!(c.next, Some(("elu".to_owned(), 1.6, true)));
        assert_eq!(c.sureness(), Sureness::Faster);
        assert_eq!(c.memory(), Some((4096, 128)));
        // Softmax takes len, t2r 32: they meet at 32.
        let Some(Crossover::At { length, .. }) = c.crossover else { panic!("{:?}", c.crossover) };
        assert!((length - 32.0).abs() < 1e-9);
    }

    #[test]
    fn an_interval_that_holds_one_is_open() {
        let mut rows = rows();
        rows[5].speedup_ci95_low = Some(0.9);
        let Answer::Compared(c) = answer(&panel(&rows)) else { panic!("compared") };
        assert_eq!(c.sureness(), Sureness::Open);
        rows[5].speedup_ci95_low = None;
        let Answer::Compared(c) = answer(&panel(&rows)) else { panic!("compared") };
        assert_eq!((c.interval, c.sureness()), (None, Sureness::Open));
    }

    #[test]
    fn without_softmax_or_without_speed_there_is_less_to_say() {
        let mut rows = rows();
        for row in &mut rows {
            row.speedup_vs_softmax = None;
        }
        let Answer::Alone { name, measured, .. } = answer(&panel(&rows)) else { panic!("alone") };
        assert_eq!((name.as_str(), measured), ("t2r", 6));
        for row in &mut rows {
            row.status = "skipped".to_owned();
        }
        assert_eq!(answer(&panel(&rows)), Answer::Nothing);
    }

    #[test]
    fn controls_do_not_win() {
        let mut rows = rows();
        rows[5].feature_dim = None;
        rows[5].variant = "none".to_owned();
        let Answer::Compared(c) = answer(&panel(&rows)) else { panic!("compared") };
        assert_eq!(c.name, "elu");
    }
}
