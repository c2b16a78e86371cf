//! The encoder-decoder of the paper's translation experiments: a softmax encoder, and a decoder whose self- and
//! cross-attention are of one variant, with maps of their own. Source and target share the embedding.

use candle_core::{Result, Tensor};

use super::{
    attention_layer::Encoded,
    block::Block,
    decoder::{Decoder, Setup},
    layers::NormLayer,
};
use crate::{
    attention::{Mask, Resolved},
    kernels::Kernels,
    params::Params,
    spec::VariantSpec,
};

/// The model: as many encoder as decoder blocks.
pub struct Translator {
    encoder: Vec<Block>,
    encoder_norm: NormLayer,
    /// The target's side.
    pub decoder: Decoder,
}

impl Translator {
    /// Random weights by the seed of `params`.
    ///
    /// # Errors
    /// If the device has no memory for the weights, or the setup has no cross-attention.
    pub fn new(setup: &Setup, params: &mut Params) -> Result<Self> {
        if setup.cross.is_none() {
            candle_core::bail!("an encoder-decoder needs cross-attention");
        }
        let softmax = Resolved { spec: VariantSpec::new("softmax"), feature_dim: None };
        let block = |i| Block::new(setup, params, &format!("encoder.{i}"), &softmax, None);
        let encoder = (0..setup.shape.n_layers).map(block).collect::<Result<Vec<_>>>()?;
        let encoder_norm = NormLayer::new(params, "encoder_norm", setup.shape.norm, setup.shape.d_model)?;
        Ok(Self { encoder, encoder_norm, decoder: Decoder::new(setup, params)? })
    }

    /// Source ids (b, M), padded beyond `lengths`, through the encoder.
    ///
    /// # Errors
    /// On an id beyond the vocabulary, a source beyond `max_len` or a length beyond M.
    pub fn encode(&self, ids: &Tensor, lengths: Option<&[usize]>) -> Result<Encoded> {
        self.encode_by(ids, lengths, Kernels::Plain)
    }

    /// The same by kernels of choice, differentiable by either.
    ///
    /// # Errors
    /// As [`Translator::encode`], and for fused kernels anywhere but in f32 on the CPU.
    pub fn encode_by(&self, ids: &Tensor, lengths: Option<&[usize]>, kernels: Kernels) -> Result<Encoded> {
        let (_, n) = ids.dims2()?;
        let rotary = self.decoder.rotary(0, n)?;
        let mask = Mask::Full { source_lengths: lengths.map(<[usize]>::to_vec) };
        let mut x = self.decoder.embed(ids, 0)?;
        for block in &self.encoder {
            x = block.forward(&x, &mask, rotary.as_ref(), None, kernels)?;
        }
        Ok(Encoded { hidden: self.encoder_norm.forward_by(&x, kernels)?, lengths: lengths.map(<[usize]>::to_vec) })
    }

    /// Logits (b, n, vocab) of every target position (b, n) over sources (b, M), in parallel.
    ///
    /// # Errors
    /// As [`Translator::encode`] and [`Decoder::forward`].
    pub fn forward(&self, source: &Tensor, lengths: Option<&[usize]>, target: &Tensor) -> Result<Tensor> {
        self.decoder.forward_over(target, Some(&self.encode(source, lengths)?))
    }
}
