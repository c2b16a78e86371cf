//! A decoder-only transformer: pre-norm blocks of one attention variant, with a parallel, differentiable forward.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{
    attention_layer::Encoded,
    block::Block,
    dropout::Dropout,
    layers::{NormLayer, Projection, Rotary, rotary_tables, sinusoidal_table},
    setup::Setup,
};
use crate::{
    attention::Mask,
    kernels::Kernels,
    ops,
    params::{Init, Params},
    spec::{ModelShape, Positions},
};

/// The model.
pub struct Decoder {
    pub(super) setup: Setup,
    /// (vocab, d_model).
    pub(super) embedding: Tensor,
    /// (max_len, d_model) for learned and sinusoidal positions.
    pub(super) positions: Option<Tensor>,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: NormLayer,
    /// (vocab, d_model): the embedding itself where tied.
    pub(super) output: Projection,
}

impl Decoder {
    /// Weights from `params`, found or drawn. With a merged variant the projections are merged here, from the same
    /// parameters an unmerged model would have.
    ///
    /// # Errors
    /// If the device has no memory for the weights, or where they come from does not have them.
    pub fn new(setup: &Setup, params: &mut Params) -> Result<Self> {
        setup.check()?;
        let ModelShape { d_model, vocab_size, norm, positions, tied_output, .. } = setup.shape;
        // Tied to the output it gives logits of unit variance.
        let embedding = params.get("embedding", (vocab_size, d_model), Init::Normal(1.0 / (d_model as f64).sqrt()))?;
        let positions = match positions {
            Positions::Learned => Some(params.get("positions", (setup.max_len, d_model), Init::Normal(0.02))?),
            Positions::Sinusoidal => Some(sinusoidal_table(setup.max_len, d_model, params.dtype(), params.device())?),
            Positions::Rotary => None,
        };
        let block = |(i, layer)| Block::new(setup, params, &format!("blocks.{i}"), layer);
        let blocks = setup.layers.iter().enumerate().map(block).collect::<Result<Vec<_>>>()?;
        let final_norm = NormLayer::new(params, "final_norm", norm, setup.conventions.norm_epsilon, d_model)?;
        let output = if tied_output {
            Projection { weight: embedding.clone(), bias: None }
        } else {
            Projection::new(params, "output", d_model, vocab_size, false)?
        };
        Ok(Self { setup: setup.clone(), embedding, positions, blocks, final_norm, output })
    }

    /// The same with its projections and embeddings kept in bf16, rounded to nearest, for a token step that reads half as much;
    /// all else, arithmetic and states too, stays as it is. For f32 on the CPU; it cannot be trained then.
    ///
    /// # Errors
    /// For a projection from an odd number of inputs, because two weights lie in a word.
    pub fn with_weights_in_bf16(mut self) -> Result<Self> {
        let narrow = |weight: &mut Tensor| -> Result<()> {
            if weight.dim(1)? % 2 == 1 {
                candle_core::bail!("weights in bf16 lie in pairs, and {:?} has rows of an odd length", weight.dims());
            }
            *weight = weight.to_dtype(DType::BF16)?;
            Ok(())
        };
        narrow(&mut self.embedding)?;
        if self.setup.shape.tied_output {
            self.output.weight = self.embedding.clone();
        } else {
            narrow(&mut self.output.weight)?;
        }
        self.blocks.iter_mut().flat_map(Block::projections).try_for_each(|p| narrow(&mut p.weight))?;
        Ok(self)
    }

    /// What the model was made from.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The blocks, bottom first.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Device of the weights.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// What it computes in.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.final_norm.gain.dtype()
    }

    /// Token ids (b, n) → logits (b, n, vocab) of every position, causal.
    ///
    /// # Errors
    /// On an id beyond the vocabulary or a sequence beyond `max_len`.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.forward_over(ids, None)
    }

    /// The same over a source, for decoders with cross-attention.
    ///
    /// # Errors
    /// As [`Decoder::forward`], and where cross-attention and source are not both there.
    pub fn forward_over(&self, ids: &Tensor, source: Option<&Encoded>) -> Result<Tensor> {
        self.forward_by(ids, source, Kernels::Plain)
    }

    /// The same by kernels of choice, differentiable by either.
    ///
    /// # Errors
    /// As [`Decoder::forward_over`], and for fused kernels on anything but f32 on the CPU.
    pub fn forward_by(&self, ids: &Tensor, source: Option<&Encoded>, kernels: Kernels) -> Result<Tensor> {
        self.output.forward_by(&self.hidden_by(ids, source, kernels, &mut Dropout::none())?, kernels)
    }

    /// What the output projection makes logits of: (b, n, d_model), normalised; with dropout on the embeddings and on what
    /// each sub-layer adds.
    ///
    /// # Errors
    /// As [`Decoder::forward_by`].
    pub fn hidden_by(
        &self,
        ids: &Tensor,
        source: Option<&Encoded>,
        kernels: Kernels,
        dropout: &mut Dropout,
    ) -> Result<Tensor> {
        let (_, n) = ids.dims2()?;
        let rotary = self.rotary(0, n)?;
        let mut x = dropout.apply(self.embed(ids, 0, kernels)?)?;
        for block in &self.blocks {
            x = block.forward(&x, &Mask::Causal, rotary.as_ref(), source, kernels, dropout)?;
        }
        self.final_norm.forward_by(&x, kernels)
    }

    /// From normalised hidden states to logits; has no bias.
    #[must_use]
    pub fn output(&self) -> &Projection {
        &self.output
    }

    /// Embeddings of tokens that stand at `start..`: (b, n, d_model).
    pub(super) fn embed(&self, ids: &Tensor, start: usize, kernels: Kernels) -> Result<Tensor> {
        let (batch, n) = ids.dims2()?;
        if self.positions.is_some() && start + n > self.setup.max_len {
            candle_core::bail!("position {} is beyond the model's {}", start + n, self.setup.max_len);
        }
        match kernels {
            Kernels::Fused(_) if self.embedding.dtype() == self.dtype() => {
                return ops::embedding(&self.embedding, self.positions.as_ref(), ids, start);
            }
            _ => {}
        }
        let d_model = self.setup.shape.d_model;
        let rows = self.embedding.index_select(&ids.flatten_all()?, 0)?.to_dtype(self.dtype())?;
        let x = rows.reshape((batch, n, d_model))?;
        match &self.positions {
            None => Ok(x),
            Some(table) => x.broadcast_add(&table.narrow(0, start, n)?),
        }
    }

    pub(super) fn rotary(&self, start: usize, n: usize) -> Result<Option<(Tensor, Tensor)>> {
        match self.setup.shape.positions {
            Positions::Rotary => rotary_tables(self.turns(), start, n, self.dtype(), self.device()).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn turns(&self) -> Rotary {
        Rotary { base: self.setup.conventions.rotary_base, head_dim: self.setup.heads.head_dim }
    }

    pub(super) fn logits(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        self.output.forward_by(&self.final_norm.forward_by(x, kernels)?, kernels)
    }
}

/// Index of the largest logit of each row: (b, vocab) → b ids.
///
/// # Errors
/// As the device fails.
pub fn greedy(logits: &Tensor) -> Result<Vec<u32>> {
    logits.argmax(D::Minus1)?.flatten_all()?.to_vec1()
}
