//! A token step on slices alone: norms, projections, attention, feed-forward, logits and the choice of a token by fused
//! kernels, in buffers that are made once. The tensor operations of `Session::step` are its readable twin.

use candle_core::{DType, Result};

use super::{
    attention_layer::AttentionLayer, decoder::Decoder, layer_state::LayerState, layers::Projection, session::BlockState,
};
use crate::{
    attention::{Heads, Token},
    kernels::{
        Simd,
        fused::{
            product::{in_order, product},
            rows,
            weight::widen,
        },
    },
    ops::{with_bf16_pairs, with_slices},
    spec::{Activation, Positions},
};

/// Room for one token of every sequence.
pub(super) struct Workspace {
    simd: Simd,
    batch: usize,
    /// The residual stream (b, d_model).
    x: Vec<f32>,
    /// Normalised, and what a sub-layer gives back (b, d_model).
    y: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    /// Mixed values (b, h·d).
    mixed: Vec<f32>,
    /// Two of the feed-forward block (b, ffn_dim).
    hidden: [Vec<f32>; 2],
    /// Inputs in the order of weights that are kept in bf16; empty where none are.
    ordered: Vec<f32>,
    /// Cosine and sine of each rotary pair.
    turns: Vec<(f32, f32)>,
    /// (b, vocab).
    pub(super) logits: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(model: &Decoder, batch: usize, simd: Simd) -> Self {
        let (shape, heads) = (model.setup.shape, model.setup.heads);
        let Heads { n_heads, n_kv_heads, head_dim } = heads;
        let zeros = |width: usize| vec![0.0; batch * width];
        // The projections of a merged map are as wide as its features.
        let layers = || model.blocks.iter().flat_map(|b| [Some(&b.attention), b.cross.as_ref()]).flatten();
        let widest = |of: fn(&AttentionLayer) -> &Projection| {
            layers().filter_map(|l| of(l).weight.dim(0).ok()).max().unwrap_or_default()
        };
        let widest_input = shape.d_model.max(n_heads * head_dim).max(shape.ffn_dim);
        let turns = if shape.positions == Positions::Rotary { head_dim / 2 } else { 0 };
        Self {
            simd,
            batch,
            x: zeros(shape.d_model),
            y: zeros(shape.d_model),
            q: zeros(widest(|l| &l.q)),
            k: zeros(widest(|l| &l.k)),
            v: zeros(n_kv_heads * head_dim),
            gate: zeros(n_kv_heads),
            mixed: zeros(n_heads * head_dim),
            hidden: [zeros(shape.ffn_dim), zeros(shape.ffn_dim)],
            ordered: zeros(if model.embedding.dtype() == DType::BF16 { widest_input } else { 0 }),
            turns: vec![(1.0, 0.0); turns],
            logits: zeros(shape.vocab_size),
        }
    }

    /// One token of every sequence at `position`; the logits are then here.
    pub(super) fn step(
        &mut self,
        model: &Decoder,
        states: &mut [BlockState],
        ids: &[u32],
        position: usize,
    ) -> Result<()> {
        self.embed(model, ids, position)?;
        let head_dim = model.setup.heads.head_dim;
        for (i, turn) in self.turns.iter_mut().enumerate() {
            let (sin, cos) = model.turns().angle(position, i).sin_cos();
            *turn = (cos as f32, sin as f32);
        }
        for (block, state) in model.blocks.iter().zip(states) {
            self.attend(&block.attention, &mut state.attention, head_dim)?;
            if let (Some(layer), Some(memory)) = (&block.cross, &mut state.cross) {
                self.look(layer, memory, position)?;
            }
            block.ffn_norm.on_rows(self.simd, &self.x, &mut self.y)?;
            let [hidden, gate] = &mut self.hidden;
            project(self.simd, &block.ffn.up, &self.y, &mut self.ordered, hidden)?;
            match (model.setup.shape.activation, &block.ffn.gate) {
                (Activation::Relu, _) => rows::relu(self.simd, hidden),
                (_, None) => rows::gelu(self.simd, hidden),
                (_, Some(of_gate)) => {
                    project(self.simd, of_gate, &self.y, &mut self.ordered, gate)?;
                    rows::silu_times(self.simd, gate, hidden);
                }
            }
            project(self.simd, &block.ffn.down, hidden, &mut self.ordered, &mut self.y)?;
            add(&mut self.x, &self.y);
        }
        model.final_norm.on_rows(self.simd, &self.x, &mut self.y)?;
        project(self.simd, &model.output, &self.y, &mut self.ordered, &mut self.logits)
    }

    /// The most likely next id of every sequence.
    pub(super) fn greedy(&self, ids: &mut [u32]) {
        let vocab = self.logits.len() / self.batch.max(1);
        for (id, row) in ids.iter_mut().zip(self.logits.chunks_exact(vocab.max(1))) {
            *id = rows::argmax(self.simd, row).unwrap_or(0) as u32;
        }
    }

