//! A drawn screen as a file: SVG, or plain text. Knows buffers, not what they show. Braille, blocks and frames become shapes,
//! so that the picture does not depend on the fonts of whoever looks at it.

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Size,
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

use super::{
    app::App,
    theme::{Depth, Ground, Theme},
    view,
};

/// Width and height of a character in the picture.
const CELL: (f64, f64) = (8.4, 18.0);

/// The screen as it would be drawn at that size.
pub(crate) fn screenshot(app: &App, size: Size) -> Buffer {
    use ratatui::{Terminal, backend::TestBackend};
    let mut terminal = match Terminal::new(TestBackend::new(size.width, size.height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| view::render(app, frame)) {
        Ok(drawn) => drawn.buffer.clone(),
        Err(never) => match never {},
    }
}

/// Lines without trailing blanks.
pub(crate) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let line = |cells: &[Cell]| {
        let mut line = String::new();
        let mut skip = 0;
        for cell in cells {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            skip = cell.symbol().width().saturating_sub(1);
        }
        line.trim_end().to_owned() + "\n"
    };
    buffer.content.chunks(width).map(line).collect()
}

/// An SVG picture of the buffer.
pub(crate) fn svg(buffer: &Buffer, theme: Theme) -> String {
    let (columns, rows) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    let (width, height) = (columns * CELL.0, rows * CELL.1);
    let (ground, ink) = if theme.ground == Ground::Dark { ("#16181d", "#d8dade") } else { ("#ffffff", "#24262b") };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{ground}\"/>\n"
    );
    for row in 0..buffer.area.height {
        let mut column = 0;
        while column < buffer.area.width {
            column += run(buffer, (column, row), (ground, ink), &mut out);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// How a character is painted.
#[derive(PartialEq)]
struct Paint {
    ink: String,
    ground: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
}

fn paint(cell: &Cell, (ground, ink): (&str, &str)) -> Paint {
    let mut colours = (css(cell.fg).unwrap_or_else(|| ink.to_owned()), css(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        colours = (colours.1.unwrap_or_else(|| ground.to_owned()), Some(colours.0));
    }
    Paint {
        ink: colours.0,
        ground: colours.1,
        bold: cell.modifier.contains(Modifier::BOLD),
        dim: cell.modifier.contains(Modifier::DIM),
        underlined: cell.modifier.contains(Modifier::UNDERLINED),
    }
}

/// Writes the characters from a place on that are painted alike; says how many columns they take.
fn run(buffer: &Buffer, (column, row): (u16, u16), plain: (&str, &str), out: &mut String) -> u16 {
    let area = buffer.area;
    let at = |c: u16| &buffer[(area.x + c, area.y + row)];
    let how = paint(at(column), plain);
    let mut end = column;
    let mut words = String::new();
    let mut shapes = String::new();
    while end < area.width && paint(at(end), plain) == how {
        let symbol = at(end).symbol();
        match shape(symbol, end, row) {
            Some(shape) => {
                shapes.push_str(&shape);
                words.push(' ');
            }
            None => words.push_str(symbol),
        }
        end += (symbol.width() as u16).max(1);
    }
    let end = end.min(area.width);
    let (x, y) = (f64::from(column) * CELL.0, f64::from(row) * CELL.1);
    let width = f64::from(end - column) * CELL.0;
    if let Some(ground) = &how.ground {
        out.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{ground}\"/>\n",
            width + 0.3,
            CELL.1 + 0.3
        ));
    }
    let opacity = if how.dim { " opacity=\"0.6\"" } else { "" };
    if !shapes.is_empty() {
        let ink = &how.ink;
        out.push_str(&format!("<g fill=\"{ink}\" stroke=\"{ink}\" stroke-width=\"0\"{opacity}>{shapes}</g>\n"));
    }
    if !words.trim().is_empty() {
        let weight = if how.bold { " font-weight=\"bold\"" } else { "" };
        let line = if how.underlined { " text-decoration=\"underline\"" } else { "" };
        // Leading blanks move the text rather than being drawn.
        let lead = words.chars().take_while(|c| *c == ' ').count();
        let body = words.trim();
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\" xml:space=\"preserve\" fill=\"{}\"{weight}{line}{opacity}>{}</text>\n",
            x + lead as f64 * CELL.0,
            y + 0.74 * CELL.1,
            body.width() as f64 * CELL.0,
            how.ink,
            escaped(body)
        ));
    }
    end - column
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A character that is a shape rather than a letter.
fn shape(symbol: &str, column: u16, row: u16) -> Option<String> {
    let c = symbol.chars().next()?;
    let (x, y) = (f64::from(column) * CELL.0, f64::from(row) * CELL.1);
    let block = |height: f64, opacity: f64| {
        let (y, width, height) = (y + (1.0 - height) * CELL.1, CELL.0, height * CELL.1);
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill-opacity=\"{opacity}\"/>"
        )
    };
    match c {
        '⠁'..='⣿' => {
            let bits = c as u32 - 0x2800;
            let places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let dots = places.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, (dx, dy))| {
                let (cx, cy) =
                    (x + (0.25 + 0.5 * f64::from(*dx)) * CELL.0, y + (0.125 + 0.25 * f64::from(*dy)) * CELL.1);
                format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"1.3\"/>")
            });
            Some(dots.collect())
        }
        '▁'..='█' => Some(block(f64::from(c as u32 - 0x2580) / 8.0, 1.0)),
        '░' => Some(block(1.0, 0.2)),
        '▒' => Some(block(1.0, 0.45)),
        _ => frame(c).map(|arms| {
            // Up, right, down, left from the middle.
            let ends = [(0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)];
            let arm = |(ex, ey): (f64, f64)| {
                format!(
                    "M{:.1} {:.1}L{:.1} {:.1}",
                    x + 0.5 * CELL.0,
                    y + 0.5 * CELL.1,
                    x + ex * CELL.0,
                    y + ey * CELL.1
                )
            };
            let path: String = ends.into_iter().zip(arms).filter(|(_, on)| *on).map(|(end, _)| arm(end)).collect();
            format!("<path d=\"{path}\" stroke-width=\"1\" fill=\"none\"/>")
        }),
    }
}

