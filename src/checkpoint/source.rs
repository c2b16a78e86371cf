//! Parameters of a model found in the files of a checkpoint, in the model's own layout.

use std::sync::Arc;

use candle_core::{Shape, Tensor};

use super::{Weights, error::CheckpointError, family::Place};
use crate::params::Source;

/// The parameters of one checkpoint.
pub(super) struct Stored {
    pub(super) weights: Arc<Weights>,
    /// Beginnings of the names of what is new and therefore drawn.
    pub(super) new: Vec<String>,
}

impl Source for Stored {
    fn find(&self, name: &str, shape: &Shape) -> candle_core::Result<Option<Tensor>> {
        if self.new.iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(None);
        }
        let weights = &self.weights;
        let Some(place) = weights.place(name) else {
            candle_core::bail!("{}: a {} model has no parameter {name}", weights.file_of(name), weights.kind());
        };
        let expected = place.file_shape(shape.dims());
        match weights.shape(&place.tensor) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(CheckpointError::Tensor {
                    file: weights.file_of(&place.tensor),
                    tensor: place.tensor,
                    expected: format!("shape {expected:?}"),
                    found: format!("{found:?}"),
                }
                .into());
            }
            None => {
                let file = weights.file_of(&place.tensor);
                return Err(CheckpointError::Missing { file, tensor: place.tensor, expected }.into());
            }
        }
        let tensor = weights.read(&place.tensor)?;
        in_model_layout(&tensor, &place)?.reshape(shape.dims()).map(Some)
    }
}

/// The part of a file's tensor that a parameter is.
fn in_model_layout(tensor: &Tensor, place: &Place) -> candle_core::Result<Tensor> {
    let tensor = if place.transposed { tensor.t()? } else { tensor.clone() };
    let (part, of) = place.part;
    let rows = tensor.dim(0)? / of;
    let tensor = tensor.narrow(0, part * rows, rows)?.contiguous()?;
    match place.paired_heads {
        None => Ok(tensor),
        // Row 2i + j of a head is row j·d/2 + i of the model.
        Some(heads) => {
            let width = tensor.elem_count() / rows.max(1);
            let half = rows / heads / 2;
            tensor.reshape((heads, half, 2, width))?.transpose(1, 2)?.contiguous()
        }
    }
}
