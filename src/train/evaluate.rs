//! How good a model is on what is held out: mean loss without smoothing or dropout, and how often it is right.

use candle_core::{D, DType, Result, Tensor};

use super::{Batch, Network, token_losses};
use crate::{
    inference::kernels,
    model::{Distance, Dropout},
};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean loss in nats: cross-entropy of a token, or relative distance of a layer from softmax.
    pub loss: f64,
    /// Share of targets that were the most likely token; `None` for distances.
    pub accuracy: Option<f64>,
    /// Targets.
    pub tokens: usize,
}

/// Mean cross-entropy over all targets of the batches.
///
/// # Errors
/// As forwards fail.
pub fn evaluate(network: &dyn Network, batches: &[Batch]) -> Result<Score> {
    let (mut sum, mut right, mut tokens) = (0.0, 0.0, 0);
    for batch in batches {
        let kernels = kernels(network.decoder());
        let hidden = network.hidden(batch, kernels, &mut Dropout::none())?.detach();
        let logits = network.decoder().output().forward_by(&hidden, kernels)?.detach();
        sum += scalar(&batch.total(&token_losses(&logits, &batch.targets, 0.0)?)?)?;
        let hits = logits.argmax(D::Minus1)?.eq(&batch.targets)?.to_dtype(DType::F32)?;
        right += scalar(&batch.total(&hits.flatten_all()?)?)?;
        tokens += batch.n_targets;
    }
    let of_all = |sum: f64| sum / tokens.max(1) as f64;
    Ok(Score { loss: of_all(sum), accuracy: Some(of_all(right)), tokens })
}

/// Mean over the batches of the relative distance of the attention layers from softmax.
///
/// # Errors
/// As forwards fail.
pub fn evaluate_distance(network: &dyn Network, batches: &[Batch]) -> Result<Score> {
    let mut sum = 0.0;
    for batch in batches {
        sum += scalar(&mean_distance(&network.distances(batch, kernels(network.decoder()))?)?)?;
    }
    let tokens = batches.iter().map(|b| b.n_targets).sum();
    Ok(Score { loss: sum / batches.len().max(1) as f64, accuracy: None, tokens })
}

/// The mean over layers of ‖linear − softmax‖² / ‖softmax‖², a scalar: so that no layer counts more because its values are
/// larger.
///
/// # Errors
/// Where no layer can be compared.
pub fn mean_distance(distances: &[Distance]) -> Result<Tensor> {
    if distances.is_empty() {
        candle_core::bail!("no layer differs from softmax: there is nothing to transfer");
    }
    let relative = distances.iter().map(|d| &d.square / (&d.scale + 1e-12)?);
    Tensor::stack(&relative.collect::<Result<Vec<_>>>()?, 0)?.mean_all()
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}
