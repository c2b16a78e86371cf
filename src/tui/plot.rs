//! A chart of lines: dots, markers, intervals, and the name of each line at its end instead of a
//! legend. Knows numbers and cells of a buffer, not what they mean.

use std::ops::Range;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};
use unicode_width::UnicodeWidthStr;

use super::{raster::Raster, theme::Glyphs};
use crate::report::Dash;

/// A point with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) interval: Option<(f64, f64)>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlotLine {
    pub(crate) label: String,
    /// Shown behind the label where there is room.
    pub(crate) note: String,
    pub(crate) colour: Color,
    /// At its points; none where they are too many.
    pub(crate) marker: Option<char>,
    pub(crate) dash: Dash,
    pub(crate) points: Vec<Point>,
}

/// A vertical mark, such as a crossover.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    pub(crate) x: f64,
    pub(crate) colour: Color,
}

/// A chart.
pub(crate) struct Plot<'a> {
    pub(crate) lines: &'a [PlotLine],
    pub(crate) marks: &'a [Mark],
    pub(crate) log_x: bool,
    pub(crate) log_y: bool,
    /// Whether round numbers are powers of two, as for bytes.
    pub(crate) binary_x: bool,
    pub(crate) binary_y: bool,
    /// How ticks of y are written.
    pub(crate) y_text: fn(f64) -> String,
    /// How ticks of x are written.
    pub(crate) x_text: fn(f64) -> String,
    /// Where ticks of x stand, those that fit; where there are none, at round numbers.
    pub(crate) x_ticks: &'a [f64],
    pub(crate) glyphs: Glyphs,
}

