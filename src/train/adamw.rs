//! AdamW: Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).
//! Moments are f32 and go by the parameter's name, so that they can be saved beside it.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::{Gradients, TrainError};
use crate::{
    kernels::{
        Kernels, Simd,
        adamw::{self, Factors},
        for_each_chunk,
    },
    ops::{with_slices, with_slices_mut},
};

/// Numbers of a parameter that a thread takes at a time.
const CHUNK: usize = 16 * 1024;

/// The constants of the update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Step size η.
    pub learning_rate: f64,
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
    /// λ: each step takes η·λ of a parameter off it.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    /// Those of Adam's authors, and the usual decay.
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// Running means of one parameter's gradient, in its shape, f32. An update may change them in place, and a clone of a tensor
/// is the same memory: so they have no clone.
#[derive(Debug)]
pub struct Moments {
    /// Of the gradient.
    pub first: Tensor,
    /// Of its square.
    pub second: Tensor,
}

/// The optimiser of one model.
#[derive(Debug)]
pub struct AdamW {
    /// The constants; a schedule changes the step size between updates.
    pub settings: AdamWSettings,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// Zero moments for every variable.
    ///
    /// # Errors
    /// Where the device has no memory for them.
    pub fn new(settings: AdamWSettings, vars: &BTreeMap<String, Var>) -> Result<Self> {
        let moments = |(name, var): (&String, &Var)| -> Result<(String, Moments)> {
            let zeros = || Tensor::zeros(var.shape(), DType::F32, var.device());
            Ok((name.clone(), Moments { first: zeros()?, second: zeros()? }))
        };
        Ok(Self { settings, steps: 0, moments: vars.iter().map(moments).collect::<Result<_>>()? })
    }

    /// Updates made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts back what a snapshot holds.
    pub(super) fn restore(&mut self, steps: u64, moments: BTreeMap<String, Moments>) {
        (self.steps, self.moments) = (steps, moments);
    }

    /// The moments, sorted by the parameter's name.
    #[must_use]
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// One update, with m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g²:
    /// `θ ← θ − η·λ·θ − η·(m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε)`.
    ///
    /// # Errors
    /// Where a variable has no gradient or no moments; nothing is changed then.
    pub fn update(&mut self, vars: &BTreeMap<String, Var>, gradients: &Gradients) -> Result<()> {
        self.update_by(vars, gradients, Kernels::Plain)
    }

