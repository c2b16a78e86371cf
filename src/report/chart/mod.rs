//! A chart as data, and how it becomes SVG. Knows axes, lines and points; not what they stand for or where they came
//! from.

mod axis;
mod frame;
mod labels;
mod marks;
mod svg;

use super::look::Look;
use crate::stats::Interval;

pub use axis::{Axis, Scale, Ticks, Unit};
pub use svg::standalone;
pub(super) use svg::{CHART_CSS, dark_css, draw};

/// One panel: two axes, and lines over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Unique in its page, fit for a file name.
    pub id: String,
    /// What is shown, with the unit.
    pub title: String,
    /// Of what: batch, shape, run.
    pub subtitle: String,
    /// What the picture says, for those who do not see it.
    pub summary: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// In the order of the table.
    pub lines: Vec<Line>,
    /// A level to compare with, and its name.
    pub level: Option<(f64, String)>,
}

/// A variant's line through its points, or points alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is called in labels, tips and tables.
    pub name: String,
    /// What stands at its end behind the name; a line without one has no label there.
    pub ending: Option<String>,
    /// Colour, marker, dash.
    pub look: Look,
    /// Whether the points are joined.
    pub is_joined: bool,
    /// Whether the points bear markers: those of a training log are too many.
    pub has_markers: bool,
    /// In ascending x.
    pub points: Vec<Point>,
}

/// A value with its interval, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// In the unit of the horizontal axis.
    pub x: f64,
    /// In the unit of the vertical axis.
    pub y: f64,
    /// Interval of x.
    pub x_interval: Option<Interval>,
    /// Interval of y.
    pub y_interval: Option<Interval>,
    /// Drawn hollow: predicted rather than measured, or derived.
    pub is_hollow: bool,
    /// The cell and column that y is a copy of; `None` where it is derived.
    pub source: Option<Source>,
    /// What is shown on hovering, without the name of the line.
    pub tip: String,
}

/// Where a value stands in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Run.
    pub run_id: String,
    /// Cell.
    pub cell_id: String,
    /// Column.
    pub column: &'static str,
}

impl Chart {
    /// Whether there is anything to draw.
    #[must_use]
    pub fn has_points(&self) -> bool {
        self.lines.iter().any(|l| !l.points.is_empty())
    }
}
