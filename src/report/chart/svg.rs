//! A whole chart as SVG: laid out, framed, marked and labelled; for a page, or on its own.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::{
    super::look::HUES,
    Chart, Line, Point,
    axis::Span,
    frame::{Frame, Room, frame},
    labels::spread,
    marks::{Placed, hex, label, line, shown},
};

const WIDTH: u32 = 560;
const HEIGHT: u32 = 340;
/// Height of a label with the air above it.
const LABEL_GAP: f64 = 16.0;
/// Width of a character of a label on the safe side: of the name, which is bold, and of what stands behind it.
const NAME_CHARACTER: f64 = 8.2;
const LABEL_CHARACTER: f64 = 7.2;
/// Height of title and subtitle above a chart that stands alone.
const HEAD: u32 = 52;

/// Style that a chart needs on dark ground, and for pointing at it; without it the chart is right on light ground.
pub(in crate::report) const CHART_CSS: &str = include_str!("chart.css");

/// The chart as an element for a page; `None` where there is nothing to draw.
///
/// # Errors
/// Of plotters, which drawing into a text does not cause.
pub(in crate::report) fn draw(chart: &Chart) -> anyhow::Result<Option<Markup>> {
    let Some(body) = body(chart)? else { return Ok(None) };
    let (title_id, summary_id) = (format!("{}-title", chart.id), format!("{}-summary", chart.id));
    Ok(Some(html! {
        svg class="chart" id=(chart.id) role="group" tabindex="0" viewBox={ "0 0 " (WIDTH) " " (body.height) }
            aria-labelledby=(title_id) aria-describedby=(summary_id) aria-roledescription="chart" {
            (body.elements)
        }
    }))
}

