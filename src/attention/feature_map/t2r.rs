//! φ(x) = relu(W x + b) (Kasai et al. 2021, eq. 5): learned, one W and b per key head, shared by queries and keys.
//!
//! Queries are multiplied by d^-½ before the map and keys are not, as in the authors' code. Behind a merged projection
//! only the relu is left.

use candle_core::{DType, Result, Tensor};

use super::{
    At, DEFAULT_FEATURE_DIM, FeatureMap, Features, Formula, MapEntry, MapShape, Rows, Side, SliceMap, Values, project,
    to_slice,
};
use crate::{
    attention::is_merged,
    kernels::{Kernels, activation::Activation, linear::Normalizer},
    ops,
    params::Init,
};

/// The denominator never falls below this (the authors' code), so that all-zero features give 0 and not NaN.
const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-2);

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "t2r",
    summary: "linear attention with the learned φ(x) = relu(W x + b), shared by queries and keys",
    params: &[("merged", Values::OneOf(&["true", "false"]))],
    feature_dim: |_, _, asked| Ok(asked.unwrap_or(DEFAULT_FEATURE_DIM)),
    build: |spec, shape, params, prefix| {
        if is_merged(spec) {
            return Ok(Box::new(Merged { dim: shape.feature_dim }));
        }
        let MapShape { n_kv_heads, head_dim, feature_dim } = shape;
        let bound = Init::Uniform(1.0 / (head_dim as f64).sqrt());
        let weight = params.get(&format!("{prefix}.weight"), (n_kv_heads, feature_dim, head_dim), bound)?;
        let bias = params.get(&format!("{prefix}.bias"), (n_kv_heads, feature_dim), bound)?;
        Ok(Box::new(T2r { shape, weight, bias }))
    },
    fused: true,
    flops: |m, d| 2 * m * d + m,
    ..MapEntry::PLAIN
};

struct T2r {
    shape: MapShape,
    /// (h_kv, m, d)
    weight: Tensor,
    /// (h_kv, m)
    bias: Tensor,
}

fn query_scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

impl FeatureMap for T2r {
    fn forward(&self, x: &Tensor, side: Side, _: Rows) -> Result<Features> {
        let x = if side == Side::Query { (x * query_scale(self.shape.head_dim))? } else { x.clone() };
        let bias = self.bias.to_dtype(DType::F32)?.unsqueeze(1)?.unsqueeze(0)?; // (1, h_kv, 1, m)
        Ok(project(&x, &self.weight)?.broadcast_add(&bias)?.relu()?.into())
    }

    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, kernels: Kernels) -> Result<Features> {
        let Kernels::Fused(simd) = kernels else { return self.forward(x, side, rows) };
        let scale = if side == Side::Query { query_scale(self.shape.head_dim) as f32 } else { 1.0 };
        Ok(ops::affine(x, (scale, 0.0), &self.weight, &self.bias, simd)?.into())
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![("weight", self.weight.clone()), ("bias", self.bias.clone())]
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(T2rOnSlices {
            kernels,
            shape: self.shape,
            weight: to_slice(&self.weight)?,
            bias: to_slice(&self.bias)?,
            query_scale: query_scale(self.shape.head_dim) as f32,
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

    /// `W̃ = s·W_φ W` and `b̃ = b_φ + s·W_φ b` per head, s = d^-½ for queries and 1 for keys (Kasai et al. 2021, §3.2).
    fn merge(&self, weight: &Tensor, bias: &Tensor, side: Side) -> Result<Option<(Tensor, Tensor)>> {
        let MapShape { n_kv_heads, head_dim, feature_dim } = self.shape;
        let (rows, width) = weight.dims2()?;
        let n_heads = rows / head_dim;
        let scale = if side == Side::Query { query_scale(head_dim) } else { 1.0 };
        // One map per key head, repeated for its group of query heads: (h, m, d) and (h, m).
        let group = n_heads / n_kv_heads;
        let of_head: Vec<u32> = (0..n_heads).map(|h| (h / group) as u32).collect();
        let of_head = Tensor::new(of_head, weight.device())?;
        let map = (self.weight.index_select(&of_head, 0)? * scale)?;
        let merged = map.matmul(&weight.reshape((n_heads, head_dim, width))?)?;
        let shift = map.matmul(&bias.reshape((n_heads, head_dim, 1))?)?.squeeze(2)?;
        let merged_bias = (self.bias.index_select(&of_head, 0)? + shift)?;
        let rows = n_heads * feature_dim;
        Ok(Some((merged.reshape((rows, width))?, merged_bias.reshape(rows)?)))
    }

    fn merged(&self) -> Option<Box<dyn FeatureMap>> {
        Some(Box::new(Merged { dim: self.shape.feature_dim }))
    }
}

struct T2rOnSlices {
    kernels: Kernels,
    shape: MapShape,
    weight: Vec<f32>,
    bias: Vec<f32>,
    query_scale: f32,
}

impl T2rOnSlices {
    /// W (m, d) and b (m) of one head.
    fn of_head(&self, head: usize) -> (&[f32], &[f32]) {
        let MapShape { head_dim: d, feature_dim: m, .. } = self.shape;
        (&self.weight[head * m * d..][..m * d], &self.bias[head * m..][..m])
    }
}

impl SliceMap for T2rOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let scale = if at.side == Side::Query { self.query_scale } else { 1.0 };
        let (weight, bias) = self.of_head(at.head);
        self.kernels.affine_relu(x, scale, weight, bias, out);
        0.0
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
        let scale = if at.side == Side::Query { query_scale(self.shape.head_dim) } else { 1.0 };
        let (weight, bias) = self.of_head(at.head);
        let row_times_x = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * scale * x).sum::<f64>();
        weight.chunks(x.len()).zip(bias).map(|(row, b)| (row_times_x(row) + f64::from(*b)).max(0.0)).collect::<Vec<_>>().into()
    }
}

/// The relu that is left behind a merged projection.
#[derive(Clone, Copy)]
struct Merged {
    dim: usize,
}

impl FeatureMap for Merged {
    fn forward(&self, x: &Tensor, _: Side, _: Rows) -> Result<Features> {
        Ok(x.to_dtype(DType::F32)?.relu()?.into())
    }

    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, kernels: Kernels) -> Result<Features> {
        match kernels {
            Kernels::Plain => self.forward(x, side, rows),
            Kernels::Fused(simd) => Ok(ops::activation(x, Activation::Relu, simd)?.into()),
        }
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(MergedOnSlices { kernels }))
    }

    fn feature_dim(&self) -> usize {
        self.dim
    }

    fn normalizer(&self) -> Normalizer {
        NORMALIZER
    }
}

struct MergedOnSlices {
    kernels: Kernels,
}

impl SliceMap for MergedOnSlices {
    fn apply(&self, x: &[f32], _: At, out: &mut [f32]) -> f32 {
        self.kernels.relu(x, out);
        0.0
    }

    fn is_by_number(&self) -> bool {
        true
    }

    fn formula(&self, x: &[f64], _: At) -> Formula {
        x.iter().map(|x| x.max(0.0)).collect::<Vec<_>>().into()
    }
}
