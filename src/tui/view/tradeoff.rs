//! Tradeoff: quality against speed and against memory, with the models that nothing beats joined; without quality, what to do
//! for it.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    chart::short_number,
    parts::{bold, dim, left, lines, page, panel, put, reversed, right, split_bottom, split_right, wrapped},
};
use crate::{
    report::{
        Dash, Look,
        numbers::{bytes, thousands, three},
    },
    tui::{
        app::App,
        plot::{Plot, PlotLine, Point},
        quality::{Cost, Depth, Panel, QualityFile},
    },
};

/// From this width on speed and memory stand side by side.
const WIDE: u16 = 110;

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    match (&app.tradeoff.file, app.tradeoff.shown()) {
        (Some(file), Some(depth)) => with_quality(app, file, depth, area, buffer),
        _ => without(app, area, buffer),
    }
}

fn without(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "Quality against speed and memory");
    let text = "Speed says nothing of quality: random weights are as fast as trained ones. f opens a CSV that has a column \
                perplexity, bleu or accuracy beside tokens_per_s or state_bytes, such as one written by `t2r tradeoff`, which \
                trains, judges and times models; each of its rows becomes a point here, and those that nothing beats are \
                joined.";
    let width = usize::from(inner.width.saturating_sub(4));
    let mut texts: Vec<(String, Style)> = wrapped(text, width).into_iter().map(|l| (l, Style::new())).collect();
    if app.tradeoff.file.is_some() {
        texts.push((String::new(), Style::new()));
        texts.push(("The file that was opened has no row with both numbers.".to_owned(), bold()));
    }
    lines(buffer, Rect::new(inner.x + 2, inner.y + 1, inner.width.saturating_sub(4), inner.height - 1), texts);
}

fn with_quality(app: &App, file: &QualityFile, depth: &Depth, area: Rect, buffer: &mut Buffer) {
    let (mut at, mut beside) = (&depth.panels[app.tradeoff.panel % depth.panels.len()], None);
    if area.width >= WIDE {
        // The costs of a measure stand side by side, and one turns from measure to measure.
        let mut measures = depth.panels.chunk_by(|a, b| a.quality == b.quality).collect::<Vec<_>>();
        let of = measures.swap_remove(app.tradeoff.panel % measures.len());
        (at, beside) = (&of[0], of.get(1));
    }
    let rows = (at.points.len() as u16 + 3).min(area.height / 2);
    let (top, bottom) = split_bottom(area, rows);
    match beside {
        Some(other) => {
            let (left, right) = split_right(top, top.width / 2);
            chart(app, file, at, left, buffer);
            chart(app, file, other, right, buffer);
        }
        None => chart(app, file, at, top, buffer),
    }
    table(app, file, depth, at, bottom, buffer);
}

fn chart(app: &App, file: &QualityFile, shown: &Panel, area: Rect, buffer: &mut Buffer) {
    let title = format!("{} over {} · {}", shown.quality.name(), shown.cost.name(), file.name);
    let inner = panel(buffer, area, &title);
    let place = |x: f64, y: f64| Point { x, y, interval: None };
    let mut front: Vec<Point> = shown.points.iter().filter(|p| p.is_front).map(|p| place(p.cost, p.quality)).collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut drawn = vec![PlotLine {
        label: String::new(),
        note: String::new(),
        colour: ratatui::style::Color::Reset,
        marker: None,
        dash: Dash(2, 2),
        points: front,
    }];
    // Seeds of a model look the same, and the first has the name.
    let mut seen: Vec<(&str, String)> = Vec::new();
    for p in &shown.points {
        let model = (file.rows[p.row].variant.as_str(), file.name_of(p.row));
        let known = seen.iter().position(|m| *m == model);
        let at = known.unwrap_or(seen.len());
        let nth = seen[..at].iter().filter(|m| m.0 == model.0).count();
        let look = Look::of(model.0, nth);
        let label = if known.is_none() { model.1.clone() } else { String::new() };
        if known.is_none() {
            seen.push(model);
        }
        drawn.push(PlotLine {
            label,
            note: String::new(),
            colour: app.theme.of(look),
            marker: Some(look.marker),
            dash: look.dash,
            points: vec![place(p.cost, p.quality)],
        });
    }
    let plot = Plot {
        lines: &drawn,
        marks: &[],
        log_x: true,
        log_y: !app.selection.linear,
        binary_x: shown.cost == Cost::State,
        binary_y: false,
        y_text: three,
        x_text: if shown.cost == Cost::State { |v| bytes(v as u64) } else { short_number },
        x_ticks: &[],
        glyphs: app.theme.glyphs,
    };
    plot.render(inner, buffer);
}

fn table(app: &App, file: &QualityFile, depth: &Depth, shown: &Panel, area: Rect, buffer: &mut Buffer) {
    let at = app.tradeoff.at.min(shown.points.len().saturating_sub(1));
    let context =
        depth.tokens.map_or_else(String::new, |n| format!(" at {} tokens of context", thousands(&n.to_string())));
    let title = format!("{}/{} models{context} · ● nothing is better and costs no more", at + 1, shown.points.len());
    let inner = panel(buffer, area, &title);
    let name = usize::from(inner.width).saturating_sub(40).clamp(20, 60);
    let head = format!("  {} {:>12} {:>12} {:>10}", left("model", name), "quality", "tokens/s", "state");
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let height = usize::from(inner.height).saturating_sub(1);
    let points = shown.points.iter().enumerate().skip(page(at, height));
    for (y, (k, p)) in (inner.y + 1..inner.bottom()).zip(points) {
        let row = &file.rows[p.row];
        let text = format!(
            "{} {} {} {} {}",
            if p.is_front { "●" } else { " " },
            left(&file.name_of(p.row), name),
            right(&three(p.quality), 12),
            right(&row.tokens_per_s.map_or_else(String::new, three), 12),
            right(&row.state_bytes.map_or_else(String::new, |b| bytes(b as u64)), 10)
        );
        let style = match () {
            () if k == at => reversed(),
            () if p.is_front => bold(),
            () => Style::new(),
        };
        put(buffer, Rect::new(inner.x, y, inner.width, 1), &text, style);
    }
}
