//! One curve over sequence length, measured in rounds: the input of crossovers and scaling exponents.

/// The figures of one length, indexed by round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Series<'a> {
    /// Sequence length, positive.
    pub seq_len: usize,
    /// One figure a round, positive times in any unit; `None` where the round has no (clean) figure.
    pub rounds: &'a [Option<f64>],
}

impl Series<'_> {
    /// The figure of a round, if it has one.
    pub(super) fn figure(&self, round: usize) -> Option<f64> {
        self.rounds.get(round).copied().flatten()
    }

    /// Natural logarithm of the length.
    pub(super) fn log_len(&self) -> f64 {
        (self.seq_len as f64).ln()
    }
}
