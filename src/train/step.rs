//! One training step: forward, loss, backward, update.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::{AdamW, Batch, Network, token_losses};
use crate::{
    kernels::Kernels,
    model::Dropout,
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
    #[error("the loss is {value}: no step can be made from it; a smaller learning rate or a longer warm-up may help")]
    Loss {
        /// The loss.
        value: f64,
    },
    /// A gradient is NaN or infinite.
    #[error(
        "the gradient of '{name}' is not finite: no step can be made from it; a smaller learning rate or a longer warm-up may help"
    )]
    Gradient {
        /// The first variable with such a gradient.
        name: String,
    },
}

impl From<TrainError> for candle_core::Error {
    fn from(e: TrainError) -> Self {
        Self::wrap(e)
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

/// A scalar as a number.
///
/// # Errors
/// [`TrainError::Loss`] where it is none.
pub(super) fn finite(loss: &Tensor) -> Result<f64> {
    let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if value.is_finite() { Ok(value) } else { Err(TrainError::Loss { value }.into()) }
}

/// What a batch is a part of, and how its targets are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Targets of all batches of the update.
    pub(super) targets: usize,
    /// ε of label smoothing.
    pub(super) smoothing: f64,
}

/// The cross-entropy of a batch's targets, over as many as the update has: a scalar.
pub(super) fn loss(
    model: &dyn Network,
    batch: &Batch,
    kernels: Kernels,
    dropout: &mut Dropout,
    share: Share,
) -> Result<Tensor> {
    let hidden = model.hidden(batch, kernels, dropout)?;
    let (output, weight) = (model.decoder().output(), 1.0 / share.targets.max(1) as f64);
    match kernels {
        Kernels::Plain => {
            let losses = token_losses(&output.forward(&hidden)?, &batch.targets, share.smoothing)?;
            batch.total(&losses)? * weight
        }
        Kernels::Fused(simd) => {
            let ids = batch.targets.flatten_all()?.to_vec1()?;
            let counted = match &batch.counted {
                None => vec![1f32; batch.targets.elem_count()],
                Some(counted) => counted.to_vec1()?,
            };
            let weights = counted.into_iter().map(|counts| counts * weight as f32).collect();
            let targets = Targets { ids, weights, smoothing: share.smoothing as f32 };
            projected_cross_entropy(&hidden, &output.weight, &targets, simd)
        }
    }
}

/// Loss of the model on a batch, and its gradients.
///
/// # Errors
/// [`TrainError`], and what forward and backward refuse.
pub fn loss_and_gradients(
    model: &dyn Network,
    vars: &BTreeMap<String, Var>,
    batch: &Batch,
    kernels: Kernels,
) -> Result<(f64, Gradients)> {
    let loss = loss(model, batch, kernels, &mut Dropout::none(), Share { targets: batch.n_targets, smoothing: 0.0 })?;
    Ok((finite(&loss)?, gradients(&loss, vars)?))
}

/// One step on a batch; returns the loss before it.
///
/// # Errors
/// As [`loss_and_gradients`]; no variable has moved then.
pub fn step(
    model: &dyn Network,
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
}
