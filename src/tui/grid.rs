//! The state of Grid: which variant the map shows, and the table's order, filter and cursor. Knows rows, not how they look.

use std::cmp::Ordering;

use super::{board::Sheet, keys::Action};
use crate::{
    stats::{median, relative_half_width},
    store::{Row, interval_of},
};

/// What the table can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SortBy {
    #[default]
    Plan,
    Variant,
    Batch,
    Length,
    Time,
    Speed,
    Ratio,
    Precision,
    State,
    Status,
}

impl SortBy {
    pub(crate) const ALL: [Self; 10] = [
        Self::Plan,
        Self::Variant,
        Self::Batch,
        Self::Length,
        Self::Time,
        Self::Speed,
        Self::Ratio,
        Self::Precision,
        Self::State,
        Self::Status,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Variant => "variant",
            Self::Batch => "batch",
            Self::Length => "length",
            Self::Time => "time",
            Self::Speed => "tokens/s",
            Self::Ratio => "× softmax",
            Self::Precision => "±",
            Self::State => "state",
            Self::Status => "status",
        }
    }
}

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    /// Index among the lines of the sheet that are not softmax.
    pub(crate) line: usize,
    pub(crate) sort: SortBy,
    pub(crate) reverse: bool,
    pub(crate) filter: String,
    /// Index into `order`.
    pub(crate) at: usize,
    /// Rows that are shown, in order.
    pub(crate) order: Vec<usize>,
    pub(crate) detail: bool,
    /// First line of the detail pane.
    pub(crate) scroll: u16,
}

/// Median of the rounds' figures, and the interval's relative half-width.
pub(crate) fn figure(row: &Row) -> Option<(f64, Option<f64>)> {
    let centre = median(&row.figures()).or(row.p50_ns)?;
    Some((centre, interval_of(row).and_then(|i| relative_half_width(i, centre))))
}

impl Grid {
    /// Brings order and filter up to date; the cursor stays on its row where that is still shown.
    pub(crate) fn refresh(&mut self, rows: &[Row]) {
        let selected = self.selected();
        let words: Vec<String> = self.filter.to_lowercase().split_whitespace().map(str::to_owned).collect();
        self.order = (0..rows.len()).filter(|i| matches(&rows[*i], &words)).collect();
        let keys: Vec<Option<f64>> = match self.sort {
            SortBy::Plan | SortBy::Variant | SortBy::Status => Vec::new(),
            _ => rows.iter().map(|row| self.number(row)).collect(),
        };
        let sort = self.sort;
        self.order.sort_by(|a, b| match sort {
            SortBy::Plan => a.cmp(b),
            SortBy::Variant => rows[*a].variant.cmp(&rows[*b].variant),
            SortBy::Status => rows[*a].status.cmp(&rows[*b].status),
            // Rows without a value come last, whichever way the others stand.
            _ => match (keys[*a], keys[*b]) {
                (Some(x), Some(y)) => x.total_cmp(&y),
                (None, None) => Ordering::Equal,
                (x, _) => {
                    if x.is_some() != self.reverse {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
            },
        });
        if self.reverse {
            self.order.reverse();
        }
        let kept = selected.and_then(|s| self.order.iter().position(|i| *i == s));
        self.at = kept.unwrap_or(self.at).min(self.order.len().saturating_sub(1));
    }

    fn number(&self, row: &Row) -> Option<f64> {
        match self.sort {
            SortBy::Batch => Some(row.batch_size as f64),
            SortBy::Length => Some(row.seq_len as f64),
            SortBy::Time => figure(row).map(|(centre, _)| centre),
            SortBy::Speed => row.tokens_per_s,
            SortBy::Ratio => row.speedup_vs_softmax,
            SortBy::Precision => figure(row).and_then(|(_, half)| half),
            SortBy::State => row.state_bytes_measured.or(row.state_bytes_pred).map(|b| b as f64),
            SortBy::Plan | SortBy::Variant | SortBy::Status => None,
        }
    }

    /// Puts the cursor on a row, where that is shown.
    pub(crate) fn go_to(&mut self, row: Option<usize>) {
        if let Some(at) = self.order.iter().position(|i| Some(*i) == row) {
            self.at = at;
        }
    }

    /// Index of the row under the cursor.
    pub(crate) fn selected(&self) -> Option<usize> {
        self.order.get(self.at).copied()
    }

    /// Takes an action; says whether order or filter must be refreshed.
    pub(crate) fn act(&mut self, action: Action, sheet: Option<&Sheet>) -> bool {
        match action {
            // Pages turn what is open; lines still go from row to row.
            Action::PageUp if self.detail => self.scroll = self.scroll.saturating_sub(10),
            Action::PageDown if self.detail => self.scroll = self.scroll.saturating_add(10).min(200),
            Action::Detail => (self.detail, self.scroll) = (!self.detail, 0),
            Action::Back if self.detail => self.detail = false,
            Action::Back => {
                self.filter.clear();
                return true;
            }
            Action::Sort => {
                let now = SortBy::ALL.iter().position(|s| *s == self.sort).unwrap_or(0);
                self.sort = SortBy::ALL[(now + 1) % SortBy::ALL.len()];
                return true;
            }
            Action::Reverse => {
                self.reverse = !self.reverse;
                return true;
            }
            Action::NextLine => {
                let lines = sheet.map_or(1, |s| s.lines.iter().filter(|l| !l.is_softmax).count().max(1));
                self.line = (self.line + 1) % lines;
            }
            _ => self.at = action.moved(self.at, self.order.len().saturating_sub(1)).unwrap_or(self.at),
        }
        false
    }
}

fn matches(row: &Row, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let text = format!(
        "{} {} {} {} batch={} len={} {} {} {} {} {}",
        row.variant,
        row.variant_params,
        row.implementation,
        row.workload,
        row.batch_size,
        row.seq_len,
        row.cache,
        row.dtype,
        row.status,
        row.quality,
        row.warnings
    );
    words.iter().all(|word| text.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |variant: &str, seq_len, speed: Option<f64>| Row {
            variant: variant.to_owned(),
            seq_len,
            tokens_per_s: speed,
            status: "ok".to_owned(),
            ..Row::default()
        };
        vec![
            row("softmax", 64, Some(3.0)),
            row("t2r", 64, None),
            row("elu", 256, Some(1.0)),
            row("t2r", 256, Some(2.0)),
        ]
    }

    #[test]
    fn rows_are_sorted_and_those_without_a_value_come_last() {
        let rows = rows();
        let mut grid = Grid { sort: SortBy::Speed, ..Grid::default() };
        grid.refresh(&rows);
        assert_eq!(grid.order, [2, 3, 0, 1]);
        grid.reverse = true;
        grid.refresh(&rows);
        assert_eq!(grid.order, [0, 3, 2, 1]);
    }

    #[test]
    fn a_filter_keeps_rows_that_hold_every_word_and_the_cursor_its_row() {
        let rows = rows();
        let mut grid = Grid { filter: "T2R len=256".to_owned(), ..Grid::default() };
        grid.refresh(&rows);
        assert_eq!(grid.order, [3]);
        grid.filter.clear();
        grid.refresh(&rows);
        assert_eq!(grid.selected(), Some(3));
        assert!(grid.act(Action::Sort, None) && grid.sort == SortBy::Variant);
    }
}
