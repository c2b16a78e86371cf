//! The distribution of single calls at the longest length, by percentile. Cells that time many calls together have none.

use super::{
    super::{
        chart::{Axis, Chart, Point, Scale, Ticks, Unit},
        material::Panel,
        numbers::{thousands, time},
    },
    Figure, figure, groups, id, source,
    speed::line,
    subtitle,
};
use crate::{stats::LatencyHistogram, store::Row};

const TITLE: &str = "Latency of single calls, by percentile";

/// Values that must lie beyond a percentile for it to mean anything.
const BEYOND: f64 = 5.0;

/// The share of calls that are no slower, and where a row may have it.
const SHARES: [(f64, &str, Option<&str>); 8] = [
    (0.0, "fastest", Some("min_ns")),
    (0.25, "25 %", None),
    (0.5, "50 %", Some("p50_ns")),
    (0.75, "75 %", None),
    (0.9, "90 %", Some("p90_ns")),
    (0.95, "95 %", Some("p95_ns")),
    (0.99, "99 %", Some("p99_ns")),
    (0.999, "99.9 %", None),
];

/// Latency by percentile, a chart per panel.
pub(super) fn latency(panels: &[Panel<'_>]) -> Option<Figure> {
    let note = "Time that this share of the calls does not exceed, at the longest length; a percentile is shown where at \
                least five calls lie beyond it.";
    figure(TITLE, note, panels.iter().filter_map(chart).collect())
}

fn chart(panel: &Panel<'_>) -> Option<Chart> {
    let has = |row: &Row| !row.histogram_v2.is_empty();
    let longest = panel.longest(has)?;
    let groups = groups(panel, |row| has(row) && row.seq_len == longest);
    let mut summary = String::new();
    let mut lines = Vec::new();
    for g in &groups {
        let Some(row) = g.rows.last() else { continue };
        let points = points(row);
        if let Some(last) = points.last() {
            summary.push_str(&format!("{}: {}. ", g.name, last.tip));
        }
        let ending = points.last().map(|p| time(p.y));
        let mut line = line(g, |_| ending.clone(), |_| None);
        line.points = points;
        lines.push(line);
    }
    // The share of slower calls halves and halves: that is a logarithmic axis of one call in so many.
    let named = SHARES.iter().filter(|(p, ..)| *p != 0.25 && *p != 0.75).map(|(p, name, _)| (one_in(*p), *name));
    Some(Chart {
        id: id(panel, "latency"),
        title: TITLE.to_owned(),
        subtitle: format!("{} · {} tokens", subtitle(panel), thousands(&longest.to_string())),
        summary: summary.trim_end().to_owned(),
        x: Axis {
            label: "share of calls that are no slower".to_owned(),
            unit: Unit::Plain,
            scale: Scale::Log,
            ticks: Ticks::Named(named.collect()),
        },
        y: Axis { label: String::new(), unit: Unit::Time, scale: Scale::Fitting, ticks: Ticks::Round },
        lines,
        level: None,
    })
}

/// One call in so many is slower.
fn one_in(share: f64) -> f64 {
    1.0 / (1.0 - share)
}

/// Percentiles of a row: as its columns have them, the others from its histogram.
fn points(row: &Row) -> Vec<Point> {
    let Ok(histogram) = LatencyHistogram::from_base64(&row.histogram_v2) else { return Vec::new() };
    let n = histogram.count() as f64;
    let one = |(share, name, column): &(f64, &str, Option<&'static str>)| {
        let is_known = *share == 0.0 || n * (1.0 - share) >= BEYOND;
        let of_column = column.and_then(|c| Some((of(row, c)?, c)));
        let (y, column) = match of_column {
            Some((y, c)) => (y, Some(c)),
            None => (histogram.quantile_ns(*share)? as f64, None),
        };
        let source = column.and_then(|column| source(row, column));
        let tip = match *share {
            0.0 => format!("the fastest call takes {}", time(y)),
            _ => format!("{name} of calls take at most {}", time(y)),
        };
        (is_known && y.is_finite() && y > 0.0).then(|| Point {
            x: one_in(*share),
            y,
            x_interval: None,
            y_interval: None,
            is_hollow: false,
            source,
            tip,
        })
    };
    SHARES.iter().filter_map(one).collect()
}

fn of(row: &Row, column: &str) -> Option<f64> {
    match column {
        "min_ns" => row.min_ns,
        "p50_ns" => row.p50_ns,
        "p90_ns" => row.p90_ns,
        "p95_ns" => row.p95_ns,
        "p99_ns" => row.p99_ns,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_wait_for_calls_beyond_them() {
        // 100 calls of 1 to 100 µs: five lie beyond 95 %, one beyond 99 %.
        let values: Vec<f64> = (1..=100).map(|i| f64::from(i) * 1000.0).collect();
        let histogram_v2 = LatencyHistogram::of(&values).to_base64().expect("written");
        let row = Row { histogram_v2, p50_ns: Some(50_500.0), ..Row::default() };
        let points = points(&row);
        let shares: Vec<f64> = points.iter().map(|p| (100.0 * (1.0 - 1.0 / p.x)).round()).collect();
        assert_eq!(shares, [0.0, 25.0, 50.0, 75.0, 90.0, 95.0]);
        assert_eq!(points[2].y, 50_500.0, "the column, where there is one");
        assert!((points[4].y / 90_000.0 - 1.0).abs() < 1e-3, "else the histogram: {}", points[4].y);
        assert_eq!(points[4].source, None);
    }

    #[test]
    fn a_histogram_that_cannot_be_read_is_no_chart() {
        assert!(points(&Row { histogram_v2: "<b>".to_owned(), ..Row::default() }).is_empty());
    }
}
