//! Grid: the map of ratios above, the table below, what a row knows beside it.
//!
//! ```text
//! ┌ t2r × softmax ───────────┐┌ Details ─┐
//! └──────────────────────────┘│          │     80×24: details in place of both, with enter
//! ┌ Cells ───────────────────┐│          │
//! └──────────────────────────┘└──────────┘
//! ```

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use unicode_width::UnicodeWidthStr;

use super::{
    chart::{precision, times},
    parts::{self, bold, dim, left, page, panel, put, reversed, right, short_len, split_bottom, split_right, spread},
};
use crate::{
    report::numbers::{bytes, three, time},
    store::Row,
    tui::{
        app::App,
        grid::{SortBy, figure},
        live_run::CellState,
    },
};

/// From this width on details stand beside the table.
const WIDE: u16 = 110;

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    if app.rows().is_empty() {
        let inner = panel(buffer, area, "Grid");
        let text = "No rows yet: 1 says what to run, 4 opens results of earlier runs.";
        put(buffer, Rect::new(inner.x + 2, inner.y + 1, inner.width.saturating_sub(4), 1), text, Style::new());
        return;
    }
    let beside = area.width >= WIDE;
    if app.grid.detail && !beside {
        details(app, area, buffer);
        return;
    }
    let main = if beside {
        let (main, side) = split_right(area, (area.width * 3 / 10).clamp(36, 64));
        details(app, side, buffer);
        main
    } else {
        area
    };
    let batches = app.sheet().map_or(1, |s| s.batches.len()) as u16;
    let (top, bottom) = split_bottom(main, main.height.saturating_sub((batches + 3).min(main.height / 2)));
    map(app, top, buffer);
    table(app, bottom, buffer);
}

/// Columns of a cell of the map, and of the batches beside it.
const MAP_CELL: u16 = 8;
const MAP_BATCH: u16 = 9;

/// Batch down, length across: × against softmax as number and colour. Where not all fits, the page of the selected cell is shown.
fn map(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(sheet) = app.sheet() else { return };
    let candidates: Vec<usize> = (0..sheet.lines.len()).filter(|i| !sheet.lines[*i].is_softmax).collect();
    let Some(&line) = candidates.get(app.grid.line % candidates.len().max(1)) else {
        panel(buffer, area, "no variant beside softmax");
        return;
    };
    let look = sheet.lines[line].look;
    let selected = app.grid.selected();
    let of_selected = selected.and_then(|i| app.rows().get(i)).map(|row| (row.batch_size, row.seq_len));
    let at = |of: &[u64], value: Option<u64>| value.and_then(|v| of.iter().position(|x| *x == v)).unwrap_or(0);
    let (columns, lines) = (usize::from(area.width.saturating_sub(2 + MAP_BATCH) / MAP_CELL), usize::from(area.height));
    let lens = shown(&sheet.lens, at(&sheet.lens, of_selected.map(|(_, len)| len)), columns);
    let batches =
        shown(&sheet.batches, at(&sheet.batches, of_selected.map(|(batch, _)| batch)), lines.saturating_sub(3));
    let part = if lens.len() < sheet.lens.len() || batches.len() < sheet.batches.len() {
        format!(" · {} × {} of {} × {}", lens.len(), batches.len(), sheet.lens.len(), sheet.batches.len())
    } else {
        String::new()
    };
    let inner = panel(buffer, area, &format!("{} × softmax{part} · {}", sheet.lines[line].name, sheet.title));
    let colour = Style::new().fg(app.theme.of(look));
    put(buffer, Rect::new(inner.x, inner.y, MAP_BATCH, 1), &format!("{} batch", look.marker), colour);
    let place = |k: usize, y: u16| Rect::new(inner.x + MAP_BATCH + k as u16 * MAP_CELL, y, MAP_CELL - 1, 1);
    for (k, len) in lens.iter().enumerate() {
        put(buffer, place(k, inner.y), &right(&short_len(*len as f64), 7), dim());
    }
    for (y, batch) in (inner.y + 1..inner.bottom()).zip(batches) {
        put(buffer, Rect::new(inner.x, y, MAP_BATCH, 1), &right(&batch.to_string(), 7), dim());
        for (k, len) in lens.iter().enumerate() {
            let found = sheet.rows.iter().find(|(i, l)| {
                let row = &app.rows()[*i];
                *l == line && row.batch_size == *batch && row.seq_len == *len
            });
            let (text, style) = found.map_or_else(|| (String::new(), dim()), |(i, _)| ratio(app, *i));
            let style = if found.is_some_and(|(i, _)| Some(*i) == selected) {
                style.add_modifier(Modifier::UNDERLINED | Modifier::BOLD)
            } else {
                style
            };
            put(buffer, place(k, y), &right(&text, 7), style);
        }
    }
}

