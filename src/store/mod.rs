//! Rows and the files they live in: written as groups end, read back by name, resumed, journalled. Knows what a record
//! looks like on disk, not how it was measured.

mod assemble;
mod quality;
mod row;

pub use assemble::{Peaks, PeaksOf, RunInfo, assemble, interval_of};
pub use row::{COLUMNS, Row, SCHEMA_VERSION};
