//! φ(x) = √(1/D)·[sin(w_i·x̂), cos(w_i·x̂)], x̂ = x/(‖x‖₂ + 1e-3), w_i = σ ⊙ ε_i, ε_i ~ N(0, I) (Peng et al. 2021, §3.1).
//!
//! σ is learned per head and dimension and starts at 1; the draws ε are fixed by the seed. Queries and keys are
//! normalised, so the norms of the random-feature estimate cancel. The similarity can be negative.

use candle_core::{D, DType, Result, Tensor};
use rand::Rng;

use super::{At, FeatureMap, MapEntry, MapShape, Rows, Side, SliceMap, to_slice};
use crate::{
    kernels::{dot, linear::Normalizer},
    params::{Init, Params, draw},
};

/// Length of φ where none is asked for: the paper's language-model setting, 16 draws.
const DEFAULT_FEATURE_DIM: usize = 32;

/// Added to the norm, so that the zero vector stays zero.
const NORM_EPSILON: f64 = 1e-3;

/// The denominator keeps its sign and stays this far from zero.
const NORMALIZER: Normalizer = Normalizer::SignedClamp(1e-3);

pub(super) static ENTRY: MapEntry = MapEntry {
    name: "rfa",
    summary: "linear attention with random Fourier features, sin and cos of m/2 random projections",
    params: &[("orthogonal", &["false", "true"])],
    feature_dim: |_, asked| match asked.unwrap_or(DEFAULT_FEATURE_DIM) {
        odd if odd % 2 == 1 => Err(format!("rfa has a sine and a cosine per draw: feature_dim {odd} must be even")),
        even => Ok(even),
    },
    build: |spec, shape, params, prefix| {
        let MapShape { n_kv_heads, head_dim, feature_dim } = shape;
        let sigma = params.get(&format!("{prefix}.sigma"), (n_kv_heads, head_dim), Init::Constant(1.0))?;
        let name = format!("{prefix}.draws");
        let mut draws = params.fixed(&name, (n_kv_heads, feature_dim / 2, head_dim), Init::Normal(1.0))?;
        if spec.params.iter().any(|(k, v)| k == "orthogonal" && v == "true") {
            draws = orthogonal(shape, params, &name)?;
            params.replace_fixed(&name, &draws);
        }
        Ok(Box::new(Rfa { shape, sigma, draws }))
    },
};

struct Rfa {
    shape: MapShape,
    /// (h_kv, d)
    sigma: Tensor,
    /// (h_kv, D, d)
    draws: Tensor,
}

/// Draws that are orthogonal in blocks of d, with the norms of independent normal vectors (Yu et al. 2016).
fn orthogonal(shape: MapShape, params: &Params, name: &str) -> Result<Tensor> {
    let MapShape { n_kv_heads, head_dim: d, feature_dim } = shape;
    let mut rng = params.rng(name);
    let mut rows = Vec::with_capacity(n_kv_heads * feature_dim / 2 * d);
    for _ in 0..n_kv_heads {
        let mut left = feature_dim / 2;
        while left > 0 {
            let block = left.min(d);
            for direction in orthonormal_rows(&mut rng, block, d) {
                let norm = draw(&mut rng, d, Init::Normal(1.0)).iter().map(|x| x * x).sum::<f32>().sqrt();
                rows.extend(direction.iter().map(|x| x * norm));
            }
            left -= block;
        }
    }
    Tensor::from_vec(rows, (n_kv_heads, feature_dim / 2, d), params.device())?.to_dtype(params.dtype())
}

/// `n` ≤ d orthonormal vectors: normal draws through Gram–Schmidt, a draw that is nearly dependent is drawn again.
fn orthonormal_rows(rng: &mut impl Rng, n: usize, d: usize) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(n);
    while rows.len() < n {
        let mut row = draw(rng, d, Init::Normal(1.0));
        let drawn = dot(&row, &row).sqrt();
        for _ in 0..2 {
            for other in &rows {
                let along = dot(&row, other);
                row.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
        }
        let norm = dot(&row, &row).sqrt();
        if norm > 1e-3 * drawn {
            row.iter_mut().for_each(|x| *x /= norm);
            rows.push(row);
        }
    }
    rows
}

