//! How far the attention of one model is from another's: what conversion does to a layer, and what finetuning makes good.

use candle_core::{Result, Tensor};

use crate::{
    kernels::Kernels,
    model::{Decoder, Probe},
};

/// For each layer the mean, over queries and heads of all sequences, of the Euclidean distance ‖a − b‖₂ between the
/// attention weights of two models of one shape on the same ids (b, n), each in its own course through the layers (Kasai
/// et al. 2021, §4.3). Rows of weights sum to 1 for softmax, so that it is at most √2 for two models that attend to unlike
/// tokens.
///
/// # Errors
/// Where the models are not of one shape, or as a forward fails.
pub fn attention_distance(model: &Decoder, teacher: &Decoder, ids: &Tensor, kernels: Kernels) -> Result<Vec<f64>> {
    let (mut of_model, mut of_teacher) = (Probe::new(model, ids, kernels)?, Probe::new(teacher, ids, kernels)?);
    let mut distances = Vec::new();
    loop {
        match (of_model.next_layer()?, of_teacher.next_layer()?) {
            (None, None) => return Ok(distances),
            (Some(a), Some(b)) if a.shape() == b.shape() => {
                let squares = (a - b)?.sqr()?.sum(3)?;
                distances.push(f64::from(squares.sqrt()?.mean_all()?.to_scalar::<f32>()?));
            }
            _ => candle_core::bail!("the teacher has other layers or heads than the model"),
        }
    }
}
