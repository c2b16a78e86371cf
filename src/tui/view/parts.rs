//! Small things that all screens draw with: lines of text, panels, bars, spans of time.

use std::time::Duration;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Less important.
pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// More important.
pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Under the cursor.
pub(super) fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// Writes into the first row of an area, cut off with `…`; returns the column behind it.
pub(super) fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) -> u16 {
    if area.is_empty() {
        return area.x;
    }
    let width = usize::from(area.width);
    if text.width() <= width {
        return buffer.set_stringn(area.x, area.y, text, width, style).0;
    }
    buffer.set_stringn(area.x, area.y, cut(text, width), width, style).0
}

/// At most that many columns, the last of them `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Exactly that many columns, to the left.
pub(super) fn left(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let blank = width.saturating_sub(text.width());
    text + &" ".repeat(blank)
}

/// Exactly that many columns, to the right.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    " ".repeat(width.saturating_sub(text.width())) + &text
}

/// A framed area with a title; returns what is inside.
pub(super) fn panel(buffer: &mut Buffer, area: Rect, title: &str) -> Rect {
    if area.width < 3 || area.height < 3 {
        return Rect::new(area.x, area.y, 0, 0);
    }
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    let line = "─".repeat(usize::from(area.width) - 2);
    for y in [area.y, bottom] {
        let (a, b) = if y == area.y { ("┌", "┐") } else { ("└", "┘") };
        buffer.set_string(area.x, y, a, dim());
        buffer.set_string(area.x + 1, y, &line, dim());
        buffer.set_string(right, y, b, dim());
    }
    for y in area.y + 1..bottom {
        buffer.set_string(area.x, y, "│", dim());
        buffer.set_string(right, y, "│", dim());
    }
    if !title.is_empty() {
        let title = cut(&format!(" {title} "), usize::from(area.width).saturating_sub(3));
        buffer.set_string(area.x + 1, area.y, title, Style::new());
    }
    Rect::new(area.x + 1, area.y + 1, area.width - 2, area.height - 2)
}

/// Blanks an area before something is drawn over it.
pub(super) fn clear(buffer: &mut Buffer, area: Rect) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buffer[(x, y)].reset();
        }
    }
}

/// Lines below each other, from the top; those that do not fit are left out.
pub(super) fn lines(buffer: &mut Buffer, area: Rect, texts: impl IntoIterator<Item = (String, Style)>) {
    for (y, (text, style)) in (area.top()..area.bottom()).zip(texts) {
        put(buffer, Rect::new(area.x, y, area.width, 1), &text, style);
    }
}

/// Text broken at blanks.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().map_or(0, |l| l.width());
        if last > 0 && last + 1 + word.width() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Text broken at blanks, and words that are too long for a line within them.
pub(super) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut out = Vec::new();
    for line in wrapped(text, width) {
        let (mut part, mut used) = (String::new(), 0);
        for c in line.chars() {
            let w = c.width().unwrap_or(0);
            if used + w > width && !part.is_empty() {
                out.push(std::mem::take(&mut part));
                used = 0;
            }
            used += w;
            part.push(c);
        }
        out.push(part);
    }
    out
}

/// Lines that one value takes at most.
const MOST_LINES: usize = 8;

/// A name and its value in as many lines as that takes beside the names' columns; a name that is wider has a line of its own.
pub(super) fn spread((name, value): &(String, String), names: usize, width: u16) -> Vec<(String, String)> {
    let room = usize::from(width).saturating_sub(names + 1).max(1);
    let mut lines = folded(value, room);
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last}…"), room);
        }
    }
    let mut out: Vec<(String, String)> = lines.into_iter().map(|line| (String::new(), line)).collect();
    if name.width() > names {
        out.insert(0, (cut(name, usize::from(width)), String::new()));
    } else if let Some(first) = out.first_mut() {
        first.0.clone_from(name);
    }
    out
}

/// Names and values below each other, from the top.
pub(super) fn facts(buffer: &mut Buffer, area: Rect, names: usize, facts: &[(String, String)], style: Style) {
    for (y, (name, value)) in (area.top()..area.bottom()).zip(facts) {
        let row = Rect::new(area.x, y, area.width, 1);
        let x = put(buffer, row, &format!("{name}{}", " ".repeat(names.saturating_sub(name.width()))), dim());
        if !value.is_empty() {
            put(buffer, Rect::new(x + 1, y, area.right().saturating_sub(x + 1), 1), value, style);
        }
    }
}

/// A bar of that many columns, filled to a share.
pub(super) fn bar(share: f64, width: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    "█".repeat(filled) + &"░".repeat(width - filled)
}

/// A span in its two largest units: `1m40`, `2h05`, `12s`.
pub(super) fn short_span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}", s / 60, s % 60),
        _ => format!("{}h{:02}", s / 3600, s % 3600 / 60),
    }
}

/// A length on an axis: `64`, `4k`.
pub(super) fn short_len(len: f64) -> String {
    if len >= 1024.0 && len % 1024.0 == 0.0 { format!("{}k", len / 1024.0) } else { format!("{len}") }
}

/// Divides a width or a height: the part that comes first, and the rest.
pub(super) fn split_right(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    let left = Rect::new(area.x, area.y, area.width - width, area.height);
    (left, Rect::new(left.right(), area.y, width, area.height))
}

/// The upper part, and the lower one of that height.
pub(super) fn split_bottom(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    let top = Rect::new(area.x, area.y, area.width, area.height - height);
    (top, Rect::new(area.x, top.bottom(), area.width, height))
}

/// First index that is shown so that `at` is on the page.
pub(super) fn page(at: usize, height: usize) -> usize {
    at.checked_div(height).map_or(0, |page| page * height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_their_columns_wide_characters_too() {
        assert_eq!((left("ab", 4), right("ab", 4), cut("abcdef", 4)), ("ab  ".into(), "  ab".into(), "abc…".into()));
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(left("日本語", 5), "日本…");
        assert_eq!(cut("x", 0), "");
    }

    #[test]
    fn spans_bars_and_lengths() {
        let span = |s| short_span(Duration::from_secs(s));
        assert_eq!([span(7), span(100), span(7500)], ["7s", "1m40", "2h05"]);
        assert_eq!(bar(0.5, 4), "██░░");
        assert_eq!([short_len(64.0), short_len(4096.0), short_len(1500.0)], ["64", "4k", "1500"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("one [1,2,3,4] 日本", 5), ["one", "[1,2,", "3,4]", "日本"]);
        assert_eq!((page(9, 10), page(10, 10), page(3, 0)), (0, 10, 0));
    }
}
