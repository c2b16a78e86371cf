//! What the terminal can show, and how a frame is reduced to it. Views draw in true colour and Unicode; only this file knows
//! of less.

use ratatui::{buffer::Buffer, style::Color};

use crate::report::Look;

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// None: `NO_COLOR`, or asked for.
    Mono,
    /// The sixteen that every terminal has.
    Sixteen,
    /// The cube of 256.
    Indexed,
    /// 24 bits.
    True,
}

/// What text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
}

/// What lines of charts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// Eight dots a character.
    Braille,
    /// One dot a character, for fonts without braille.
    Dots,
    /// Seven bits, frames and markers included.
    Ascii,
}

/// How frames look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub depth: Depth,
    /// Background.
    pub ground: Ground,
    /// Lines.
    pub glyphs: Glyphs,
}

/// Whether colours were asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourWish {
    /// As environment and terminal say.
    Auto,
    /// At least sixteen.
    Always,
    /// None.
    Never,
}

impl Theme {
    /// What the environment says of the terminal. `get` reads a variable; empty ones do not count.
    #[must_use]
    pub fn detect(wish: ColourWish, get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let term = get("TERM").unwrap_or_default();
        let true_colour = get("COLORTERM").is_some_and(|v| v == "truecolor" || v == "24bit");
        let forced = wish == ColourWish::Always || get("CLICOLOR_FORCE").is_some_and(|v| v != "0");
        let depth = match () {
            () if wish == ColourWish::Never => Depth::Mono,
            () if get("NO_COLOR").is_some() && !forced => Depth::Mono,
            () if true_colour => Depth::True,
            () if term.contains("256color") || term.contains("direct") => Depth::Indexed,
            () => Depth::Sixteen,
        };
        // `COLORFGBG` is "foreground;background" in the sixteen colours; 7 and 9 to 15 are light.
        let background = get("COLORFGBG").and_then(|v| v.rsplit(';').next()?.parse::<u8>().ok());
        let ground = if background.is_some_and(|b| b == 7 || b > 8) { Ground::Light } else { Ground::Dark };
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| get(name)).unwrap_or_default().to_lowercase();
        let glyphs = match () {
            () if !(locale.contains("utf-8") || locale.contains("utf8")) => Glyphs::Ascii,
            () if term == "linux" => Glyphs::Dots,
            () => Glyphs::Braille,
        };
        Self { depth, ground, glyphs }
    }

    /// The next kind of glyphs, for who sees boxes instead of braille.
    #[must_use]
    pub fn next_glyphs(self) -> Self {
        let glyphs = match self.glyphs {
            Glyphs::Braille => Glyphs::Dots,
            Glyphs::Dots => Glyphs::Ascii,
            Glyphs::Ascii => Glyphs::Braille,
        };
        Self { glyphs, ..self }
    }

    /// The other background.
    #[must_use]
    pub fn other_ground(self) -> Self {
        Self { ground: if self.ground == Ground::Dark { Ground::Light } else { Ground::Dark }, ..self }
    }

    /// The colour of a look on this ground.
    #[must_use]
    pub(crate) fn of(self, look: Look) -> Color {
        let (r, g, b) = if self.ground == Ground::Dark { look.on_dark() } else { look.on_light() };
        Color::Rgb(r, g, b)
    }

    /// Red, for what is wrong.
    #[must_use]
    pub fn wrong(self) -> Color {
        if self.ground == Ground::Dark { Color::Rgb(255, 107, 104) } else { Color::Rgb(190, 20, 20) }
    }

    /// Background and text of a ratio to softmax: blue where faster, orange where slower, deeper with every doubling. The
    /// number itself is always written there too.
    #[must_use]
    pub fn heat(self, ratio: f64) -> (Color, Color) {
        const FASTER: [(u8, u8, u8); 4] = [(198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107)];
        const SLOWER: [(u8, u8, u8); 4] = [(253, 208, 162), (253, 141, 60), (217, 72, 1), (127, 39, 4)];
        let doublings = ratio.log2();
        if !doublings.is_finite() || doublings.abs() < 0.07 {
            return (Color::Reset, Color::Reset);
        }
        let level = doublings.abs().floor().clamp(0.0, 3.0) as usize;
        let (r, g, b) = if doublings > 0.0 { FASTER[level] } else { SLOWER[level] };
        (Color::Rgb(r, g, b), if level < 2 { Color::Rgb(0, 0, 0) } else { Color::Rgb(255, 255, 255) })
    }

    /// Reduces a drawn frame to what this terminal shows.
    pub fn reduce(self, buffer: &mut Buffer) {
        if self.depth == Depth::True && self.glyphs != Glyphs::Ascii {
            return;
        }
        for cell in &mut buffer.content {
            let (fg, bg) = (self.colour(cell.fg), self.colour(cell.bg));
            cell.set_fg(fg).set_bg(bg);
            if self.glyphs == Glyphs::Ascii && !cell.symbol().is_ascii() {
                let plain = ascii(cell.symbol());
                cell.set_char(plain);
            }
        }
    }

    fn colour(self, colour: Color) -> Color {
        match (self.depth, colour) {
            (Depth::Mono, _) => Color::Reset,
            (Depth::Indexed, Color::Rgb(r, g, b)) => Color::Indexed(cube(r, g, b)),
            (Depth::Sixteen, Color::Rgb(r, g, b)) => sixteen(r, g, b),
            (_, colour) => colour,
        }
    }
}

