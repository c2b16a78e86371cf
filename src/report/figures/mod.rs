//! The paper's figures from the rows: speed, memory and latency over length, how much faster than softmax and from where
//! on; quality against speed; training curves. Knows which column is drawn how, not how a chart is drawn.

mod latency;
mod memory;
mod quality;
mod speed;
mod training;

pub(super) use memory::state_bytes;
pub(super) use speed::of_one_run;
pub use training::{CURVE_LOOKS, thinned};

use super::{
    chart::{Chart, Source},
    look::Look,
    material::{Material, Panel, shape_of},
    numbers::{thousands, three},
    summary::{name_among, shape_title},
    text::clean,
};
use crate::store::Row;

/// Charts that are seen side by side, each of one panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What is shown.
    pub title: String,
    /// What to know when looking at it.
    pub note: String,
    /// At least one, none of them empty.
    pub charts: Vec<Chart>,
}

/// The figures of one workload and shape, or of one kind of file.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// At least one.
    pub figures: Vec<Figure>,
}

/// Every figure that the material holds; sections and figures without points are left out.
#[must_use]
pub fn sections(material: &Material) -> Vec<Section> {
    let panels = material.panels();
    let of_shapes = panels.chunk_by(|a, b| shape_of(a) == shape_of(b)).map(|panels| {
        let figures = [speed::speed(panels), speed::speedup(panels), memory::memory(panels), latency::latency(panels)];
        Section { title: shape_title(panels[0].first()), figures: figures.into_iter().flatten().collect() }
    });
    let quality = Section { title: "Quality".to_owned(), figures: quality::quality(&material.quality) };
    let training = Section { title: "Training".to_owned(), figures: training::training(&material.training) };
    let mut sections: Vec<Section> = of_shapes.chain([quality, training]).filter(|s| !s.figures.is_empty()).collect();
    name_apart(&mut sections);
    sections
}

/// A figure of the charts that have points, if any has.
fn figure(title: &str, note: &str, charts: Vec<Chart>) -> Option<Figure> {
    let charts: Vec<Chart> = charts.into_iter().filter(Chart::has_points).collect();
    (!charts.is_empty()).then(|| Figure { title: title.to_owned(), note: note.to_owned(), charts })
}

/// Gives every chart an id of its own that is fit for a file name, whatever the texts of the files are.
fn name_apart(sections: &mut [Section]) {
    let mut taken: Vec<String> = Vec::new();
    for chart in sections.iter_mut().flat_map(|s| &mut s.figures).flat_map(|f| &mut f.charts) {
        let base = slug(&chart.id);
        let numbered = (2..).map(|n| format!("{base}-{n}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|id| !taken.contains(id));
        chart.id = free.unwrap_or(base);
        taken.push(chart.id.clone());
    }
}

/// Lower-case letters, digits and single dashes, never empty.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
        if slug.len() >= 80 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "chart".to_owned() } else { slug.to_owned() }
}

/// Rows of one line of a panel: one variant as it is called there.
struct Group<'a> {
    name: String,
    look: Look,
    rows: Vec<&'a Row>,
}

/// The lines of a panel in the order of its rows; rows that are not wanted take no part, but keep their looks.
fn groups<'a>(panel: &Panel<'a>, wanted: impl Fn(&Row) -> bool) -> Vec<Group<'a>> {
    let mut groups: Vec<(String, Group<'a>)> = Vec::new();
    for row in panel.rows.iter().copied() {
        let name = name_among(row, &panel.rows);
        let at = groups.iter().position(|(_, g)| g.name == clean(&name)).unwrap_or_else(|| {
            let nth = groups.iter().filter(|(variant, _)| *variant == row.variant).count();
            groups.push((
                row.variant.clone(),
                Group { name: clean(&name), look: Look::of(&row.variant, nth), rows: Vec::new() },
            ));
            groups.len() - 1
        });
        if wanted(row) {
            groups[at].1.rows.push(row);
        }
    }
    let mut groups: Vec<Group<'a>> = groups.into_iter().map(|(_, g)| g).filter(|g| !g.rows.is_empty()).collect();
    groups.iter_mut().for_each(|g| g.rows.sort_by_key(|r| r.seq_len));
    groups
}

/// The lengths of the rows, for ticks.
fn lengths<'a>(groups: &[Group<'a>]) -> Vec<f64> {
    groups.iter().flat_map(|g| g.rows.iter().map(|r| r.seq_len as f64)).collect()
}

fn source(row: &Row, column: &'static str) -> Option<Source> {
    Some(Source { run_id: clean(&row.run_id), cell_id: clean(&row.cell_id), column })
}

/// Batch and run, as the line above a chart.
fn subtitle(panel: &Panel<'_>) -> String {
    let batch = format!("batch {}", panel.first().batch_size);
    if panel.run.is_empty() { batch } else { format!("{batch} · {}", clean(panel.run)) }
}

fn id(panel: &Panel<'_>, what: &str) -> String {
    let row = panel.first();
    let run = if panel.run.is_empty() { String::new() } else { format!("{}-", panel.run) };
    format!("{run}{}-batch-{}-{what}", row.workload, row.batch_size)
}

/// ` [low, high]`, or nothing.
fn bracket(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", three(low), three(high)))
}

/// `at 4,096 tokens`.
fn at(row: &Row) -> String {
    format!("at {} tokens", thousands(&row.seq_len.to_string()))
}

/// What the horizontal axis of a workload counts.
fn length_label(workload: &str) -> &'static str {
    match workload {
        "attention" | "decode" => "context before the step, tokens",
        "generate" | "translate" => "tokens generated",
        _ => "sequence length, tokens",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slugs_are_fit_for_files() {
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("Décode · Batch 16!"), "d-code-batch-16");
        assert_eq!(slug("///"), "chart");
    }

    proptest! {
        #[test]
        fn any_text_gives_a_plain_slug(text in "\\PC{0,200}") {
            let slug = slug(&text);
            prop_assert!(!slug.is_empty() && slug.len() <= 80);
            prop_assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert!(!slug.starts_with('-') && !slug.ends_with('-'));
        }
    }
}
