//! A checkpoint as it is: layers of several kinds are told apart, so that each is judged and predicted as what it is.

use super::costs;
use crate::{
    checkpoint::Checkpoint,
    model::{LayerAttention, Setup},
    spec::{Cell, Workload},
    sweep::Prediction,
};

/// The model of a checkpoint as the cell's workload runs it: feature maps merged into projections for inference where that
/// is exact.
pub(super) fn of_workload(cell: &Cell, checkpoint: &Checkpoint) -> Setup {
    match cell.workload {
        Workload::Train => checkpoint.setup().unmerged(),
        _ => checkpoint.setup().merged(),
    }
}

/// Whether the costs of a checkpoint as it is are known.
///
/// # Errors
/// The reason why not.
pub(super) fn suits(cell: &Cell, checkpoint: Option<&Checkpoint>) -> Result<(), String> {
    let is_one =
        |layer: &LayerAttention| layer.cross.as_ref().is_none_or(|cross| cross.spec.name == layer.own.spec.name);
    match checkpoint.filter(|_| cell.variant.is_as_is()) {
        Some(checkpoint) if !checkpoint.setup().layers.iter().all(is_one) => {
            Err("as-is is measured where self- and cross-attention are one variant, and here they differ".to_owned())
        }
        _ => Ok(()),
    }
}

/// For each kind of layer that the cell's model has, the cell with that variant everywhere, and how many layers are such:
/// the cell itself, unless it is of a checkpoint as that is.
pub(super) fn kinds(cell: &Cell, checkpoint: Option<&Checkpoint>) -> Vec<(Cell, usize)> {
    let Some(checkpoint) = checkpoint.filter(|_| cell.variant.is_as_is()) else { return vec![(cell.clone(), 1)] };
    let mut kinds: Vec<(LayerAttention, usize)> = Vec::new();
    for layer in of_workload(cell, checkpoint).layers {
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, n)) => *n += 1,
            None => kinds.push((layer, 1)),
        }
    }
    let of_kind = |(LayerAttention { own, cross }, n): (LayerAttention, usize)| {
        let cross_feature_dim = cross.and_then(|cross| cross.feature_dim);
        (Cell { variant: own.spec, feature_dim: own.feature_dim, cross_feature_dim, ..cell.clone() }, n)
    };
    kinds.into_iter().map(of_kind).collect()
}

/// What a cell of these kinds of layers costs: everything that a model costs is a sum over its layers and the same rest.
/// `None` where a size overflows.
pub(super) fn predict(kinds: &[(Cell, usize)], cache_bytes: u64) -> Option<Prediction> {
    let parts = kinds.iter().map(|(cell, n)| Some((costs::predict(cell, cache_bytes)?, *n)));
    mean(&parts.collect::<Option<Vec<_>>>()?)
}

/// The mean of predictions, each as often as its number says.
fn mean(parts: &[(Prediction, usize)]) -> Option<Prediction> {
    let total = parts.iter().map(|(_, n)| *n).sum::<usize>().max(1);
    let bytes = |of: fn(&Prediction) -> u64| {
        let sum: u128 = parts.iter().map(|(part, n)| u128::from(of(part)) * *n as u128).sum();
        u64::try_from(sum / total as u128).ok()
    };
    let number =
        |of: fn(&Prediction) -> f64| parts.iter().map(|(part, n)| of(part) * *n as f64).sum::<f64>() / total as f64;
    let (first, _) = parts.first()?;
    Some(Prediction {
        state_bytes: bytes(|p| p.state_bytes)?,
        memory_bytes: bytes(|p| p.memory_bytes)?,
        flops: number(|p| p.flops),
        bytes_moved: number(|p| p.bytes_moved),
        footprint_bytes: bytes(|p| p.footprint_bytes)?,
        direction: first.direction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Direction;

    #[test]
    fn a_mean_counts_layers() {
        let of = |n: u64| Prediction {
            state_bytes: 4 * n,
            memory_bytes: n,
            flops: n as f64,
            bytes_moved: 2.0 * n as f64,
            footprint_bytes: u64::MAX - n,
            direction: Direction::Read,
        };
        // Three layers of one kind, one of another: (3 · 8 + 16) / 4 = 10.
        let mixed = mean(&[(of(8), 3), (of(16), 1)]).unwrap();
        assert_eq!((mixed.state_bytes, mixed.memory_bytes, mixed.flops, mixed.bytes_moved), (40, 10, 10.0, 20.0));
        assert_eq!(mixed.footprint_bytes, u64::MAX - 10);
        assert_eq!(mean(&[(of(3), 1)]).map(|p| p.memory_bytes), Some(3));
        assert!(mean(&[]).is_none());
    }
}
