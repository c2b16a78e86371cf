//! What a checkpoint says of the attention of each layer: the object `t2r` of its `config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    error::{CheckpointError, Result},
    json::Keys,
};
use crate::{
    attention::{ResolveRequest, Resolved, resolve},
    model::{LayerAttention, Setup},
    spec::VariantSpec,
};

/// More layers than this are damage.
const MAX_LAYERS: usize = 4096;

/// Attention that every pretrained transformer has.
pub(super) fn softmax() -> Resolved {
    Resolved { spec: VariantSpec::new("softmax"), feature_dim: None }
}

/// Softmax in each of `n` layers.
pub(super) fn softmax_layers(file: &Path, n: usize) -> Result<Vec<LayerAttention>> {
    if n > MAX_LAYERS {
        return Err(CheckpointError::invalid(file, format!("{n} layers, expected at most {MAX_LAYERS}")));
    }
    Ok(vec![LayerAttention { own: softmax(), cross: None }; n])
}

/// The layers of a model as JSON.
pub(super) fn written(setup: &Setup) -> Value {
    let layer = |layer: &LayerAttention| {
        let mut object = Map::new();
        let mut put = |name: &str, size: &str, variant: &Resolved| {
            object.insert(name.to_owned(), variant.spec.to_string().into());
            if let Some(m) = variant.feature_dim {
                object.insert(size.to_owned(), m.into());
            }
        };
        put("attention", "feature_dim", &layer.own);
        if let Some(cross) = &layer.cross {
            put("cross_attention", "cross_feature_dim", cross);
        }
        Value::Object(object)
    };
    setup.unmerged().layers.iter().map(layer).collect()
}

/// The layers that the object says, put in the place of those of `setup`.
pub(super) fn read(keys: Keys<'_>, setup: &mut Setup) -> Result<()> {
    let items = keys.list("layers")?;
    if items.len() != setup.layers.len() {
        let message =
            format!("'layers' names the attention of {} layers, expected {}", items.len(), setup.layers.len());
        return Err(CheckpointError::invalid(keys.file, message));
    }
    let head_dim = setup.heads.head_dim;
    for (item, layer) in items.iter().zip(&mut setup.layers) {
        let Some(map) = item.as_object() else {
            return Err(CheckpointError::invalid(keys.file, "'layers' holds something that is no object"));
        };
        let of_layer = Keys { file: keys.file, map };
        layer.own = variant(of_layer, "attention", "feature_dim", head_dim, true)?;
        layer.cross = match of_layer.get("cross_attention") {
            None => None,
            Some(_) => Some(variant(of_layer, "cross_attention", "cross_feature_dim", head_dim, false)?),
        };
    }
    let looking = setup.layers.iter().filter(|l| l.cross.is_some()).count();
    if looking != 0 && looking != setup.layers.len() {
        let message = format!("'layers': {looking} of {} look at a source, expected all or none", setup.layers.len());
        return Err(CheckpointError::invalid(keys.file, message));
    }
    Ok(())
}

fn variant(keys: Keys<'_>, name: &str, size: &str, head_dim: usize, causal: bool) -> Result<Resolved> {
    let spec: VariantSpec = keys.word(name)?;
    let feature_dim = keys.optional_size(size)?;
    let request = ResolveRequest { head_dim, feature_dim, can_merge: false, causal };
    let wrong = |message: String| CheckpointError::invalid(keys.file, format!("'{name}': {message}"));
    let resolved = resolve(&spec, request).map_err(wrong)?;
    match (feature_dim, resolved.feature_dim) {
        (Some(asked), Some(has)) if asked != has => {
            Err(wrong(format!("{spec} has {has} features, expected the {asked} of '{size}'")))
        }
        _ => Ok(resolved),
    }
}
