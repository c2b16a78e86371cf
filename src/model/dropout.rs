//! Dropout (Srivastava et al. 2014) where transformers have it (Vaswani et al. 2017, §5.4): on the embeddings and on what a
//! sub-layer adds to the residual stream.

use candle_core::{Result, Tensor};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::params::named_rng;

/// Zeroes elements at random and scales the others up, so that the expectation stays. What it draws depends on its seed and
/// on how often it was applied before: one forward, one object.
#[derive(Debug)]
pub struct Dropout {
    /// Elements dropped out of 65,536, and where the draws come from; `None`: nothing is dropped.
    draws: Option<(u16, ChaCha8Rng)>,
}

impl Dropout {
    /// Changes nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { draws: None }
    }

    /// Drops a share `rate` in [0, 1), to the nearest of 65,536, by the seed and the name of a forward.
    #[must_use]
    pub fn new(rate: f64, seed: u64, name: &str) -> Self {
        let dropped = (rate.clamp(0.0, 1.0) * 65_536.0).round().min(65_535.0) as u16;
        Self { draws: (dropped > 0).then(|| (dropped, named_rng(seed, name))) }
    }

    /// Whether it drops anything.
    #[must_use]
    pub fn drops(&self) -> bool {
        self.draws.is_some()
    }

    /// `x` with elements dropped.
    ///
    /// # Errors
    /// As the device fails.
    pub fn apply(&mut self, x: Tensor) -> Result<Tensor> {
        let Some((dropped, rng)) = &mut self.draws else { return Ok(x) };
        let kept = 65_536.0 / (65_536.0 - f32::from(*dropped));
        let mut bytes = vec![0u8; 2 * x.elem_count()];
        rng.fill_bytes(&mut bytes);
        let factor = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < *dropped { 0.0 } else { kept };
        let mask: Vec<f32> = bytes.chunks_exact(2).map(factor).collect();
        &x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;

    fn ones(n: usize) -> Tensor {
        Tensor::ones(n, candle_core::DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_share_and_the_expectation_are_right_and_draws_repeat() {
        let drop = |seed, name| {
            let mut dropout = Dropout::new(0.25, seed, name);
            [0, 1].map(|_| dropout.apply(ones(40_000)).unwrap().to_vec1::<f32>().unwrap())
        };
        let [first, second] = drop(1, "a");
        for x in [&first, &second] {
            let zeros = x.iter().filter(|x| **x == 0.0).count() as f64 / 40_000.0;
            // Standard deviation of the share: √(¼·¾ / 40,000) = 0.0022.
            assert!((zeros - 0.25).abs() < 0.011, "{zeros}");
            assert!(x.iter().all(|x| *x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
        }
        assert_ne!(first, second);
        assert_eq!(drop(1, "a"), [first.clone(), second]);
        assert_ne!(drop(2, "a")[0], first);
        assert_ne!(drop(1, "b")[0], first);
    }

    #[test]
    fn no_rate_changes_nothing_and_gradients_pass_where_elements_do() {
        let x = ones(8);
        assert_eq!(Dropout::new(0.0, 1, "a").apply(x.clone()).unwrap().to_vec1::<f32>().unwrap(), [1.0; 8]);
        assert_eq!(Dropout::none().apply(x.clone()).unwrap().to_vec1::<f32>().unwrap(), [1.0; 8]);
        let var = Var::from_tensor(&x).unwrap();
        let y = Dropout::new(0.5, 3, "a").apply(var.as_tensor().clone()).unwrap();
        let gradient = y.sum_all().unwrap().backward().unwrap().get(&var).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(gradient, y.to_vec1::<f32>().unwrap());
    }
}
