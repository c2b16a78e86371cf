//! A decoder-only transformer: pre-norm blocks of one attention variant, with a parallel, differentiable forward.

use candle_core::{D, DType, Device, Result, Tensor};

use super::layers::{FeedForward, NormLayer, Projection, rotary_tables, rotate, sinusoidal_table};
use crate::{
    attention::{self, Attention, Heads, LinearAttention, Mask, Qkv, Resolved, is_merged, reads_inputs},
    params::{Init, Params},
    spec::{ModelShape, Positions},
};

/// Everything that makes one decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Shape of the model.
    pub shape: ModelShape,
    /// Heads of every layer.
    pub heads: Heads,
    /// Attention of every layer.
    pub variant: Resolved,
    /// Longest sequence: rows of the position table.
    pub max_len: usize,
}

/// One pre-norm block.
pub struct Block {
    /// Before attention.
    pub attention_norm: NormLayer,
    /// Queries, or their merged pre-activations.
    pub q: Projection,
    /// Keys, or their merged pre-activations.
    pub k: Projection,
    /// Values.
    pub v: Projection,
    /// Heads back to the residual stream.
    pub out: Projection,
    /// To the pre-activations of the gate, for variants that have one.
    pub gate: Option<Projection>,
    /// The variant.
    pub attention: Box<dyn Attention>,
    /// Before the feed-forward block.
    pub ffn_norm: NormLayer,
    /// The feed-forward block.
    pub ffn: FeedForward,
}

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
    /// Random weights by the seed of `params`. With a merged variant the projections are merged here, from the same
    /// parameters an unmerged model would have.
    ///
    /// # Errors
    /// If the device has no memory for the weights.
    pub fn new(setup: &Setup, params: &mut Params) -> Result<Self> {
        let ModelShape { n_layers, d_model, vocab_size, norm, positions, tied_output, .. } = setup.shape;
        let embedding =
            params.get("embedding", (vocab_size, d_model), Init::Normal(0.02f64.max(1.0 / d_model as f64)))?;
        let positions = match positions {
            Positions::Learned => Some(params.get("positions", (setup.max_len, d_model), Init::Normal(0.02))?),
            Positions::Sinusoidal => Some(sinusoidal_table(setup.max_len, d_model, params.dtype(), params.device())?),
            Positions::Rotary => None,
        };
        let blocks = (0..n_layers).map(|i| Block::new(setup, params, i)).collect::<Result<Vec<_>>>()?;
        let final_norm = NormLayer::new(params, "final_norm", norm, d_model)?;
        let output = if tied_output {
            Projection { weight: embedding.clone(), bias: None }
        } else {
            Projection::new(params, "output", d_model, vocab_size, false)?
        };
        Ok(Self { setup: setup.clone(), embedding, positions, blocks, final_norm, output })
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

    /// Dtype of the weights.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.embedding.dtype()
    }

    /// Token ids (b, n) → logits (b, n, vocab) of every position, causal.
    ///
    /// # Errors
    /// On an id beyond the vocabulary or a sequence beyond `max_len`.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, n) = ids.dims2()?;
        let rotary = self.rotary(0, n)?;
        let mut x = self.embed(ids, 0)?;
        for block in &self.blocks {
            let qkv = block.project(&x, self.setup.heads, rotary.as_ref())?;
            let mixed = block.attention.forward(&qkv, &Mask::Causal)?;
            x = block.finish(&x, &mixed)?;
        }
        self.logits(&x)
    }

    /// Embeddings of tokens that stand at `start..`: (b, n, d_model).
    pub(super) fn embed(&self, ids: &Tensor, start: usize) -> Result<Tensor> {
        let (batch, n) = ids.dims2()?;
        let d_model = self.setup.shape.d_model;
        let x = self.embedding.index_select(&ids.flatten_all()?, 0)?.reshape((batch, n, d_model))?;
        match &self.positions {
            None => Ok(x),
            Some(table) if start + n <= self.setup.max_len => x.broadcast_add(&table.narrow(0, start, n)?),
            Some(_) => candle_core::bail!("position {} is beyond the model's {}", start + n, self.setup.max_len),
        }
    }

    pub(super) fn rotary(&self, start: usize, n: usize) -> Result<Option<(Tensor, Tensor)>> {
        match self.setup.shape.positions {
            Positions::Rotary => {
                rotary_tables(start, n, self.setup.heads.head_dim, self.dtype(), self.device()).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.final_norm.forward(x)?)
    }
}

