//! The frame of a chart: axes, grid and ticks, drawn by plotters, which also says where each value lies. Knows no line
//! and no colour of a variant.

use std::ops::Range;

use plotters::{
    coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
    prelude::*,
};

use super::axis::Span;

/// Text along the axes; plotters' unit is not the pixel.
const TEXT: (&str, u32) = ("sans-serif", 15);
const INK: RGBColor = RGBColor(64, 70, 80);
const GRID: RGBColor = RGBColor(228, 231, 236);
const RULE: RGBColor = RGBColor(140, 147, 158);
const CLEAR: RGBAColor = RGBAColor(0, 0, 0, 0.0);

/// Room around and within a chart, in pixels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Of the whole.
    pub(super) width: u32,
    /// Of the whole.
    pub(super) height: u32,
    /// For the texts of the vertical axis.
    pub(super) left: u32,
    /// For labels at the ends of lines.
    pub(super) right: u32,
}

/// What plotters drew and where it put what was asked for.
pub(super) struct Frame {
    /// SVG elements, without the element around them.
    pub(super) elements: String,
    /// Places of the points that were asked for, in order.
    pub(super) places: Vec<(i32, i32)>,
    /// Left and right end of the plot.
    pub(super) horizontal: (i32, i32),
    /// Upper and lower end of the plot.
    pub(super) vertical: (i32, i32),
}

/// Draws axes; `wanted` are points in the spaces of the axes.
///
/// # Errors
/// Of plotters, which drawing into a text does not cause.
pub(super) fn frame(
    room: Room,
    (x, y): (&Span, &Span),
    x_label: &str,
    level: Option<f64>,
    wanted: &[(f64, f64)],
) -> anyhow::Result<Frame> {
    let mut text = String::new();
    let (places, horizontal, vertical) = {
        let area = SVGBackend::with_string(&mut text, (room.width, room.height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(12)
            .margin_right(room.right)
            .x_label_area_size(if x_label.is_empty() { 26 } else { 46 })
            .y_label_area_size(room.left)
            .build_cartesian_2d(Along(x.clone()), Along(y.clone()))?;
        chart
            .configure_mesh()
            .set_all_tick_mark_size(4)
            .bold_line_style(GRID)
            .light_line_style(CLEAR)
            .axis_style(RULE)
            .label_style((TEXT.0, TEXT.1, &INK))
            .axis_desc_style((TEXT.0, TEXT.1, &INK))
            .x_desc(x_label)
            .draw()?;
        if let Some(level) = level {
            chart.draw_series([PathElement::new(vec![(x.low, level), (x.high, level)], RULE)])?;
        }
        area.present()?;
        let places = wanted.iter().map(|point| chart.backend_coord(point)).collect();
        let (horizontal, vertical) = chart.plotting_area().get_pixel_range();
        (places, (horizontal.start, horizontal.end), (vertical.start, vertical.end))
    };
    Ok(Frame { elements: inner(&text).to_owned(), places, horizontal, vertical })
}

/// A span as plotters knows coordinates: with ticks of its own and their texts.
struct Along(Span);

impl Ranged for Along {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.0.low) / (self.0.high - self.0.low);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        // Light lines between the ticks would say nothing.
        if hint.weight().allow_light_points() { Vec::new() } else { self.0.ticks.iter().map(|(at, _)| *at).collect() }
    }

    fn range(&self) -> Range<f64> {
        self.0.low..self.0.high
    }
}

impl ValueFormatter<f64> for Along {
    fn format_ext(&self, at: &f64) -> String {
        self.0.ticks.iter().find(|(tick, _)| tick == at).map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

/// What stands between the opening and the closing tag of the outermost element.
fn inner(svg: &str) -> &str {
    let after = svg.find("<svg").and_then(|at| Some(&svg[at + svg[at..].find('>')? + 1..])).unwrap_or_default();
    after.rfind("</svg>").map_or(after, |end| &after[..end])
}

#[cfg(test)]
mod tests {
    use super::{
        super::axis::{Axis, Scale, Ticks, Unit},
        *,
    };

    #[test]
    fn values_lie_where_their_axes_say() {
        let axis = |unit, scale| Axis { label: String::new(), unit, scale, ticks: Ticks::Round };
        let x = Span::of(&axis(Unit::Plain, Scale::Log), [1.0, 100.0].into_iter()).expect("a span");
        let y = Span::of(&axis(Unit::Plain, Scale::FromZero), [10.0].into_iter()).expect("a span");
        let room = Room { width: 500, height: 300, left: 40, right: 60 };
        let at = |vx: f64, vy: f64| (x.place(vx).expect("placed"), y.place(vy).expect("placed"));
        let wanted = [at(1.0, 0.0), at(10.0, 5.0), at(100.0, 10.0)];
        let frame = frame(room, (&x, &y), "length", Some(5.0), &wanted).expect("drawn");
        let [(x0, y0), (x1, y1), (x2, y2)] = frame.places[..] else { panic!("three places") };
        // Ten is half-way between one and a hundred on a logarithmic axis; heights grow upwards.
        assert!((x1 - x0 - (x2 - x1)).abs() <= 1 && x0 > frame.horizontal.0 && x2 < frame.horizontal.1);
        assert!((y0 - y1 - (y1 - y2)).abs() <= 1 && y0 > y1 && (y0 - frame.vertical.1).abs() <= 1);
        assert_eq!(frame.horizontal.0, 40);
        assert!((frame.horizontal.1 - 440).abs() <= 1);
        assert!(frame.elements.contains(">\nlength\n<") && !frame.elements.contains("<svg"));
    }
}
