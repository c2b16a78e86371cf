//! Charts of curves: from a sheet's lines to the lines of a plot.

use ratatui::{buffer::Buffer, layout::Rect};

use super::parts::{panel, short_len};
use crate::{
    report::{
        Dash,
        numbers::{bytes, thousands, three, time},
    },
    stats::Crossover,
    tui::{
        app::App,
        board::{Curve, LastPoint, Metric, Passing, Sheet},
        plot::{Mark, Plot, PlotLine},
    },
};

/// How values of a metric are written on its axis.
fn axis_text(metric: Metric) -> fn(f64) -> String {
    match metric {
        Metric::Speed => |v| short_number(v),
        Metric::Latency | Metric::Tail => |v| shorter(&time(v)),
        Metric::Memory => |v| shorter(&bytes(v as u64)),
    }
}

/// `2k`, `50M`.
pub(super) fn short_number(v: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(scale, _)| v >= *scale) {
        Some((scale, unit)) => format!("{}{unit}", shorter(&three(v / scale))),
        None => shorter(&three(v)),
    }
}

/// Without zeros that say nothing: `1.50 MiB` is `1.5 MiB`, `2.00` is `2`.
fn shorter(text: &str) -> String {
    let (number, unit) = text.split_once(' ').map_or((text, String::new()), |(n, u)| (n, format!(" {u}")));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

/// The last value, its precision and × against softmax.
fn note(metric: Metric, last: &LastPoint) -> String {
    let value = match metric {
        Metric::Speed => three(last.value),
        Metric::Latency | Metric::Tail => time(last.value),
        Metric::Memory => bytes(last.value as u64),
    };
    let half = last.half.map_or_else(String::new, |h| format!(" ±{} %", precision(h)));
    let ratio = last.speedup.filter(|_| metric == Metric::Speed).map_or_else(String::new, |r| format!(" {}", times(r)));
    format!("{value}{half}{ratio}")
}

/// A share in percent, with one digit where it is small.
pub(super) fn precision(share: f64) -> String {
    let pct = 100.0 * share;
    if pct < 9.95 { format!("{pct:.1}") } else { format!("{pct:.0}") }
}

/// `4.6×`, `174×`, `0.87×`.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        r if !r.is_finite() => "?".to_owned(),
        r if r < 1.0 => format!("{r:.2}×"),
        r if r < 100.0 => format!("{}×", three(r)),
        r => format!("{}×", thousands(&format!("{r:.0}"))),
    }
}

/// Lines of a plot from curves, in the look of their sheet's lines. `over` draws them as another file's.
pub(super) fn plot_lines(app: &App, sheet: &Sheet, curves: &[Curve], metric: Metric, over: bool) -> Vec<PlotLine> {
    let line = |curve: &Curve| {
        let of = sheet.lines.get(curve.line)?;
        let is_tail = metric == Metric::Tail;
        let dash = if over {
            Dash(2, 3)
        } else if is_tail {
            Dash(1, 3)
        } else {
            of.look.dash
        };
        Some(PlotLine {
            label: if over || is_tail { String::new() } else { of.name.clone() },
            note: if over || is_tail {
                String::new()
            } else {
                curve.last.as_ref().map_or_else(String::new, |l| note(metric, l))
            },
            colour: app.theme.of(of.look),
            marker: Some(match () {
                () if is_tail => '·',
                () if over => '+',
                () => of.look.marker,
            }),
            dash,
            points: curve.points.clone(),
        })
    };
    curves.iter().filter(|c| !c.points.is_empty()).filter_map(line).collect()
}

/// Where lines pass softmax, as marks in their colours.
pub(super) fn marks(app: &App, sheet: &Sheet, passings: &[Passing]) -> Vec<Mark> {
    let mark = |p: &Passing| match p.crossover {
        Crossover::At { length, .. } => Some(Mark { x: length, colour: app.theme.of(sheet.lines.get(p.line)?.look) }),
        _ => None,
    };
    passings.iter().filter_map(mark).collect()
}

/// Where lines pass softmax, in few words: `passes softmax: t2r 58 [51, 66], elu from 64 on, rfa not here`.
pub(super) fn passings_text(sheet: &Sheet, passings: &[Passing]) -> Option<String> {
    let one = |passing: &Passing| {
        let name = sheet.lines.get(passing.line).map_or("", |l| l.name.as_str());
        let first = sheet.lens.first().copied().unwrap_or_default();
        match passing.crossover {
            Crossover::At { length, interval } => {
                let interval = interval.map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(l), three(h)));
                format!("{name} {}{interval}", three(length))
            }
            Crossover::NoneInRange => format!("{name} not here"),
            Crossover::AlwaysFaster => format!("{name} ≤ {first}"),
        }
    };
    let all: Vec<String> = passings.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("passes softmax at: {}", all.join(", ")))
}

/// The chart of a metric of what is chosen, framed.
pub(super) fn render(app: &App, metric: Metric, area: Rect, buffer: &mut Buffer) {
    let Some(sheet) = app.sheet() else {
        let inner = panel(buffer, area, metric.title());
        crate::tui::plot::centred(buffer, inner, "nothing measured yet");
        return;
    };
    let axis = if app.selection.linear { "linear" } else { "log" };
    let batch = app.selection.batch(sheet);
    let title = match metric {
        Metric::Latency if app.charts.tails.iter().any(|c| !c.points.is_empty()) => "Latency per call, p50 and p99 (·)",
        _ => metric.title(),
    };
    let inner = panel(buffer, area, &format!("{title} · {} · batch {batch} · {axis}", sheet.workload));
    let mut lines = plot_lines(app, sheet, app.charts.curves(metric), metric, false);
    if metric == Metric::Latency {
        lines.extend(plot_lines(app, sheet, &app.charts.tails, Metric::Tail, false));
    }
    let marks = if metric == Metric::Memory { Vec::new() } else { marks(app, sheet, &app.charts.passings) };
    draw(app, sheet, metric, (&lines, &marks), inner, buffer);
}

/// Lines and marks within an area.
pub(super) fn draw(
    app: &App,
    sheet: &Sheet,
    metric: Metric,
    (lines, marks): (&[PlotLine], &[Mark]),
    area: Rect,
    buffer: &mut Buffer,
) {
    let ticks: Vec<f64> = sheet.lens.iter().map(|l| *l as f64).collect();
    let plot = Plot {
        lines,
        marks,
        log_x: true,
        log_y: !app.selection.linear,
        binary_x: false,
        binary_y: metric == Metric::Memory,
        y_text: axis_text(metric),
        x_text: short_len,
        x_ticks: &ticks,
        glyphs: app.theme.glyphs,
    };
    plot.render(area, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_places() {
        assert_eq!([times(0.866), times(4.56), times(173.9), times(f64::INFINITY)], ["0.87×", "4.56×", "174×", "?"]);
        assert_eq!([precision(0.0123), precision(0.25)], ["1.2", "25"]);
        assert_eq!([short_number(2000.0), short_number(50_000_000.0), short_number(0.5)], ["2k", "50M", "0.5"]);
        let axis = axis_text(Metric::Latency);
        assert_eq!([axis(1e5), axis(1e6)], ["100 µs", "1 ms"]);
        assert_eq!(axis_text(Metric::Memory)(1048576.0), "1 MiB");
    }
}
