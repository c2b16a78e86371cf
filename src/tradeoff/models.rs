//! The models of a tradeoff: one softmax model, and others with its weights and another attention in some layers.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::profile::{RowSpec, TradeoffProfile};
use crate::{
    attention::{Heads, ResolveRequest, Resolved, resolve},
    model::{Decoder, LayerAttention, Setup, Translator},
    params::{Params, Source},
    spec::{ModelShape, VariantSpec},
    train::Network,
};

/// Values of parameters by name, not bound to any model.
pub type Values = BTreeMap<String, Tensor>;

/// Parameters that are known; all others are drawn.
pub struct Known(pub Values);

impl Source for Known {
    fn find(&self, name: &str, shape: &Shape) -> Result<Option<Tensor>> {
        match self.0.get(name) {
            Some(tensor) if tensor.shape() != shape => {
                candle_core::bail!("parameter {name} has shape {:?}, the model wants {shape:?}", tensor.dims())
            }
            other => Ok(other.cloned()),
        }
    }
}

/// A copy of every parameter as it is now.
///
/// # Errors
/// As the device fails.
pub fn values_of(params: &Params) -> Result<Values> {
    // Detached: a variable handed on would be trained in both models.
    params.tensors().iter().map(|(name, tensor)| Ok((name.clone(), tensor.detach().copy()?))).collect()
}

/// Which layers of `n` a row swaps.
///
/// # Errors
/// A message for people.
pub fn swapped(layers: &str, n: usize) -> std::result::Result<Vec<bool>, String> {
    // Every k-th from the top keeps softmax.
    let keep_each = match layers {
        "all" => return Ok(vec![true; n]),
        "75%" => 4,
        "50%" => 2,
        other => return Err(format!("layers = '{other}', expected all, 75% or 50%")),
    };
    Ok((0..n).map(|i| !(n - i).is_multiple_of(keep_each)).collect())
}

/// The softmax model of a profile; `pairs`: with an encoder.
///
/// # Errors
/// A message for people.
#[must_use]
pub fn softmax_setup(profile: &TradeoffProfile, vocab_size: usize, max_len: usize, pairs: bool) -> Setup {
    let m = profile.model;
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
pub fn swap(setup: &Setup, row: &RowSpec) -> std::result::Result<Setup, String> {
    let which = swapped(&row.layers, setup.layers.len())?;
    let variant = |spec: &VariantSpec, causal: bool| {
        let request = ResolveRequest { head_dim: setup.heads.head_dim, feature_dim: None, can_merge: false, causal };
        resolve(spec, request)
    };
    let own = variant(&row.variant, true)?;
    let cross = match setup.has_encoder() {
        true => Some(variant(row.cross.as_ref().unwrap_or(&row.variant), false)?),
        false => None,
    };
    let layer = |(layer, swapped): (&LayerAttention, bool)| match swapped {
        true => LayerAttention { own: own.clone(), cross: cross.clone() },
        false => layer.clone(),
    };
    Ok(Setup { layers: setup.layers.iter().zip(which).map(layer).collect(), ..setup.clone() })
}

/// A model, decoder-only or with an encoder as the setup says.
///
/// # Errors
/// As the device fails.
pub fn network(setup: &Setup, params: &mut Params) -> Result<Box<dyn Network>> {
    Ok(match setup.has_encoder() {
        true => Box::new(Translator::new(setup, params)?),
        false => Box::new(Decoder::new(setup, params)?),
    })
}

/// Trainable parameters: the known ones, and new ones by the seed.
#[must_use]
pub fn trainable(values: Option<&Values>, seed: u64, device: &Device) -> Params {
    let params = Params::trainable(device, DType::F32, seed);
    match values {
        Some(values) => params.from_source(Box::new(Known(values.clone()))),
        None => params,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_from_the_top() {
        assert_eq!(swapped("all", 2), Ok(vec![true; 2]));
        assert_eq!(swapped("75%", 6), Ok(vec![true, true, false, true, true, true]));
        assert_eq!(swapped("75%", 8), Ok([[false, true, true, true]; 2].concat()));
        assert_eq!(swapped("50%", 2), Ok(vec![false, true]));
        assert!(swapped("80", 4).unwrap_err().contains("80"));
    }
}
