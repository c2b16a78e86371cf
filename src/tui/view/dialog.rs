//! Questions over the screen.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use unicode_width::UnicodeWidthStr;

use super::{
    keys,
    parts::{bold, clear, page, panel, put, reversed, wrapped},
};
use crate::tui::{app::App, dialog::Dialog};

pub(super) fn render(app: &App, dialog: &Dialog, area: Rect, buffer: &mut Buffer) {
    let width = area.width.saturating_sub(4).min(76);
    let inside = usize::from(width.saturating_sub(4));
    let title = wrapped(&dialog.title(), inside);
    let body = match dialog {
        Dialog::Confirm(_) => 1,
        Dialog::Input { .. } => 2,
        Dialog::Resume { runs, .. } => runs.len().min(8) as u16 + 1,
    };
    let height = (title.len() as u16 + body + 3).min(area.height);
    let place = Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 3, width, height);
    // With a blank on both sides, where the screen below would look like a part of it.
    let beside = Rect::new(place.x.saturating_sub(1), place.y, place.width + 2, place.height);
    clear(buffer, beside.intersection(area));
    let inner = panel(buffer, place, "");
    let row = |y: u16| Rect::new(inner.x + 1, inner.y + y, inner.width.saturating_sub(2), 1);
    for (y, line) in title.iter().enumerate() {
        put(buffer, row(y as u16), line, bold());
    }
    let at = title.len() as u16;
    match dialog {
        Dialog::Confirm(_) => {}
        Dialog::Input { line, .. } => {
            let (before, under, behind) = line.parts();
            let room = inside.saturating_sub(2);
            // The cursor stays visible in a text longer than the line.
            let mut shown = before.to_owned();
            while shown.width() > room.saturating_sub(4) {
                shown.remove(0);
            }
            let x = put(buffer, row(at), &shown, Style::new());
            let rest = |x: u16| Rect::new(x, row(at).y, row(at).right().saturating_sub(x), 1);
            let x = put(buffer, rest(x), under, reversed());
            put(buffer, rest(x), behind, Style::new());
        }
        Dialog::Resume { runs, at: chosen } => {
            let rows = usize::from(inner.height).saturating_sub(title.len() + 1).max(1);
            let first = page(*chosen, rows);
            for (k, (i, run)) in runs.iter().enumerate().skip(first).take(rows).enumerate() {
                let style = if i == *chosen { reversed() } else { Style::new() };
                put(buffer, row(at + k as u16), &run.text, style);
            }
        }
    }
    let last = Rect::new(inner.x, inner.bottom().saturating_sub(1), inner.width, 1);
    keys(app, last, dialog.keys().iter(), buffer);
}
