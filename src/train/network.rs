//! What training needs of a model: hidden states of a batch, with and without dropout. A decoder and an encoder-decoder differ here
//! and nowhere else.

use candle_core::{Result, Tensor};

use super::{Batch, Trained};
use crate::{
    kernels::Kernels,
    model::{Decoder, Distance, Dropout, Encoded, Setup, Translator},
    params::Params,
};

/// A model that can be trained.
pub trait Network {
    /// What the output projection makes logits of, at every target position: (b, n, d_model), differentiable.
    ///
    /// # Errors
    /// On ids or lengths that the model has no room for, and on a source where there should be none or the reverse.
    fn hidden(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor>;

    /// How far each attention layer of the decoder is from softmax over the same queries, keys and values, while softmax is what goes on
    /// through the model; differentiable.
    ///
    /// # Errors
    /// As [`Network::hidden`].
    fn distances(&self, batch: &Batch, kernels: Kernels) -> Result<Vec<Distance>>;

    /// The decoder itself, for generation.
    fn decoder(&self) -> &Decoder;

    /// What the model was made from.
    fn setup(&self) -> Setup {
        self.decoder().setup().clone()
    }
}

/// A model in training and its parameters: those that are trained are variables, all others plain tensors.
pub struct Trainee {
    /// The model.
    pub network: Box<dyn Network>,
    /// Its parameters.
    pub params: Params,
}

impl Trainee {
    /// A model, decoder-only or with an encoder as the setup says.
    ///
    /// # Errors
    /// Where parameters cannot be had.
    pub fn new(setup: &Setup, params: Params, trained: Trained) -> Result<Self> {
        let mut params = params.only(move |name| trained.includes(name));
        let network: Box<dyn Network> = match setup.has_encoder() {
            true => Box::new(Translator::new(setup, &mut params)?),
            false => Box::new(Decoder::new(setup, &mut params)?),
        };
        Ok(Self { network, params })
    }

    /// The same model with the weights that it has now, of which others are trained.
    ///
    /// # Errors
    /// As [`Trainee::new`].
    pub fn again(self, trained: Trained) -> Result<Self> {
        let setup = self.network.setup();
        Self::new(&setup, self.params.again(), trained)
    }
}

impl Network for Decoder {
    fn hidden(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor> {
        if batch.source.is_some() {
            candle_core::bail!("a decoder-only model has no use for a source; leave out --source");
        }
        self.hidden_by(&batch.inputs, None, kernels, dropout)
    }

    fn distances(&self, batch: &Batch, kernels: Kernels) -> Result<Vec<Distance>> {
        Decoder::distances(self, &batch.inputs, None, kernels)
    }

    fn decoder(&self) -> &Decoder {
        self
    }
}

impl Network for Translator {
    fn hidden(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor> {
        let source = self.encoded(batch, kernels, dropout)?;
        self.decoder.hidden_by(&batch.inputs, Some(&source), kernels, dropout)
    }

    fn distances(&self, batch: &Batch, kernels: Kernels) -> Result<Vec<Distance>> {
        let source = self.encoded(batch, kernels, &mut Dropout::none())?;
        self.decoder.distances(&batch.inputs, Some(&source), kernels)
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