    fn embed(&mut self, model: &Decoder, ids: &[u32], position: usize) -> Result<()> {
        let shape = model.setup.shape;
        if let Some(id) = ids.iter().find(|id| **id as usize >= shape.vocab_size) {
            candle_core::bail!("token {id} is beyond the vocabulary of {}", shape.vocab_size);
        }
        if model.positions.is_some() && position >= model.setup.max_len {
            candle_core::bail!("position {} is beyond the model's {}", position + 1, model.setup.max_len);
        }
        let (x, d) = (&mut self.x, shape.d_model);
        let rows = x.chunks_exact_mut(d).zip(ids);
        match model.embedding.dtype() {
            DType::BF16 => with_bf16_pairs(&model.embedding, |table| {
                rows.for_each(|(x, id)| widen(&table[*id as usize * d / 2..][..d / 2], x));
                Ok(())
            }),
            _ => with_slices([&model.embedding], |[table]| {
                rows.for_each(|(x, id)| x.copy_from_slice(&table[*id as usize * d..][..d]));
                Ok(())
            }),
        }?;
        if let Some(positions) = &model.positions {
            with_slices([positions], |[table]| {
                x.chunks_exact_mut(d).for_each(|x| add(x, &table[position * d..][..d]));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Self-attention, onto the residual stream.
    fn attend(&mut self, layer: &AttentionLayer, state: &mut LayerState, head_dim: usize) -> Result<()> {
        let LayerState::Slices { stepper, state, scratch } = state else {
            candle_core::bail!("fused steps are f32 on the CPU");
        };
        layer.norm.on_rows(self.simd, &self.x, &mut self.y)?;
        let (wide_q, wide_k) = (self.batch * layer.q.weight.dim(0)?, self.batch * layer.k.weight.dim(0)?);
        let (q, k) = (&mut self.q[..wide_q], &mut self.k[..wide_k]);
        project(self.simd, &layer.q, &self.y, &mut self.ordered, q)?;
        project(self.simd, &layer.k, &self.y, &mut self.ordered, k)?;
        project(self.simd, &layer.v, &self.y, &mut self.ordered, &mut self.v)?;
        let mut gate: &[f32] = &[];
        if let Some(of_gate) = &layer.gate {
            project(self.simd, of_gate, &self.y, &mut self.ordered, &mut self.gate)?;
            gate = &self.gate;
        }
        if !self.turns.is_empty() {
            rotate(q, &self.turns, head_dim);
            rotate(k, &self.turns, head_dim);
        }
        stepper.step(Token { q, k, v: &self.v, gate }, state, scratch, &mut self.mixed)?;
        project(self.simd, &layer.out, &self.mixed, &mut self.ordered, &mut self.y)?;
        add(&mut self.x, &self.y);
        Ok(())
    }

    /// Cross-attention, onto the residual stream.
    fn look(&mut self, layer: &AttentionLayer, memory: &mut LayerState, position: usize) -> Result<()> {
        let LayerState::Slices { stepper, state, scratch } = memory else {
            candle_core::bail!("fused steps are f32 on the CPU");
        };
        layer.norm.on_rows(self.simd, &self.x, &mut self.y)?;
        let q = &mut self.q[..self.batch * layer.q.weight.dim(0)?];
        project(self.simd, &layer.q, &self.y, &mut self.ordered, q)?;
        stepper.read_source(q, position, state, scratch, &mut self.mixed)?;
        project(self.simd, &layer.out, &self.mixed, &mut self.ordered, &mut self.y)?;
        add(&mut self.x, &self.y);
        Ok(())
    }
}

/// `y = x Wᵀ + b` for the rows of x; `ordered` is room for x in another order.
fn project(simd: Simd, projection: &Projection, x: &[f32], ordered: &mut [f32], y: &mut [f32]) -> Result<()> {
    let (_, n_in) = projection.weight.dims2()?;
    let mut multiply = |bias: &[f32]| match projection.weight.dtype() {
        DType::BF16 => with_bf16_pairs(&projection.weight, |weight| {
            product(simd, in_order::<u32>(simd, x, n_in, ordered), weight, bias, n_in, y);
            Ok(())
        }),
        _ => with_slices([&projection.weight], |[weight]| {
            product(simd, x, weight, bias, n_in, y);
            Ok(())
        }),
    };
    match &projection.bias {
        Some(bias) => with_slices([bias], |[bias]| multiply(bias)),
        None => multiply(&[]),
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// Rotates the halves of every head.
fn rotate(x: &mut [f32], turns: &[(f32, f32)], head_dim: usize) {
    for head in x.chunks_exact_mut(head_dim) {
        let (first, second) = head.split_at_mut(head_dim / 2);
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
