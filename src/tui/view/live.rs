//! Live: three charts, the cell in hand, cells and machine.
//!
//! ```text
//! ┌ Speed ────────────┐┌ Memory ───────────┐
//! └───────────────────┘└───────────────────┘     80×24: one chart (tab turns), cells, one line of gauges
//! ┌ Latency ──────────┐┌ Now ──────────────┐
//! └───────────────────┘└───────────────────┘
//! ┌ Cells ────────────┐┌ Machine ──────────┐
//! └───────────────────┘└───────────────────┘
//! ```

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    chart::{self, passings_text, precision, times},
    gauges,
    parts::{bold, dim, left, lines, panel, put, right, short_len, split_bottom, split_right, wrapped},
    training,
};
use crate::{
    report::{
        Look,
        numbers::{bytes, thousands, three, time},
        plural,
    },
    stats::{LatencyHistogram, quantile},
    sweep::FOREIGN_CPU_LIMIT_PCT,
    tui::{
        app::{App, Phase},
        board::Metric,
        grid::figure,
        live_run::{CellState, LiveRun, Visiting},
        theme::Glyphs,
    },
};

/// From this width on there are two columns.
pub(super) const WIDE: u16 = 100;

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    if app.shows_training && !app.trainings.is_empty() {
        training::render(app, area, buffer);
    } else if app.rows().is_empty() {
        nothing_yet(app, area, buffer);
    } else if area.width >= WIDE && area.height >= 28 {
        wide(app, area, buffer);
    } else {
        narrow(app, area, buffer);
    }
}

fn nothing_yet(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "Live");
    let text = match app.phase {
        Phase::Starting if app.trains => "The training begins: text, tokens and model are read first.",
        Phase::Starting => "The run begins: device, memory and what watching costs are looked at first.",
        _ => "Nothing has been measured yet. 1 says what to run, s starts it there; 4 opens results of earlier runs.",
    };
    let text: Vec<(String, Style)> =
        wrapped(text, usize::from(inner.width.saturating_sub(4))).into_iter().map(|l| (l, Style::new())).collect();
    lines(buffer, Rect::new(inner.x + 2, inner.y + 1, inner.width.saturating_sub(4), inner.height - 1), text);
}

fn wide(app: &App, area: Rect, buffer: &mut Buffer) {
    let bottom_height = (area.height / 4).max(8);
    let (charts, bottom) = split_bottom(area, bottom_height);
    let (upper, lower) = split_bottom(charts, charts.height / 2);
    let half = area.width / 2;
    let (speed, memory) = split_right(upper, half);
    let (latency, now) = split_right(lower, half);
    chart::render(app, Metric::Speed, speed, buffer);
    chart::render(app, Metric::Memory, memory, buffer);
    chart::render(app, Metric::Latency, latency, buffer);
    let inner = panel(buffer, now, &now_title(app));
    lines(buffer, inner, now_lines(app, inner));
    let (list, machine) = split_right(bottom, half);
    cells(app, list, buffer);
    let inner = panel(buffer, machine, "Machine");
    lines(buffer, inner, gauges::panel_lines(app, usize::from(inner.width)));
}

fn narrow(app: &App, area: Rect, buffer: &mut Buffer) {
    let (rest, machine) = split_bottom(area, 1);
    let below = (rest.height * 2 / 5).clamp(6, 12);
    let (top, list) = split_bottom(rest, below);
    let metric = Metric::ALL[app.selection.metric % Metric::ALL.len()];
    chart::render(app, metric, top, buffer);
    cells(app, list, buffer);
    match timing_text(app) {
        Some(text) => put(buffer, machine, &format!(" {text} · {}", label(app)), bold()),
        None => put(buffer, machine, &gauges::line(app), dim()),
    };
}

/// Rows of the sheet and batch that are shown, the longest and those in hand first.
fn cells(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(sheet) = app.sheet() else { return };
    let batch = app.selection.batch(sheet);
    let title = passings_text(sheet, &app.charts.passings).unwrap_or_else(|| format!("Cells · batch {batch}"));
    let inner = panel(buffer, area, &title);
    let name_width = sheet.lines.iter().map(|l| l.name.chars().count()).max().unwrap_or(8).clamp(8, 24);
    let head = format!(
        "{} {:>7} {:>10} {:>10} {:>8} {:>6}",
        left("variant", name_width + 2),
        "len",
        "time",
        "tokens/s",
        "×",
        "±"
    );
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let rows = app.rows();
    let mut shown: Vec<(usize, usize)> =
        sheet.rows.iter().copied().filter(|(i, _)| rows[*i].batch_size == batch).collect();
    let rank = |i: usize| match app.state(i) {
        CellState::Running => 0,
        CellState::Provisional | CellState::Final => 1,
        CellState::Waiting => 2,
    };
    shown.sort_by_key(|(i, line)| (rank(*i), u64::MAX - rows[*i].seq_len, *line));
    for (y, (i, line)) in (inner.y + 1..inner.bottom()).zip(shown) {
        let look = sheet.lines[line].look;
        let area = Rect::new(inner.x, y, inner.width, 1);
        let colour = Style::new().fg(app.theme.of(look));
        let x = put(buffer, area, &format!("{} ", look.marker), colour);
        let area = Rect::new(x, y, inner.right().saturating_sub(x), 1);
        let (text, style) = cell_text(app, i, name_width, &sheet.lines[line].name);
        put(buffer, area, &text, style);
    }
}

