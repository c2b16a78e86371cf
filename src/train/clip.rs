//! Clipping by the global norm (Pascanu et al. 2013): the direction of the whole gradient stays, its length is bounded.

use candle_core::{DType, Result, Tensor};

use super::{Gradients, TrainError};

/// The Euclidean norm of all gradients together; where it is above `most`, they are scaled to it.
///
/// # Errors
/// [`TrainError::Gradient`] where a gradient holds a number that is not finite; nothing is changed then.
pub fn clip(gradients: &mut Gradients, most: Option<f64>) -> Result<f64> {
    let mut sum = 0.0;
    for (name, gradient) in gradients.iter() {
        let square = square(gradient)?;
        if !square.is_finite() {
            return Err(TrainError::Gradient { name: name.clone() }.into());
        }
        sum += square;
    }
    let norm = sum.sqrt();
    if let Some(most) = most.filter(|most| norm > *most) {
        for gradient in gradients.values_mut() {
            *gradient = (&*gradient * (most / norm))?;
        }
    }
    Ok(norm)
}

fn square(gradient: &Tensor) -> Result<f64> {
    gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::*;

    fn gradients(a: &[f32], b: &[f32]) -> Gradients {
        let tensor = |x: &[f32]| Tensor::new(x, &Device::Cpu).unwrap();
        BTreeMap::from([("a".to_owned(), tensor(a)), ("b".to_owned(), tensor(b))])
    }

    #[test]
    fn the_norm_is_of_all_together_and_only_longer_ones_shrink() {
        // √(3² + 4² + 12²) = 13.
        let mut some = gradients(&[3.0, 4.0], &[12.0]);
        assert_eq!(clip(&mut some, Some(20.0)).unwrap(), 13.0);
        assert_eq!(some["b"].to_vec1::<f32>().unwrap(), [12.0]);
        assert_eq!(clip(&mut some, Some(6.5)).unwrap(), 13.0);
        assert_eq!(some["a"].to_vec1::<f32>().unwrap(), [1.5, 2.0]);
        assert_eq!(clip(&mut some, None).unwrap(), 6.5);
    }

    #[test]
    fn what_is_not_finite_is_named() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut some = gradients(&[1.0], &[1.0, bad]);
            let error = clip(&mut some, Some(1.0)).unwrap_err().to_string();
            assert!(error.contains("'b'"), "{error}");
        }
    }
}