    /// The same by kernels of choice: fused ones change parameter and moments in place and in one pass, for f32 on the CPU.
    ///
    /// # Errors
    /// As [`AdamW::update`], and for fused kernels on anything but f32 on the CPU.
    pub fn update_by(&mut self, vars: &BTreeMap<String, Var>, gradients: &Gradients, kernels: Kernels) -> Result<()> {
        let unknown = |name: &&String| !(gradients.contains_key(*name) && self.moments.contains_key(*name));
        if let Some(name) = vars.keys().find(unknown) {
            return Err(TrainError::NoGradient { name: name.clone() }.into());
        }
        self.steps += 1;
        let AdamWSettings { learning_rate, beta1, beta2, epsilon, weight_decay } = self.settings;
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powf(self.steps as f64));
        if let Kernels::Fused(simd) = kernels {
            let factors = Factors {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                rate: (learning_rate * unbias(beta1)) as f32,
                unbias: unbias(beta2) as f32,
                epsilon: epsilon as f32,
                keep: (1.0 - learning_rate * weight_decay) as f32,
            };
            for (name, var) in vars {
                let (Some(moments), Some(gradient)) = (self.moments.get(name), gradients.get(name)) else { continue };
                in_place(var, moments, gradient, factors, simd)?;
            }
            return Ok(());
        }
        for (name, var) in vars {
            let (Some(moments), Some(gradient)) = (self.moments.get_mut(name), gradients.get(name)) else { continue };
            let g = gradient.to_dtype(DType::F32)?;
            moments.first = ((&moments.first * beta1)? + (&g * (1.0 - beta1))?)?;
            moments.second = ((&moments.second * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
            let root = ((&moments.second * unbias(beta2))?.sqrt()? + epsilon)?;
            let moved = ((&moments.first / root)? * (learning_rate * unbias(beta1)))?;
            // Detached: an update that remembered the last would keep every step's graph alive.
            let theta = var.as_detached_tensor().to_dtype(DType::F32)?;
            let theta = ((theta * (1.0 - learning_rate * weight_decay))? - moved)?;
            var.set(&theta.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }
}

/// One parameter and its moments in one pass.
fn in_place(var: &Var, moments: &Moments, gradient: &Tensor, factors: Factors, simd: Simd) -> Result<()> {
    with_slices([&gradient.contiguous()?], |[gradient]| {
        with_slices_mut([var.as_tensor(), &moments.first, &moments.second], |buffers| {
            let work = 4 * gradient.len();
            for_each_chunk(buffers, CHUNK, work, |i, [theta, first, second]| {
                let gradient = &gradient[i * CHUNK..][..theta.len()];
                adamw::update(simd, factors, theta, first, second, gradient);
            });
        })
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn vars(values: &[f32]) -> BTreeMap<String, Var> {
        BTreeMap::from([("w".to_owned(), Var::new(values, &Device::Cpu).unwrap())])
    }

    fn gradients(values: &[f32]) -> Gradients {
        BTreeMap::from([("w".to_owned(), Tensor::new(values, &Device::Cpu).unwrap())])
    }

    #[test]
    fn three_steps_are_the_published_formula_by_either_kernels() {
        for kernels in [Kernels::Plain, Kernels::Fused(Simd::detect()), Kernels::Fused(Simd::scalar())] {
            three_steps(kernels);
        }
    }

    fn three_steps(kernels: Kernels) {
        let settings = AdamWSettings { learning_rate: 0.1, beta1: 0.8, beta2: 0.9, epsilon: 1e-3, weight_decay: 0.05 };
        let vars = vars(&[1.0, -2.0, 0.0]);
        let mut optimiser = AdamW::new(settings, &vars).unwrap();
        let mut want = [1.0f64, -2.0, 0.0];
        let (mut m, mut v) = ([0f64; 3], [0f64; 3]);
        for (t, g) in [[0.5f32, -1.0, 0.0], [0.25, 3.0, 1e-4], [-0.5, 0.0, 2.0]].iter().enumerate() {
            optimiser.update_by(&vars, &gradients(g), kernels).unwrap();
            for i in 0..3 {
                let g = f64::from(g[i]);
                m[i] = 0.8 * m[i] + 0.2 * g;
                v[i] = 0.9 * v[i] + 0.1 * g * g;
                let (m_hat, v_hat) =
                    (m[i] / (1.0 - 0.8f64.powi(t as i32 + 1)), v[i] / (1.0 - 0.9f64.powi(t as i32 + 1)));
                want[i] = want[i] - 0.1 * 0.05 * want[i] - 0.1 * m_hat / (v_hat.sqrt() + 1e-3);
            }
            let got: Vec<f32> = vars["w"].as_tensor().to_vec1().unwrap();
            for (g, w) in got.iter().zip(want) {
                assert!((f64::from(*g) - w).abs() < 1e-6, "step {t}: {g} against {w}");
            }
        }
        assert_eq!(optimiser.steps(), 3);
        let second: Vec<f32> = optimiser.moments()["w"].second.to_vec1().unwrap();
        assert!(second.iter().zip(v).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-6));
    }

    #[test]
    fn the_first_step_by_hand() {
        // Bias correction makes the first step η·sign(g) up to ε; decay takes 0.1 · 0.5 of 2 off: 2 − 0.1 − 0.1 = 1.8.
        let settings = AdamWSettings { learning_rate: 0.1, weight_decay: 0.5, ..AdamWSettings::default() };
        let vars = vars(&[2.0]);
        AdamW::new(settings, &vars).unwrap().update(&vars, &gradients(&[7.0])).unwrap();
        let got: Vec<f32> = vars["w"].as_tensor().to_vec1().unwrap();
        assert!((got[0] - 1.8).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn a_variable_without_a_gradient_is_named_and_nothing_moves() {
        let vars = vars(&[1.0]);
        let mut optimiser = AdamW::new(AdamWSettings::default(), &vars).unwrap();
        let error = optimiser.update(&vars, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("'w'"), "{error}");
        assert_eq!((optimiser.steps(), vars["w"].as_tensor().to_vec1::<f32>().unwrap()), (0, vec![1.0]));
    }
}
