//! Attention as a sub-layer: norm, projections, one variant, and the way back to the residual stream. Self-attention and
//! cross-attention are the same parts; they differ in where keys and values come from.

use candle_core::{Result, Tensor};

use super::{
    layers::{NormLayer, Projection, rotate},
    setup::Setup,
};
use crate::{
    attention::{self, Attention, Heads, LinearAttention, Mask, Qkv, Resolved, TensorState, is_merged, reads_inputs},
    kernels::Kernels,
    ops,
    params::{Init, Params},
};

/// Bias that a gate starts with: sigmoid(3) ≈ 0.95, so that half of a token is still there after 14 more.
const GATE_BIAS: f64 = 3.0;

/// What an encoder gives: one vector per source token.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// (b, M, d_model), normalised.
    pub hidden: Tensor,
    /// Tokens of each source; the rest is padding. `None`: no padding.
    pub lengths: Option<Vec<usize>>,
}

/// One attention sub-layer, pre-norm.
pub struct AttentionLayer {
    heads: Heads,
    /// Before the projections of the residual stream.
    pub norm: NormLayer,
    /// Queries, or their merged pre-activations.
    pub q: Projection,
    /// Keys, or their merged pre-activations.
    pub k: Projection,
    /// Values.
    pub v: Projection,
    /// To the pre-activations of the gate, for variants that have one.
    pub gate: Option<Projection>,
    /// Heads back to the residual stream.
    pub out: Projection,
    /// The variant.
    pub attention: Box<dyn Attention>,
}

impl AttentionLayer {
    /// Weights called `{prefix}.{part}`. With a merged variant the projections are merged here, from the same
    /// parameters an unmerged layer would have.
    ///
    /// # Errors
    /// If the device has no memory for the weights.
    pub(super) fn new(params: &mut Params, prefix: &str, setup: &Setup, variant: &Resolved) -> Result<Self> {
        let Setup { shape, heads, conventions, .. } = setup;
        let (d_model, heads, bias) = (shape.d_model, *heads, conventions.qkv_bias);
        let Heads { n_heads, n_kv_heads, head_dim } = heads;
        let name = |part: &str| format!("{prefix}.{part}");
        let read = |params: &mut Params| -> Result<_> {
            let epsilon = conventions.norm_epsilon;
            let norm = NormLayer::new(params, &name("attention_norm"), shape.norm, epsilon, d_model)?;
            let mut project =
                |part: &str, heads: usize| Projection::new(params, &name(part), d_model, heads * head_dim, bias);
            Ok((norm, project("q", n_heads)?, project("k", n_kv_heads)?, project("v", n_kv_heads)?))
        };
        // What the variant does not read cannot learn.
        let reads = reads_inputs(&variant.spec);
        let (norm, mut q, mut k, v) = if reads { read(params) } else { params.untrained(read) }?;
        let widths = (n_heads * head_dim, d_model);
        let out = Projection::onto_residual(params, &name("out"), widths, conventions.out_bias, shape.n_layers)?;
        let gated = attention::map_of(&variant.spec.name).is_some_and(|map| map.gated);
        let gate = gated.then(|| gate(params, &name("gate"), d_model, n_kv_heads)).transpose()?;
        let attention = if is_merged(&variant.spec) {
            merge(variant, heads, params, &name("attention"), &mut q, &mut k)?
        } else {
            attention::build(variant, heads, params, &name("attention"))?
        };
        Ok(Self { heads, norm, q, k, v, gate, out, attention })
    }

    pub(super) fn projections(&mut self) -> impl Iterator<Item = &mut Projection> {
        [Some(&mut self.q), Some(&mut self.k), Some(&mut self.v), self.gate.as_mut(), Some(&mut self.out)]
            .into_iter()
            .flatten()
    }

    /// q, k, v of the residual stream x (b, n, d_model) as (b, heads, n, width), rotated where the model is rotary.
    pub(super) fn project(&self, x: &Tensor, rotary: Option<&(Tensor, Tensor)>, kernels: Kernels) -> Result<Qkv> {
        let y = self.norm.forward_by(x, kernels)?;
        let Heads { n_heads, n_kv_heads, .. } = self.heads;
        let (q, k) = (by_head(&self.q, &y, n_heads, kernels)?, by_head(&self.k, &y, n_kv_heads, kernels)?);
        let (q, k) = match rotary {
            Some(tables) => (rotate(&q, tables, kernels)?, rotate(&k, tables, kernels)?),
            None => (q, k),
        };
        let gate = match &self.gate {
            Some(gate) => Some(gate.forward_by(&y, kernels)?.transpose(1, 2)?.contiguous()?),
            None => None,
        };
        Ok(Qkv { q, k, v: by_head(&self.v, &y, n_kv_heads, kernels)?, gate })
    }

