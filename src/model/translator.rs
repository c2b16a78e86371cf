//! The encoder-decoder of the paper's translation experiments: a softmax encoder, and a decoder whose self- and
//! cross-attention are of one variant, with maps of their own. Source and target share the embedding.

use candle_core::{Result, Tensor};

use super::{
    attention_layer::Encoded,
    block::Block,
    decoder::Decoder,
    dropout::Dropout,
    layers::NormLayer,
    setup::{LayerAttention, Setup},
};
use crate::{
    attention::{Mask, Resolved, reads_inputs},
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
    /// Weights from `params`, found or drawn.
    ///
    /// # Errors
    /// As [`Decoder::new`], and where the setup has no cross-attention.
    pub fn new(setup: &Setup, params: &mut Params) -> Result<Self> {
        if !setup.has_encoder() {
            candle_core::bail!("an encoder-decoder needs cross-attention");
        }
        let softmax = Resolved { spec: VariantSpec::new("softmax"), feature_dim: None };
        let layer = LayerAttention { own: softmax, cross: None };
        let read = |params: &mut Params| -> Result<_> {
            let block = |i| Block::new(setup, params, &format!("encoder.{i}"), &layer);
            let encoder = (0..setup.shape.n_layers).map(block).collect::<Result<Vec<_>>>()?;
            let (shape, epsilon) = (setup.shape, setup.conventions.norm_epsilon);
            let norm = NormLayer::new(params, "encoder_norm", shape.norm, epsilon, shape.d_model)?;
            Ok((encoder, norm))
        };
        // An encoder that no layer looks at cannot learn.
        let looked_at = setup.layers.iter().flat_map(|layer| &layer.cross).any(|cross| reads_inputs(&cross.spec));
        let (encoder, encoder_norm) = if looked_at { read(params) } else { params.untrained(read) }?;
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
        self.encode_with(ids, lengths, kernels, &mut Dropout::none())
    }

    /// The same with dropout, as [`Decoder::hidden_by`].
    ///
    /// # Errors
    /// As [`Translator::encode_by`].
    pub fn encode_with(
        &self,
        ids: &Tensor,
        lengths: Option<&[usize]>,
        kernels: Kernels,
        dropout: &mut Dropout,
    ) -> Result<Encoded> {
        let (_, n) = ids.dims2()?;
        let rotary = self.decoder.rotary(0, n)?;
        let mask = Mask::Full { source_lengths: lengths.map(<[usize]>::to_vec) };
        let mut x = dropout.apply(self.decoder.embed(ids, 0, kernels)?)?;
        for block in &self.encoder {
            x = block.forward(&x, &mask, rotary.as_ref(), None, kernels, dropout)?;
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
