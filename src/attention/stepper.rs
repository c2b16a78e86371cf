//! The decode step of a layer on CPU slices: in place, and without an allocation.

use super::State;

/// One token of every sequence of the batch: q (b, h, d), k (b, h_kv, d), v (b, h_kv, d_v), contiguous.
#[derive(Debug, Clone, Copy, Default)]
pub struct Token<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// Pre-activations of the gate (b, h_kv); empty for variants without one.
    pub gate: &'a [f32],
}

/// Why a step could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StepError {
    /// The KV cache has no room left.
    #[error("the KV cache is full at {capacity} tokens")]
    CacheFull {
        /// Tokens there was room for.
        capacity: usize,
    },
    /// The variant knows no such position.
    #[error("position {position} is beyond the {max_len} that the variant knows; give it a larger max_len")]
    BeyondMaxLen {
        /// Where the token stands, from 0.
        position: usize,
        /// Positions it knows.
        max_len: usize,
    },
    /// The variant has no form over a whole source.
    #[error("the variant looks back only: it has no bidirectional or cross form")]
    LooksBackOnly,
    /// A state of another variant.
    #[error("the state does not belong to this variant")]
    WrongState,
}

impl From<StepError> for candle_core::Error {
    fn from(e: StepError) -> Self {
        Self::wrap(e)
    }
}

/// What a step gives: nothing but its success.
pub type StepResult = Result<(), StepError>;

/// Steps of one layer. Holds a copy of the layer's parameters; knows nothing of tensors.
pub trait Stepper: Send + Sync {
    /// An empty state with room for `capacity` tokens (a recurrent one needs none).
    fn state(&self, batch: usize, capacity: usize) -> State;

    /// Numbers of scratch memory that a step of this batch size wants.
    fn scratch_len(&self, batch: usize) -> usize;

    /// One token in, one output (b, h, d_v) out; the state then holds the token. Allocates nothing.
    ///
    /// # Errors
    /// [`StepError`]; the state is then unchanged.
    fn step(&self, token: Token<'_>, state: &mut State, scratch: &mut [f32], out: &mut [f32]) -> StepResult;

    /// One token of every sequence, q (b, h, ·) at `position`, over a source that was absorbed: (b, h, d_v) into `out`.
    /// Changes nothing and allocates nothing.
    ///
    /// # Errors
    /// [`StepError`].
    fn read_source(
        &self,
        _: &[f32],
        _position: usize,
        _: &State,
        _scratch: &mut [f32],
        _out: &mut [f32],
    ) -> StepResult {
        Err(StepError::LooksBackOnly)
    }

    /// Width of queries and keys as the step takes them: d, or m for a merged T2R.
    fn input_dim(&self) -> usize;

    /// Whether a step wants [`Token::gate`].
    fn gated(&self) -> bool {
        false
    }

    /// The variant's formula in f64, for the slow reference.
    fn weights(&self) -> super::oracle::Weights<'_>;
}
