//! A figure on the page: its charts side by side, what they say in words, and their values as tables.

use maud::{Markup, html};

use super::super::{
    chart::{Chart, Line, draw},
    figures::Figure,
    look::Look,
    numbers::three,
};

/// Charts with more points than this have no table: a training log is a file of its own.
const MAX_TABLE_POINTS: usize = 300;

/// The figure.
///
/// # Errors
/// Of drawing, which no data causes.
pub(super) fn figure(figure: &Figure) -> anyhow::Result<Markup> {
    let charts = figure.charts.iter().map(panel).collect::<anyhow::Result<Vec<Markup>>>()?;
    Ok(html! {
        div class="figure" {
            h3 { (figure.title) }
            p class="note" { (figure.note) }
            div class="panels" { @for chart in &charts { (chart) } }
        }
    })
}

fn panel(chart: &Chart) -> anyhow::Result<Markup> {
    let drawn = draw(chart)?;
    let points: usize = chart.lines.iter().map(|l| l.points.len()).sum();
    Ok(html! {
        figure {
            figcaption {
                span id={ (chart.id) "-title" } {
                    span class="for-ears" { (chart.title) ", " }
                    (chart.subtitle)
                }
            }
            div class="plot" { @if let Some(svg) = drawn { (svg) } }
            p class="for-ears" id={ (chart.id) "-summary" } { (chart.summary) }
            @if points <= MAX_TABLE_POINTS { (values(chart)) }
        }
    })
}

fn values(chart: &Chart) -> Markup {
    let is_named = |line: &&Line| !line.points.is_empty();
    html! {
        details {
            summary { "Values" }
            table {
                caption class="for-ears" { (chart.title) ", " (chart.subtitle) }
                tbody {
                    @for line in chart.lines.iter().filter(is_named) {
                        @for (i, point) in line.points.iter().enumerate() {
                            tr {
                                @if i == 0 { th scope="rowgroup" rowspan=(line.points.len()) { (tag(&line.name, line.look)) } }
                                td title={ "at " (three(point.x)) } { (point.tip) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A name with its marker, in its colour.
pub(super) fn tag(name: &str, look: Look) -> Markup {
    html! {
        span class={ "tag hue-" (look.hue) } { span aria-hidden="true" { (look.marker) } " " (name) }
    }
}
