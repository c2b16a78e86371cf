//! Compare: the file's lines over one's own, what is claimed of each cell, and what differs around them.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    chart,
    parts::{bold, dim, left, lines, page, panel, put, reversed, right, short_len, split_bottom, split_right, wrapped},
};
use crate::{
    compare::{CellComparison, Comparison, Measured, Ratio, Verdict},
    report::numbers::{three, time},
    tui::{
        app::App,
        board::Metric,
        compare::{Picker, VERDICTS},
        selection::Charts,
    },
};

/// Columns of a variant's name.
const NAME: usize = 16;

/// Columns of a ratio with its interval.
const RATIO: usize = 24;

/// Columns of a line with all that it can have.
const ALL_COLUMNS: usize = 98;

/// From this width on what differs stands beside the chart.
const WIDE: u16 = 110;

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    if let Some(picker) = &app.compare.picker {
        pick(app, picker, area, buffer);
        return;
    }
    let needed = if app.run.is_some() { 1 } else { 2 };
    if app.compare.files.len() < needed {
        nothing_yet(app, area, buffer);
        return;
    }
    if app.compare.around {
        around(app, area, buffer);
        return;
    }
    let (top, bottom) = split_bottom(area, (area.height / 2).max(8));
    if area.width >= WIDE {
        let (over, side) = split_right(top, area.width * 2 / 5);
        overlay(app, over, buffer);
        around(app, side, buffer);
    } else {
        overlay(app, top, buffer);
    }
    table(app, bottom, buffer);
}

fn nothing_yet(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "Compare");
    let text = if app.rows().is_empty() {
        "f opens a CSV file of results; a second one is laid over it. A run of this dashboard is compared with the files \
         opened here."
    } else {
        "f opens a CSV file, which is laid over the rows at hand: dashed lines, and a verdict for every cell that both have."
    };
    let texts = wrapped(text, usize::from(inner.width.saturating_sub(4))).into_iter().map(|l| (l, Style::new()));
    lines(buffer, Rect::new(inner.x + 2, inner.y + 1, inner.width.saturating_sub(4), inner.height - 1), texts);
}

fn pick(app: &App, picker: &Picker, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, &format!("Open a file · {}", picker.dir.display()));
    let (list, said) = split_bottom(inner, 1);
    let rows = usize::from(list.height);
    let first = page(picker.at, rows);
    let texts = picker.entries.iter().enumerate().skip(first).take(rows).map(|(i, entry)| {
        let name = if entry.is_dir { format!("{}/", entry.name) } else { entry.name.clone() };
        (
            name,
            if i == picker.at {
                reversed()
            } else if entry.is_dir {
                dim()
            } else {
                Style::new()
            },
        )
    });
    lines(buffer, list, texts);
    put(buffer, said, picker.error.as_deref().unwrap_or_default(), Style::new().fg(app.theme.wrong()));
}

/// The chart that is turned to, the file's lines dashed and marked `+`.
fn overlay(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(sheet) = app.sheet() else { return };
    let metric = Metric::ALL[app.selection.metric % Metric::ALL.len()];
    let batch = app.selection.batch(sheet);
    let other = app.compare.other().map_or("", |f| f.name.as_str());
    let missing = if app.overlay_sheet.is_none() { " (has nothing like it)" } else { "" };
    let title = format!("{} · {} · batch {batch} · + {other}{missing}", metric.title(), sheet.workload);
    let inner = panel(buffer, area, &title);
    let mut drawn = chart::plot_lines(app, sheet, app.charts.curves(metric), metric, false);
    if let Some(over) = &app.overlay_sheet {
        let of: &Charts = &app.overlay;
        drawn.extend(chart::plot_lines(app, over, of.curves(metric), metric, true));
    }
    chart::draw(app, sheet, metric, (&drawn, &[]), inner, buffer);
}

/// What differs around the cells, and whether that matters; what the cells come to together.
fn around(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "What differs: file, here");
    let width = usize::from(inner.width);
    let Some(comparison) = app.compare.comparison() else { return };
    let mut out: Vec<(String, Style)> = Vec::new();
    if comparison.environment.is_empty() {
        out.push(("the same machine and build".to_owned(), Style::new()));
    }
    for difference in &comparison.environment {
        out.push((difference.column.to_owned(), bold()));
        out.push((format!("+ {}", difference.base), dim()));
        out.push((format!("  {}", difference.candidate), Style::new()));
    }
    let objections = &comparison.fairness.objections;
    if !objections.is_empty() {
        out.push(("Is it fair?".to_owned(), bold()));
        out.extend(objections.iter().flat_map(|o| wrapped(&format!("! {o}"), width)).map(|l| (l, Style::new())));
    }
    out.push(("Geometric means over cells".to_owned(), bold()));
    out.extend(comparison.means.iter().map(|m| {
        let (workload, variant, implementation) =
            (m.key.get("workload"), m.key.variant(true), m.key.get("implementation"));
        let text = format!("{workload} {variant} {implementation}: {} of {}", ratio(&m.ratio), m.cells);
        (text, Style::new())
    }));
    let first = if app.compare.around { app.compare.scroll.min(out.len().saturating_sub(1)) } else { 0 };
    lines(buffer, inner, out.into_iter().skip(first));
}