/// A range that numbers are shown in.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// Around the values, with some air; `None` where there is none that can be shown.
    fn around(values: impl Iterator<Item = f64> + Clone, log: bool) -> Option<Self> {
        let shown = values.filter(|v| v.is_finite() && (!log || *v > 0.0)).map(|v| if log { v.ln() } else { v });
        let low = shown.clone().reduce(f64::min)?;
        let high = shown.reduce(f64::max)?;
        let air = if high > low { 0.04 * (high - low) } else { 0.5_f64.max(0.1 * high.abs()) };
        // Amounts are seen against nothing, where nothing can be shown.
        let low = if log { low - air } else { 0.0_f64.min(low) };
        Some(Self { low, high: high + air, log })
    }

    /// From 0 at the low end to 1 at the high one; `None` outside.
    fn place(&self, value: f64) -> Option<f64> {
        let value = if self.log { value.ln() } else { value };
        let place = (value - self.low) / (self.high - self.low);
        (-1e-9..=1.0 + 1e-9).contains(&place).then_some(place)
    }

    /// Round numbers within, at most `most`: as many as fit.
    fn ticks(&self, most: usize, binary: bool) -> Vec<f64> {
        let (low, high) = if self.log { (self.low.exp(), self.high.exp()) } else { (self.low, self.high) };
        let within = |all: Vec<f64>| -> Vec<f64> { all.into_iter().filter(|t| *t >= low && *t <= high).collect() };
        if !self.log {
            let fits = |step: &f64| (high - low) / step < most as f64;
            let Some(step) = round_steps(binary).into_iter().find(fits) else { return Vec::new() };
            return within((0..=most).map(|i| (low / step).ceil() * step + i as f64 * step).collect());
        }
        let candidates = if binary {
            [1, 2, 5, 10, 20].map(|n| powers(2.0, -10..60, n, &[1.0])).to_vec()
        } else {
            let fine = [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
            let digits: [&[f64]; 5] = [&fine, &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
            let of_decades = digits.iter().map(|d| powers(10.0, -24..25, 1, d));
            of_decades.chain((2..9).map(|n| powers(10.0, -24..25, n, &[1.0]))).collect()
        };
        candidates.into_iter().map(within).find(|t| t.len() <= most).unwrap_or_default()
    }
}

/// Every n-th power of a base, times each of some digits.
fn powers(base: f64, exponents: Range<i32>, n: i32, digits: &[f64]) -> Vec<f64> {
    let every = exponents.filter(|e| e.rem_euclid(n) == 0);
    every.flat_map(|e| digits.iter().map(move |d| d * base.powi(e))).collect()
}

/// Steps of a linear axis, ascending.
fn round_steps(binary: bool) -> Vec<f64> {
    if binary { powers(2.0, 0..60, 1, &[1.0]) } else { powers(10.0, -24..25, 1, &[1.0, 2.0, 5.0]) }
}

/// Where the parts of a chart lie.
struct Parts {
    /// Lines and markers.
    field: Rect,
    /// Names at the lines' ends; may be empty.
    names: Rect,
}

/// Columns that a chart's lines need at least.
const LEAST_FIELD: u16 = 16;

impl Plot<'_> {
    /// Draws into the area: y axis on the left, x axis in the last row, names on the right. Says what is missing where there
    /// is nothing to draw.
    pub(crate) fn render(&self, area: Rect, buffer: &mut Buffer) {
        let points = || self.lines.iter().flat_map(|l| &l.points);
        let ends = points().flat_map(|p| [p.y, p.interval.map_or(p.y, |i| i.0), p.interval.map_or(p.y, |i| i.1)]);
        let xs = points().map(|p| p.x).chain(self.x_ticks.iter().copied());
        let (Some(x), Some(y)) = (Scale::around(xs, self.log_x), Scale::around(ends, self.log_y)) else {
            centred(buffer, area, "nothing measured yet");
            return;
        };
        if area.height < 3 || area.width < LEAST_FIELD {
            return;
        }
        let ticks = y.ticks(usize::from(area.height / 3).clamp(2, 6), self.binary_y);
        let texts: Vec<String> = ticks.iter().map(|t| (self.y_text)(*t)).collect();
        let parts = self.parts(area, &texts);
        self.axes(&parts, &x, &y, (&ticks, &texts), buffer);
        let mut raster = Raster::new(parts.field, self.glyphs);
        let inside = |scale: &Scale, v: f64| scale.place(v);
        for mark in self.marks {
            if let Some(px) = inside(&x, mark.x) {
                raster.line((px, 0.0), (px, 1.0), mark.colour, Dash(1, 3));
            }
        }
        for line in self.lines {
            let places: Vec<(f64, f64)> =
                line.points.iter().filter_map(|p| Some((inside(&x, p.x)?, inside(&y, p.y)?))).collect();
            raster.path(&places, line.colour, line.dash);
            for point in &line.points {
                let Some((px, (low, high))) = inside(&x, point.x).zip(point.interval) else { continue };
                let ends = inside(&y, low).zip(inside(&y, high));
                // Narrower than the marker, it says no more than the marker does.
                if let Some((low, high)) = ends.filter(|(l, h)| (h - l) * f64::from(parts.field.height) > 1.0) {
                    raster.line((px, low), (px, high), line.colour, Dash(1, 0));
                }
            }
        }
        raster.draw(buffer);
        for (line, marker) in self.lines.iter().filter_map(|l| Some((l, l.marker?))) {
            for point in &line.points {
                if let Some((px, py)) = inside(&x, point.x).zip(inside(&y, point.y)) {
                    let (column, row) = raster.cell((px, py));
                    buffer[(column, row)].set_char(marker).set_style(Style::new().fg(line.colour));
                }
            }
        }
        self.names(&parts, &x, &y, buffer);
    }

    fn parts(&self, area: Rect, y_texts: &[String]) -> Parts {
        let gutter = y_texts.iter().map(|t| t.width() as u16).max().unwrap_or(0) + 1;
        let full = |l: &PlotLine| (l.label.width() + l.note.width() + 1 + usize::from(!l.note.is_empty())) as u16;
        let short = |l: &PlotLine| (l.label.width() + 1) as u16;
        let widest = |width: &dyn Fn(&PlotLine) -> u16| self.lines.iter().map(width).max().unwrap_or(0);
        let room = area.width.saturating_sub(gutter + LEAST_FIELD);
        let cut = (room / 2).max(room.min(8));
        let names = [widest(&full), widest(&short), cut].into_iter().find(|w| *w <= room * 2 / 3 + 2);
        let names = names.unwrap_or(0).min(room);
        let field_width = area.width - gutter - names;
        let field = Rect::new(area.x + gutter, area.y, field_width, area.height - 1);
        Parts { field, names: Rect::new(field.right(), area.y, names, area.height - 1) }
    }

    fn axes(&self, parts: &Parts, x: &Scale, y: &Scale, (ticks, texts): (&[f64], &[String]), buffer: &mut Buffer) {
        let dim = Style::new().add_modifier(Modifier::DIM);
        let field = parts.field;
        let axis = field.x - 1;
        for row in field.top()..field.bottom() {
            buffer.set_string(axis, row, "│", dim);
        }
        let last = f64::from(field.height - 1);
        for (tick, text) in ticks.iter().zip(texts) {
            let Some(place) = y.place(*tick) else { continue };
            let row = field.bottom() - 1 - (place * last).round() as u16;
            buffer.set_string(axis, row, "┤", dim);
            buffer.set_string(axis - text.width() as u16, row, text, dim);
        }
        let bottom = field.bottom();
        buffer.set_string(axis, bottom, "└", dim);
        for column in field.left()..field.right() {
            buffer.set_string(column, bottom, "─", dim);
        }
        let mut free = field.left();
        let round = if self.x_ticks.is_empty() {
            x.ticks(usize::from(field.width / 10).max(2), self.binary_x)
        } else {
            Vec::new()
        };
        for tick in self.x_ticks.iter().chain(&round) {
            let Some(place) = x.place(*tick) else { continue };
            let text = (self.x_text)(*tick);
            let width = text.width() as u16;
            let middle = field.left() + (place * f64::from(field.width - 1)).round() as u16;
            let start = middle.saturating_sub(width / 2).max(field.left()).min(field.right().saturating_sub(width));
            if start >= free && width <= field.width {
                buffer.set_string(start, bottom, &text, dim);
                free = start + width + 1;
            }
        }
    }

    /// Names at the height of the lines' last points, moved apart where they would meet.
    fn names(&self, parts: &Parts, x: &Scale, y: &Scale, buffer: &mut Buffer) {
        let area = parts.names;
        if area.width < 2 {
            return;
        }
        let rows = f64::from(parts.field.height - 1);
        let mut names: Vec<(u16, &PlotLine)> = Vec::new();
        for line in self.lines {
            if line.label.is_empty() && line.note.is_empty() {
                continue;
            }
            let last = line.points.iter().rev().find_map(|p| x.place(p.x).and(y.place(p.y)));
            if let Some(place) = last {
                names.push((parts.field.bottom() - 1 - (place * rows).round() as u16, line));
            }
        }
        names.sort_by_key(|(row, _)| *row);
        let mut places: Vec<u16> = Vec::new();
        for (row, _) in &names {
            places.push(places.last().map_or(*row, |above| (*row).max(above + 1)));
        }
        // Those pushed over the edge push back.
        let mut limit = area.bottom();
        for place in places.iter_mut().rev() {
            *place = (*place).min(limit.saturating_sub(1)).max(area.top());
            limit = *place;
        }
        let mut taken = None;
        for ((_, line), row) in names.into_iter().zip(places) {
            // More names than rows: the last ones of those that crowd have none.
            if taken.replace(row) == Some(row) {
                continue;
            }
            let style = Style::new().fg(line.colour);
            let width = usize::from(area.width);
            let (end, _) = buffer.set_stringn(area.x + 1, row, &line.label, width - 1, style);
            if line.label.width() > width - 1 {
                buffer.set_string(area.right() - 1, row, "…", style);
            }
            if !line.note.is_empty() && line.label.width() + line.note.width() + 2 <= width {
                buffer.set_string(end + 1, row, &line.note, Style::new());
            }
        }
    }
}

