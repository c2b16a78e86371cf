//! Training curves: loss of every update and on what is held out, learning rate, gradient norm and speed.

use super::{
    super::{
        chart::{Axis, Chart, Line, Point, Scale, Ticks, Unit},
        look::{Dash, Look},
        material::TrainingFrom,
        numbers::three,
        text::clean,
    },
    Figure, figure,
};
use crate::store::TrainingRow;

/// Points that a curve is drawn with, at most; all of them are rows of the file.
const MAX_POINTS: usize = 400;

/// Curves of one log are no variants: they have looks of their own, that of training first, then that of what is held out.
pub const CURVE_LOOKS: [Look; 2] =
    [Look { hue: 5, marker: '○', dash: Dash(1, 0) }, Look { hue: 1, marker: '●', dash: Dash(1, 0) }];

type Of = fn(&TrainingRow) -> Option<f64>;

/// A curve of a log: its name, its column, and whether its points are few enough for markers.
type Curve = (&'static str, Of, bool);

/// A figure per quantity, a chart per log.
pub(super) fn training(files: &[TrainingFrom]) -> Vec<Figure> {
    let quantities: [(&str, Scale, &[Curve]); 4] = [
        (
            "Loss, nats per token",
            Scale::Linear,
            &[("training", |r| r.loss, false), ("validation", |r| r.validation_loss, true)],
        ),
        ("Validation accuracy", Scale::Linear, &[("validation", |r| r.validation_accuracy, true)]),
        ("Gradient norm before clipping", Scale::Log, &[("gradient norm", |r| r.grad_norm, false)]),
        ("Training speed, tokens/s", Scale::FromZero, &[("speed", |r| r.tokens_per_s, false)]),
    ];
    let note = "Long logs are thinned to the smallest and largest value of neighbouring updates.";
    let one = |(title, scale, curves): (&str, Scale, &[Curve])| {
        figure(title, note, files.iter().map(|file| chart(file, title, scale, curves)).collect())
    };
    quantities.into_iter().filter_map(one).collect()
}

fn chart(file: &TrainingFrom, title: &str, scale: Scale, curves: &[Curve]) -> Chart {
    let lines: Vec<Line> = curves
        .iter()
        .zip(CURVE_LOOKS)
        .map(|((name, of, has_markers), look)| {
            let points: Vec<Point> = thinned(&file.table.rows, *of)
                .into_iter()
                .map(|(x, y)| {
                    let tip = format!("{} at update {}", three(y), three(x));
                    Point { x, y, x_interval: None, y_interval: None, is_hollow: false, source: None, tip }
                })
                .collect();
            let ending = points.last().map(|p| three(p.y));
            let name = (*name).to_owned();
            let has_markers = *has_markers && points.len() <= 60;
            Line { name, ending, look, is_joined: true, has_markers, points }
        })
        .collect();
    let words: Vec<String> = lines
        .iter()
        .filter_map(|l| Some(format!("{}: {} to {}.", l.name, l.points.first()?.tip, l.points.last()?.tip)))
        .collect();
    Chart {
        id: format!("training-{}-{}", title.split(',').next().unwrap_or_default(), file.name),
        title: title.to_owned(),
        subtitle: clean(&file.name),
        summary: words.join(" "),
        x: Axis { label: "updates".to_owned(), unit: Unit::Count, scale: Scale::Linear, ticks: Ticks::Round },
        y: Axis { label: String::new(), unit: Unit::Plain, scale, ticks: Ticks::Round },
        lines,
        level: None,
    }
}

/// (step, value) in ascending steps; of a long log the first, the last, and of every stretch the smallest and the largest,
/// so that spikes stay.
#[must_use]
pub fn thinned(rows: &[TrainingRow], of: fn(&TrainingRow) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = rows.iter().filter_map(|r| Some((r.step, of(r)?))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    if all.len() <= MAX_POINTS {
        return all;
    }
    let stretch = all.len().div_ceil(MAX_POINTS / 2 - 1);
    let mut kept = vec![all[0]];
    for part in all.chunks(stretch) {
        let lowest = part.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = part.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        kept.extend(lowest.into_iter().chain(highest));
    }
    kept.extend(all.last());
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_ends_and_its_spikes() {
        let row = |i: u32| {
            let loss = if i == 7_777 { 50.0 } else { 5.0 - f64::from(i) / 10_000.0 };
            TrainingRow { step: f64::from(i), loss: Some(loss), ..TrainingRow::default() }
        };
        let rows: Vec<TrainingRow> = (1..=10_000).map(row).collect();
        let kept = thinned(&rows, |r| r.loss);
        assert!(kept.len() <= MAX_POINTS && kept.len() > MAX_POINTS / 3, "{}", kept.len());
        assert!(kept.contains(&(7_777.0, 50.0)));
        assert_eq!((kept[0], kept[kept.len() - 1]), ((1.0, 4.9999), (10_000.0, 4.0)));
        assert!(kept.windows(2).all(|w| w[0].0 <= w[1].0));
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let rows: Vec<TrainingRow> =
            (0..9).map(|i| TrainingRow { step: f64::from(i), loss: Some(1.0), ..TrainingRow::default() }).collect();
        assert_eq!(thinned(&rows, |r| r.loss).len(), 9);
        assert!(thinned(&rows, |r| r.validation_loss).is_empty());
    }
}
