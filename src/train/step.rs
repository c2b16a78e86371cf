//! One training step: forward, loss, backward, update.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::{AdamW, next_token_loss};
use crate::{
    kernels::Kernels,
    model::Decoder,
    ops::{Targets, projected_cross_entropy},
};

/// A gradient for every variable, by name.
pub type Gradients = BTreeMap<String, Tensor>;

/// Why a step could not be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum TrainError {
    /// The loss does not depend on a variable, or an operation without a backward stands between.
    #[error("variable '{name}' got no gradient: the loss does not reach it")]
    NoGradient {
        /// The variable.
        name: String,
    },
    /// The loss is NaN or infinite.
    #[error("the loss is {value}: no step can be made from it")]
    Loss {
        /// The loss.
        value: f64,
    },
}

impl From<TrainError> for candle_core::Error {
    fn from(e: TrainError) -> Self {
        Self::wrap(e)
    }
}

/// Sequences to learn from: what goes in, and what comes next at each position.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Ids (b, n).
    pub inputs: Tensor,
    /// Ids (b, n), one position later.
    pub targets: Tensor,
}

impl Batch {
    /// From ids (b, n + 1): the first n are the inputs, the last n the targets.
    ///
    /// # Errors
    /// Where there is no second token.
    pub fn of_sequences(ids: &Tensor) -> Result<Self> {
        let (_, len) = ids.dims2()?;
        if len < 2 {
            candle_core::bail!("a sequence of {len} tokens has no next token to learn");
        }
        Ok(Self { inputs: ids.narrow(1, 0, len - 1)?.contiguous()?, targets: ids.narrow(1, 1, len - 1)?.contiguous()? })
    }
}

/// The gradients of a scalar loss; every variable has one.
///
/// # Errors
/// [`TrainError::NoGradient`], or as the device fails.
pub fn gradients(loss: &Tensor, vars: &BTreeMap<String, Var>) -> Result<Gradients> {
    let mut found = loss.backward()?;
    let of = |(name, var): (&String, &Var)| match found.remove(var) {
        Some(gradient) => Ok((name.clone(), gradient)),
        None => Err(TrainError::NoGradient { name: name.clone() }.into()),
    };
    vars.iter().map(of).collect()
}

/// Loss of the model on a batch, and its gradients.
///
/// # Errors
/// [`TrainError`], and what forward and backward refuse.
pub fn loss_and_gradients(
    model: &Decoder,
    vars: &BTreeMap<String, Var>,
    batch: &Batch,
    kernels: Kernels,
) -> Result<(f64, Gradients)> {
    let hidden = model.hidden_by(&batch.inputs, None, kernels)?;
    let loss = match kernels {
        Kernels::Plain => next_token_loss(&model.output().forward(&hidden)?, &batch.targets)?,
        Kernels::Fused(simd) => {
            projected_cross_entropy(&hidden, &model.output().weight, &Targets::mean(&batch.targets)?, simd)?
        }
    };
    let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !value.is_finite() {
        return Err(TrainError::Loss { value }.into());
    }
    Ok((value, gradients(&loss, vars)?))
}

/// One step on a batch; returns the loss before it.
///
/// # Errors
/// As [`loss_and_gradients`]; no variable has moved then.
pub fn step(
    model: &Decoder,
    vars: &BTreeMap<String, Var>,
    optimiser: &mut AdamW,
    batch: &Batch,
    kernels: Kernels,
) -> Result<f64> {
    // The graph and all activations are gone before the update wants memory.
    let (loss, gradients) = loss_and_gradients(model, vars, batch, kernels)?;
    optimiser.update_by(vars, &gradients, kernels)?;
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_variable_that_the_loss_does_not_reach_is_named() {
        let var = |x: f32| Var::new(x, &Device::Cpu).unwrap();
        let vars = BTreeMap::from([("used".to_owned(), var(3.0)), ("idle".to_owned(), var(1.0))]);
        let loss = vars["used"].as_tensor().sqr().unwrap();
        let error = gradients(&loss, &vars).unwrap_err().to_string();
        assert!(error.contains("'idle'"), "{error}");
        let used = BTreeMap::from([("used".to_owned(), vars["used"].clone())]);
        assert_eq!(gradients(&loss, &used).unwrap()["used"].to_scalar::<f32>().unwrap(), 6.0);
    }

    #[test]
    fn targets_stand_one_later_than_inputs() {
        let ids = Tensor::new(&[[1u32, 2, 3], [4, 5, 6]], &Device::Cpu).unwrap();
        let batch = Batch::of_sequences(&ids).unwrap();
        assert_eq!(batch.inputs.to_vec2::<u32>().unwrap(), [[1, 2], [4, 5]]);
        assert_eq!(batch.targets.to_vec2::<u32>().unwrap(), [[2, 3], [5, 6]]);
        assert!(Batch::of_sequences(&ids.narrow(1, 0, 1).unwrap()).is_err());
    }
}
