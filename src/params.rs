//! Named parameters, each drawn from the seed and its own name, so that no parameter depends on the order of creation.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How a new parameter is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f64),
    /// Uniform on [−bound, bound].
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// Makes parameters on one device in one dtype and remembers them by name.
pub struct Params {
    device: Device,
    dtype: DType,
    seed: u64,
    trainable: bool,
    tensors: BTreeMap<String, Tensor>,
    vars: BTreeMap<String, Var>,
}

impl Params {
    /// Parameters that carry no gradient: inference records no graph.
    #[must_use]
    pub fn frozen(device: &Device, dtype: DType, seed: u64) -> Self {
        let (tensors, vars) = (BTreeMap::new(), BTreeMap::new());
        Self { device: device.clone(), dtype, seed, trainable: false, tensors, vars }
    }

    /// Parameters that carry gradients.
    #[must_use]
    pub fn trainable(device: &Device, dtype: DType, seed: u64) -> Self {
        Self { trainable: true, ..Self::frozen(device, dtype, seed) }
    }

    /// Device of every parameter.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Dtype of every parameter.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The parameter `name`, drawn when first asked for.
    ///
    /// # Errors
    /// If the device refuses the tensor, or `name` exists in another shape.
    pub fn get(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        let (mut rng, n) = (self.rng(name), shape.elem_count());
        self.get_from(name, shape, || draw(&mut rng, n, init))
    }

    /// The parameter `name`, made of `values` when first asked for.
    ///
    /// # Errors
    /// As [`Params::get`].
    pub fn get_from(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Tensor> {
        let shape = shape.into();
        if let Some(known) = self.tensors.get(name) {
            if known.shape() != &shape {
                candle_core::bail!("parameter {name} has shape {:?}, asked for {shape:?}", known.shape());
            }
            return Ok(known.clone());
        }
        let mut tensor = Tensor::from_vec(values(), shape, &self.device)?.to_dtype(self.dtype)?;
        if self.trainable {
            let var = Var::from_tensor(&tensor)?;
            tensor = var.as_tensor().clone();
            self.vars.insert(name.to_owned(), var);
        }
        self.tensors.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// A fixed random tensor: part of the model, never trained.
    ///
    /// # Errors
    /// As [`Params::get`].
    pub fn fixed(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        let values = draw(&mut self.rng(name), shape.elem_count(), init);
        let tensor = Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)?;
        self.set_fixed(name, &tensor);
        Ok(tensor)
    }

    /// Remembers a fixed tensor that was drawn elsewhere.
    pub fn set_fixed(&mut self, name: &str, tensor: &Tensor) {
        self.tensors.insert(name.to_owned(), tensor.clone());
    }

    /// A generator of its own for `name`.
    #[must_use]
    pub fn rng(&self, name: &str) -> ChaCha8Rng {
        named_rng(self.seed, name)
    }

    /// What `make` draws carries no gradient: parameters that the model's output does not depend on.
    pub fn untrained<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> T {
        let trainable = std::mem::replace(&mut self.trainable, false);
        let made = make(self);
        self.trainable = trainable;
        made
    }

    /// Every trainable parameter, sorted by name.
    #[must_use]
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Every tensor of the model, sorted by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }
}

/// A generator that depends on the seed and a name alone.
#[must_use]
pub fn named_rng(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), seed))
}

/// `n` numbers drawn as `init` says.
pub fn draw(rng: &mut impl Rng, n: usize, init: Init) -> Vec<f32> {
    match init {
        Init::Constant(value) => vec![value as f32; n],
        Init::Normal(deviation) => StandardNormal.sample_iter(rng).take(n).map(|x: f32| x * deviation as f32).collect(),
        Init::Uniform(bound) => match Uniform::new_inclusive(-bound as f32, bound as f32) {
            Ok(uniform) => uniform.sample_iter(rng).take(n).collect(),
            Err(_) => vec![0.0; n],
        },
    }
}
