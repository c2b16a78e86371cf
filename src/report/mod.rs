//! Answers as text for people and for programs, and as a page with figures. Pure: values in, `String` out; prints
//! nothing and measures nothing.

mod answer;
mod chart;
mod compare;
mod env;
mod figures;
mod format;
mod list;
mod look;
mod material;
pub mod numbers;
mod page;
mod summary;
mod text;

pub use chart::{Axis, Chart, Line, Point, Scale, Source, Ticks, Unit, standalone};
pub use compare::{Compared, render_comparisons, render_gate};
pub use env::render_env;
pub use figures::{CURVE_LOOKS, Figure, Section, sections, thinned};
pub use format::Format;
pub use list::Listing;
pub use look::{Dash, HUES, Look, Rgb};
pub use material::{CellsFrom, Material, QualityFrom, TrainingFrom};
pub use page::render_page;
pub use summary::{name_among, per_token, render_summary, shape_title};
pub(crate) use text::plural;
