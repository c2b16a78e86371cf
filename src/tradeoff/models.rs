//! The models of a tradeoff: one softmax model, and others with its weights and another attention in some layers.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::profile::{ModelSizes, RowSpec};
use crate::{
    attention::{Heads, ResolveRequest, Resolved, resolve},
    model::{LayerAttention, Setup},
    params::{Known, Params},
    spec::{ModelShape, VariantSpec},
};

/// Values of parameters by name, not bound to any model.
pub type Values = BTreeMap<String, Tensor>;

/// Every parameter, in the memory that it has: nobody should go on to train what they are taken from.
#[must_use]
pub fn values_of(params: &Params) -> Values {
    // Detached: a variable handed on would be trained in both models.
    params.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect()
}

/// The softmax model of these sizes; `pairs`: with an encoder.
#[must_use]
pub fn softmax_setup(m: ModelSizes, vocab_size: usize, max_len: usize, pairs: bool) -> Setup {
    let shape = ModelShape {
        n_layers: m.n_layers,
        d_model: m.d_model,
        ffn_dim: m.ffn_dim,
        vocab_size,
        norm: m.norm,
        positions: m.positions,
        activation: m.activation,
        tied_output: true,
    };
    let heads = Heads { n_heads: m.n_heads, n_kv_heads: m.n_heads, head_dim: m.d_model / m.n_heads };
    Setup::uniform(shape, heads, softmax(), pairs.then(softmax), max_len)
}

fn softmax() -> Resolved {
    Resolved { spec: VariantSpec::new("softmax"), feature_dim: None }
}

/// The same model with a row's attention.
///
/// # Errors
/// A message for people: an unknown variant, a size that cannot be, no cross form.
pub fn swap(setup: &Setup, row: &RowSpec) -> Result<Setup, String> {
    let head_dim = setup.heads.head_dim;
    let variant = |spec: &VariantSpec, causal: bool| {
        resolve(spec, ResolveRequest { head_dim, feature_dim: None, can_merge: false, causal })
    };
    let own = variant(&row.variant, true)?;
    let cross = match setup.has_encoder() {
        true => Some(variant(row.cross.as_ref().unwrap_or(&row.variant), false)?),
        false => None,
    };
    let (mut after, n) = (setup.clone(), setup.layers.len());
    for (_, layer) in after.layers.iter_mut().enumerate().filter(|(i, _)| row.layers.has(*i, n)) {
        *layer = LayerAttention { own: own.clone(), cross: cross.clone() };
    }
    Ok(after)
}

/// Trainable parameters: the known ones, and new ones by the seed.
#[must_use]
pub(super) fn trainable(values: Option<&Values>, seed: u64, device: &Device) -> Params {
    let params = Params::trainable(device, DType::F32, seed);
    match values {
        Some(values) => params.from_source(Box::new(Known(values.clone()))),
        None => params,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tradeoff::load;

    #[test]
    fn a_row_swaps_its_layers_and_their_cross_attention() {
        let profile = load("tradeoff-mt").unwrap();
        let softmax = softmax_setup(profile.model.unwrap(), 50, 16, true);
        let row = RowSpec {
            variant: "window:8".parse().unwrap(),
            cross: Some("t2r:6".parse().unwrap()),
            layers: "50%".parse().unwrap(),
            ways: Vec::new(),
            seeds: Vec::new(),
        };
        let after = swap(&softmax, &row).unwrap();
        let names: Vec<&str> = after.layers.iter().map(|l| l.own.spec.name.as_str()).collect();
        // The top layer and every second below it keep softmax.
        assert_eq!(names, ["softmax", "window", "softmax"]);
        let sizes: Vec<_> = after.layers.iter().map(|l| l.cross.as_ref().and_then(|c| c.feature_dim)).collect();
        assert_eq!(sizes, [None, Some(6), None]);
        assert!(swap(&softmax, &RowSpec { cross: None, ..row }).unwrap_err().contains("cross form"));
    }
}
