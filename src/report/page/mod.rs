//! The report as one page that needs nothing but itself: the answer, the figures, the machines, every cell. Material in,
//! HTML out; all text of files is escaped by the templates.

mod answers;
mod cells;
mod comparison;
mod figure;
mod machines;
mod trust;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    chart::{CHART_CSS, dark_css},
    figures::{Section, sections},
    material::Material,
    text::{self, plural},
};
use crate::measure::Build;

const CSS: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
///
/// # Errors
/// Of drawing a chart, which no data causes.
pub fn render_page(material: &Material, build: &Build) -> anyhow::Result<String> {
    let sections = sections(material);
    let figures = sections.iter().enumerate().map(section).collect::<anyhow::Result<Vec<Markup>>>()?;
    let comparison = comparison::comparisons(material);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head())
            body {
                a class="skip" href="#answer" { "To the answer" }
                header {
                    p class="kicker" { "t2r report" }
                    h1 { "Softmax and linear attention, measured" }
                    p class="about" { (about(material)) }
                    (contents(&sections, material, comparison.is_some()))
                }
                main {
                    (answers::answers(material))
                    @for figures in &figures { (figures) }
                    @if let Some(comparison) = &comparison { (comparison) }
                    (machines::machines(material))
                    (trust::trust(material))
                    (cells::cells(material))
                }
                footer { (footer(build)) }
                output id="tip" class="tip" aria-live="polite" hidden {}
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(markup.into_string() + "\n")
}

fn head() -> Markup {
    let dark = dark_css("@media screen and (prefers-color-scheme: dark)");
    // Nothing may be fetched, whatever the page holds.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { "t2r report" }
            link rel="icon" href="data:,";
            style { (PreEscaped(CSS)) (PreEscaped(CHART_CSS)) (PreEscaped(light_css())) (PreEscaped(dark)) }
        }
    }
}

/// Colours of variants as text, on light ground.
fn light_css() -> String {
    let one =
        |(i, [_, (r, g, b)]): (usize, &[super::look::Rgb; 2])| format!(".hue-{i}{{color:#{r:02x}{g:02x}{b:02x}}}");
    super::look::HUES.iter().enumerate().map(one).collect()
}

/// What was read, in a line.
fn about(material: &Material) -> String {
    let mut parts = Vec::new();
    let cells = material.rows().count();
    if !material.cells.is_empty() {
        parts.push(format!("{} from {}", plural(cells, "cell"), plural(material.cells.len(), "file")));
    }
    match material.machines() {
        0 => {}
        1 => parts.extend(material.rows().next().map(|(_, row)| machines::machine(row))),
        n => parts.push(format!("{n} machines")),
    }
    let logs = material.training.len();
    parts.extend((logs > 0).then(|| plural(logs, "training log")));
    let models = material.quality.iter().map(|q| q.table.rows.len()).sum();
    parts.extend((models > 0).then(|| plural(models, "trained model")));
    parts.extend(material.rows().map(|(_, r)| r.test_time.as_str()).max().and_then(|t| t.get(..10)).map(text::clean));
    parts.join(" · ")
}

fn contents(sections: &[Section], material: &Material, is_compared: bool) -> Markup {
    let is_alone = |name: &str| sections.iter().filter(|s| short(&s.title) == name).count() == 1;
    let name = |title: &str| {
        let name = short(title);
        if is_alone(&name) { name } else { text::clean(&title.replace(" · ", ", ")) }
    };
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#answer" { "Answer" } }
                @for (i, section) in sections.iter().enumerate() {
                    li { a href={ "#section-" (i + 1) } { (name(&section.title)) } }
                }
                @if is_compared { li { a href="#comparison" { "Runs side by side" } } }
                @if !material.cells.is_empty() {
                    li { a href="#machines" { "Machines" } }
                    li { a href="#trust" { "Trust" } }
                    li { a href="#cells" { "All cells" } }
                }
            }
        }
    }
}

/// A section's title up to the first dot in the middle.
fn short(title: &str) -> String {
    let mut parts = title.split(" · ");
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let text = second.map_or_else(|| first.to_owned(), |second| format!("{first}, {second}"));
    text::clean(&text)
}

fn section((i, section): (usize, &Section)) -> anyhow::Result<Markup> {
    let figures = section.figures.iter().map(figure::figure).collect::<anyhow::Result<Vec<Markup>>>()?;
    // Figures of one chart each stand beside each other; those of several have a row of their own.
    let are_single = section.figures.iter().all(|f| f.charts.len() == 1);
    Ok(html! {
        section id={ "section-" (i + 1) } {
            h2 { (text::clean(&section.title)) }
            div class=(if are_single { "figures single" } else { "figures" }) { @for figure in &figures { (figure) } }
        }
    })
}

fn footer(build: &Build) -> Markup {
    let commit = build.build_commit.as_deref().map(|c| format!(", commit {c}")).unwrap_or_default();
    html! {
        p {
            "Written by t2r " (build.build_version) (commit) ". Intervals are 95 % intervals of a median over rounds; "
            "× compares with softmax of the same implementation, paired by round. Numbers show three significant digits; "
            "hovering, or the arrow keys within a chart, show values, and the tables under the charts hold them all."
        }
    }
}

#[cfg(test)]
mod tests;
