//! Time over sequence length, measured in rounds: what crossovers and scaling exponents are taken from.

/// The figures of each length, one a round. Lengths ascend, whatever order they were added in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    points: Vec<Point>,
}

/// The figures of one length, indexed by round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Sequence length, positive.
    pub(super) seq_len: usize,
    rounds: Vec<Option<f64>>,
}

impl Curve {
    /// Adds a length with one figure a round: positive times in any unit, `None` where the round has no (clean) figure.
    /// Length 0 has no logarithm and a length without rounds says nothing: both are left out.
    pub fn add(&mut self, seq_len: usize, rounds: Vec<Option<f64>>) {
        if seq_len > 0 && !rounds.is_empty() {
            let at = self.points.partition_point(|p| p.seq_len <= seq_len);
            self.points.insert(at, Point { seq_len, rounds });
        }
    }

    /// Shortest and longest length; `None` of an empty curve.
    #[must_use]
    pub fn range(&self) -> Option<(usize, usize)> {
        Some((self.points.first()?.seq_len, self.points.last()?.seq_len))
    }

    /// Whether there are several lengths, so that there is something to say over length.
    #[must_use]
    pub fn has_extent(&self) -> bool {
        self.range().is_some_and(|(shortest, longest)| shortest < longest)
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }
}

impl FromIterator<(usize, Vec<Option<f64>>)> for Curve {
    fn from_iter<I: IntoIterator<Item = (usize, Vec<Option<f64>>)>>(points: I) -> Self {
        let mut curve = Self::default();
        points.into_iter().for_each(|(seq_len, rounds)| curve.add(seq_len, rounds));
        curve
    }
}

impl Point {
    /// Number of rounds, with a figure or without.
    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Whether any round has a figure.
    pub(super) fn is_measured(&self) -> bool {
        self.rounds.iter().any(Option::is_some)
    }

    /// The figure of a round, if it has one.
    pub(super) fn figure(&self, round: usize) -> Option<f64> {
        self.rounds.get(round).copied().flatten()
    }

    /// Natural logarithm of the length.
    pub(super) fn log_len(&self) -> f64 {
        (self.seq_len as f64).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_ascend_and_what_says_nothing_is_left_out() {
        let one = |ns: f64| vec![Some(ns)];
        let curve: Curve =
            [(256, one(2.0)), (64, one(1.0)), (0, one(9.0)), (128, vec![]), (1024, one(3.0))].into_iter().collect();
        assert_eq!(curve.points().iter().map(|p| p.seq_len).collect::<Vec<_>>(), [64, 256, 1024]);
        assert_eq!((curve.range(), curve.has_extent()), (Some((64, 1024)), true));
        let single: Curve = [(64, one(1.0)), (64, one(2.0))].into_iter().collect();
        assert_eq!((single.range(), single.has_extent()), (Some((64, 64)), false));
        assert_eq!((Curve::default().range(), Curve::default().has_extent()), (None, false));
    }
}