impl Block {
    fn new(setup: &Setup, params: &mut Params, index: usize) -> Result<Self> {
        let ModelShape { d_model, ffn_dim, norm, activation, .. } = setup.shape;
        let Heads { n_heads, n_kv_heads, head_dim } = setup.heads;
        let name = |part: &str| format!("blocks.{index}.{part}");
        let read = |params: &mut Params| -> Result<_> {
            let norm = NormLayer::new(params, &name("attention_norm"), norm, d_model)?;
            let mut project =
                |part: &str, heads: usize| Projection::new(params, &name(part), d_model, heads * head_dim, true);
            Ok((norm, project("q", n_heads)?, project("k", n_kv_heads)?, project("v", n_kv_heads)?))
        };
        // What the variant does not read cannot learn.
        let reads = reads_inputs(&setup.variant.spec);
        let (attention_norm, mut q, mut k, v) = if reads { read(params) } else { params.untrained(read) }?;
        let out = Projection::new(params, &name("out"), n_heads * head_dim, d_model, true)?;
        let gated = attention::map_of(&setup.variant.spec.name).is_some_and(|map| map.gated);
        let gate = gated.then(|| gate(params, &name("gate"), d_model, n_kv_heads)).transpose()?;
        let attention = if is_merged(&setup.variant.spec) {
            merge(setup, params, &name("attention"), &mut q, &mut k)?
        } else {
            attention::build(&setup.variant, setup.heads, params, &name("attention"))?
        };
        let ffn_norm = NormLayer::new(params, &name("ffn_norm"), norm, d_model)?;
        let ffn = FeedForward::new(params, &name("ffn"), activation, d_model, ffn_dim)?;
        Ok(Self { attention_norm, q, k, v, gate, out, attention, ffn_norm, ffn })
    }

    /// q, k, v of the layer as (b, heads, n, width), rotated where the model is rotary.
    pub(super) fn project(&self, x: &Tensor, heads: Heads, rotary: Option<&(Tensor, Tensor)>) -> Result<Qkv> {
        let (batch, n, _) = x.dims3()?;
        let y = self.attention_norm.forward(x)?;
        let split = |p: &Projection, h: usize| -> Result<Tensor> {
            let width = p.weight.dim(0)? / h;
            p.forward(&y)?.reshape((batch, n, h, width))?.transpose(1, 2)?.contiguous()
        };
        let (q, k) = (split(&self.q, heads.n_heads)?, split(&self.k, heads.n_kv_heads)?);
        let (q, k) = match rotary {
            Some(tables) => (rotate(&q, tables)?, rotate(&k, tables)?),
            None => (q, k),
        };
        let gate = match &self.gate {
            Some(gate) => Some(gate.forward(&y)?.transpose(1, 2)?.contiguous()?),
            None => None,
        };
        Ok(Qkv { q, k, v: split(&self.v, heads.n_kv_heads)?, gate })
    }

    /// The rest of the block: mixed values (b, h, n, d) through the output projection and the feed-forward block.
    pub(super) fn finish(&self, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let (batch, h, n, d) = mixed.dims4()?;
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((batch, n, h * d))?;
        let x = (x + self.out.forward(&mixed)?)?;
        let hidden = self.ffn.forward(&self.ffn_norm.forward(&x)?)?;
        x + hidden
    }
}

/// Bias that a gate starts with: sigmoid(3) ≈ 0.95, so that half of a token is still there after 14 more.
const GATE_BIAS: f64 = 3.0;

/// The projection to a gate's pre-activations, one per key head.
fn gate(params: &mut Params, name: &str, d_model: usize, n_kv_heads: usize) -> Result<Projection> {
    let bias = params.get(&format!("{name}.bias"), n_kv_heads, Init::Constant(GATE_BIAS))?;
    let weight = Init::Normal(1.0 / (d_model as f64).sqrt());
    Ok(Projection { weight: params.get(&format!("{name}.weight"), (n_kv_heads, d_model), weight)?, bias: Some(bias) })
}

/// Builds the unmerged map, folds it into the projections and leaves what remains of it.
fn merge(
    setup: &Setup,
    params: &mut Params,
    prefix: &str,
    q: &mut Projection,
    k: &mut Projection,
) -> Result<Box<dyn Attention>> {
    let map = attention::build_unmerged_map(&setup.variant, setup.heads, params, prefix)?;
    for (projection, side) in [(q, attention::feature_map::Side::Query), (k, attention::feature_map::Side::Key)] {
        let bias = match &projection.bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(projection.weight.dim(0)?, projection.weight.dtype(), projection.weight.device())?,
        };
        let Some((weight, bias)) = map.merge(&projection.weight, &bias, side)? else {
            candle_core::bail!("{} does not merge with its projections", setup.variant.spec);
        };
        *projection = Projection { weight, bias: Some(bias) };
    }
    match map.merged() {
        Some(rest) => Ok(Box::new(LinearAttention::new(setup.heads, rest, false, false))),
        None => candle_core::bail!("{} does not merge with its projections", setup.variant.spec),
    }
}

/// Index of the largest logit of each row: (b, vocab) → b ids.
///
/// # Errors
/// As the device fails.
pub fn greedy(logits: &Tensor) -> Result<Vec<u32>> {
    logits.argmax(D::Minus1)?.flatten_all()?.to_vec1()
}