/// The chart as a file of its own; `None` where there is nothing to draw.
///
/// # Errors
/// Of plotters, which drawing into a text does not cause.
pub fn standalone(chart: &Chart) -> anyhow::Result<Option<String>> {
    let Some(body) = body(chart)? else { return Ok(None) };
    let height = body.height + HEAD;
    let markup = html! {
        svg xmlns="http://www.w3.org/2000/svg" class="chart" width=(WIDTH) height=(height)
            viewBox={ "0 -" (HEAD) " " (WIDTH) " " (height) } role="img" aria-labelledby="title summary" {
            title id="title" { (chart.title) ", " (chart.subtitle) }
            desc id="summary" { (chart.summary) }
            style { (PreEscaped(dark_css("@media (prefers-color-scheme: dark)"))) }
            rect class="paper" x="0" y={ "-" (HEAD) } width=(WIDTH) height=(height) fill="#ffffff" {}
            g class="head" fill="#1c2129" font-family="sans-serif" {
                text x="14" y="-28" font-size="15" font-weight="600" { (chart.title) }
                text x="14" y="-9" font-size="12.5" fill-opacity="0.75" { (chart.subtitle) }
            }
            (body.elements)
        }
    };
    Ok(Some(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", markup.into_string())))
}

/// Colours on dark ground under a media query.
pub(in crate::report) fn dark_css(query: &str) -> String {
    let mut css = format!("{query}{{");
    for (i, [dark, _]) in HUES.iter().enumerate() {
        // Writing into a text does not fail.
        let _ = write!(css, ".hue-{i}{{fill:{0};stroke:{0};color:{0}}}", hex(*dark));
    }
    css + include_str!("dark.css") + "}"
}

struct Body {
    elements: Markup,
    height: u32,
}

fn body(chart: &Chart) -> anyhow::Result<Option<Body>> {
    let points = || chart.lines.iter().flat_map(|l| &l.points);
    let ends = |interval: Option<(f64, f64)>| interval.into_iter().flat_map(|(low, high)| [low, high]);
    let level = chart.level.as_ref().map(|(level, _)| *level);
    let xs = points().flat_map(|p| ends(p.x_interval).chain([p.x]));
    let ys = points().flat_map(|p| ends(p.y_interval).chain([p.y])).chain(level.filter(|_| chart.has_points()));
    let (Some(x), Some(y)) = (Span::of(&chart.x, xs), Span::of(&chart.y, ys)) else { return Ok(None) };
    let room = room(chart, &y);
    let wanted: Vec<Wanted<'_>> = chart.lines.iter().map(|l| Wanted::of(l, &x, &y)).collect();
    let places: Vec<(f64, f64)> = wanted.iter().flat_map(|w| w.places.iter().copied()).collect();
    let frame = frame(room, (&x, &y), &chart.x.label, level.and_then(|l| y.place(l)), &places)?;
    let mut rest = frame.places.iter().copied();
    let placed: Vec<Vec<Placed<'_>>> = wanted.iter().map(|w| w.placed(&mut rest)).collect();
    let elements = html! {
        g class="axes" aria-hidden="true" { (PreEscaped(&frame.elements)) }
        @if let Some((level, name)) = &chart.level { (level_name(&frame, &y, *level, name)) }
        @for (l, placed) in chart.lines.iter().zip(&placed) { (line(l, placed)) }
        (labels(chart, &placed, &frame))
    };
    Ok(Some(Body { elements, height: room.height }))
}

/// The room that texts on both sides need.
fn room(chart: &Chart, y: &Span) -> Room {
    let width = |l: &Line| {
        let (name, ending) = (shown(&l.name).chars().count(), l.ending.as_ref()?.chars().count());
        Some(NAME_CHARACTER * name as f64 + LABEL_CHARACTER * ending as f64)
    };
    let right = chart.lines.iter().filter_map(width).reduce(f64::max).map_or(16, |longest| longest as u32 + 26);
    let tick = y.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    let labels = chart.lines.iter().filter(|l| l.ending.is_some()).count();
    let height = HEIGHT.max(80 + (LABEL_GAP * labels as f64) as u32);
    Room { width: WIDTH, height, left: (7.0 * tick as f64) as u32 + 16, right: right.min(WIDTH / 2) }
}

/// The points of a line that have a place, with what is to be asked of the frame: the point itself, then the ends of its
/// intervals.
struct Wanted<'a> {
    points: Vec<(&'a Point, bool, bool)>,
    places: Vec<(f64, f64)>,
}

impl<'a> Wanted<'a> {
    fn of(line: &'a Line, x: &Span, y: &Span) -> Self {
        let mut wanted = Self { points: Vec::new(), places: Vec::new() };
        for point in &line.points {
            let (Some(px), Some(py)) = (x.place(point.x), y.place(point.y)) else { continue };
            let both = |span: &Span, (low, high): (f64, f64)| Some((span.place(low)?, span.place(high)?));
            let across = point.x_interval.and_then(|i| both(x, i));
            let along = point.y_interval.and_then(|i| both(y, i));
            wanted.points.push((point, across.is_some(), along.is_some()));
            wanted.places.push((px, py));
            wanted.places.extend(across.into_iter().flat_map(|(low, high)| [(low, py), (high, py)]));
            wanted.places.extend(along.into_iter().flat_map(|(low, high)| [(px, low), (px, high)]));
        }
        wanted
    }

    /// Takes from `places` what was asked for.
    fn placed(&self, places: &mut impl Iterator<Item = (i32, i32)>) -> Vec<Placed<'a>> {
        let mut next = || places.next().unwrap_or_default();
        let one = |(point, across, along): &(&'a Point, bool, bool)| Placed {
            point,
            at: next(),
            across: across.then(|| (next().0, next().0)),
            along: along.then(|| (next().1, next().1)),
        };
        self.points.iter().map(one).collect()
    }
}

fn labels(chart: &Chart, placed: &[Vec<Placed<'_>>], frame: &Frame) -> Markup {
    let end = |placed: &Vec<Placed<'_>>| placed.iter().map(|p| p.at).max_by_key(|at| at.0);
    let ending: Vec<(&Line, (i32, i32))> = chart
        .lines
        .iter()
        .zip(placed)
        .filter(|(l, _)| l.ending.is_some())
        .filter_map(|(l, placed)| Some((l, end(placed)?)))
        .collect();
    let heights: Vec<f64> = ending.iter().map(|(_, at)| f64::from(at.1)).collect();
    let bounds = (f64::from(frame.vertical.0) + 4.0, f64::from(frame.vertical.1) - 4.0);
    let heights = spread(&heights, LABEL_GAP, bounds);
    let left = frame.horizontal.1 + 12;
    html! { @for ((l, at), height) in ending.iter().zip(heights) { (label(l, *at, left, height)) } }
}

fn level_name(frame: &Frame, y: &Span, level: f64, name: &str) -> Markup {
    let share = y.place(level).map_or(0.0, |at| (at - y.low) / (y.high - y.low));
    let (top, bottom) = (f64::from(frame.vertical.0), f64::from(frame.vertical.1));
    let height = (bottom - share * (bottom - top)).round();
    html! {
        text class="level" x=(frame.horizontal.1 - 4) y=(height - 5.0) text-anchor="end" font-size="12" font-family="sans-serif"
            fill="#404650" { (name) }
    }
}
