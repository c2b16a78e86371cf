//! A field of dots finer than characters: lines are drawn into it, and it into a buffer. Knows nothing of axes.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
};

use super::theme::Glyphs;
use crate::report::Dash;

/// A place in the field: 0 to 1 from left to right, and from bottom to top.
pub(crate) type Place = (f64, f64);

/// Dots of a field, and the colour of each character.
pub(crate) struct Raster {
    area: Rect,
    glyphs: Glyphs,
    /// One byte of braille a character, row by row.
    dots: Vec<u8>,
    colours: Vec<Color>,
}

impl Raster {
    pub(crate) fn new(area: Rect, glyphs: Glyphs) -> Self {
        let cells = usize::from(area.width) * usize::from(area.height);
        Self { area, glyphs, dots: vec![0; cells], colours: vec![Color::Reset; cells] }
    }

    /// Dots across and down.
    fn size(&self) -> (f64, f64) {
        let (across, down) = if self.glyphs == Glyphs::Braille { (2, 4) } else { (1, 1) };
        (f64::from(self.area.width * across), f64::from(self.area.height * down))
    }

    /// The character at a place.
    pub(crate) fn cell(&self, (x, y): Place) -> (u16, u16) {
        let column = (x.clamp(0.0, 1.0) * f64::from(self.area.width.saturating_sub(1))).round() as u16;
        let row = (y.clamp(0.0, 1.0) * f64::from(self.area.height.saturating_sub(1))).round() as u16;
        (self.area.x + column, self.area.bottom().saturating_sub(1 + row))
    }

    /// A line through places, its dashes going on around corners.
    pub(crate) fn path(&mut self, places: &[Place], colour: Color, dash: Dash) {
        let mut along = 0;
        for pair in places.windows(2) {
            along = self.segment(pair[0], pair[1], colour, dash, along);
        }
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: Place, to: Place, colour: Color, dash: Dash) {
        self.segment(from, to, colour, dash, 0);
    }

    fn segment(&mut self, from: Place, to: Place, colour: Color, dash: Dash, along: u32) -> u32 {
        let (across, down) = self.size();
        // The middle of the first and of the last character are the ends, as for markers.
        let (half_x, half_y) = (across / f64::from(self.area.width.max(1)), down / f64::from(self.area.height.max(1)));
        let dot = |(x, y): Place| (half_x / 2.0 + x * (across - half_x), half_y / 2.0 + (1.0 - y) * (down - half_y));
        let ((x0, y0), (x1, y1)) = (dot(from), dot(to));
        let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0) as u32;
        let period = u32::from(dash.0 + dash.1).max(1);
        for step in 0..=steps {
            if (along + step) % period < u32::from(dash.0) {
                let share = f64::from(step) / f64::from(steps);
                self.set(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share, colour);
            }
        }
        along + steps
    }

    fn set(&mut self, x: f64, y: f64, colour: Color) {
        let (across, down) = self.size();
        if !(0.0..across).contains(&x) || !(0.0..down).contains(&y) {
            return;
        }
        let (x, y) = (x as usize, y as usize);
        let (column, row, bit) = if self.glyphs == Glyphs::Braille {
            const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
            (x / 2, y / 4, BITS[y % 4][x % 2])
        } else {
            (x, y, 1)
        };
        let at = row * usize::from(self.area.width) + column;
        if let (Some(dots), Some(of)) = (self.dots.get_mut(at), self.colours.get_mut(at)) {
            *dots |= bit;
            *of = colour;
        }
    }

    /// Draws the characters that have dots.
    pub(crate) fn draw(&self, buffer: &mut Buffer) {
        for (i, (dots, colour)) in self.dots.iter().zip(&self.colours).enumerate().filter(|(_, (d, _))| **d != 0) {
            let (column, row) = (i % usize::from(self.area.width), i / usize::from(self.area.width));
            let symbol = match self.glyphs {
                Glyphs::Braille => char::from_u32(0x2800 + u32::from(*dots)).unwrap_or('·'),
                Glyphs::Dots => '·',
                Glyphs::Ascii => '.',
            };
            let cell = &mut buffer[(self.area.x + column as u16, self.area.y + row as u16)];
            cell.set_char(symbol).set_style(Style::new().fg(*colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(glyphs: Glyphs, from: Place, to: Place, dash: Dash) -> Vec<String> {
        let area = Rect::new(0, 0, 4, 2);
        let mut raster = Raster::new(area, glyphs);
        raster.line(from, to, Color::Reset, dash);
        let mut buffer = Buffer::empty(area);
        raster.draw(&mut buffer);
        (0..2).map(|y| (0..4).map(|x| buffer[(x, y)].symbol().to_owned()).collect()).collect()
    }

    #[test]
    fn a_line_reaches_from_corner_to_corner() {
        assert_eq!(drawn(Glyphs::Ascii, (0.0, 0.0), (1.0, 1.0), Dash(1, 0)), ["  ..", "..  "]);
        assert_eq!(drawn(Glyphs::Dots, (0.0, 1.0), (1.0, 1.0), Dash(1, 1)), ["· · ", "    "]);
        // The third dot from above, all across.
        assert_eq!(drawn(Glyphs::Braille, (0.0, 1.0), (1.0, 1.0), Dash(1, 0)), ["⠠⠤⠤⠤", "    "]);
    }

    #[test]
    fn places_outside_are_left_out() {
        let far = drawn(Glyphs::Braille, (5.0, 5.0), (9.0, 9.0), Dash(1, 0));
        assert_eq!(far, ["    ", "    "]);
    }
}
