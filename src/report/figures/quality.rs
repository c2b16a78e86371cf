//! Quality against speed: a point per trained model.

use super::{
    super::{
        chart::{Axis, Chart, Line, Point, Scale, Ticks, Unit},
        look::Look,
        material::QualityFrom,
        numbers::three,
        text::clean,
    },
    Figure, figure,
};
use crate::store::QualityRow;

/// A measure of quality, what it is called and which way is better.
type Measure = (fn(&QualityRow) -> Option<f64>, &'static str, &'static str);

const MEASURES: [Measure; 3] = [
    (|r| r.perplexity, "Perplexity", "lower is better"),
    (|r| r.bleu, "BLEU", "higher is better"),
    (|r| r.accuracy, "Accuracy", "higher is better"),
];

/// A figure per measure that any file has.
pub(super) fn quality(files: &[QualityFrom]) -> Vec<Figure> {
    let of = |(value, name, better): &Measure| {
        let title = format!("{name} against decoding speed");
        let charts = files.iter().map(|file| chart(file, &title, name, *value)).collect();
        figure(&title, &format!("A point per trained model; {better}."), charts)
    };
    MEASURES.iter().filter_map(of).collect()
}

fn chart(file: &QualityFrom, title: &str, name: &str, value: fn(&QualityRow) -> Option<f64>) -> Chart {
    let name_of = |row: &QualityRow| row.variant.split(':').next().unwrap_or_default().to_owned();
    let mut seen: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for row in &file.table.rows {
        let nth = seen.iter().filter(|v| **v == name_of(row)).count();
        seen.push(name_of(row));
        let (Some(y), Some(x)) = (value(row), row.tokens_per_s.filter(|x| *x > 0.0)) else { continue };
        let detail = if row.detail.is_empty() { String::new() } else { format!(" {}", row.detail) };
        lines.push(Line {
            name: clean(&format!("{}{detail}", row.variant)),
            ending: Some(three(y)),
            look: Look::of(&row.variant, nth),
            is_joined: false,
            has_markers: true,
            points: vec![Point {
                x,
                y,
                x_interval: None,
                y_interval: None,
                is_hollow: false,
                source: None,
                tip: format!("{name} {} at {} tokens/s", three(y), three(x)),
            }],
        });
    }
    let words: Vec<String> =
        lines.iter().flat_map(|l| l.points.iter().map(|p| format!("{}: {}.", l.name, p.tip))).collect();
    Chart {
        id: format!("quality-{name}-{}", file.name),
        title: title.to_owned(),
        subtitle: clean(&file.name),
        summary: words.join(" "),
        x: Axis { label: "tokens/s".to_owned(), unit: Unit::Plain, scale: Scale::Fitting, ticks: Ticks::Round },
        y: Axis { label: String::new(), unit: Unit::Plain, scale: Scale::Linear, ticks: Ticks::Round },
        lines,
        level: None,
    }
}