/// Which of the four arms a character of a frame has: up, right, down, left.
fn frame(c: char) -> Option<[bool; 4]> {
    let arms = match c {
        '─' => "rl",
        '│' => "ud",
        '┌' | '╭' => "rd",
        '┐' | '╮' => "dl",
        '└' | '╰' => "ur",
        '┘' | '╯' => "ul",
        '├' => "urd",
        '┤' => "udl",
        '┬' => "rdl",
        '┴' => "url",
        '┼' => "urdl",
        _ => return None,
    };
    Some(['u', 'r', 'd', 'l'].map(|arm| arms.contains(arm)))
}

/// A colour as CSS writes it; `None` for the default.
fn css(colour: Color) -> Option<String> {
    let hex = |r: u8, g: u8, b: u8| Some(format!("#{r:02x}{g:02x}{b:02x}"));
    match colour {
        Color::Reset => None,
        Color::Rgb(r, g, b) => hex(r, g, b),
        Color::Red => hex(205, 49, 49),
        Color::Green => hex(13, 188, 121),
        Color::Yellow => hex(229, 229, 16),
        Color::Blue => hex(36, 114, 200),
        Color::Magenta => hex(188, 63, 188),
        Color::Cyan => hex(17, 168, 205),
        Color::Black => hex(0, 0, 0),
        _ => hex(200, 200, 200),
    }
}

/// The look in which a screen is written: all colours, whatever the terminal has.
pub(crate) fn look(theme: Theme) -> Theme {
    Theme { depth: Depth::True, ..theme }
}

#[cfg(test)]
mod tests {
    use ratatui::{layout::Rect, style::Style};

    use super::*;
    use crate::tui::theme::Glyphs;

    fn buffer() -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 2));
        buffer.set_string(0, 0, "a<b ±2 % ", Style::new().fg(Color::Rgb(1, 2, 3)));
        buffer.set_string(0, 1, "┌⣿█ 日本 x", Style::new());
        buffer
    }

    #[test]
    fn text_keeps_lines_and_wide_characters() {
        assert_eq!(text(&buffer()), "a<b ±2 %\n┌⣿█ 日本 x\n");
    }

    #[test]
    fn the_picture_holds_every_letter_and_draws_the_rest() {
        let theme = Theme { depth: Depth::True, ground: Ground::Dark, glyphs: Glyphs::Braille };
        let svg = svg(&buffer(), theme);
        assert!(svg.contains("a&lt;b ±2 %") && svg.contains("#010203") && svg.contains("日本 x"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 8);
        assert!(svg.contains("<path") && svg.ends_with("</svg>\n"));
    }
}