/// Nearest colour of the 6 × 6 × 6 cube or of the greys.
fn cube(r: u8, g: u8, b: u8) -> u8 {
    let step = |v: u8| match v {
        0..48 => 0_u8,
        48..115 => 1,
        _ => (v - 35) / 40,
    };
    if r.abs_diff(g) < 8 && g.abs_diff(b) < 8 {
        return match r {
            0..8 => 16,
            239.. => 231,
            _ => 232 + (r - 8) / 10,
        };
    }
    16 + 36 * step(r) + 6 * step(g) + step(b)
}

/// Nearest hue of the sixteen colours; greys by how light they are.
fn sixteen(r: u8, g: u8, b: u8) -> Color {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most - least < 40 {
        return match most {
            0..64 => Color::Black,
            64..140 => Color::DarkGray,
            140..220 => Color::Gray,
            _ => Color::White,
        };
    }
    let half = f64::midpoint(f64::from(most), f64::from(least));
    let (r, g, b) = (f64::from(r) > half, f64::from(g) > half, f64::from(b) > half);
    match (r, g, b) {
        (true, true, false) => Color::Yellow,
        (false, true, false) => Color::Green,
        (false, true, true) => Color::Cyan,
        (false, false, true) => Color::Blue,
        (true, false, true) => Color::Magenta,
        _ => Color::Red,
    }
}

/// The nearest seven-bit character.
fn ascii(symbol: &str) -> char {
    match symbol.chars().next().unwrap_or(' ') {
        '─' | '━' | '╌' | '┄' | '–' | '—' => '-',
        '│' | '┃' | '┆' | '▏' | '▎' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => '+',
        '×' => 'x',
        '±' => '~',
        'µ' => 'u',
        '·' | '•' | '…' => '.',
        '●' => 'o',
        '▲' => '^',
        '■' => '#',
        '◆' => '*',
        '▼' => 'v',
        '○' => 'O',
        '△' => 'A',
        '□' => '%',
        '◇' => '@',
        '▽' => 'V',
        '✚' => 'X',
        '✓' => '+',
        '→' | '▶' | '›' => '>',
        '←' | '◀' | '‹' => '<',
        '↑' => '^',
        '↓' => 'v',
        '█' | '▓' | '▇' | '▆' | '▅' => '#',
        '▒' | '▄' | '▃' => '=',
        '░' | '▂' | '▁' => '_',
        'φ' => 'f',
        '≈' => '~',
        '⠁'..='⣿' => '.',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    fn theme(vars: &[(&str, &str)], wish: ColourWish) -> Theme {
        Theme::detect(wish, |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_environment_decides_and_the_flag_decides_over_it() {
        let utf = ("LANG", "C.UTF-8");
        let depth = |vars: &[(&str, &str)], wish| theme(&[vars, &[utf]].concat(), wish).depth;
        assert_eq!(depth(&[("TERM", "xterm")], ColourWish::Auto), Depth::Sixteen);
        assert_eq!(depth(&[("TERM", "xterm-256color")], ColourWish::Auto), Depth::Indexed);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")], ColourWish::Auto), Depth::True);
        assert_eq!(depth(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")], ColourWish::Auto), Depth::Mono);
        assert_eq!(depth(&[("NO_COLOR", ""), ("COLORTERM", "truecolor")], ColourWish::Auto), Depth::True);
        assert_eq!(depth(&[("NO_COLOR", "1"), ("TERM", "xterm-256color")], ColourWish::Always), Depth::Indexed);
        assert_eq!(depth(&[("COLORTERM", "truecolor")], ColourWish::Never), Depth::Mono);
        let glyphs = |vars: &[(&str, &str)]| theme(vars, ColourWish::Auto).glyphs;
        assert_eq!(glyphs(&[utf, ("TERM", "linux")]), Glyphs::Dots);
        assert_eq!(glyphs(&[("LANG", "C")]), Glyphs::Ascii);
        assert_eq!(glyphs(&[("LC_ALL", "de_DE.utf8"), ("LANG", "C")]), Glyphs::Braille);
        let ground = |value| theme(&[("COLORFGBG", value)], ColourWish::Auto).ground;
        assert_eq!((ground("0;15"), ground("15;0"), ground("x")), (Ground::Light, Ground::Dark, Ground::Dark));
    }

    #[test]
    fn less_is_shown_where_there_is_less() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
        buffer.set_string(0, 0, "●─±é", Color::Rgb(230, 159, 0));
        let reduced = |depth, glyphs| {
            let mut copy = buffer.clone();
            Theme { depth, ground: Ground::Dark, glyphs }.reduce(&mut copy);
            copy
        };
        let plain = reduced(Depth::Mono, Glyphs::Ascii);
        assert_eq!(plain.content.iter().map(|c| c.symbol()).collect::<String>(), "o-~?");
        assert!(plain.content.iter().all(|c| c.fg == Color::Reset));
        assert_eq!(reduced(Depth::Sixteen, Glyphs::Braille)[(0, 0)].fg, Color::Yellow);
        assert_eq!(reduced(Depth::Indexed, Glyphs::Dots)[(0, 0)].fg, Color::Indexed(178));
        assert_eq!(reduced(Depth::True, Glyphs::Braille), buffer);
    }

    #[test]
    fn every_ratio_has_a_colour_and_equality_has_none() {
        let theme = theme(&[], ColourWish::Auto);
        assert_eq!(theme.heat(1.0), (Color::Reset, Color::Reset));
        assert_eq!(theme.heat(f64::NAN), (Color::Reset, Color::Reset));
        assert_ne!(theme.heat(2.0).0, theme.heat(0.5).0);
        assert_ne!(theme.heat(1.5).0, theme.heat(20.0).0);
    }
}
