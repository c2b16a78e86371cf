//! Quality against speed: a point per trained model, at the longest context that it was measured at.

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
        figure(&title, &format!("A point per trained model and seed; {better}."), charts)
    };
    MEASURES.iter().filter_map(of).collect()
}

fn chart(file: &QualityFrom, title: &str, name: &str, value: fn(&QualityRow) -> Option<f64>) -> Chart {
    let deepest = file.table.rows.iter().filter_map(|r| r.seq_len).reduce(f64::max);
    let mut lines: Vec<Line> = Vec::new();
    let mut variants: Vec<&str> = Vec::new();
    for row in file.table.rows.iter().filter(|r| r.seq_len == deepest) {
        let called = clean(format!("{} {}", row.variant, row.detail).trim_end());
        let at = lines.iter().position(|l| l.name == called).unwrap_or_else(|| {
            let variant = row.variant.split(':').next().unwrap_or_default();
            let nth = variants.iter().filter(|v| **v == variant).count();
            variants.push(variant);
            lines.push(Line {
                name: called,
                ending: None,
                look: Look::of(variant, nth),
                is_joined: false,
                has_markers: true,
                points: Vec::new(),
            });
            lines.len() - 1
        });
        let (Some(y), Some(x)) = (value(row), row.tokens_per_s.filter(|x| *x > 0.0)) else { continue };
        lines[at].points.push(Point {
            x,
            y,
            x_interval: None,
            y_interval: None,
            is_hollow: false,
            source: None,
            tip: format!("{name} {} at {} tokens/s", three(y), three(x)),
        });
    }
    lines.retain(|l| !l.points.is_empty());
    for line in &mut lines {
        line.points.sort_by(|a, b| a.x.total_cmp(&b.x));
        line.ending = span(&line.points);
    }
    let words: Vec<String> =
        lines.iter().flat_map(|l| l.points.iter().map(|p| format!("{}: {}.", l.name, p.tip))).collect();
    let depth = deepest.map_or_else(String::new, |n| format!(" · decoding at {} tokens", three(n)));
    Chart {
        id: format!("quality-{name}-{}", file.name),
        title: title.to_owned(),
        subtitle: clean(&format!("{}{depth}", file.name)),
        summary: words.join(" "),
        x: Axis { label: "tokens/s".to_owned(), unit: Unit::Plain, scale: Scale::Fitting, ticks: Ticks::Round },
        y: Axis { label: String::new(), unit: Unit::Plain, scale: y_scale(&lines), ticks: Ticks::Round },
        lines,
        level: None,
    }
}

/// The values of a line's points from the smallest to the largest.
fn span(points: &[Point]) -> Option<String> {
    let low = points.iter().map(|p| p.y).reduce(f64::min)?;
    let high = points.iter().map(|p| p.y).reduce(f64::max)?;
    let (low, high) = (three(low), three(high));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

/// Models that learned nothing would press all others into one height.
fn y_scale(lines: &[Line]) -> Scale {
    let of = |pick: fn(f64, f64) -> f64| lines.iter().flat_map(|l| &l.points).map(|p| p.y).reduce(pick);
    match of(f64::min).zip(of(f64::max)) {
        Some((low, high)) if low > 0.0 && high > 4.0 * low => Scale::Log,
        _ => Scale::Linear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parse_quality;

    #[test]
    fn seeds_share_a_line_and_the_longest_context_is_shown() {
        let text = "variant,way,seed,perplexity,seq_len,tokens_per_s\n\
                    softmax,pretrained,0,20.0,64,900\nsoftmax,pretrained,0,20.0,512,300\n\
                    t2r:32,finetuned,0,21.0,512,1100\nt2r:32,finetuned,1,22.0,512,1000\nt2r:32,swapped,0,310.0,512,1000\n";
        let file =
            QualityFrom { name: "q".to_owned(), table: parse_quality("q.csv", text.as_bytes()).expect("qualities") };
        let figures = quality(&[file]);
        let chart = &figures[0].charts[0];
        assert_eq!(
            (figures.len(), chart.subtitle.as_str(), chart.y.scale),
            (1, "q · decoding at 512 tokens", Scale::Log)
        );
        let lines: Vec<(&str, Option<&str>, Vec<f64>)> = chart
            .lines
            .iter()
            .map(|l| (l.name.as_str(), l.ending.as_deref(), l.points.iter().map(|p| p.x).collect()))
            .collect();
        let expected = [
            ("softmax pretrained", Some("20.0"), vec![300.0]),
            ("t2r:32 finetuned", Some("21.0 to 22.0"), vec![1000.0, 1100.0]),
            ("t2r:32 swapped", Some("310"), vec![1000.0]),
        ];
        assert_eq!(lines, expected);
    }
}
