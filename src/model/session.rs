//! Incremental decoding: one token of every sequence in, logits out, with a state per layer that is allocated once.
//!
//! On the CPU in f32 attention steps in place on slices; elsewhere it extends a tensor state by one token.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};

use super::decoder::{Block, Decoder, greedy};
use crate::attention::{Heads, State, Stepper, TensorState, Token};

/// What one layer keeps.
enum LayerState {
    Slices { stepper: Box<dyn Stepper>, state: State, scratch: Vec<f32> },
    Tensors(TensorState),
}

/// A batch of sequences being decoded with one model.
pub struct Session<'a> {
    model: &'a Decoder,
    layers: Vec<LayerState>,
    batch: usize,
    capacity: usize,
    position: usize,
    mixed: Vec<f32>,
}

impl<'a> Session<'a> {
    /// Empty states with room for `capacity` tokens.
    ///
    /// # Errors
    /// Where the device has no memory for the states.
    pub fn new(model: &'a Decoder, batch: usize, capacity: usize) -> Result<Self> {
        let on_slices = matches!(model.device(), Device::Cpu) && model.dtype() == DType::F32;
        let layer = |block: &Block| -> Result<LayerState> {
            if !on_slices {
                let state = block.attention.tensor_state(batch, capacity, model.dtype(), model.device())?;
                return Ok(LayerState::Tensors(state));
            }
            let stepper = block.attention.stepper()?;
            let (state, scratch) = (stepper.state(batch, capacity), vec![0.0; stepper.scratch_len(batch)]);
            Ok(LayerState::Slices { stepper, state, scratch })
        };
        let layers = model.blocks.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let Heads { n_heads, head_dim, .. } = model.setup.heads;
        Ok(Self { model, layers, batch, capacity, position: 0, mixed: vec![0.0; batch * n_heads * head_dim] })
    }

    /// Tokens each sequence holds.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes of all layers' states in use.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let of_layer = |l: &LayerState| match l {
            LayerState::Slices { state, .. } => state.used_bytes(),
            LayerState::Tensors(state) => state.used_bytes(),
        };
        self.layers.iter().map(of_layer).sum()
    }

    /// Puts every layer at `depth` tokens of a made-up context whose numbers repeat `tile`: KV caches are filled to
    /// that depth. Sums cost the same whatever they hold.
    ///
    /// # Errors
    /// As a step fails.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) -> Result<()> {
        for layer in &mut self.layers {
            match layer {
                LayerState::Slices { state, .. } => {
                    state.fill(depth, tile);
                }
                LayerState::Tensors(state) => state.fill(depth, tile)?,
            }
        }
        self.position = depth;
        Ok(())
    }

    /// Goes back to `depth`: KV caches forget what came after; recurrent states keep their sums, whose values cost
    /// nothing.
    pub fn rewind(&mut self, depth: usize) {
        for layer in &mut self.layers {
            match layer {
                LayerState::Slices { state, .. } => state.rewind(depth),
                LayerState::Tensors(state) => state.rewind(depth),
            }
        }
        self.position = depth;
    }

    /// One token of every sequence: logits (b, vocab).
    ///
    /// # Errors
    /// Where a KV cache is full, or `ids` are not one per sequence.
    pub fn step(&mut self, ids: &[u32]) -> Result<Tensor> {
        let model = self.model;
        if ids.len() != self.batch {
            candle_core::bail!("{} ids for a batch of {}", ids.len(), self.batch);
        }
        let ids = Tensor::from_slice(ids, (self.batch, 1), model.device())?;
        let rotary = model.rotary(self.position, 1)?;
        let mut x = model.embed(&ids, self.position)?;
        for (block, layer) in model.blocks.iter().zip(&mut self.layers) {
            let qkv = block.project(&x, model.setup.heads, rotary.as_ref())?;
            let mixed = match layer {
                LayerState::Tensors(state) => block.attention.extend(&qkv, state)?,
                LayerState::Slices { stepper, state, scratch } => {
                    let mixed = &mut self.mixed;
                    // A layer without a gate reads none of these.
                    let gate = qkv.gate.as_ref().unwrap_or(&qkv.v);
                    with_slices([&qkv.q, &qkv.k, &qkv.v, gate], |[q, k, v, gate]| {
                        Ok(stepper.step(Token { q, k, v, gate }, state, scratch, mixed)?)
                    })?;
                    let Heads { n_heads, head_dim, .. } = model.setup.heads;
                    Tensor::from_slice(mixed, (self.batch, n_heads, 1, head_dim), model.device())?
                }
            };
            x = block.finish(&x, &mixed)?;
        }
        self.position += 1;
        model.logits(&x)?.squeeze(1)
    }

    /// A whole prompt of every sequence at once, from the start: ids (b, n), row by row, to the logits (b, vocab) of the
    /// last position. Every layer then holds the prompt and nothing else, and steps go on from there.
    ///
    /// # Errors
    /// Where a KV cache has no room for the prompt, or `ids` are not as many for each sequence and at least one.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<Tensor> {
        let model = self.model;
        let n = ids.len() / self.batch.max(1);
        if n == 0 || n * self.batch != ids.len() {
            candle_core::bail!("{} ids are no prompt for a batch of {}", ids.len(), self.batch);
        }
        let ids = Tensor::from_slice(ids, (self.batch, n), model.device())?;
        let rotary = model.rotary(0, n)?;
        let mut x = model.embed(&ids, 0)?;
        for (block, layer) in model.blocks.iter().zip(&mut self.layers) {
            let qkv = block.project(&x, model.setup.heads, rotary.as_ref())?;
            let empty =
                |capacity: usize| block.attention.tensor_state(self.batch, capacity, model.dtype(), model.device());
            let mixed = match layer {
                LayerState::Tensors(state) => {
                    *state = empty(self.capacity)?;
                    block.attention.extend(&qkv, state)?
                }
                LayerState::Slices { state, .. } => {
                    let mut filled = empty(n)?;
                    let mixed = block.attention.extend(&qkv, &mut filled)?;
                    state.load(&filled)?;
                    mixed
                }
            };
            x = block.finish(&x, &mixed)?;
        }
        self.position = n;
        model.logits(&x.narrow(1, n - 1, 1)?.contiguous()?)?.squeeze(1)
    }

    /// One greedy step: the most likely next id of every sequence.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step_greedy(&mut self, ids: &[u32]) -> Result<Vec<u32>> {
        greedy(&self.step(ids)?)
    }
}

/// Lends the numbers of contiguous f32 CPU tensors; copies nothing.
pub(crate) fn with_slices<const N: usize, T>(
    tensors: [&Tensor; N],
    body: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slice = match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => &data[start..end],
            _ => candle_core::bail!("a step on slices needs contiguous f32 tensors on the CPU"),
        };
    }
    body(slices)
}
