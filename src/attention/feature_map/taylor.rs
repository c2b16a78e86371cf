//! φ(x) = [1, x'/p^¼, vec(x' ⊗ x')/√(2p)] of x' = P x ∈ R^p (Based; Arora et al. 2024, arXiv 2402.18668), so that
//! φ(q)·φ(k) = 1 + s + s²/2 with s = q'·k'/√p: the exponential of softmax to second order, never below 1/2.

use candle_core::{D, Result, Tensor};

use super::{
    At, FeatureMap, Features, Formula, MapEntry, MapShape, Rows, Side, SliceMap, Values, count, project, to_slice,
};
use crate::{
    kernels::{Kernels, linear::Normalizer},
    params::Init,
};

/// Every similarity is at least 1/2: nothing needs to be kept from zero, and this never binds.
const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-6);

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "taylor",
    summary: "linear attention with exp to second order over learned projections to p, m = 1 + p + p²",
    params: &[("p", Values::Count("16"))],
    feature_dim: |spec, _, _| {
        let p = count(spec, "p").map_err(|e| e.to_string())?;
        let m = p.checked_mul(p).and_then(|square| square.checked_add(p + 1));
        m.ok_or_else(|| format!("'{spec}': p = {p} gives too long features"))
    },
    build: |spec, shape, params, prefix| {
        let MapShape { n_kv_heads, head_dim, .. } = shape;
        let p = count(spec, "p")?;
        let bound = Init::Uniform(1.0 / (head_dim as f64).sqrt());
        let mut weight = |side: &str| params.get(&format!("{prefix}.{side}.weight"), (n_kv_heads, p, head_dim), bound);
        Ok(Box::new(Taylor { shape, p, query: weight("query")?, key: weight("key")? }))
    },
    fused: true,
    // p² ≤ m < (p + 1)², so the root of m is p.
    flops: |m, d| 2 * m.isqrt() * d + m,
    ..MapEntry::PLAIN
};

struct Taylor {
    shape: MapShape,
    p: usize,
    /// (h_kv, p, d)
    query: Tensor,
    /// (h_kv, p, d)
    key: Tensor,
}

impl FeatureMap for Taylor {
    fn forward(&self, x: &Tensor, side: Side, _: Rows) -> Result<Features> {
        let x = project(x, if side == Side::Query { &self.query } else { &self.key })?;
        let (batch, heads, rows, p) = x.dims4()?;
        let root = (p as f64).sqrt();
        let square = x.unsqueeze(4)?.broadcast_mul(&x.unsqueeze(3)?)?.reshape((batch, heads, rows, p * p))?;
        let one = Tensor::ones((batch, heads, rows, 1), x.dtype(), x.device())?;
        let parts = [one, (&x / root.sqrt())?, (square / (2.0f64.sqrt() * root))?];
        Ok(Tensor::cat(&parts, D::Minus1)?.into())
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![("query.weight", self.query.clone()), ("key.weight", self.key.clone())]
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        let (query, key) = (to_slice(&self.query)?, to_slice(&self.key)?);
        Ok(Box::new(TaylorOnSlices { kernels, d: self.shape.head_dim, p: self.p, query, key }))
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

struct TaylorOnSlices {
    kernels: Kernels,
    d: usize,
    p: usize,
    query: Vec<f32>,
    key: Vec<f32>,
}

impl TaylorOnSlices {
    /// P (p, d) of one head and side.
    fn of(&self, at: At) -> &[f32] {
        let weight = if at.side == Side::Query { &self.query } else { &self.key };
        &weight[at.head * self.p * self.d..][..self.p * self.d]
    }
}

impl SliceMap for TaylorOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let root = (self.p as f32).sqrt();
        let (first, squares) = out.split_at_mut(1 + self.p);
        let (one, projected) = first.split_at_mut(1);
        one[0] = 1.0;
        self.kernels.matrix_vector(self.of(at), x, projected);
        let scale = 1.0 / (2f32.sqrt() * root);
        for (row, a) in squares.chunks_exact_mut(self.p).zip(&*projected) {
            row.iter_mut().zip(&*projected).for_each(|(out, b)| *out = scale * a * b);
        }
        projected.iter_mut().for_each(|y| *y /= root.sqrt());
        0.0
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
        let row = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let y: Vec<f64> = self.of(at).chunks(self.d).map(row).collect();
        let p = self.p as f64;
        let mut phi = vec![1.0];
        phi.extend(y.iter().map(|y| y / p.powf(0.25)));
        phi.extend(y.iter().flat_map(|a| y.iter().map(move |b| a * b / (2.0 * p).sqrt())));
        phi.into()
    }
}
