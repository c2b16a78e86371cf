//! Incremental decoding: one token of every sequence in, logits out, with states that are allocated once.

use candle_core::{Result, Tensor};

use super::{
    attention_layer::Encoded,
    decoder::{Decoder, greedy},
    fused_step::Workspace,
    layer_state::{LayerState, on_slices},
    translator::Translator,
};
use crate::{attention::Heads, kernels::Kernels};

/// What the layers of one block keep.
pub(super) struct BlockState {
    pub(super) attention: LayerState,
    /// Of the source.
    pub(super) cross: Option<LayerState>,
}

/// A batch of sequences being decoded with one model.
pub struct Session<'a> {
    model: &'a Decoder,
    blocks: Vec<BlockState>,
    batch: usize,
    capacity: usize,
    position: usize,
    mixed: Vec<f32>,
    kernels: Kernels,
    /// Where steps are fused.
    workspace: Option<Workspace>,
}

impl<'a> Session<'a> {
    /// Empty states with room for `capacity` tokens.
    ///
    /// # Errors
    /// Where the device has no memory for the states, and for a model that wants a source.
    pub fn new(model: &'a Decoder, batch: usize, capacity: usize) -> Result<Self> {
        Self::with_source(model, batch, capacity, None, Kernels::Plain)
    }

    /// The same by kernels of choice; with fused ones a step has no tensor operation in it.
    ///
    /// # Errors
    /// As [`Session::new`], and for fused kernels anywhere but in f32 on the CPU.
    pub fn by(model: &'a Decoder, batch: usize, capacity: usize, kernels: Kernels) -> Result<Self> {
        Self::with_source(model, batch, capacity, None, kernels)
    }

    /// The same over encoded sources, one per sequence, which every cross-attention layer absorbs here.
    ///
    /// # Errors
    /// As [`Session::new`], and for variants that have no cross form.
    pub fn translating(model: &'a Translator, capacity: usize, source: &Encoded, kernels: Kernels) -> Result<Self> {
        Self::with_source(&model.decoder, source.hidden.dim(0)?, capacity, Some(source), kernels)
    }

    fn with_source(
        model: &'a Decoder,
        batch: usize,
        capacity: usize,
        source: Option<&Encoded>,
        kernels: Kernels,
    ) -> Result<Self> {
        let mut blocks = Vec::with_capacity(model.blocks.len());
        for block in &model.blocks {
            let attention = LayerState::empty(model, block.attention.attention.as_ref(), batch, capacity, kernels)?;
            let cross = match (&block.cross, source) {
                (None, _) => None,
                (Some(cross), Some(source)) => {
                    Some(LayerState::memory(model, cross.attention.as_ref(), batch, cross.absorb(source)?, kernels)?)
                }
                (Some(_), None) => candle_core::bail!("a model with cross-attention got no source"),
            };
            blocks.push(BlockState { attention, cross });
        }
        let Heads { n_heads, head_dim, .. } = model.setup.heads;
        let workspace = match kernels {
            Kernels::Plain => None,
            Kernels::Fused(_) if !on_slices(model) => candle_core::bail!("fused steps are f32 on the CPU"),
            Kernels::Fused(simd) => Some(Workspace::new(model, batch, simd)),
        };
        let mixed = vec![0.0; batch * n_heads * head_dim];
        Ok(Self { model, blocks, batch, capacity, position: 0, mixed, kernels, workspace })
    }

