//! What one attention layer keeps between tokens: slices with a stepper on the CPU in f32, tensors elsewhere.

use candle_core::{DType, Device, Result, Tensor};

use super::decoder::Decoder;
use crate::{
    attention::{Attention, Qkv, State, Stepper, TensorState, Token},
    kernels::Kernels,
    ops::with_slices,
};

pub(super) enum LayerState {
    Slices { stepper: Box<dyn Stepper>, state: State, scratch: Vec<f32> },
    Tensors(TensorState),
}

/// Whether the model decodes on slices.
pub(super) fn on_slices(model: &Decoder) -> bool {
    matches!(model.device(), Device::Cpu) && model.dtype() == DType::F32
}

impl LayerState {
    /// Empty, with room for `capacity` tokens.
    pub(super) fn empty(
        model: &Decoder,
        attention: &dyn Attention,
        batch: usize,
        capacity: usize,
        kernels: Kernels,
    ) -> Result<Self> {
        if !on_slices(model) {
            let state = attention.tensor_state(batch, capacity, model.dtype(), model.device())?;
            return Ok(Self::Tensors(state));
        }
        let stepper = attention.stepper_by(kernels)?;
        let (state, scratch) = (stepper.state(batch, capacity), vec![0.0; stepper.scratch_len(batch)]);
        Ok(Self::Slices { stepper, state, scratch })
    }

    /// The memory of a source, to be read and never changed.
    pub(super) fn memory(
        model: &Decoder,
        attention: &dyn Attention,
        batch: usize,
        of: TensorState,
        kernels: Kernels,
    ) -> Result<Self> {
        if !on_slices(model) {
            return Ok(Self::Tensors(of));
        }
        let stepper = attention.stepper_by(kernels)?;
        let scratch = vec![0.0; stepper.scratch_len(batch)];
        Ok(Self::Slices { stepper, state: State::of_source(&of)?, scratch })
    }

    /// One token: mixed values (b, h, 1, d). `mixed` is room for as many numbers.
    pub(super) fn step(&mut self, attention: &dyn Attention, qkv: &Qkv, mixed: &mut [f32]) -> Result<Tensor> {
        match self {
            Self::Tensors(state) => attention.extend(qkv, state),
            Self::Slices { stepper, state, scratch } => {
                // A layer without a gate reads none of these.
                let gate = qkv.gate.as_ref().unwrap_or(&qkv.v);
                with_slices([&qkv.q, &qkv.k, &qkv.v, gate], |[q, k, v, gate]| {
                    Ok(stepper.step(Token { q, k, v, gate }, state, scratch, mixed)?)
                })?;
                as_tensor(mixed, &qkv.q)
            }
        }
    }

    /// One token's queries over the memory of a source: mixed values (b, h, 1, d).
    pub(super) fn read(
        &mut self,
        attention: &dyn Attention,
        q: &Tensor,
        position: usize,
        mixed: &mut [f32],
    ) -> Result<Tensor> {
        match self {
            Self::Tensors(state) => attention.read(q, state, position),
            Self::Slices { stepper, state, scratch } => {
                with_slices([q], |[q]| Ok(stepper.read_source(q, position, state, scratch, mixed)?))?;
                as_tensor(mixed, q)
            }
        }
    }

    /// Bytes in use.
    pub(super) fn used_bytes(&self) -> u64 {
        match self {
            Self::Slices { state, .. } => state.used_bytes(),
            Self::Tensors(state) => state.used_bytes(),
        }
    }

    pub(super) fn fill(&mut self, depth: usize, tile: &[f32]) -> Result<()> {
        match self {
            Self::Slices { state, .. } => {
                state.fill(depth, tile);
                Ok(())
            }
            Self::Tensors(state) => state.fill(depth, tile),
        }
    }

    pub(super) fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        match self {
            Self::Slices { state, .. } => {
                state.reorder(parents);
                Ok(())
            }
            Self::Tensors(state) => state.reorder(parents),
        }
    }

    pub(super) fn rewind(&mut self, depth: usize) {
        match self {
            Self::Slices { state, .. } => state.rewind(depth),
            Self::Tensors(state) => state.rewind(depth),
        }
    }
}

/// Mixed values of one token as (b, h, 1, d), b and h as in the queries.
fn as_tensor(mixed: &[f32], q: &Tensor) -> Result<Tensor> {
    let (batch, h, _, _) = q.dims4()?;
    Tensor::from_slice(mixed, (batch, h, 1, mixed.len() / (batch * h).max(1)), q.device())
}
