//! Compare: the file's lines over one's own, what each cell's intervals say, and in what the machines differ.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    chart,
    parts::{bold, dim, left, lines, page, panel, put, reversed, right, short_len, split_bottom, split_right, wrapped},
};
use crate::{
    report::numbers::time,
    tui::{
        app::App,
        board::Metric,
        compare::{Pair, Picker, Verdict},
        grid::figure,
        selection::Charts,
    },
};

/// Columns of a variant's name.
const NAME: usize = 14;

/// From this width on the machines stand beside the chart.
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
    let (top, bottom) = split_bottom(area, (area.height / 2).max(8));
    if area.width >= WIDE {
        let (over, side) = split_right(top, area.width * 2 / 5);
        overlay(app, over, buffer);
        machines(app, side, buffer);
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
    let (list, hint) = split_bottom(inner, 2);
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
    let error = picker.error.clone().unwrap_or_default();
    let keys = "↑ ↓ enter: open, /: type a path, esc: back".to_owned();
    lines(buffer, hint, [(error, Style::new().fg(app.theme.wrong())), (keys, dim())]);
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

fn machines(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "What differs: here, in the file");
    if app.compare.differences.is_empty() {
        lines(buffer, inner, [("the same machine, build and seed".to_owned(), Style::new())]);
        return;
    }
    let texts = app.compare.differences.iter().flat_map(|(name, here, there)| {
        [((*name).to_owned(), bold()), (format!("  {here}"), Style::new()), (format!("+ {there}"), dim())]
    });
    lines(buffer, inner, texts);
}

fn table(app: &App, area: Rect, buffer: &mut Buffer) {
    let c = &app.compare;
    let words = [Verdict::Faster, Verdict::Slower, Verdict::Unclear, Verdict::Incomparable, Verdict::Missing];
    let counts: Vec<String> =
        words.iter().filter(|v| c.count(**v) > 0).map(|v| format!("{} {}", c.count(*v), v.word())).collect();
    let other = c.other().map_or("", |f| f.name.as_str());
    let across = if c.across { " (across implementation, device, threads, seed)" } else { "" };
    let more = if c.files.len() > 1 { " · ← → other file" } else { "" };
    let inner = panel(buffer, area, &format!("Here against {other}{across}: {}{more}", counts.join(", ")));
    let head = format!(
        "{} {:<9} {:>5} {:>6} {:>9} {:>9}  {:<12} file/here",
        left("variant", NAME),
        "workload",
        "batch",
        "len",
        "here",
        "file",
        "verdict"
    );
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let height = usize::from(inner.height).saturating_sub(1);
    for (y, (k, pair)) in (inner.y + 1..inner.bottom()).zip(c.pairs.iter().enumerate().skip(page(c.at, height))) {
        let style = match pair.verdict {
            _ if k == c.at => reversed(),
            Verdict::Faster | Verdict::Slower => bold(),
            _ => dim(),
        };
        put(buffer, Rect::new(inner.x, y, inner.width, 1), &line(app, pair), style);
    }
}

fn line(app: &App, pair: &Pair) -> String {
    let row = &app.rows()[pair.own];
    let other = pair.other.and_then(|o| app.compare.other()?.rows.get(o));
    let of = |row: Option<&crate::store::Row>| row.and_then(figure).map_or_else(|| "–".to_owned(), |(c, _)| time(c));
    let ratio = pair.ratio.map_or_else(String::new, |r| {
        let bounds = pair.bounds.map_or_else(String::new, |(l, h)| format!(" [{l:.2}, {h:.2}]"));
        format!("{r:.2}{bounds}")
    });
    let name = app.names.get(pair.own).map_or("", String::as_str);
    format!(
        "{} {:<9} {:>5} {:>6} {} {}  {:<12} {ratio}",
        left(name, NAME),
        row.workload,
        row.batch_size,
        short_len(row.seq_len as f64),
        right(&of(Some(row)), 9),
        right(&of(other), 9),
        pair.verdict.word()
    )
}
