//! Bytes that attention keeps over length: measured where a cell ran, predicted where it did not.

use super::{
    super::{
        chart::{Axis, Chart, Point, Scale, Ticks, Unit},
        material::Panel,
        numbers::bytes,
    },
    Figure, at, figure, groups, id, source,
    speed::{capital, length_axis, line},
    subtitle,
};
use crate::store::Row;

const TITLE: &str = "Memory of attention";

/// Memory against length, a chart per panel.
pub(super) fn memory(panels: &[Panel<'_>]) -> Option<Figure> {
    let note = "KV cache or state of the whole batch and all layers; both axes logarithmic. Hollow: predicted, because the \
                cell was not measured.";
    figure(TITLE, note, panels.iter().map(chart).collect())
}

/// The bytes of a row, and the column they are from.
pub(in crate::report) fn state_bytes(row: &Row) -> Option<(u64, &'static str)> {
    let measured = row.state_bytes_measured.map(|b| (b, "state_bytes_measured"));
    measured.or_else(|| row.state_bytes_pred.map(|b| (b, "state_bytes_pred"))).filter(|(b, _)| *b > 0)
}

fn chart(panel: &Panel<'_>) -> Chart {
    // A forward pass keeps nothing; its predicted state would be drawn where none is.
    let groups = groups(panel, |r| r.workload != "forward" && state_bytes(r).is_some());
    let lines = groups.iter().map(|g| {
        let point = |row: &&Row| {
            let (n, column) = state_bytes(row)?;
            let is_hollow = column == "state_bytes_pred";
            let how = if is_hollow { "predicted, " } else { "" };
            let tip = format!("{}, {how}{}", bytes(n), at(row));
            let (x, y) = (row.seq_len as f64, n as f64);
            let source = source(row, column);
            Some(Point { x, y, x_interval: None, y_interval: None, is_hollow, source, tip })
        };
        line(g, |row| state_bytes(row).map(|(n, _)| bytes(n)), point)
    });
    let lines: Vec<_> = lines.collect();
    let longest = groups.iter().flat_map(|g| &g.rows).map(|r| r.seq_len).max();
    let ends: Vec<String> = groups
        .iter()
        .filter_map(|g| {
            let row = g.rows.iter().rfind(|r| Some(r.seq_len) == longest)?;
            Some(format!("{} {}", g.name, bytes(state_bytes(row)?.0)))
        })
        .collect();
    let place = groups.first().and_then(|g| g.rows.last()).map_or_else(String::new, |r| capital(&at(r)));
    Chart {
        id: id(panel, "memory"),
        title: TITLE.to_owned(),
        subtitle: subtitle(panel),
        summary: format!("{place}: {}.", ends.join(", ")),
        x: length_axis(panel, &groups),
        y: Axis { label: String::new(), unit: Unit::Bytes, scale: Scale::Log, ticks: Ticks::Round },
        lines,
        level: None,
    }
}
