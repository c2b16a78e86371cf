//! The attention weights of a model, layer by layer, whatever its variants: a layer is linear in its values, so that one-hot
//! values give its weights.

use candle_core::{DType, Result, Tensor};

use super::{attention_layer::AttentionLayer, decoder::Decoder, dropout::Dropout};
use crate::{
    attention::{Mask, Qkv},
    kernels::Kernels,
};

/// A model half-way through a sequence.
pub struct Probe<'a> {
    model: &'a Decoder,
    kernels: Kernels,
    rotary: Option<(Tensor, Tensor)>,
    x: Tensor,
    layer: usize,
}

impl<'a> Probe<'a> {
    /// Before the first layer, with ids (b, n).
    ///
    /// # Errors
    /// On an id beyond the vocabulary, a sequence beyond the model's positions, and for a model that wants a source.
    pub fn new(model: &'a Decoder, ids: &Tensor, kernels: Kernels) -> Result<Self> {
        if model.setup.has_encoder() {
            candle_core::bail!("attention weights can be had of models without a source");
        }
        let (_, n) = ids.dims2()?;
        Ok(Self { model, kernels, rotary: model.rotary(0, n)?, x: model.embed(ids, 0, kernels)?, layer: 0 })
    }

    /// The weights (b, h, n, n) of the next layer, and on through it; `None` behind the last.
    ///
    /// # Errors
    /// As a forward fails.
    pub fn next_layer(&mut self) -> Result<Option<Tensor>> {
        let Some(block) = self.model.blocks.get(self.layer) else { return Ok(None) };
        let layer = &block.attention;
        let qkv = layer.project(&self.x, self.rotary.as_ref(), self.kernels)?;
        let weights = weights(layer, &qkv, self.kernels)?;
        self.x =
            block.forward(&self.x, &Mask::Causal, self.rotary.as_ref(), None, self.kernels, &mut Dropout::none())?;
        self.layer += 1;
        Ok(Some(weights))
    }
}

/// What each query makes of one-hot values, as many keys at a time as a head is wide.
fn weights(layer: &AttentionLayer, qkv: &Qkv, kernels: Kernels) -> Result<Tensor> {
    let (batch, heads, n, width) = qkv.v.dims4()?;
    let columns = (0..n).step_by(width).map(|first| {
        let one = |key: usize| (0..width).map(move |c| if key == first + c { 1f32 } else { 0.0 });
        let values: Vec<f32> = (0..n).flat_map(one).collect();
        let values = Tensor::from_vec(values, (1, 1, n, width), qkv.v.device())?.to_dtype(qkv.v.dtype())?;
        let v = values.broadcast_as((batch, heads, n, width))?.contiguous()?;
        let out = layer.attention.forward_by(&Qkv { v, ..qkv.clone() }, &Mask::Causal, kernels)?;
        out.narrow(3, 0, width.min(n - first))?.to_dtype(DType::F32)
    });
    Tensor::cat(&columns.collect::<Result<Vec<_>>>()?, 3)
}