/// Of a list, the page that holds `at`.
fn shown(of: &[u64], at: usize, room: usize) -> &[u64] {
    let first = page(at, room).min(of.len());
    &of[first..(first + room).min(of.len())]
}

fn ratio(app: &App, i: usize) -> (String, Style) {
    let row = &app.rows()[i];
    match row.speedup_vs_softmax {
        Some(ratio) => {
            let (ground, ink) = app.theme.heat(ratio);
            // What is not sure to differ from 1 is no colour.
            let open = row.speedup_ci95_low.zip(row.speedup_ci95_high).is_none_or(|(l, h)| l <= 1.0 && h >= 1.0);
            let style = if open { dim() } else { Style::new().bg(ground).fg(ink) };
            (times(ratio), style)
        }
        None if row.status.is_empty() => ("…".to_owned(), dim()),
        None if row.status == "ok" => ("–".to_owned(), dim()),
        None => (row.status.clone(), Style::new()),
    }
}

/// Columns of the table but for the name, and those of the state behind them, blanks included.
const COLUMNS: usize = 59;
const STATE: usize = 10;

fn table(app: &App, area: Rect, buffer: &mut Buffer) {
    let grid = &app.grid;
    let arrow = if grid.reverse { "↓" } else { "↑" };
    let filter = if grid.filter.is_empty() { String::new() } else { format!(" · filter “{}”", grid.filter) };
    let sort = if grid.sort == SortBy::Plan && !grid.reverse {
        String::new()
    } else {
        format!(" · by {} {arrow}", grid.sort.title())
    };
    let (at, of) = (grid.at + usize::from(!grid.order.is_empty()), grid.order.len());
    let inner = panel(buffer, area, &format!("Cells {at}/{of}{sort}{filter}"));
    let longest = app.names.iter().map(|n| n.width()).max().unwrap_or(0).max(8);
    // Where the names need it, the state goes: the details have it.
    let with_state = longest + COLUMNS + STATE <= usize::from(inner.width);
    let taken = if with_state { COLUMNS + STATE } else { COLUMNS };
    let name = longest.min(usize::from(inner.width).saturating_sub(taken).max(8));
    let head = format!(
        "  {} {:<9} {:>5} {:>6} {:>8} {:>10} {:>7} {:>5}",
        left("variant", name),
        "workload",
        "batch",
        "len",
        "time",
        "tokens/s",
        "×",
        "± %",
    );
    let head = if with_state { head + &right("state", STATE) } else { head };
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let height = usize::from(inner.height).saturating_sub(1);
    let first = page(grid.at, height);
    for (y, (k, i)) in (inner.y + 1..inner.bottom()).zip(grid.order.iter().enumerate().skip(first)) {
        let row = &app.rows()[*i];
        let area = Rect::new(inner.x, y, inner.width, 1);
        let mut text = line(row, app.state(*i), &left(&app.names[*i], name), app.without_row(*i));
        if with_state && row.tokens_per_s.is_some() {
            let state = row.state_bytes_measured.or(row.state_bytes_pred).map_or_else(String::new, bytes);
            text.push_str(&right(&state, STATE));
        }
        let style = match () {
            () if k == grid.at => reversed(),
            () if row.status.is_empty() => dim(),
            () if row.status != "ok" && !row.skipped_by_budget() => Style::new().fg(app.theme.wrong()),
            () if app.state(*i) == CellState::Provisional => dim(),
            () => Style::new(),
        };
        put(buffer, area, &left(&text, usize::from(inner.width)), style);
    }
}

