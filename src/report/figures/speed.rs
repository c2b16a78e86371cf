//! Tokens per second over length, and how many times faster than softmax that is.

use super::{
    super::{
        chart::{Axis, Chart, Line, Point, Scale, Ticks, Unit},
        material::Panel,
        numbers::{length as tokens, three},
        summary::crossovers,
    },
    Figure, Group, at, bracket, figure, groups, id, length_label, lengths, source, subtitle,
};
use crate::{stats::Crossover, store::Row};

/// Speed against length, a chart per panel.
pub(super) fn speed(panels: &[Panel<'_>]) -> Option<Figure> {
    let what = what(&panels.first()?.first().workload);
    let title = format!("{what}, tokens/s");
    let note = "Median over rounds with its 95 % interval, all sequences of the batch together.";
    figure(&title, note, panels.iter().map(|panel| speed_chart(panel, &title)).collect())
}

/// What the speed of a workload is called.
fn what(workload: &str) -> &'static str {
    match workload {
        "attention" => "Decode steps of one layer",
        "forward" => "One layer over whole sequences",
        "prefill" => "Reading the prompt",
        "decode" => "Decoding speed",
        "generate" => "Generation speed",
        "translate" => "Translation speed",
        "train" => "Training speed",
        _ => "Speed",
    }
}

fn speed_chart(panel: &Panel<'_>, title: &str) -> Chart {
    let groups = groups(panel, |r| r.tokens_per_s.is_some_and(is_positive));
    let lines = groups.iter().map(|g| {
        let point = |row: &&Row| {
            let y = row.tokens_per_s?;
            let interval = row.tokens_per_s_ci95_low.zip(row.tokens_per_s_ci95_high);
            let tip = format!("{} tokens/s{} {}", three(y), bracket(interval), at(row));
            Some(point(row, y, interval, "tokens_per_s", tip))
        };
        line(g, |row| row.tokens_per_s.map(three), point)
    });
    Chart {
        id: id(panel, "speed"),
        title: title.to_owned(),
        subtitle: subtitle(panel),
        summary: summary(&groups, "tokens/s", |r| r.tokens_per_s),
        x: length_axis(panel, &groups),
        y: Axis { label: String::new(), unit: Unit::Plain, scale: Scale::Fitting, ticks: Ticks::Round },
        lines: lines.collect(),
        level: None,
    }
}

/// Times faster than softmax against length, with the lengths at which softmax is passed.
pub(super) fn speedup(panels: &[Panel<'_>]) -> Option<Figure> {
    let note = "Paired by round, with the 95 % interval. Hollow: where a variant passes softmax, interpolated, with the \
                interval of that length.";
    figure("Times faster than softmax", note, panels.iter().map(speedup_chart).collect())
}

fn speedup_chart(panel: &Panel<'_>) -> Chart {
    let groups = groups(panel, |r| r.variant != "softmax" && r.speedup_vs_softmax.is_some_and(is_positive));
    let mut lines: Vec<Line> = Vec::new();
    for g in &groups {
        let point = |row: &&Row| {
            let y = row.speedup_vs_softmax?;
            let interval = row.speedup_ci95_low.zip(row.speedup_ci95_high);
            let tip = format!("{}× faster than softmax{} {}", three(y), bracket(interval), at(row));
            Some(point(row, y, interval, "speedup_vs_softmax", tip))
        };
        lines.push(line(g, |row| row.speedup_vs_softmax.map(|s| format!("{}×", three(s))), point));
    }
    let (crossings, words) = crossings(panel, &groups);
    lines.extend(crossings);
    let fastest = summary(&groups, "times the speed of softmax", |r| r.speedup_vs_softmax);
    Chart {
        id: id(panel, "times-faster"),
        title: "Times faster than softmax".to_owned(),
        subtitle: subtitle(panel),
        summary: format!("{fastest}{words}"),
        x: length_axis(panel, &groups),
        y: Axis { label: String::new(), unit: Unit::Times, scale: Scale::Log, ticks: Ticks::Round },
        lines,
        level: Some((1.0, "softmax".to_owned())),
    }
}

/// A point on the level of softmax for every variant that passes it in range, and all passings in words.
fn crossings(panel: &Panel<'_>, groups: &[Group<'_>]) -> (Vec<Line>, String) {
    let (mut lines, mut words) = (Vec::new(), String::new());
    for (name, crossover) in crossovers(&of_one_run(panel)) {
        let Some(group) = groups.iter().find(|g| g.name == name) else { continue };
        let Crossover::At { length, interval } = crossover else {
            words.push_str(&match crossover {
                Crossover::AlwaysFaster => format!(" {name} is faster at every length measured."),
                _ => format!(" {name} does not pass softmax in range."),
            });
            continue;
        };
        let ends = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", tokens(l), tokens(h)));
        let tip = format!("passes softmax at {} tokens{ends}", tokens(length));
        words.push_str(&format!(" {name} {tip}."));
        let point =
            Point { x: length, y: 1.0, x_interval: interval, y_interval: None, is_hollow: true, source: None, tip };
        lines.push(Line {
            name: name.clone(),
            ending: None,
            look: group.look,
            is_joined: false,
            has_markers: true,
            points: vec![point],
        });
    }
    (lines, words)
}

/// Rows of the panel's first launch: rounds of different launches are no pairs.
pub(in crate::report) fn of_one_run<'a>(panel: &Panel<'a>) -> Vec<&'a Row> {
    let run = &panel.first().run_id;
    panel.rows.iter().copied().filter(|r| r.run_id == *run).collect()
}

pub(super) fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

pub(super) fn length_axis(panel: &Panel<'_>, groups: &[Group<'_>]) -> Axis {
    let label = length_label(&panel.first().workload).to_owned();
    Axis { label, unit: Unit::Count, scale: Scale::Log, ticks: Ticks::At(lengths(groups)) }
}

fn point(row: &Row, y: f64, y_interval: Option<(f64, f64)>, column: &'static str, tip: String) -> Point {
    let x = row.seq_len as f64;
    Point { x, y, x_interval: None, y_interval, is_hollow: false, source: source(row, column), tip }
}

/// A joined line; `ending` is asked of the row at the longest length.
pub(super) fn line<'a>(
    group: &Group<'a>,
    ending: impl Fn(&Row) -> Option<String>,
    point: impl Fn(&&'a Row) -> Option<Point>,
) -> Line {
    Line {
        name: group.name.clone(),
        ending: group.rows.last().and_then(|row| ending(row)),
        look: group.look,
        is_joined: true,
        has_markers: true,
        points: group.rows.iter().filter_map(point).collect(),
    }
}

/// Which line is highest and lowest at the longest length, in words.
pub(super) fn summary(groups: &[Group<'_>], unit: &str, of: impl Fn(&Row) -> Option<f64>) -> String {
    let longest = groups.iter().flat_map(|g| &g.rows).map(|r| r.seq_len).max();
    let mut ends: Vec<(f64, &str, &Row)> = groups
        .iter()
        .filter_map(|g| {
            let row = g.rows.iter().rfind(|r| Some(r.seq_len) == longest)?;
            Some((of(row)?, g.name.as_str(), *row))
        })
        .collect();
    ends.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some((_, _, row)) = ends.first() else { return String::new() };
    let parts: Vec<String> = ends.iter().map(|(value, name, _)| format!("{name} {}", three(*value))).collect();
    format!("{}, in {unit}: {}.", capital(&at(row)), parts.join(", "))
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
