//! The control without attention: the output is 0, whatever came before.

use candle_core::{DType, Device, Result, Tensor};

use super::{Attention, Heads, Mask, Qkv, Sizes, State, StepResult, Stepper, TensorState, Token, oracle::Weights};
use crate::kernels::Kernels;

/// `out = 0`: what a layer's residual stream and feed-forward block do alone.
#[derive(Debug, Clone, Copy)]
pub struct NoAttention {
    heads: Heads,
}

impl NoAttention {
    /// A layer of these heads.
    #[must_use]
    pub fn new(heads: Heads) -> Self {
        Self { heads }
    }
}

impl Attention for NoAttention {
    fn forward(&self, qkv: &Qkv, _mask: &Mask) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        Tensor::zeros((s.batch, self.heads.n_heads, s.n, s.value_dim), qkv.v.dtype(), qkv.v.device())
    }

    fn extend(&self, qkv: &Qkv, _state: &mut TensorState) -> Result<Tensor> {
        self.forward(qkv, &Mask::Causal)
    }

    fn absorb(&self, _k: &Tensor, _v: &Tensor, _source_lengths: Option<&[usize]>) -> Result<TensorState> {
        Ok(TensorState::Empty)
    }

    fn read(&self, q: &Tensor, _memory: &TensorState, _start: usize) -> Result<Tensor> {
        let (batch, h, n, _) = q.dims4()?;
        Tensor::zeros((batch, h, n, self.heads.head_dim), q.dtype(), q.device())
    }

    fn tensor_state(&self, _batch: usize, _capacity: usize, _dtype: DType, _device: &Device) -> Result<TensorState> {
        Ok(TensorState::Empty)
    }

    fn stepper_by(&self, _: Kernels) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(*self))
    }
}

impl Stepper for NoAttention {
    fn state(&self, _batch: usize, _capacity: usize) -> State {
        State::Empty
    }

    fn scratch_len(&self, _batch: usize) -> usize {
        0
    }

    fn step(&self, _: Token<'_>, _: &mut State, _: &mut [f32], out: &mut [f32]) -> StepResult {
        out.fill(0.0);
        Ok(())
    }

    fn read_source(&self, _: &[f32], _: usize, _: &State, _: &mut [f32], out: &mut [f32]) -> StepResult {
        out.fill(0.0);
        Ok(())
    }

    fn input_dim(&self) -> usize {
        self.heads.head_dim
    }

    fn weights(&self) -> Weights<'_> {
        Weights::Zero
    }
}
