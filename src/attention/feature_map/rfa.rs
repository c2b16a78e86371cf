//! φ(x) = √(1/D)·[sin(w_i·x̂), cos(w_i·x̂)], x̂ = x/(‖x‖₂ + 1e-3), w_i = σ ⊙ ε_i, ε_i ~ N(0, I) (Peng et al. 2021, §3.1).
//!
//! σ is learned per head and dimension and starts at 1; the draws ε are fixed by the seed. Queries and keys are
//! normalised, so the norms of the random-feature estimate cancel. The similarity can be negative, and so can the
//! denominator, a sum of it: `denominator` says what is then divided by.

use candle_core::{D, DType, Result, Tensor};

use super::{
    At, DEFAULT_FEATURE_DIM, FeatureMap, Features, Formula, MapEntry, MapShape, Rows, Side, SliceMap, Values,
    draws::orthogonal, even, project, to_slice,
};
use crate::{
    kernels::{Kernels, linear::Normalizer},
    ops,
    params::{Init, Params},
    spec::VariantSpec,
};

/// Added to the norm, so that the zero vector stays zero.
const NORM_EPSILON: f64 = 1e-3;

/// `denominator=signed`: it keeps its sign and stays this far from zero.
const SIGNED: f64 = 1e-3;

/// `denominator=positive` is max(den, this / D): φ is scaled by 0.1 in the authors' code, not by √(1/D), and its denominator
/// held at 1 from below, which is den ≥ 1/(0.1² D).
const POSITIVE_TIMES_DRAWS: f64 = 100.0;

/// Name of the parameter that says what becomes of a denominator that is small or negative.
pub(crate) const DENOMINATOR: &str = "denominator";

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "rfa",
    summary: "linear attention with random Fourier features, sin and cos of m/2 random projections",
    params: &[
        ("orthogonal", Values::OneOf(&["false", "true"])),
        (DENOMINATOR, Values::OneOf(&["signed", "positive"])),
    ],
    feature_dim: |spec, _, asked| even(&spec.name, asked.unwrap_or(DEFAULT_FEATURE_DIM)),
    build: |spec, shape, params, prefix| {
        build(spec, shape, params, prefix, POSITIVE_TIMES_DRAWS / (shape.feature_dim / 2) as f64)
    },
    fused: true,
    flops: |m, d| m * d + m,
    ..MapEntry::PLAIN
};

/// The map, whose denominators are held at `positive` from below where the variant asks for positive ones.
pub(super) fn build(
    spec: &VariantSpec,
    shape: MapShape,
    params: &mut Params,
    prefix: &str,
    positive: f64,
) -> Result<Box<dyn FeatureMap>> {
    let MapShape { n_kv_heads, head_dim, feature_dim } = shape;
    let sigma = params.get(&format!("{prefix}.sigma"), (n_kv_heads, head_dim), Init::Constant(1.0))?;
    let (name, n) = (format!("{prefix}.draws"), feature_dim / 2);
    let draws = match spec.param("orthogonal") {
        Some("true") => orthogonal(shape, n, params, &name)?,
        _ => params.fixed(&name, (n_kv_heads, n, head_dim), Init::Normal(1.0))?,
    };
    let normalizer = match spec.param(DENOMINATOR) {
        Some("positive") => Normalizer::ClampMin(positive),
        _ => Normalizer::SignedClamp(SIGNED),
    };
    Ok(Box::new(Rfa { shape, sigma, draws, normalizer }))
}

struct Rfa {
    shape: MapShape,
    /// (h_kv, d)
    sigma: Tensor,
    /// (h_kv, D, d)
    draws: Tensor,
    normalizer: Normalizer,
}

impl Rfa {
    /// w = σ ⊙ ε (h_kv, D, d), f32.
    fn weights(&self) -> Result<Tensor> {
        self.draws.to_dtype(DType::F32)?.broadcast_mul(&self.sigma.to_dtype(DType::F32)?.unsqueeze(1)?)
    }
}

impl FeatureMap for Rfa {
    fn forward(&self, x: &Tensor, _: Side, _: Rows) -> Result<Features> {
        let x = x.to_dtype(DType::F32)?;
        // The tiny term keeps the gradient of the square root finite at the zero vector.
        let norm = (x.sqr()?.sum_keepdim(D::Minus1)? + 1e-24)?.sqrt()?;
        let x = x.broadcast_div(&(norm + NORM_EPSILON)?)?;
        let angles = project(&x, &self.weights()?)?;
        let scale = (2.0 / self.shape.feature_dim as f64).sqrt();
        Ok((Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)? * scale)?.into())
    }

    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, kernels: Kernels) -> Result<Features> {
        match kernels {
            Kernels::Plain => self.forward(x, side, rows),
            Kernels::Fused(simd) => Ok(ops::fourier(x, &self.weights()?, NORM_EPSILON as f32, simd)?.into()),
        }
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![("sigma", self.sigma.clone()), ("draws", self.draws.clone())]
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(RfaOnSlices {
            kernels,
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
        self.normalizer
    }
}

struct RfaOnSlices {
    kernels: Kernels,
    shape: MapShape,
    /// σ ⊙ ε (h_kv, D, d), multiplied once.
    weights: Vec<f32>,
    draws: Vec<f32>,
    sigma: Vec<f32>,
}

impl SliceMap for RfaOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let MapShape { head_dim: d, feature_dim, .. } = self.shape;
        let n_draws = feature_dim / 2;
        let weight = &self.weights[at.head * n_draws * d..][..n_draws * d];
        self.kernels.fourier(x, weight, NORM_EPSILON as f32, out);
        0.0
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
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
        let sines = angles.iter().map(|a| scale * a.sin());
        sines.chain(angles.iter().map(|a| scale * a.cos())).collect::<Vec<_>>().into()
    }
}
