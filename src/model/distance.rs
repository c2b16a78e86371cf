//! How far a layer's attention is from softmax in its place: what attention transfer makes small (Zhang et al. 2024,
//! arXiv 2410.10254, §3.1), and a measure of what a conversion lost.

use candle_core::{DType, Result, Tensor};

use super::{attention_layer::Encoded, decoder::Decoder};
use crate::{
    attention::{Attention, Mask, Resolved, SoftmaxAttention},
    kernels::Kernels,
};

/// One attention layer against softmax.
#[derive(Debug, Clone)]
pub struct Distance {
    /// Name of the layer: `blocks.3`, `blocks.3.cross`.
    pub layer: String,
    /// Mean square of the difference, a scalar; differentiable.
    pub square: Tensor,
    /// Mean square of softmax's output, a scalar, against which a difference is large or small.
    pub scale: Tensor,
}

impl Decoder {
    /// Every layer that is not softmax, bottom first, over ids (b, n). What goes on to the next layer is softmax's output,
    /// so that each layer is judged on what the model before conversion would have shown it; no gradient goes from layer to
    /// layer.
    ///
    /// # Errors
    /// As [`Decoder::forward_over`], and for layers whose projections are merged: those have no queries and keys.
    pub fn distances(&self, ids: &Tensor, source: Option<&Encoded>, kernels: Kernels) -> Result<Vec<Distance>> {
        let rotary = self.rotary(0, ids.dim(1)?)?;
        let softmax = SoftmaxAttention::full(self.setup.heads);
        let (mut x, mut distances) = (self.embed(ids, 0, kernels)?.detach(), Vec::new());
        for (i, (block, variants)) in self.blocks.iter().zip(&self.setup.layers).enumerate() {
            let layer = &block.attention;
            let qkv = layer.project(&x, rotary.as_ref(), kernels)?;
            let want = softmax.forward_by(&qkv, &Mask::Causal, kernels)?.detach();
            if !is_softmax(&variants.own) {
                let got = layer.attention.forward_by(&qkv, &Mask::Causal, kernels)?;
                distances.push(Distance::between(format!("blocks.{i}"), &got, &want)?);
            }
            x = layer.finish(&x, &want, kernels)?.detach();
            if let (Some(cross), Some(source)) = (&block.cross, source) {
                let q = cross.queries(&x)?;
                let want = softmax.read(&q, &cross.absorb_by(&softmax, source)?, 0)?.detach();
                if !variants.cross.as_ref().is_none_or(is_softmax) {
                    let got = cross.attention.read(&q, &cross.absorb(source)?, 0)?;
                    distances.push(Distance::between(format!("blocks.{i}.cross"), &got, &want)?);
                }
                x = cross.finish(&x, &want, kernels)?.detach();
            }
            x = block.feed(&x, kernels)?.detach();
        }
        Ok(distances)
    }
}

fn is_softmax(variant: &Resolved) -> bool {
    variant.spec.name == "softmax"
}

impl Distance {
    fn between(layer: String, got: &Tensor, want: &Tensor) -> Result<Self> {
        let (got, want) = (got.to_dtype(DType::F32)?, want.to_dtype(DType::F32)?);
        Ok(Self { layer, square: (got - &want)?.sqr()?.mean_all()?, scale: want.sqr()?.mean_all()? })
    }
}
