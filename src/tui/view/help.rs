//! The help: every key of the one table, those of the screen first.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::parts::{bold, clear, panel, put, wrapped};
use crate::tui::{
    app::App,
    keys::{OVER, TABLE},
};

pub(super) fn render(app: &App, area: Rect, buffer: &mut Buffer) {
    clear(buffer, area);
    let inner = panel(buffer, area, "Help · any key closes, ↑ ↓ scroll");
    let of = |particular: bool| {
        TABLE
            .iter()
            .filter(move |b| b.is_particular() == particular && b.holds_on(app.screen))
            .map(|b| (b.label, b.what))
    };
    let head = |text: &str| (None, text.to_owned());
    let mut entries: Vec<(Option<&str>, String)> = vec![head(&format!("On {}", app.screen.title()))];
    entries.extend(of(true).map(|(label, what)| (Some(label), what.to_owned())));
    entries.push(head("Everywhere"));
    entries.extend(of(false).map(|(label, what)| (Some(label), what.to_owned())));
    entries.push((
        Some("ctrl-c ctrl-c"),
        "while a long sample is timed: end the run and leave; three times: at once".to_owned(),
    ));
    entries.push(head("Reading the screen"));
    for (label, what) in [
        (
            "×",
            "times faster than softmax in the same group; ± half-width of the 95 % interval; … too few rounds for one",
        ),
        ("~ !", "in the first column of Grid: noisy, bad; the warnings of a row are in its details"),
        ("┊", "dotted upright lines in charts: where a variant passes softmax"),
    ] {
        entries.push((Some(label), what.to_owned()));
    }
    for (title, table) in OVER {
        entries.push(head(title));
        entries.extend(table.iter().map(|b| (Some(b.label), b.what.to_owned())));
    }
    let lines = entries.into_iter().flat_map(|entry| spread(entry, inner.width)).collect::<Vec<_>>();
    let scroll = usize::from(app.help_scroll).min(lines.len().saturating_sub(usize::from(inner.height)));
    for (y, (label, text)) in (inner.top()..inner.bottom()).zip(lines.into_iter().skip(scroll)) {
        let row = Rect::new(inner.x, y, inner.width, 1);
        match label {
            None => {
                put(buffer, row, &text, bold());
            }
            Some(label) => {
                put(buffer, Rect::new(row.x + 2, y, LABEL - 2, 1), label, bold());
                put(buffer, Rect::new(row.x + LABEL, y, row.width.saturating_sub(LABEL), 1), &text, Style::new());
            }
        }
    }
}

/// Columns before what a key does.
const LABEL: u16 = 16;

/// An entry in as many lines as it takes, the label before the first; a heading has none and takes one.
fn spread((label, text): (Option<&str>, String), width: u16) -> Vec<(Option<&str>, String)> {
    let Some(label) = label else { return vec![(None, text)] };
    let lines = wrapped(&text, usize::from(width.saturating_sub(LABEL)));
    lines.into_iter().enumerate().map(|(i, line)| (Some(if i == 0 { label } else { "" }), line)).collect()
}
