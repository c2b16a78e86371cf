//! One pre-norm transformer block: self-attention, cross-attention where there is a source, feed-forward.

use candle_core::{Result, Tensor};

use super::{
    attention_layer::{AttentionLayer, Encoded},
    dropout::Dropout,
    layers::{FeedForward, NormLayer, Projection},
    setup::{LayerAttention, Setup},
};
use crate::{attention::Mask, kernels::Kernels, ops, params::Params};

/// One block.
pub struct Block {
    /// Over the sequence itself.
    pub attention: AttentionLayer,
    /// Over a source.
    pub cross: Option<AttentionLayer>,
    pub(super) ffn_norm: NormLayer,
    pub(super) ffn: FeedForward,
}

impl Block {
    /// Weights called `{prefix}.{part}`, those of cross-attention `{prefix}.cross.{part}`.
    pub(super) fn new(setup: &Setup, params: &mut Params, prefix: &str, layer: &LayerAttention) -> Result<Self> {
        let (shape, conventions) = (&setup.shape, &setup.conventions);
        let attention = AttentionLayer::new(params, prefix, setup, &layer.own)?;
        let cross = match &layer.cross {
            Some(variant) => Some(AttentionLayer::new(params, &format!("{prefix}.cross"), setup, variant)?),
            None => None,
        };
        let name = |part: &str| format!("{prefix}.{part}");
        let ffn_norm = NormLayer::new(params, &name("ffn_norm"), shape.norm, conventions.norm_epsilon, shape.d_model)?;
        let widths = (shape.d_model, shape.ffn_dim);
        let ffn =
            FeedForward::new(params, &name("ffn"), shape.activation, widths, conventions.ffn_bias, shape.n_layers)?;
        Ok(Self { attention, cross, ffn_norm, ffn })
    }

    /// Every projection: those of attention, of cross-attention, of the feed-forward block.
    pub(super) fn projections(&mut self) -> impl Iterator<Item = &mut Projection> {
        let layers = std::iter::once(&mut self.attention).chain(self.cross.as_mut());
        layers.flat_map(AttentionLayer::projections).chain(self.ffn.projections())
    }

    /// Whole sequences x (b, n, d_model).
    pub(super) fn forward(
        &self,
        x: &Tensor,
        mask: &Mask,
        rotary: Option<&(Tensor, Tensor)>,
        source: Option<&Encoded>,
        kernels: Kernels,
        dropout: &mut Dropout,
    ) -> Result<Tensor> {
        let qkv = self.attention.project(x, rotary, kernels)?;
        let mixed = self.attention.attention.forward_by(&qkv, mask, kernels)?;
        let x = (x + dropout.apply(self.attention.outwards(&mixed, kernels)?)?)?;
        let x = match (&self.cross, source) {
            (Some(cross), Some(source)) => {
                let mixed = cross.over(&x, source, kernels)?;
                (&x + dropout.apply(cross.outwards(&mixed, kernels)?)?)?
            }
            (None, _) => x,
            (Some(_), None) => candle_core::bail!("a block with cross-attention got no source"),
        };
        if !dropout.drops() {
            return self.feed(&x, kernels);
        }
        &x + dropout.apply(self.ffn.forward_by(&self.ffn_norm.forward_by(&x, kernels)?, kernels)?)?
    }

    /// The feed-forward sub-layer, on the residual stream.
    pub(super) fn feed(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        match kernels {
            Kernels::Plain => x + self.ffn.forward(&self.ffn_norm.forward(x)?)?,
            Kernels::Fused(simd) if self.ffn.up.weight.dtype() == x.dtype() => {
                ops::feed_forward(x, self.ffn.sublayer(&self.ffn_norm), simd)
            }
            Kernels::Fused(_) => x + self.ffn.forward_by(&self.ffn_norm.forward_by(x, kernels)?, kernels)?,
        }
    }
}
