//! One pre-norm transformer block: self-attention, cross-attention where there is a source, feed-forward.

use candle_core::{Result, Tensor};

use super::{
    attention_layer::{AttentionLayer, Encoded},
    decoder::Setup,
    layers::{FeedForward, NormLayer},
};
use crate::{
    attention::{Mask, Resolved},
    kernels::Kernels,
    params::Params,
};

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
    /// Random weights called `{prefix}.{part}`, those of cross-attention `{prefix}.cross.{part}`.
    pub(super) fn new(
        setup: &Setup,
        params: &mut Params,
        prefix: &str,
        variant: &Resolved,
        cross: Option<&Resolved>,
    ) -> Result<Self> {
        let (shape, heads) = (&setup.shape, setup.heads);
        let attention = AttentionLayer::new(params, prefix, shape, heads, variant)?;
        let cross = match cross {
            Some(variant) => Some(AttentionLayer::new(params, &format!("{prefix}.cross"), shape, heads, variant)?),
            None => None,
        };
        let ffn_norm = NormLayer::new(params, &format!("{prefix}.ffn_norm"), shape.norm, shape.d_model)?;
        let ffn = FeedForward::new(params, &format!("{prefix}.ffn"), shape.activation, shape.d_model, shape.ffn_dim)?;
        Ok(Self { attention, cross, ffn_norm, ffn })
    }

    /// Whole sequences x (b, n, d_model).
    pub(super) fn forward(
        &self,
        x: &Tensor,
        mask: &Mask,
        rotary: Option<&(Tensor, Tensor)>,
        source: Option<&Encoded>,
        kernels: Kernels,
    ) -> Result<Tensor> {
        let qkv = self.attention.project(x, rotary, kernels)?;
        let mixed = self.attention.attention.forward_by(&qkv, mask, kernels)?;
        let x = self.attention.finish(x, &mixed, kernels)?;
        let x = match (&self.cross, source) {
            (Some(cross), Some(source)) => {
                let mixed = cross.over(&x, source, kernels)?;
                cross.finish(&x, &mixed, kernels)?
            }
            (None, _) => x,
            (Some(_), None) => candle_core::bail!("a block with cross-attention got no source"),
        };
        self.feed(&x, kernels)
    }

    /// The feed-forward sub-layer.
    pub(super) fn feed(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        x + self.ffn.forward_by(&self.ffn_norm.forward_by(x, kernels)?, kernels)?
    }
}
