//! Axes: from values to a range with ticks. Knows how numbers of a unit are spaced and written.

use super::super::numbers::{bytes, thousands, three, time};

/// Ticks of an axis, at most.
const MAX_TICKS: usize = 7;

/// What the numbers along an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Numbers as they are.
    Plain,
    /// Whole numbers, every digit of them.
    Count,
    /// Bytes, in powers of two.
    Bytes,
    /// Nanoseconds.
    Time,
    /// So many times.
    Times,
}

/// How they are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    FromZero,
    /// From the smallest to the largest value.
    Linear,
    /// Logarithmic; only positive values have a place on it.
    Log,
    /// [`Scale::Log`] where the values span more than a factor of eight, else [`Scale::FromZero`].
    Fitting,
}

/// Where ticks stand.
#[derive(Debug, Clone, PartialEq)]
pub enum Ticks {
    /// At round numbers.
    Round,
    /// At these values, or some of them where there are many.
    At(Vec<f64>),
    /// At these values, under these names.
    Named(Vec<(f64, &'static str)>),
}

/// One axis as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What runs along it, with the unit; empty where the title says it.
    pub label: String,
    /// Of its numbers.
    pub unit: Unit,
    /// Of its numbers.
    pub scale: Scale,
    /// Of the axis.
    pub ticks: Ticks,
}

/// One axis as it is drawn, in the space of the axis: logarithms on a logarithmic one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    is_log: bool,
    /// Left or lower end.
    pub(super) low: f64,
    /// The other end, above `low`.
    pub(super) high: f64,
    /// Positions with their texts, ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Beyond these a range with its margins would not survive arithmetic.
const LOG_RANGE: (f64, f64) = (1e-250, 1e250);

impl Span {
    /// The span that shows all values that have a place on the axis; `None` where there are none.
    pub(super) fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|v| v.is_finite()).map(|v| v.clamp(-LOG_RANGE.1, LOG_RANGE.1)).collect();
        let positive = || values.iter().copied().filter(|v| *v > 0.0);
        let ratio = || Some(largest(positive())? / smallest(positive())?);
        let is_log = match axis.scale {
            Scale::Log => true,
            Scale::Fitting => positive().count() == values.len() && ratio().is_some_and(|r| r > 8.0),
            Scale::FromZero | Scale::Linear => false,
        };
        let placed: Vec<f64> = values.into_iter().filter_map(|v| place(is_log, v)).collect();
        let (mut low, mut high) = (smallest(placed.iter().copied())?, largest(placed.iter().copied())?);
        if !is_log && axis.scale != Scale::Linear {
            low = low.min(0.0);
        }
        let width = if high > low { high - low } else { (high.abs() * 0.2).max(1.0) };
        let margin = 0.06 * width;
        if high <= low {
            (low, high) = (low - width / 2.0, high + width / 2.0);
        }
        low -= if !is_log && low == 0.0 { 0.0 } else { margin };
        high += margin;
        let mut span = Self { is_log, low, high, ticks: Vec::new() };
        span.ticks = span.ticks_of(axis);
        Some(span)
    }

    /// Position of a value; `None` where it has none.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        place(self.is_log, value)
    }

    fn ticks_of(&self, axis: &Axis) -> Vec<(f64, String)> {
        let named = |value: f64| Some((self.place(value)?, text(axis.unit, value)));
        let ticks: Vec<(f64, String)> = match &axis.ticks {
            Ticks::Named(ticks) => {
                ticks.iter().filter_map(|(v, name)| Some((self.place(*v)?, (*name).to_owned()))).collect()
            }
            Ticks::At(values) => thinned(values).into_iter().filter_map(named).collect(),
            Ticks::Round => self.round(axis.unit).into_iter().filter_map(named).collect(),
        };
        ticks.into_iter().filter(|(at, _)| (self.low..=self.high).contains(at)).collect()
    }

    fn round(&self, unit: Unit) -> Vec<f64> {
        if !self.is_log {
            return linear(self.low, self.high);
        }
        let (low, high) = (self.low.exp(), self.high.exp());
        let ticks = if unit == Unit::Bytes { powers_of_two(low, high) } else { decades(low, high) };
        // Within a factor of two or three there may be no round power.
        if ticks.len() < 3 { linear(low, high).into_iter().filter(|v| *v > 0.0).collect() } else { ticks }
    }
}

fn smallest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::min)
}

fn largest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::max)
}

fn place(is_log: bool, value: f64) -> Option<f64> {
    let value = Some(value).filter(|v| v.is_finite())?.clamp(-LOG_RANGE.1, LOG_RANGE.1);
    match is_log {
        true => (value > 0.0).then(|| value.max(LOG_RANGE.0).ln()),
        false => Some(value),
    }
}

/// At most [`MAX_TICKS`] of the values, evenly picked from the last backwards.
fn thinned(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let stride = values.len().div_ceil(MAX_TICKS).max(1);
    let mut kept: Vec<f64> = values.into_iter().rev().step_by(stride).collect();
    kept.reverse();
    kept
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // Where the range is narrow beside its place, neighbouring multiples are one and the same number.
    if !(step > 0.0 && step.is_finite() && last >= first && last - first < 20.0 && first.abs() < 1e15) {
        return vec![f64::midpoint(low, high)];
    }
    (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step).collect()
}