fn table(app: &App, area: Rect, buffer: &mut Buffer) {
    let c = &app.compare;
    let other = c.other().map_or("", |f| f.name.as_str());
    let more = if c.files.len() > 1 { " · ← → other file" } else { "" };
    let comparison = match &c.result {
        Some(Ok(comparison)) => comparison,
        refused => {
            let inner = panel(buffer, area, &format!("Here against {other}{more}"));
            let why = refused.as_ref().and_then(|r| r.as_ref().err()).map_or_else(String::new, ToString::to_string);
            lines(buffer, inner, wrapped(&why, usize::from(inner.width)).into_iter().map(|l| (l, Style::new())));
            return;
        }
    };
    let across = if c.across { " (across implementation, device, threads, seed)" } else { "" };
    let inner = panel(buffer, area, &format!("{} · here against {other}{across}{more}", counts(comparison)));
    let is_wide = usize::from(inner.width) >= ALL_COLUMNS;
    let head = if is_wide { ["workload  ", "      file"] } else { ["", ""] };
    let head = format!(
        "{} {}{:>5} {:>6}  {:<12} {}{} {:>9}",
        left("variant", NAME),
        head[0],
        "batch",
        "len",
        "verdict",
        left("file/here", RATIO),
        head[1],
        "here",
    );
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let said = app.compare.selected().map_or_else(Vec::new, |cell| wrapped(&why(cell), usize::from(inner.width)));
    let rest = Rect::new(inner.x, inner.y + 1, inner.width, inner.height.saturating_sub(1));
    let (list, below) = split_bottom(rest, (said.len().clamp(1, 3) as u16).min(rest.height / 2));
    let shown = c.order.iter().enumerate().skip(page(c.at, usize::from(list.height)));
    for (y, (k, i)) in (list.top()..list.bottom()).zip(shown) {
        let cell = &comparison.cells[*i];
        let style = match cell.verdict {
            _ if k == c.at => reversed(),
            Verdict::Faster | Verdict::Slower => bold(),
            _ => dim(),
        };
        put(buffer, Rect::new(list.x, y, list.width, 1), &line(app, *i, cell, is_wide), style);
    }
    lines(buffer, below, said.into_iter().map(|text| (text, Style::new())));
}

fn counts(comparison: &Comparison) -> String {
    let counted = VERDICTS.iter().map(|word| (comparison.count(word), word)).filter(|(n, _)| *n > 0);
    counted.map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

/// Where there is no room, the workload and the file's time are left out: the line below has them.
fn line(app: &App, i: usize, cell: &CellComparison, is_wide: bool) -> String {
    let named = app.compare.own.get(i).copied().flatten().and_then(|row| app.names.get(row));
    let of = |side: Option<Measured>| right(&side.map_or_else(|| "–".to_owned(), |m| time(m.ns)), 9);
    let len = cell.key.number("seq_len").map_or_else(String::new, |n| short_len(n as f64));
    let (workload, file) = if is_wide {
        (left(cell.key.get("workload"), 10), format!(" {}", of(cell.base)))
    } else {
        (String::new(), String::new())
    };
    format!(
        "{} {workload}{:>5} {len:>6}  {:<12} {}{file} {}",
        left(named.unwrap_or(&cell.key.variant(true)), NAME),
        cell.key.get("batch_size"),
        cell.verdict.word(),
        left(&cell.ratio.as_ref().map_or_else(String::new, ratio), RATIO),
        of(cell.candidate),
    )
}

fn ratio(ratio: &Ratio) -> String {
    let interval = ratio.interval.map_or_else(String::new, |i| format!(" [{}, {}]", three(i.0), three(i.1)));
    format!("{}×{interval}", three(ratio.ratio))
}

/// Why the selected cell has its verdict, or what would decide it; what both sides measured of it.
fn why(cell: &CellComparison) -> String {
    let reason = match &cell.verdict {
        Verdict::Unclear(needs) => format!("unclear: {}", needs.advice()),
        Verdict::Incomparable(why) => format!("incomparable: {why}"),
        Verdict::Missing("candidate") => "missing here".to_owned(),
        Verdict::Missing(_) => "missing in the file".to_owned(),
        claimed => claimed.word().to_owned(),
    };
    let p = cell.p_holm.map_or_else(String::new, |p| format!(" · p {} of all cells together", three(p)));
    let side = |name: &str, side: Option<Measured>| {
        side.map_or_else(String::new, |m| {
            let launches = if m.launches == 1 { "launch" } else { "launches" };
            format!(" · {name} {}, {} rounds in {} {launches}", time(m.ns), m.rounds, m.launches)
        })
    };
    format!("{}: {reason}{p}{}{}", cell.key.get("workload"), side("file", cell.base), side("here", cell.candidate))
}