/// A dim line in the middle.
pub(crate) fn centred(buffer: &mut Buffer, area: Rect, text: &str) {
    if area.is_empty() {
        return;
    }
    let width = (text.width() as u16).min(area.width);
    let (x, y) = (area.x + (area.width - width) / 2, area.y + area.height / 2);
    buffer.set_stringn(x, y, text, usize::from(area.width), Style::new().add_modifier(Modifier::DIM));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_their_values_and_have_round_ticks() {
        let scale = Scale::around([1.0, 1000.0].into_iter(), true).expect("a scale");
        assert_eq!(scale.ticks(4, false), [1.0, 10.0, 100.0, 1000.0]);
        let bytes = Scale::around([1000.0, 5e6].into_iter(), true).expect("a scale");
        assert_eq!(bytes.ticks(3, true), [1024.0, 32_768.0, 1_048_576.0]);
        assert!(Scale::around([110e3, 190e3].into_iter(), true).expect("a scale").ticks(4, false).len() > 1);
        assert!(scale.place(1.0).is_some_and(|p| p > 0.0 && p < 0.1));
        assert!(scale.place(0.1).is_none());
        let flat = Scale::around([5.0].into_iter(), false).expect("a scale");
        assert!(flat.place(5.0).is_some() && flat.ticks(4, false).contains(&0.0));
        assert_eq!(Scale::around([f64::NAN, -1.0].into_iter(), true), None);
    }

    #[test]
    fn a_name_stands_at_the_end_of_its_line_and_names_do_not_meet() {
        let line = |label: &str, y: f64| PlotLine {
            label: label.to_owned(),
            note: String::new(),
            colour: Color::Reset,
            marker: Some('●'),
            dash: Dash(1, 0),
            points: [64.0, 4096.0].map(|x| Point { x, y, interval: None }).to_vec(),
        };
        let lines = [line("one", 10.0), line("two", 10.0), line("low", 1.0)];
        let plot = Plot {
            lines: &lines,
            marks: &[],
            log_x: true,
            log_y: true,
            binary_x: false,
            binary_y: false,
            y_text: |v| format!("{v}"),
            x_text: |v| format!("{v}"),
            x_ticks: &[64.0, 4096.0],
            glyphs: Glyphs::Braille,
        };
        let area = Rect::new(0, 0, 40, 10);
        let mut buffer = Buffer::empty(area);
        plot.render(area, &mut buffer);
        let rows: Vec<String> =
            (0..10).map(|y| (0..40).map(|x| buffer[(x, y)].symbol().to_owned()).collect()).collect();
        let row_of = |name: &str| rows.iter().position(|r| r.contains(name)).unwrap_or(99);
        assert!(row_of("one") < 3 && row_of("two") == row_of("one") + 1, "{rows:#?}");
        assert!(row_of("low") > 6, "{rows:#?}");
        assert!(rows[9].contains("64") && rows[9].contains("4096"), "{rows:#?}");
    }
}
