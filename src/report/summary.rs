//! The summary at the end of a run.

use crate::store::Row;

/// Renders it.
#[must_use]
pub fn render_summary(rows: &[Row]) -> String {
    format!("{} rows", rows.len())
}