    /// Tokens each sequence holds.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes of all layers' states in use, memories of sources among them.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let of_block = |b: &BlockState| b.attention.used_bytes() + b.cross.as_ref().map_or(0, LayerState::used_bytes);
        self.blocks.iter().map(of_block).sum()
    }

    /// Puts every layer at `depth` tokens of a made-up context whose numbers repeat `tile`: KV caches are filled to
    /// that depth. Sums cost the same whatever they hold.
    ///
    /// # Errors
    /// As a step fails.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) -> Result<()> {
        self.blocks.iter_mut().try_for_each(|block| block.attention.fill(depth, tile))?;
        self.position = depth;
        Ok(())
    }

    /// Goes back to `depth`: KV caches forget what came after; recurrent states keep their sums, whose values cost
    /// nothing.
    pub fn rewind(&mut self, depth: usize) {
        self.blocks.iter_mut().for_each(|block| block.attention.rewind(depth));
        self.position = depth;
    }

    /// Sequence i goes on from where sequence `parents[i]` is. Sources stay with their sequence: a parent must have the same.
    ///
    /// # Errors
    /// Where there are not as many parents as sequences, or one is beyond the batch.
    pub fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        if parents.len() != self.batch || parents.iter().any(|p| *p >= self.batch) {
            candle_core::bail!("parents {parents:?} for a batch of {}", self.batch);
        }
        self.blocks.iter_mut().try_for_each(|block| block.attention.reorder(parents))
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
        if let Some(workspace) = &mut self.workspace {
            workspace.step(model, &mut self.blocks, ids, self.position)?;
            self.position += 1;
            return Tensor::from_slice(&workspace.logits, (self.batch, model.setup.shape.vocab_size), model.device());
        }
        let ids = Tensor::from_slice(ids, (self.batch, 1), model.device())?;
        let rotary = model.rotary(self.position, 1)?;
        let mut x = model.embed(&ids, self.position, Kernels::Plain)?;
        for (block, state) in model.blocks.iter().zip(&mut self.blocks) {
            let layer = &block.attention;
            let qkv = layer.project(&x, rotary.as_ref(), Kernels::Plain)?;
            let mixed = state.attention.step(layer.attention.as_ref(), &qkv, &mut self.mixed)?;
            x = layer.finish(&x, &mixed, Kernels::Plain)?;
            if let (Some(layer), Some(memory)) = (&block.cross, &mut state.cross) {
                let q = layer.queries(&x)?;
                let mixed = memory.read(layer.attention.as_ref(), &q, self.position, &mut self.mixed)?;
                x = layer.finish(&x, &mixed, Kernels::Plain)?;
            }
            x = block.feed(&x, Kernels::Plain)?;
        }
        self.position += 1;
        model.logits(&x, Kernels::Plain)?.squeeze(1)
    }

    /// A whole prompt of every sequence at once, from the start: ids (b, n), row by row, to the logits (b, vocab) of the
    /// last position. Every layer then holds the prompt and nothing else, and steps go on from there.
    ///
    /// # Errors
    /// Where a KV cache has no room for the prompt, or `ids` are not as many for each sequence and at least one,
    /// and for a session over a source.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<Tensor> {
        let model = self.model;
        let n = ids.len() / self.batch.max(1);
        if self.blocks.iter().any(|block| block.cross.is_some()) {
            candle_core::bail!("a prompt is for models without a source");
        }
        if n == 0 || n * self.batch != ids.len() {
            candle_core::bail!("{} ids are no prompt for a batch of {}", ids.len(), self.batch);
        }
        let ids = Tensor::from_slice(ids, (self.batch, n), model.device())?;
        let rotary = model.rotary(0, n)?;
        let mut x = model.embed(&ids, 0, self.kernels)?;
        for (block, state) in model.blocks.iter().zip(&mut self.blocks) {
            let layer = &block.attention;
            let qkv = layer.project(&x, rotary.as_ref(), self.kernels)?;
            let empty =
                |capacity: usize| layer.attention.tensor_state(self.batch, capacity, model.dtype(), model.device());
            let mixed = match &mut state.attention {
                LayerState::Tensors(state) => {
                    *state = empty(self.capacity)?;
                    layer.attention.extend_by(&qkv, state, self.kernels)?
                }
                LayerState::Slices { state, .. } => {
                    let mut filled = empty(n)?;
                    let mixed = layer.attention.extend_by(&qkv, &mut filled, self.kernels)?;
                    state.load(&filled)?;
                    mixed
                }
            };
            x = block.feed(&layer.finish(&x, &mixed, self.kernels)?, self.kernels)?;
        }
        self.position = n;
        model.logits(&x.narrow(1, n - 1, 1)?.contiguous()?, self.kernels)?.squeeze(1)
    }

    /// One greedy step: the most likely next id of every sequence.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step_greedy(&mut self, ids: &[u32]) -> Result<Vec<u32>> {
        let mut next = ids.to_vec();
        self.advance(&mut next)?;
        Ok(next)
    }

    /// The same where the ids are; allocates nothing with fused kernels.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn advance(&mut self, ids: &mut [u32]) -> Result<()> {
        if ids.len() != self.batch {
            candle_core::bail!("{} ids for a batch of {}", ids.len(), self.batch);
        }
        let Some(workspace) = &mut self.workspace else {
            ids.copy_from_slice(&greedy(&self.step(ids)?)?);
            return Ok(());
        };
        workspace.step(self.model, &mut self.blocks, ids, self.position)?;
        self.position += 1;
        workspace.greedy(ids);
        Ok(())
    }
}
