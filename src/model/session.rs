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
    /// that depth. A recurrent state costs the same whatever it holds, so it takes the context's last tokens alone.
    ///
    /// # Errors
    /// As a step fails.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) -> Result<()> {
        for layer in &mut self.layers {
            match layer {
                LayerState::Slices { stepper, state, scratch } => {
                    fill_state(stepper.as_ref(), state, scratch, self.model.setup.heads, self.batch, depth, tile)?;
                }
                LayerState::Tensors(state) => fill_tensors(state, depth, tile)?,
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
                LayerState::Slices { state: State::KvCache(cache), .. } => cache.rewind(depth),
                LayerState::Slices { state: State::Recurrent(r), .. } => r.position = depth,
                LayerState::Tensors(
                    TensorState::KvCache { seen: at, .. } | TensorState::Recurrent { position: at, .. },
                ) => {
                    *at = depth.min(*at);
                }
                LayerState::Slices { state: State::Empty, .. } | LayerState::Tensors(TensorState::Empty) => {}
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
                    with_slices([&qkv.q, &qkv.k, &qkv.v], |[q, k, v]| {
                        Ok(stepper.step(Token { q, k, v }, state, scratch, mixed)?)
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

/// Tokens of context that a recurrent state is filled with.
const RECURRENT_FILL: usize = 16;

/// Puts one layer's state at `depth`; see [`Session::fill`].
pub(crate) fn fill_state(
    stepper: &dyn Stepper,
    state: &mut State,
    scratch: &mut [f32],
    heads: Heads,
    batch: usize,
    depth: usize,
    tile: &[f32],
) -> Result<()> {
    match state {
        State::Empty => {}
        State::KvCache(cache) => cache.fill(depth, tile),
        State::Recurrent(_) => {
            let Heads { n_heads, n_kv_heads, head_dim } = heads;
            let input = stepper.input_dim();
            let repeat =
                |n: usize, skip: usize| -> Vec<f32> { tile.iter().cycle().skip(skip).take(n).copied().collect() };
            let mut out = vec![0.0; batch * n_heads * head_dim];
            for t in 0..depth.min(RECURRENT_FILL) {
                let q = repeat(batch * n_heads * input, 3 * t);
                let (k, v) = (repeat(batch * n_kv_heads * input, 7 * t), repeat(batch * n_kv_heads * head_dim, 11 * t));
                stepper.step(Token { q: &q, k: &k, v: &v }, state, scratch, &mut out)?;
            }
            if let State::Recurrent(r) = state {
                r.position = depth;
            }
        }
    }
    Ok(())
}

/// Puts a tensor state at `depth` with numbers from `tile`.
pub(crate) fn fill_tensors(state: &mut TensorState, depth: usize, tile: &[f32]) -> Result<()> {
    let like = |t: &Tensor| -> Result<Tensor> {
        let numbers: Vec<f32> = tile.iter().cycle().take(t.elem_count()).copied().collect();
        Tensor::from_vec(numbers, t.shape(), t.device())?.to_dtype(t.dtype())
    };
    match state {
        TensorState::Empty => {}
        TensorState::KvCache { keys, values, seen, .. } => {
            (*keys, *values) = (like(keys)?, like(values)?);
            *seen = depth;
        }
        TensorState::Recurrent { sums, position } => {
            *sums = like(sums)?.abs()?;
            *position = depth;
        }
    }
    Ok(())
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