/// Powers of ten, with others between them where there is room, and with some left out where there is none.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let ticks = |(mantissas, stride): (&[f64], i32)| -> Vec<f64> {
        (first..=last)
            .filter(|e| e.rem_euclid(stride) == 0)
            .flat_map(|e| mantissas.iter().map(move |m| m * 10_f64.powi(e)))
            .filter(|v| (low..=high).contains(v))
            .collect()
    };
    let densities: [(&[f64], i32); 6] =
        [(&[1.0, 2.0, 5.0], 1), (&[1.0, 3.0], 1), (&[1.0], 1), (&[1.0], 2), (&[1.0], 5), (&[1.0], 20)];
    densities.into_iter().map(ticks).find(|t| t.len() <= MAX_TICKS).unwrap_or_else(|| ticks((&[1.0], 100)))
}

/// Powers of two whose exponents are multiples of a step.
fn powers_of_two(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let fits = |step: &i32| (last - first) / step < MAX_TICKS as i32;
    let step = [1, 2, 4, 10, 20, 40, 100].into_iter().find(fits).unwrap_or(400);
    (first..=last).filter(|e| e.rem_euclid(step) == 0).map(|e| 2_f64.powi(e)).collect()
}

/// A number in its unit, three digits, without zeros that say nothing.
pub(in crate::report) fn text(unit: Unit, value: f64) -> String {
    let text = match unit {
        Unit::Plain => three(value),
        Unit::Count if value.abs() < 1e15 => thousands(&format!("{value:.0}")),
        Unit::Count => three(value),
        Unit::Bytes if (1.0..1e18).contains(&value) => bytes(value as u64),
        Unit::Bytes => format!("{} B", three(value)),
        Unit::Time => time(value),
        Unit::Times => format!("{}×", three(value)),
    };
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "-.,".contains(c))).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{rest}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(unit: Unit, scale: Scale) -> Axis {
        Axis { label: String::new(), unit, scale, ticks: Ticks::Round }
    }

    fn texts(axis: &Axis, values: &[f64]) -> Vec<String> {
        Span::of(axis, values.iter().copied()).expect("values").ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_in_their_unit() {
        let plain = axis(Unit::Plain, Scale::Log);
        assert_eq!(texts(&plain, &[853.0, 336_000.0]), ["1,000", "3,000", "10,000", "30,000", "100,000", "300,000"]);
        let lengths = Axis { ticks: Ticks::At(vec![64.0, 4096.0]), ..axis(Unit::Count, Scale::Log) };
        assert_eq!(texts(&lengths, &[64.0, 4096.0]), ["64", "4,096"]);
        assert_eq!(texts(&plain, &[90.0, 1100.0]), ["100", "200", "500", "1,000"]);
        assert_eq!(texts(&axis(Unit::Plain, Scale::FromZero), &[1300.0]), ["0", "500", "1,000"]);
        let memory = texts(&axis(Unit::Bytes, Scale::Log), &[1_064_960.0, 268_435_456.0]);
        assert_eq!(memory, ["1 MiB", "4 MiB", "16 MiB", "64 MiB", "256 MiB"]);
        assert_eq!(texts(&axis(Unit::Time, Scale::Log), &[1.1e6, 18e6]), ["1 ms", "2 ms", "5 ms", "10 ms", "20 ms"]);
        assert_eq!(
            texts(&axis(Unit::Times, Scale::Log), &[0.9, 130.0]),
            ["1×", "2×", "5×", "10×", "20×", "50×", "100×"]
        );
    }

    #[test]
    fn a_narrow_range_has_ticks_too() {
        assert!(texts(&axis(Unit::Plain, Scale::Log), &[700.0, 760.0]).len() >= 3);
        assert!(!texts(&axis(Unit::Plain, Scale::Log), &[5.0]).is_empty());
    }

    #[test]
    fn the_scale_fits_the_values() {
        let is_log = |values: &[f64]| {
            Span::of(&axis(Unit::Plain, Scale::Fitting), values.iter().copied()).expect("values").is_log
        };
        assert!(is_log(&[1.0, 9.0]) && !is_log(&[1.0, 7.0]) && !is_log(&[0.0, 9.0]));
    }

    #[test]
    fn many_values_are_thinned_and_the_last_is_kept() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(thinned(&values), [2.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0]);
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        assert_eq!(Span::of(&axis(Unit::Plain, Scale::Log), [0.0, -1.0, f64::NAN, f64::INFINITY].into_iter()), None);
        assert_eq!(Span::of(&axis(Unit::Plain, Scale::Linear), [].into_iter()), None);
    }

    proptest! {
        #[test]
        fn any_values_have_a_span_with_few_ticks(
            values in prop::collection::vec(any::<f64>(), 0..8),
            scale in prop::sample::select(vec![Scale::FromZero, Scale::Linear, Scale::Log, Scale::Fitting]),
            unit in prop::sample::select(vec![Unit::Plain, Unit::Count, Unit::Bytes, Unit::Time, Unit::Times]),
        ) {
            if let Some(span) = Span::of(&axis(unit, scale), values.iter().copied()) {
                prop_assert!(span.low.is_finite() && span.high.is_finite() && span.low < span.high);
                prop_assert!(span.ticks.len() <= 3 * MAX_TICKS);
                for value in values {
                    if let Some(at) = span.place(value) {
                        prop_assert!((span.low..=span.high).contains(&at), "{value} at {at} of {span:?}");
                    }
                }
                for (_, text) in span.ticks {
                    prop_assert!(text.len() < 40, "{text}");
                }
            }
        }
    }
}
