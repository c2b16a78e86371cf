//! Rows as the screens look at them: sheets of what can stand in one chart, the lines of each, and the curves of a metric.
//! Made when rows or the choice of a sheet change, so that drawing only reads. Knows no screen.

use std::collections::{BTreeSet, HashMap};

use super::plot::Point;
use crate::{
    report::{Look, name_among, per_token, shape_title},
    stats::{self, Crossover, crossover, median, relative_half_width},
    store::{Row, interval_of},
};

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Tokens per second.
    Speed,
    /// Time of a call.
    Latency,
    /// Bytes of KV cache or state.
    Memory,
    /// 99th percentile of single calls; drawn with latency, and no chart of its own.
    Tail,
}

impl Metric {
    pub(crate) const ALL: [Self; 3] = [Self::Speed, Self::Memory, Self::Latency];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Speed => "Speed, tokens/s",
            Self::Latency => "Latency per call, p50",
            Self::Memory => "Memory of cache or state",
            Self::Tail => "p99",
        }
    }
}

/// Rows that differ in batch, length, variant, implementation and feature size alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) workload: String,
    pub(crate) batches: Vec<u64>,
    pub(crate) lens: Vec<u64>,
    pub(crate) lines: Vec<Line>,
    /// Indices of its rows, and the line that each is of.
    pub(crate) rows: Vec<(usize, usize)>,
}

/// What stays the same along a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) look: Look,
    pub(crate) is_softmax: bool,
    pub(crate) implementation: String,
}

/// A line's points of one metric and batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// Index of the line in its sheet.
    pub(crate) line: usize,
    pub(crate) points: Vec<Point>,
    /// What stands behind the name: the last value, its precision, and × against softmax.
    pub(crate) last: Option<LastPoint>,
}

/// The end of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LastPoint {
    pub(crate) value: f64,
    /// Relative half-width of its interval.
    pub(crate) half: Option<f64>,
    pub(crate) speedup: Option<f64>,
}

/// Where a line passes softmax.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Passing {
    pub(crate) line: usize,
    pub(crate) crossover: Crossover,
}

fn sheet_key(r: &Row) -> String {
    let shape = (r.n_layers, r.d_model, r.n_heads, r.n_kv_heads, r.head_dim, r.ffn_dim, r.vocab_size);
    let run = (&r.workload, &r.cache, &r.dtype, r.causal, &r.device_kind, r.n_threads, r.seed);
    format!("{run:?} {shape:?} {:?}", (&r.model, r.n_prompt, r.n_gen))
}

fn line_key(r: &Row) -> (&str, &str, &str, Option<u64>, Option<u64>) {
    (&r.variant, &r.variant_params, &r.implementation, r.feature_dim, r.cross_feature_dim)
}

/// The sheets of some rows, in the order of their first rows.
pub(crate) fn sheets(rows: &[Row]) -> Vec<Sheet> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let at = *places.entry(sheet_key(row)).or_insert_with(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        members[at].push(i);
    }
    let mut sheets: Vec<Sheet> = members.iter().map(|of| sheet(rows, of)).collect();
    // Sheets that read the same are told apart by their places.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for sheet in &mut sheets {
        let times = seen.entry(sheet.title.clone()).or_default();
        *times += 1;
        if *times > 1 {
            sheet.title.push_str(&format!(" #{times}"));
        }
    }
    sheets
}