/// Variant with its parameters, in full.
fn variant(row: &Row) -> String {
    let params = if row.variant_params.is_empty() { String::new() } else { format!(":{}", row.variant_params) };
    let m = row.feature_dim.map_or_else(String::new, |m| format!(" m={m}"));
    let implementation = if row.implementation == "reference" { " ref" } else { "" };
    format!("{}{params}{m}{implementation}", row.variant)
}

/// `without` is what is said where there is no row.
fn line(row: &Row, state: CellState, name: &str, without: &str) -> String {
    let mark = match (state, row.quality.as_str()) {
        (CellState::Running, _) => "●",
        (CellState::Final, "bad") => "!",
        (CellState::Final, "noisy") => "~",
        _ => " ",
    };
    let head = format!("{mark} {name} {:<9} {:>5} {:>6}", row.workload, row.batch_size, short_len(row.seq_len as f64));
    if row.tokens_per_s.is_none() {
        let word = match state {
            CellState::Running => "now".to_owned(),
            _ if row.status.is_empty() => without.to_owned(),
            _ if row.status_detail.is_empty() => row.status.clone(),
            _ => format!("{}: {}", row.status, row.status_detail),
        };
        return format!("{head}   {word}");
    }
    let (centre, half) = figure(row).unzip();
    format!(
        "{head} {} {} {} {}",
        right(&centre.map_or_else(String::new, time), 8),
        right(&row.tokens_per_s.map_or_else(String::new, three), 10),
        right(&row.speedup_vs_softmax.map_or_else(String::new, times), 7),
        right(&half.flatten().map_or_else(|| "…".to_owned(), precision), 5),
    )
}

/// Everything that the selected row knows.
fn details(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(row) = app.grid.selected().and_then(|i| app.rows().get(i)) else {
        panel(buffer, area, "Details");
        return;
    };
    let inner =
        panel(buffer, area, &format!("{} · {} · {} · {}", variant(row), row.workload, row.batch_size, row.seq_len));
    let facts = facts(row);
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0).min(usize::from(inner.width) / 2);
    let facts: Vec<(String, String)> = facts.iter().flat_map(|fact| spread(fact, width, inner.width)).collect();
    let scroll = if app.grid.detail { usize::from(app.grid.scroll) } else { 0 }.min(facts.len().saturating_sub(1));
    parts::facts(buffer, inner, width, &facts[scroll..], Style::new());
    if facts.len() > scroll + usize::from(inner.height) && inner.height > 0 {
        let more = if app.grid.detail { " pgdn: more " } else { " enter, then pgdn: more " };
        let width = more.len() as u16;
        let at = Rect::new(area.right().saturating_sub(width + 2), area.bottom() - 1, width, 1);
        put(buffer, at, more, bold());
    }
}

/// Columns that have a value, those people look for first in front.
fn facts(row: &Row) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(row) else { return Vec::new() };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    const FIRST: [&str; 12] = [
        "status",
        "status_detail",
        "stop_reason",
        "quality",
        "warnings",
        "round_count",
        "n_samples",
        "p50_ns",
        "ci95_low_ns",
        "ci95_high_ns",
        "tokens_per_s",
        "speedup_vs_softmax",
    ];
    let shown = |name: &str| {
        let value = map.get(name).map(text).unwrap_or_default();
        (!value.is_empty()).then(|| (name.to_owned(), readable(name, &value)))
    };
    let rest = crate::store::COLUMNS.iter().filter(|c| !FIRST.contains(c));
    FIRST.iter().chain(rest).filter_map(|name| shown(name)).collect()
}

/// Times and bytes also in a unit that fits.
fn readable(name: &str, value: &str) -> String {
    match value.parse::<f64>() {
        Ok(ns) if name.ends_with("_ns") => time(ns),
        Ok(n) if name.ends_with("_bytes") || name.ends_with("_bytes_pred") || name.ends_with("_bytes_measured") => {
            bytes(n as u64)
        }
        Ok(n) if n.fract() != 0.0 || (n.abs() >= 1000.0 && name.contains("per_s")) => three(n),
        _ => value.to_owned(),
    }
}
