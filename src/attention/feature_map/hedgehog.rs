//! φ(x) = softmax(W x + b) ⊕ softmax(−W x − b) (Zhang et al. 2024, arXiv 2402.04347), W ∈ R^{m/2 × d}: learned, queries
//! and keys with maps of their own, W starts as the identity.

use candle_core::{D, DType, Result, Tensor};

use super::{
    At, FeatureMap, Features, Formula, MapEntry, MapShape, Rows, Side, SliceMap, even, project, to_slice,
};
use crate::{
    kernels::{Kernels, linear::Normalizer},
    ops,
    params::{Init, Params},
};

/// Features are positive and sum to 2; this only keeps opposite one-hot features from 0 / 0.
const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-12);

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "hedgehog",
    summary: "linear attention with the learned φ(x) = softmax(W x + b) ⊕ softmax(−W x − b), apart for q and k",
    feature_dim: |spec, head_dim, asked| even(&spec.name, asked.unwrap_or(2 * head_dim)),
    build: |_, shape, params, prefix| {
        let query = Affine::new(shape, params, &format!("{prefix}.query"))?;
        let key = Affine::new(shape, params, &format!("{prefix}.key"))?;
        Ok(Box::new(Hedgehog { shape, query, key }))
    },
    fused: true,
    flops: |m, d| m * d + m,
    ..MapEntry::PLAIN
};

struct Affine {
    /// (h_kv, m/2, d)
    weight: Tensor,
    /// (h_kv, m/2)
    bias: Tensor,
}

impl Affine {
    fn new(shape: MapShape, params: &mut Params, name: &str) -> Result<Self> {
        let MapShape { n_kv_heads, head_dim, feature_dim } = shape;
        let half = feature_dim / 2;
        let identity = || {
            let rows = (0..n_kv_heads).flat_map(|_| 0..half);
            rows.flat_map(|i| (0..head_dim).map(move |j| f32::from(u8::from(i == j)))).collect()
        };
        Ok(Self {
            weight: params.get_from(&format!("{name}.weight"), (n_kv_heads, half, head_dim), identity)?,
            bias: params.get(&format!("{name}.bias"), (n_kv_heads, half), Init::Constant(0.0))?,
        })
    }
}

struct Hedgehog {
    shape: MapShape,
    query: Affine,
    key: Affine,
}

/// Over the last dimension, of differentiable operations. The maximum cancels, so it carries no gradient.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

impl FeatureMap for Hedgehog {
    fn forward(&self, x: &Tensor, side: Side, _: Rows) -> Result<Features> {
        let affine = if side == Side::Query { &self.query } else { &self.key };
        let bias = affine.bias.to_dtype(DType::F32)?.unsqueeze(1)?.unsqueeze(0)?; // (1, h_kv, 1, m/2)
        let x = project(x, &affine.weight)?.broadcast_add(&bias)?;
        Ok(Tensor::cat(&[softmax(&x)?, softmax(&x.neg()?)?], D::Minus1)?.into())
    }

    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, kernels: Kernels) -> Result<Features> {
        let Kernels::Fused(simd) = kernels else { return self.forward(x, side, rows) };
        let Affine { weight, bias } = if side == Side::Query { &self.query } else { &self.key };
        let x = ops::affine(x, (1.0, f32::NEG_INFINITY), weight, bias, simd)?;
        Ok(ops::opposite_softmaxes(&x, simd)?.into())
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![
            ("query.weight", self.query.weight.clone()),
            ("query.bias", self.query.bias.clone()),
            ("key.weight", self.key.weight.clone()),
            ("key.bias", self.key.bias.clone()),
        ]
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        let of = |a: &Affine| -> Result<(Vec<f32>, Vec<f32>)> { Ok((to_slice(&a.weight)?, to_slice(&a.bias)?)) };
        Ok(Box::new(HedgehogOnSlices { kernels, shape: self.shape, query: of(&self.query)?, key: of(&self.key)? }))
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

struct HedgehogOnSlices {
    kernels: Kernels,
    shape: MapShape,
    query: (Vec<f32>, Vec<f32>),
    key: (Vec<f32>, Vec<f32>),
}

impl HedgehogOnSlices {
    /// W (m/2, d) and b (m/2) of one head and side.
    fn of(&self, at: At) -> (&[f32], &[f32]) {
        let (weight, bias) = if at.side == Side::Query { &self.query } else { &self.key };
        let (half, d) = (self.shape.feature_dim / 2, self.shape.head_dim);
        (&weight[at.head * half * d..][..half * d], &bias[at.head * half..][..half])
    }
}

impl SliceMap for HedgehogOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let (weight, bias) = self.of(at);
        let (above, below) = out.split_at_mut(bias.len());
        self.kernels.matrix_vector(weight, x, above);
        for ((above, below), b) in above.iter_mut().zip(&mut *below).zip(bias) {
            *above += b;
            *below = -*above;
        }
        for half in [above, below] {
            let inverse = 1.0 / self.kernels.exponentials(half).1;
            half.iter_mut().for_each(|x| *x *= inverse);
        }
        0.0
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
        let (weight, bias) = self.of(at);
        let row = |row: &[f32], b: &f32| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*b);
        let affine: Vec<f64> = weight.chunks(x.len()).zip(bias).map(|(w, b)| row(w, b)).collect();
        let softmax = |sign: f64| -> Vec<f64> {
            let top = affine.iter().map(|x| sign * x).fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = affine.iter().map(|x| (sign * x - top).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|x| x / sum).collect()
        };
        [softmax(1.0), softmax(-1.0)].concat().into()
    }
}
