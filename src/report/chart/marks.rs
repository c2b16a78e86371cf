//! What a chart shows within its frame: curves, intervals, points that carry their values, and labels. Knows places, not
//! axes.

use maud::{Markup, html};

use super::{
    super::look::{Dash, Look, Rgb},
    Line, Point,
};
use crate::stats::Interval;

/// Half the size of a marker.
const MARKER: f64 = 4.6;

/// An interval closer to its point than this would hide behind the marker.
const HIDDEN: i32 = 6;

/// A point and where it lies.
pub(super) struct Placed<'a> {
    /// The point.
    pub(super) point: &'a Point,
    /// Its place.
    pub(super) at: (i32, i32),
    /// Places of the ends of the horizontal interval.
    pub(super) across: Option<(i32, i32)>,
    /// Places of the ends of the vertical interval, the lower value first.
    pub(super) along: Option<(i32, i32)>,
}

/// A line with everything on it.
pub(super) fn line(line: &Line, placed: &[Placed<'_>]) -> Markup {
    let colour = hex(line.look.on_light());
    html! {
        g class={ "line hue-" (line.look.hue) } stroke=(colour) fill=(colour) data-line=(line.name) {
            @if line.is_joined && placed.len() > 1 {
                path class="curve" fill="none" stroke-width=(if line.has_markers { "2" } else { "1.5" })
                    stroke-linejoin="round" stroke-dasharray=[dashes(line.look)] d=(path(placed)) {}
            }
            @for p in placed { (whiskers(p)) }
            @for p in placed { (point(line, p)) }
        }
    }
}

/// Through the middle point of each x: of several launches that is their median.
fn path(placed: &[Placed<'_>]) -> String {
    let mut places: Vec<(i32, i32)> = placed.iter().map(|p| p.at).collect();
    places.sort_unstable();
    let middles = places.chunk_by(|a, b| a.0 == b.0).map(|same| same[same.len() / 2]);
    middles.enumerate().map(|(i, (x, y))| format!("{}{x} {y}", if i == 0 { "M" } else { "L" })).collect()
}

fn dashes(look: Look) -> Option<String> {
    let Dash(on, off) = look.dash;
    (off > 0).then(|| format!("{} {}", on * 2, off * 2))
}

fn whiskers(placed: &Placed<'_>) -> Markup {
    let (x, y) = placed.at;
    let apart = |(a, b): &(i32, i32), centre: i32| (a - centre).abs().max((b - centre).abs()) >= HIDDEN;
    let along = placed.along.filter(|ends| apart(ends, y));
    let across = placed.across.filter(|ends| apart(ends, x));
    let along = along.map(|(a, b)| format!("M{x} {a}V{b}M{0} {a}h6M{0} {b}h6", x - 3));
    let across = across.map(|(a, b)| format!("M{a} {y}H{b}M{a} {0}v6M{b} {0}v6", y - 3));
    html! {
        @for d in along.iter().chain(&across) {
            path class="whisker" fill="none" stroke-width="1.2" stroke-opacity="0.65" d=(d) {}
        }
    }
}

fn point(line: &Line, placed: &Placed<'_>) -> Markup {
    let Point { x, y, x_interval, y_interval, is_hollow, source, tip } = placed.point;
    let source = source.as_ref();
    let low = |interval: &Option<Interval>| interval.map(|i| i.0);
    let high = |interval: &Option<Interval>| interval.map(|i| i.1);
    let (at_x, at_y) = placed.at;
    let text = format!("{}: {tip}", line.name);
    html! {
        g class="point" role="img" aria-label=(text) transform={ "translate(" (at_x) " " (at_y) ")" }
            data-x=(x) data-y=(y) data-x-low=[low(x_interval)] data-x-high=[high(x_interval)]
            data-y-low=[low(y_interval)] data-y-high=[high(y_interval)]
            data-run=[source.map(|s| &s.run_id)] data-cell=[source.map(|s| &s.cell_id)]
            data-column=[source.map(|s| s.column)] {
            title { (text) }
            @if line.has_markers {
                (marker(line.look.marker, *is_hollow))
                circle class="hit" r="11" fill-opacity="0" stroke="none" {}
            } @else {
                circle class="hit" r="4" fill-opacity="0" stroke="none" {}
            }
        }
    }
}

/// A marker around the origin.
pub(super) fn marker(marker: char, is_hollow: bool) -> Markup {
    let s = MARKER;
    let d = match marker {
        '◆' | '◇' => format!("M0 {0}L{1} 0L0 {1}L{0} 0Z", -s * 1.25, s * 1.25),
        '▲' | '△' => format!("M0 {}L{} {}H{}Z", -s * 1.15, s * 1.1, s * 0.85, -s * 1.1),
        '▼' | '▽' => format!("M0 {}L{} {}H{}Z", s * 1.15, s * 1.1, -s * 0.85, -s * 1.1),
        '■' | '□' => format!("M{0} {0}H{1}V{1}H{0}Z", -s * 0.9, s * 0.9),
        '✚' => {
            let (arm, end) = (s * 0.4, s * 1.1);
            format!("M-{arm} -{end}H{arm}V-{arm}H{end}V{arm}H{arm}V{end}H-{arm}V{arm}H-{end}V-{arm}H-{arm}Z")
        }
        _ => format!("M{} 0a{s} {s} 0 1 0 {} 0a{s} {s} 0 1 0 {} 0Z", -s, 2.0 * s, -2.0 * s),
    };
    if is_hollow || "◇△□▽○".contains(marker) {
        html! { path class="hollow" fill="#ffffff" stroke-width="1.6" d=(d) {} }
    } else {
        html! { path stroke="none" d=(d) {} }
    }
}

/// A label at `height` beside the plot, tied to the end of its line by a thin rule where it had to move or the line ends
/// early.
pub(super) fn label(line: &Line, end: (i32, i32), left: i32, height: f64) -> Markup {
    let ending = line.ending.as_deref().unwrap_or_default();
    let colour = hex(line.look.on_light());
    let (x, y) = end;
    let is_tied = (height - f64::from(y)).abs() > 5.0 || left - x > 48;
    html! {
        g class={ "label hue-" (line.look.hue) } fill=(colour) stroke=(colour) data-line=(line.name) {
            @if is_tied {
                path class="tie" fill="none" stroke-width="1" stroke-opacity="0.5"
                    d={ "M" (x + 8) " " (y) "L" (left - 3) " " (height.round()) } {}
            }
            text x=(left) y=(height.round()) dy="0.35em" stroke="none" font-size="12.5" font-family="sans-serif" {
                tspan font-weight="600" { (shown(&line.name)) }
                @if !ending.is_empty() { tspan dx="5" { (ending) } }
            }
        }
    }
}

/// Longest name that a label shows whole.
pub(super) const LONGEST_NAME: usize = 24;

/// A name short enough for a label.
pub(super) fn shown(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
}

/// `#rrggbb`.
pub(super) fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
