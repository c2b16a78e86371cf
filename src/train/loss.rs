//! The loss of a language model: cross-entropy of the next tokens.

use candle_core::{D, DType, Result, Tensor};

/// `−(1−ε)·ln p(target) − ε·mean_v ln p(v)` of every position, in f32: logits (b, n, vocab) and target ids (b, n) to (b·n).
/// ε is the label smoothing (Szegedy et al. 2016); 0 is the cross-entropy.
///
/// Made of operations with a backward alone; the largest logit is taken off first, so that no exponential overflows.
///
/// # Errors
/// On shapes that do not belong together, and on an id beyond the vocabulary.
pub fn token_losses(logits: &Tensor, targets: &Tensor, smoothing: f64) -> Result<Tensor> {
    let (batch, n, vocab) = logits.dims3()?;
    if targets.dims2()? != (batch, n) {
        candle_core::bail!("logits {:?} have no targets {:?}", logits.dims(), targets.dims());
    }
    let rows = logits.reshape((batch * n, vocab))?.to_dtype(DType::F32)?;
    // The maximum cancels, so it carries no gradient.
    let shifted = rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chosen = shifted.gather(&targets.reshape((batch * n, 1))?, 1)?;
    let aim = match smoothing {
        0.0 => chosen,
        _ => ((chosen * (1.0 - smoothing))? + (shifted.mean_keepdim(D::Minus1)? * smoothing)?)?,
    };
    (log_sum - aim)?.squeeze(1)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn formula(logits: &[f64], targets: &[u32], vocab: usize, smoothing: f64) -> f64 {
        let of_row = |(row, target): (&[f64], &u32)| {
            let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let log_p = |v: usize| row[v] - log_sum;
            let mean = (0..vocab).map(log_p).sum::<f64>() / vocab as f64;
            -(1.0 - smoothing) * log_p(*target as usize) - smoothing * mean
        };
        logits.chunks(vocab).zip(targets).map(of_row).sum::<f64>() / targets.len() as f64
    }

    fn logits(n: usize) -> Vec<f32> {
        (0..n).map(|i| 3.0 * (1.0 + 0.7 * i as f32).sin()).collect()
    }

    #[test]
    fn it_is_the_formula_and_so_is_its_gradient() {
        let (batch, n, vocab) = (2, 3, 5);
        let (values, targets) = (logits(batch * n * vocab), vec![4u32, 0, 2, 2, 1, 3]);
        let wide: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
        for smoothing in [0.0, 0.1] {
            let var = Var::from_vec(values.clone(), (batch, n, vocab), &Device::Cpu).unwrap();
            let ids = Tensor::from_vec(targets.clone(), (batch, n), &Device::Cpu).unwrap();
            let loss = token_losses(var.as_tensor(), &ids, smoothing).unwrap().mean_all().unwrap();
            let want = formula(&wide, &targets, vocab, smoothing);
            assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - want).abs() < 1e-6);
            let grads = loss.backward().unwrap();
            let analytic: Vec<f32> = grads.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (i, got) in analytic.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = wide.clone();
                    moved[i] += step;
                    formula(&moved, &targets, vocab, smoothing)
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((f64::from(*got) - numeric).abs() < 1e-6, "{i}: {got} against {numeric}");
            }
        }
    }

    #[test]
    fn logits_beyond_the_range_of_an_exponential_give_their_differences() {
        let logits = Tensor::new(&[[[1000f32, 999.0], [-1000.0, -1000.0]]], &Device::Cpu).unwrap();
        let ids = Tensor::new(&[[1u32, 0]], &Device::Cpu).unwrap();
        let loss = f64::from(token_losses(&logits, &ids, 0.0).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
        // −ln of 1 / (1 + e) and of 1/2.
        let want = (1f64.exp().ln_1p() + 2f64.ln()) / 2.0;
        assert!((loss - want).abs() < 1e-6, "{loss} against {want}");
    }

    #[test]
    fn targets_of_another_shape_or_beyond_the_vocabulary_are_refused() {
        let logits = Tensor::zeros((1, 2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(token_losses(&logits, &Tensor::new(&[[1u32]], &Device::Cpu).unwrap(), 0.0).is_err());
        assert!(token_losses(&logits, &Tensor::new(&[[1u32, 3]], &Device::Cpu).unwrap(), 0.0).is_err());
    }
}