fn sheet(rows: &[Row], members: &[usize]) -> Sheet {
    let of = |i: &usize| &rows[*i];
    let mut firsts: Vec<&Row> = Vec::new();
    let mut index: HashMap<_, usize> = HashMap::new();
    let mut assigned = Vec::new();
    for i in members {
        let row = of(i);
        let line = *index.entry(line_key(row)).or_insert_with(|| {
            firsts.push(row);
            firsts.len() - 1
        });
        assigned.push((*i, line));
    }
    let line = |(i, row): (usize, &&Row)| Line {
        name: name_among(row, &firsts),
        look: Look::of(&row.variant, firsts[..i].iter().filter(|r| r.variant == row.variant).count()),
        is_softmax: row.variant == "softmax",
        implementation: row.implementation.clone(),
    };
    let distinct = |of_row: &dyn Fn(&Row) -> u64| -> Vec<u64> {
        members.iter().map(|i| of_row(of(i))).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Sheet {
        title: members.first().map_or_else(String::new, |i| shape_title(of(i))),
        workload: members.first().map_or_else(String::new, |i| of(i).workload.clone()),
        batches: distinct(&|r| r.batch_size),
        lens: distinct(&|r| r.seq_len),
        lines: firsts.iter().enumerate().map(line).collect(),
        rows: assigned,
    }
}

fn value(row: &Row, metric: Metric) -> Option<(f64, Option<(f64, f64)>)> {
    match metric {
        Metric::Speed => Some((row.tokens_per_s?, row.tokens_per_s_ci95_low.zip(row.tokens_per_s_ci95_high))),
        // The interval is of the median round, which is p50 itself where calls are timed together.
        Metric::Latency => Some((median(&row.figures()).or(row.p50_ns)?, interval_of(row))),
        Metric::Tail => Some((row.p99_ns?, None)),
        Metric::Memory => Some((row.state_bytes_measured.or(row.state_bytes_pred)? as f64, None)),
    }
    .filter(|(v, _)| v.is_finite() && *v > 0.0)
}

/// The curves of a sheet's lines at a batch, in the order of the lines; a line without points has an empty curve.
pub(crate) fn curves(sheet: &Sheet, rows: &[Row], batch: u64, metric: Metric) -> Vec<Curve> {
    let mut curves: Vec<Curve> =
        (0..sheet.lines.len()).map(|line| Curve { line, points: Vec::new(), last: None }).collect();
    let mut last_len = vec![0; curves.len()];
    for (i, line) in &sheet.rows {
        let row = &rows[*i];
        let Some((y, interval)) = value(row, metric).filter(|_| row.batch_size == batch) else { continue };
        let curve = &mut curves[*line];
        curve.points.push(Point { x: row.seq_len as f64, y, interval });
        if row.seq_len >= last_len[*line] {
            last_len[*line] = row.seq_len;
            let half = interval.and_then(|i| relative_half_width(i, y));
            let speedup = row.speedup_vs_softmax.filter(|_| row.variant != "softmax");
            curve.last = Some(LastPoint { value: y, half, speedup });
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    curves
}

/// Where the lines of a sheet pass the softmax line of the same implementation, at a batch.
pub(crate) fn passings(sheet: &Sheet, rows: &[Row], batch: u64) -> Vec<Passing> {
    let mut times = vec![stats::Curve::default(); sheet.lines.len()];
    for (i, line) in sheet.rows.iter().filter(|(i, _)| rows[*i].batch_size == batch) {
        times[*line].add(rows[*i].seq_len as usize, per_token(&rows[*i]));
    }
    let mut found = Vec::new();
    for (i, line) in sheet.lines.iter().enumerate().filter(|(_, l)| !l.is_softmax) {
        let base = sheet.lines.iter().position(|l| l.is_softmax && l.implementation == line.implementation);
        let Some(base) = base.filter(|_| times[i].has_extent()) else { continue };
        if let Some(crossover) = crossover(&times[base], &times[i]) {
            found.push(Passing { line: i, crossover });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(variant: &str, batch_size: u64, seq_len: u64, ns: f64) -> Row {
        Row {
            status: "ok".to_owned(),
            workload: "decode".to_owned(),
            variant: variant.to_owned(),
            implementation: "fused".to_owned(),
            batch_size,
            seq_len,
            round_values: format!("[{ns},{ns}]"),
            tokens_per_s: Some(1e9 * batch_size as f64 / ns),
            state_bytes_pred: Some(1024),
            ..Row::default()
        }
    }

    fn grid() -> Vec<Row> {
        let mut rows = Vec::new();
        for batch in [1, 16] {
            for len in [64, 256, 1024] {
                rows.push(row("softmax", batch, len, len as f64));
                rows.push(row("t2r", batch, len, 128.0 * batch as f64));
            }
        }
        rows
    }

    #[test]
    fn one_sheet_holds_all_batches_and_lengths_and_a_line_per_variant() {
        let rows = grid();
        let sheets = sheets(&rows);
        assert_eq!(sheets.len(), 1);
        let sheet = &sheets[0];
        assert_eq!((sheet.batches.as_slice(), sheet.lens.as_slice()), ([1, 16].as_slice(), [64, 256, 1024].as_slice()));
        assert_eq!(sheet.lines.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["softmax", "t2r"]);
        let speed = curves(sheet, &rows, 16, Metric::Speed);
        assert_eq!(speed[0].points.iter().map(|p| p.x).collect::<Vec<_>>(), [64.0, 256.0, 1024.0]);
        assert_eq!(speed[1].last.map(|l| l.value), Some(1e9 / 128.0));
    }

    #[test]
    fn softmax_is_passed_where_the_lines_meet() {
        let rows = grid();
        let sheet = &sheets(&rows)[0];
        let at = |batch| match passings(sheet, &rows, batch).as_slice() {
            [Passing { line: 1, crossover: Crossover::At { length, .. } }] => length.round(),
            other => panic!("{other:?}"),
        };
        assert_eq!((at(1), passings(sheet, &rows, 16)[0].crossover), (128.0, Crossover::NoneInRange));
    }

    #[test]
    fn other_shapes_and_missing_values_make_no_points() {
        let mut rows = grid();
        rows[0].tokens_per_s = None;
        rows.push(Row { n_layers: Some(3), ..row("t2r", 1, 64, 1.0) });
        let sheets = sheets(&rows);
        assert_eq!(sheets.len(), 2);
        assert_eq!(curves(&sheets[0], &rows, 1, Metric::Speed)[0].points.len(), 2);
    }
}