fn cell_text(app: &App, i: usize, name_width: usize, name: &str) -> (String, Style) {
    let row = &app.rows()[i];
    let head = format!("{} {:>7}", left(name, name_width), short_len(row.seq_len as f64));
    let state = app.state(i);
    if row.status.is_empty() {
        let text = app.without_row(i);
        let needs = row.state_bytes_pred.map_or_else(String::new, |b| format!("  state {}", bytes(b)));
        return (format!("{head} {:>10}{needs}", text), if state == CellState::Running { bold() } else { dim() });
    }
    if row.status != "ok" && row.tokens_per_s.is_none() {
        let style = if row.skipped_by_budget() { dim() } else { Style::new().fg(app.theme.wrong()) };
        return (format!("{head}  {}: {}", row.status, row.status_detail), style);
    }
    let (centre, half) = figure(row).unzip();
    // Too few rounds for an interval, and more to come.
    let half = half.flatten().map_or_else(|| "…".to_owned(), |h| precision(h) + " %");
    let text = format!(
        "{head} {} {} {} {}",
        right(&centre.map_or_else(String::new, time), 10),
        right(&row.tokens_per_s.map_or_else(String::new, three), 10),
        right(&row.speedup_vs_softmax.filter(|_| row.variant != "softmax").map_or_else(String::new, times), 8),
        right(&half, 6),
    );
    let style = match state {
        CellState::Running => bold(),
        CellState::Provisional => dim(),
        _ => Style::new(),
    };
    let warned = match row.quality.as_str() {
        // Before its last round a cell has too few of them, and would be called bad.
        _ if state != CellState::Final => "",
        "bad" => " !",
        "noisy" => " ~",
        _ => "",
    };
    (text + warned, style)
}

fn now_title(app: &App) -> String {
    match (&app.run, app.phase) {
        (None, _) => "File".to_owned(),
        (_, Phase::Finished) => format!("Last: {}", label(app)),
        _ => format!("Now: {}", label(app)),
    }
}

/// What the cell in hand is called, or else the one that was measured last.
fn label(app: &App) -> String {
    let Some(run) = &app.run else { return String::new() };
    let at = run.current.last().copied().filter(|_| run.visiting.is_some()).or(run.last.as_ref().map(|l| l.cell));
    at.and_then(|i| run.plan().cells().nth(i)).map(crate::spec::Cell::label).unwrap_or_default()
}

/// Since when a visit is timed and how long it takes: nothing moves meanwhile, and this is what one reads then.
fn timing_text(app: &App) -> Option<String> {
    let is_long = |v: &Visiting| v.expected.is_none_or(|t| t >= Duration::from_secs(1));
    let visiting = app.run.as_ref()?.visiting.filter(is_long)?;
    let time = humantime::format_rfc3339_seconds(visiting.since).to_string();
    let clock = time.get(11..19).unwrap_or_default();
    let expected = visiting.expected.map_or_else(String::new, |t| {
        format!(", {} {} s", if visiting.is_known { "about" } else { "perhaps" }, three(t.as_secs_f64()))
    });
    let so_far = app.now.saturating_sub(visiting.begun).as_secs();
    let so_far = if so_far > 0 { format!("; {so_far} s so far") } else { String::new() };
    Some(format!("timed since {clock} UTC{expected}{so_far}"))
}

