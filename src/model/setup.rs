//! What a model is made of: sizes, conventions, and the attention of each layer. Knows no weight.

use crate::{
    attention::{self, Heads, Resolved},
    spec::{Activation, ModelShape, Positions},
};

/// What pretrained models settle in unlike ways beside their sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conventions {
    /// Added to the variance (or mean square) under the root of a norm.
    pub norm_epsilon: f64,
    /// Base of the rotary frequencies.
    pub rotary_base: f64,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the projection out of attention has one.
    pub out_bias: bool,
    /// Whether the feed-forward block has them.
    pub ffn_bias: bool,
}

impl Conventions {
    /// Those of models that are made here: biases everywhere but beside SwiGLU, as the models that use it.
    #[must_use]
    pub fn usual(activation: Activation) -> Self {
        let ffn_bias = activation != Activation::Swiglu;
        Self { norm_epsilon: 1e-5, rotary_base: 10_000.0, qkv_bias: true, out_bias: true, ffn_bias }
    }
}

/// Attention of one decoder layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAttention {
    /// Over the sequence itself.
    pub own: Resolved,
    /// Over a source, for decoders with an encoder.
    pub cross: Option<Resolved>,
}

/// Everything that makes one decoder, or an encoder-decoder where layers look at a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Shape of the model.
    pub shape: ModelShape,
    /// Heads of every layer.
    pub heads: Heads,
    /// Attention of every decoder layer, bottom first: as many as the shape has layers.
    pub layers: Vec<LayerAttention>,
    /// The rest.
    pub conventions: Conventions,
    /// Longest sequence: rows of the position table.
    pub max_len: usize,
}

impl Setup {
    /// A model with the same attention in every layer and the usual conventions.
    #[must_use]
    pub fn uniform(shape: ModelShape, heads: Heads, own: Resolved, cross: Option<Resolved>, max_len: usize) -> Self {
        let layers = vec![LayerAttention { own, cross }; shape.n_layers];
        Self { shape, heads, layers, conventions: Conventions::usual(shape.activation), max_len }
    }

    /// Whether the model has an encoder.
    #[must_use]
    pub fn has_encoder(&self) -> bool {
        self.layers.iter().any(|layer| layer.cross.is_some())
    }

    /// Whether nothing stands between projections and feature maps, so that T2R's merge is exact.
    #[must_use]
    pub fn can_merge(&self) -> bool {
        self.shape.positions != Positions::Rotary
    }

    /// The same with every feature map apart from its projections: what is trained, and what checkpoints hold.
    #[must_use]
    pub fn unmerged(&self) -> Self {
        self.each_attention(attention::unmerged)
    }

    /// The same with feature maps merged into their projections where that is exact: what inference wants.
    #[must_use]
    pub fn merged(&self) -> Self {
        if self.can_merge() { self.each_attention(attention::merged) } else { self.clone() }
    }

    fn each_attention(&self, change: fn(&Resolved) -> Resolved) -> Self {
        let layer = |l: &LayerAttention| LayerAttention { own: change(&l.own), cross: l.cross.as_ref().map(change) };
        Self { layers: self.layers.iter().map(layer).collect(), ..self.clone() }
    }

    /// Refuses a setup whose layers are not as many as its shape says, or of which only some look at a source.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self) -> candle_core::Result<()> {
        let (layers, n) = (self.layers.len(), self.shape.n_layers);
        if layers != n {
            candle_core::bail!("a model of {n} layers has the attention of {layers}");
        }
        let looking = self.layers.iter().filter(|l| l.cross.is_some()).count();
        if looking != 0 && looking != n {
            candle_core::bail!("{looking} of {n} layers look at a source; it must be all or none");
        }
        Ok(())
    }
}
