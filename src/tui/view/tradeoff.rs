//! Tradeoff: quality against speed, with the points that nothing beats joined; without quality, what to do for it.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::parts::{bold, dim, left, lines, panel, put, right, split_bottom, wrapped};
use crate::{
    report::numbers::{bytes, three},
    tui::{
        app::App,
        plot::{Plot, PlotLine, Point},
        quality::QualityFile,
        theme::{Dash, Look},
    },
};

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    match &app.quality {
        Some(file) if !file.points.is_empty() => with_quality(app, file, area, buffer),
        _ => without(app, area, buffer),
    }
}

fn without(app: &App, area: Rect, buffer: &mut Buffer) {
    let inner = panel(buffer, area, "Quality against speed and memory");
    let text = "Speed says nothing of quality: random weights are as fast as trained ones. Open a CSV that has a column \
                perplexity or bleu beside tokens_per_s (f), such as one written by `t2r tradeoff`, which evaluates and times \
                checkpoints; each of its rows becomes a point here, and those that nothing beats are joined.";
    let width = usize::from(inner.width.saturating_sub(4));
    let mut texts: Vec<(String, Style)> = wrapped(text, width).into_iter().map(|l| (l, Style::new())).collect();
    if app.quality.is_some() {
        texts.push((String::new(), Style::new()));
        texts.push(("The file that was opened has no row with both numbers.".to_owned(), bold()));
    }
    lines(buffer, Rect::new(inner.x + 2, inner.y + 1, inner.width.saturating_sub(4), inner.height - 1), texts);
}

fn with_quality(app: &App, file: &QualityFile, area: Rect, buffer: &mut Buffer) {
    let rows = (file.points.len() as u16 + 3).min(area.height / 2);
    let (top, bottom) = split_bottom(area, rows);
    let inner = panel(buffer, top, &format!("{} over tokens/s · {}", file.quality.name(), file.name));
    let mut front: Vec<Point> = file
        .points
        .iter()
        .filter(|p| p.is_front)
        .map(|p| Point { x: p.tokens_per_s, y: p.quality, interval: None })
        .collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut drawn = vec![PlotLine {
        label: String::new(),
        note: String::new(),
        colour: ratatui::style::Color::Reset,
        marker: '·',
        dash: Dash(2, 2),
        points: front,
    }];
    for p in &file.points {
        let look = Look::of(&p.variant, 0);
        drawn.push(PlotLine {
            label: p.name.clone(),
            note: String::new(),
            colour: look.colour(app.theme.ground),
            marker: look.marker,
            dash: look.dash,
            points: vec![Point { x: p.tokens_per_s, y: p.quality, interval: None }],
        });
    }
    let xs: Vec<f64> = file.points.iter().map(|p| p.tokens_per_s).collect();
    let plot = Plot {
        lines: &drawn,
        marks: &[],
        log_y: !app.selection.linear,
        binary_y: false,
        y_text: three,
        x_text: three,
        x_ticks: &xs,
        glyphs: app.theme.glyphs,
    };
    plot.render(inner, buffer);
    let inner = panel(buffer, bottom, "● on the front: nothing is better and at least as fast");
    let head = format!("  {} {:>12} {:>12} {:>10}", left("model", 34), "quality", "tokens/s", "state");
    put(buffer, Rect::new(inner.x, inner.y, inner.width, 1), &head, dim());
    let below = Rect::new(inner.x, inner.y + 1, inner.width, inner.height.saturating_sub(1));
    lines(
        buffer,
        below,
        file.points.iter().map(|p| {
            let state = p.state_bytes.map_or_else(String::new, |b| bytes(b as u64));
            let mark = if p.is_front { "●" } else { " " };
            let text = format!(
                "{mark} {} {} {} {}",
                left(&p.name, 34),
                right(&three(p.quality), 12),
                right(&three(p.tokens_per_s), 12),
                right(&state, 10)
            );
            (text, if p.is_front { bold() } else { Style::new() })
        }),
    );
}
