//! What training needs of a model: logits of a batch, with and without dropout. A decoder and an encoder-decoder differ here
//! and nowhere else.

use candle_core::{Result, Tensor};

use super::Batch;
use crate::{
    kernels::Kernels,
    model::{Decoder, Distance, Dropout, Encoded, Translator},
};

/// A model that can be trained.
pub trait Network {
    /// Logits (b, n, vocab) of every target position, differentiable with plain kernels.
    ///
    /// # Errors
    /// On ids or lengths that the model has no room for, and on a source where there should be none or the reverse.
    fn logits(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor>;

    /// How far each attention layer of the decoder is from softmax over the same queries, keys and values, while softmax is what goes on
    /// through the model; differentiable.
    ///
    /// # Errors
    /// As [`Network::logits`].
    fn distances(&self, batch: &Batch) -> Result<Vec<Distance>>;

    /// The decoder itself, for generation.
    fn decoder(&self) -> &Decoder;
}

impl Network for Decoder {
    fn logits(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor> {
        if batch.source.is_some() {
            candle_core::bail!("a decoder-only model has no use for a source; leave out --source");
        }
        self.forward_with(&batch.inputs, None, kernels, dropout)
    }

    fn distances(&self, batch: &Batch) -> Result<Vec<Distance>> {
        Decoder::distances(self, &batch.inputs, None)
    }

    fn decoder(&self) -> &Decoder {
        self
    }
}

impl Network for Translator {
    fn logits(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor> {
        let source = self.encoded(batch, kernels, dropout)?;
        self.decoder.forward_with(&batch.inputs, Some(&source), kernels, dropout)
    }

    fn distances(&self, batch: &Batch) -> Result<Vec<Distance>> {
        let source = self.encoded(batch, Kernels::Plain, &mut Dropout::none())?;
        self.decoder.distances(&batch.inputs, Some(&source))
    }

    fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

impl Translator {
    fn encoded(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Encoded> {
        let Some(source) = &batch.source else {
            candle_core::bail!("an encoder-decoder translates: give --source and --target");
        };
        self.encode_with(&source.ids, Some(&source.lengths), kernels, dropout)
    }
}