impl Rfa {
    /// w = σ ⊙ ε (h_kv, D, d), f32.
    fn weights(&self) -> Result<Tensor> {
        self.draws.to_dtype(DType::F32)?.broadcast_mul(&self.sigma.to_dtype(DType::F32)?.unsqueeze(1)?)
    }
}

impl FeatureMap for Rfa {
    fn forward(&self, x: &Tensor, _: Side, _: Rows) -> Result<Tensor> {
        let x = x.to_dtype(DType::F32)?;
        // The tiny term keeps the gradient of the square root finite at the zero vector.
        let norm = (x.sqr()?.sum_keepdim(D::Minus1)? + 1e-24)?.sqrt()?;
        let x = x.broadcast_div(&(norm + NORM_EPSILON)?)?;
        let angles = x.contiguous()?.broadcast_matmul(&self.weights()?.t()?.unsqueeze(0)?.contiguous()?)?;
        let scale = (2.0 / self.shape.feature_dim as f64).sqrt();
        Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)? * scale
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![("sigma", self.sigma.clone()), ("draws", self.draws.clone())]
    }

    fn on_slices(&self) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(RfaOnSlices {
            shape: self.shape,
            weights: to_slice(&self.weights()?)?,
            draws: to_slice(&self.draws)?,
            sigma: to_slice(&self.sigma)?,
        }))
    }

    fn feature_dim(&self) -> usize {
        self.shape.feature_dim
    }

    fn input_dim(&self) -> usize {
        self.shape.head_dim
    }

    fn normalizer(&self) -> Normalizer {
        NORMALIZER
    }
}

struct RfaOnSlices {
    shape: MapShape,
    /// σ ⊙ ε (h_kv, D, d), multiplied once.
    weights: Vec<f32>,
    draws: Vec<f32>,
    sigma: Vec<f32>,
}

impl SliceMap for RfaOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) {
        let MapShape { head_dim: d, feature_dim, .. } = self.shape;
        let n_draws = feature_dim / 2;
        let inverse = 1.0 / (dot(x, x).sqrt() + NORM_EPSILON as f32);
        let scale = (1.0 / n_draws as f32).sqrt();
        let (sines, cosines) = out.split_at_mut(n_draws);
        let weights = self.weights[at.head * n_draws * d..].chunks_exact(d);
        for ((w, sine), cosine) in weights.zip(sines).zip(cosines) {
            let (s, c) = (inverse * dot(w, x)).sin_cos();
            (*sine, *cosine) = (scale * s, scale * c);
        }
    }

    fn formula(&self, x: &[f64], at: At) -> Vec<f64> {
        let MapShape { head_dim: d, feature_dim, .. } = self.shape;
        let n_draws = feature_dim / 2;
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt() + NORM_EPSILON;
        let sigma = &self.sigma[at.head * d..][..d];
        let angle = |i: usize| -> f64 {
            let draw = &self.draws[(at.head * n_draws + i) * d..][..d];
            (0..d).map(|j| f64::from(sigma[j]) * f64::from(draw[j]) * x[j] / norm).sum()
        };
        let angles: Vec<f64> = (0..n_draws).map(angle).collect();
        let scale = (1.0 / n_draws as f64).sqrt();
        angles.iter().map(|a| scale * a.sin()).chain(angles.iter().map(|a| scale * a.cos())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        let rows = orthonormal_rows(&mut crate::params::named_rng(1, "rows"), 8, 8);
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert!((dot(a, b) - f32::from(u8::from(i == j))).abs() < 1e-5);
            }
        }
    }
}