    /// Queries alone, for cross-attention: (b, h, n, width).
    pub(super) fn queries(&self, x: &Tensor) -> Result<Tensor> {
        by_head(&self.q, &self.norm.forward(x)?, self.heads.n_heads, Kernels::Plain)
    }

    /// Cross-attention of the residual stream x (b, n, d_model) over a source: mixed values (b, h, n, d).
    pub(super) fn over(&self, x: &Tensor, source: &Encoded, kernels: Kernels) -> Result<Tensor> {
        let Heads { n_heads, n_kv_heads, .. } = self.heads;
        let q = by_head(&self.q, &self.norm.forward_by(x, kernels)?, n_heads, kernels)?;
        let k = by_head(&self.k, &source.hidden, n_kv_heads, kernels)?;
        let v = by_head(&self.v, &source.hidden, n_kv_heads, kernels)?;
        let mask = Mask::Full { source_lengths: source.lengths.clone() };
        self.attention.forward_by(&Qkv { q, k, v, gate: None }, &mask, kernels)
    }

    /// What cross-attention keeps of a source.
    ///
    /// # Errors
    /// For variants that have no cross form.
    pub fn absorb(&self, source: &Encoded) -> Result<TensorState> {
        self.absorb_by(self.attention.as_ref(), source)
    }

    /// What another attention would keep in this one's place.
    pub(super) fn absorb_by(&self, attention: &dyn Attention, source: &Encoded) -> Result<TensorState> {
        let n_kv_heads = self.heads.n_kv_heads;
        let of = |projection| by_head(projection, &source.hidden, n_kv_heads, Kernels::Plain);
        let (k, v) = (of(&self.k)?, of(&self.v)?);
        attention.absorb(&k, &v, source.lengths.as_deref())
    }

    /// Mixed values (b, h, n, d) through the output projection, onto the residual stream.
    pub(super) fn finish(&self, x: &Tensor, mixed: &Tensor, kernels: Kernels) -> Result<Tensor> {
        x + self.outwards(mixed, kernels)?
    }

    /// Mixed values (b, h, n, d) through the output projection: (b, n, d_model).
    pub(super) fn outwards(&self, mixed: &Tensor, kernels: Kernels) -> Result<Tensor> {
        let (batch, h, n, d) = mixed.dims4()?;
        if let Kernels::Fused(simd) = kernels {
            return ops::linear_from_heads(mixed, &self.out.weight_in(mixed.dtype())?, self.out.bias.as_ref(), simd);
        }
        self.out.forward(&mixed.transpose(1, 2)?.contiguous()?.reshape((batch, n, h * d))?)
    }
}

/// A projection of y (b, n, d_model), split into heads: (b, h, n, width).
fn by_head(projection: &Projection, y: &Tensor, h: usize, kernels: Kernels) -> Result<Tensor> {
    if let Kernels::Fused(simd) = kernels {
        return ops::linear_to_heads(y, &projection.weight_in(y.dtype())?, projection.bias.as_ref(), h, simd);
    }
    let (batch, n, _) = y.dims3()?;
    let width = projection.weight.dim(0)? / h;
    projection.forward(y)?.reshape((batch, n, h, width))?.transpose(1, 2)?.contiguous()
}

/// The projection to a gate's pre-activations, one per key head.
fn gate(params: &mut Params, name: &str, d_model: usize, n_kv_heads: usize) -> Result<Projection> {
    let bias = params.get(&format!("{name}.bias"), n_kv_heads, Init::Constant(GATE_BIAS))?;
    let weight = Init::Normal(1.0 / (d_model as f64).sqrt());
    Ok(Projection { weight: params.get(&format!("{name}.weight"), (n_kv_heads, d_model), weight)?, bias: Some(bias) })
}

/// Builds the unmerged map, folds it into the projections and leaves what remains of it.
fn merge(
    variant: &Resolved,
    heads: Heads,
    params: &mut Params,
    prefix: &str,
    q: &mut Projection,
    k: &mut Projection,
) -> Result<Box<dyn Attention>> {
    let map = attention::build_unmerged_map(variant, heads, params, prefix)?;
    for (projection, side) in [(q, attention::feature_map::Side::Query), (k, attention::feature_map::Side::Key)] {
        let bias = match &projection.bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(projection.weight.dim(0)?, projection.weight.dtype(), projection.weight.device())?,
        };
        let Some((weight, bias)) = map.merge(&projection.weight, &bias, side)? else {
            candle_core::bail!("{} does not merge with its projections", variant.spec);
        };
        *projection = Projection { weight, bias: Some(bias) };
    }
    match map.merged() {
        Some(rest) => Ok(Box::new(LinearAttention::new(heads, rest, false, false))),
        None => candle_core::bail!("{} does not merge with its projections", variant.spec),
    }
}
