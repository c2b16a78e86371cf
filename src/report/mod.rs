//! Answers as text for people and for programs. Pure: values in, `String` out; prints nothing and measures nothing.

mod compare;
mod env;
mod format;
mod list;
pub mod numbers;
mod summary;

pub use compare::{Compared, render_comparisons, render_gate};
pub use env::render_env;
pub use format::Format;
pub use list::Listing;
pub use summary::{name_among, per_token, render_summary, shape_title};