/// The visit that was measured last: its latencies by position, percentiles of all its cell's calls, how sure the figure is.
fn now_lines(app: &App, area: Rect) -> Vec<(String, Style)> {
    let width = usize::from(area.width);
    let Some(run) = &app.run else { return file_lines(app, width) };
    let timing =
        timing_text(app).map(|text| (text + " · nothing moves meanwhile, a key is heard at the next sample", bold()));
    let Some(last) = &run.last else {
        let first = ("checking the code against its formula, warming up…".to_owned(), dim());
        return std::iter::once(first).chain(timing).collect();
    };
    let samples = &last.visit.measured.samples_ns;
    let row = &run.rows[last.cell];
    let figures = row.figures();
    // Blocks of calls have no position to speak of: their rounds are what one watches.
    let (values, unit, what) = if row.iters_per_sample == Some(1) {
        (samples, "call", "of this visit, by position")
    } else {
        (&figures, "round", "so far, first to last")
    };
    let colour = app.theme.of(Look::of(&row.variant, 0));
    let mut out: Vec<(String, Style)> = timing.into_iter().collect();
    let is_other = run.visiting.is_some() && run.current.last() != Some(&last.cell);
    let of = run.plan().cells().nth(last.cell).filter(|_| is_other);
    let of = of.map_or_else(String::new, |cell| format!("before it {}: ", cell.label()));
    out.extend([
        (format!("{of}{} {what}", plural(values.len(), unit)), dim()),
        (sparkline(values, width, app.theme.glyphs), Style::new().fg(colour)),
    ]);
    out.push((percentiles(row, samples), Style::new()));
    let (centre, half) = figure(row).unzip();
    let target = run.begun().info.ci_target;
    let sure = match half.flatten() {
        Some(h) if h <= target => format!("±{} %, target ±{} % reached", precision(h), precision(target)),
        Some(h) => format!("±{} %, target ±{} %", precision(h), precision(target)),
        None => "… an interval needs 6 rounds".to_owned(),
    };
    let rounds = plural(row.round_count.unwrap_or_default() as usize, "round");
    out.push((format!("median of {rounds} {}  {sure}", centre.map_or_else(String::new, time)), bold()));
    if let (Some(pred), Some(got)) = (row.state_bytes_pred, row.state_bytes_measured) {
        let agree = if pred == got { "as predicted ✓".to_owned() } else { format!("predicted {}", bytes(pred)) };
        out.push((format!("state {}, {agree}", bytes(got)), Style::new()));
    }
    if let Some(foreign) = last.visit.conditions.foreign_cpu_pct {
        let style = if foreign > FOREIGN_CPU_LIMIT_PCT { bold() } else { dim() };
        out.push((format!("others used {foreign:.0} % of a core meanwhile"), style));
    }
    out.push((finished_text(app, run), dim()));
    out
}

fn finished_text(app: &App, run: &LiveRun) -> String {
    match (&app.phase, run.outcome) {
        (Phase::Finished, _) => {
            "done · w writes the CSV, 3 shows every cell, 4 compares, W keeps this picture".to_owned()
        }
        (Phase::Running { pausing: true }, _) => "paused · space goes on".to_owned(),
        _ => String::new(),
    }
}

fn file_lines(app: &App, width: usize) -> Vec<(String, Style)> {
    let Some(row) = app.rows().first() else { return Vec::new() };
    let mut texts = vec![format!("{} · {}", row.cpu_info, row.os)];
    texts.push(format!("run {} · t2r {} {}", row.run_id, row.build_version, row.build_commit));
    if !row.device_name.is_empty() && !app.facts.devices.iter().any(|(_, name)| *name == row.device_name) {
        texts.push(format!("device {}: not in this machine, which only matters for measuring again", row.device_name));
    }
    texts.push("3 shows every row, 4 lays another file over it".to_owned());
    texts.iter().flat_map(|t| wrapped(t, width)).map(|l| (l, Style::new())).collect()
}

/// Percentiles of single calls, from the histogram of all rounds; of blocks, of this visit alone.
fn percentiles(row: &crate::store::Row, samples: &[f64]) -> String {
    let histogram =
        (!row.histogram_v2.is_empty()).then(|| LatencyHistogram::from_base64(&row.histogram_v2).ok()).flatten();
    if let Some(h) = histogram {
        let at = |p: f64| h.quantile_ns(p).map_or_else(String::new, |ns| time(ns as f64));
        let n = h.count();
        let p99 = if n >= 500 { format!("  p99 {}", at(0.99)) } else { String::new() };
        return format!("p50 {}  p90 {}{p99}  max {}  n {}", at(0.5), at(0.9), at(1.0), thousands(&n.to_string()));
    }
    let at = |p: f64| quantile(samples, p).map_or_else(String::new, time);
    let iters = row.iters_per_sample.unwrap_or(1);
    format!("median {}  max {}  {} calls a sample", at(0.5), at(1.0), thousands(&iters.to_string()))
}

/// Values as bars of one line, each bar the median of its stretch.
fn sparkline(values: &[f64], width: usize, glyphs: Glyphs) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if values.is_empty() || width == 0 {
        return String::new();
    }
    let columns = width.min(values.len());
    let stretch = |k: usize| &values[k * values.len() / columns..((k + 1) * values.len() / columns).max(1)];
    let medians: Vec<f64> = (0..columns).filter_map(|k| quantile(stretch(k), 0.5)).collect();
    let most = medians.iter().copied().fold(0.0, f64::max);
    let bar = |v: &f64| {
        let level = (v / most * 7.0).round().clamp(0.0, 7.0) as usize;
        if glyphs == Glyphs::Ascii { ['_', '_', '.', '.', '-', '=', '=', '#'][level] } else { BARS[level] }
    };
    if most > 0.0 { medians.iter().map(bar).collect() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_a_bar_per_value_or_per_stretch() {
        assert_eq!(sparkline(&[1.0, 8.0], 10, Glyphs::Braille), "▂█");
        assert_eq!(sparkline(&[1.0; 100], 4, Glyphs::Braille), "████");
        assert_eq!(sparkline(&[], 4, Glyphs::Braille), "");
    }
}
