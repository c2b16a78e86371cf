//! φ(x) at position i = [relu(x)·sin(πi/2M), relu(x)·cos(πi/2M)] (Qin et al. 2022, §3.3): similarities fade with
//! distance as the cosine of π(i − j)/2M. M is fixed; position M and beyond is refused, where the cosine would turn.

use std::f64::consts::FRAC_PI_2;

use candle_core::{D, DType, Result, Tensor};

use super::{At, FeatureMap, Features, Formula, MapEntry, Rows, Side, SliceMap, Values, count};
use crate::kernels::{Kernels, linear::Normalizer};

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "cosformer",
    summary: "linear attention with relu features weighted by the cosine of the distance, m = 2·head_dim",
    params: &[("max_len", Values::Count("8192"))],
    feature_dim: |_, head_dim, _| Ok(2 * head_dim),
    build: |spec, shape, _, _| {
        Ok(Box::new(Cosformer { head_dim: shape.head_dim, max_len: count(spec, "max_len")? }))
    },
    fused: true,
    ..MapEntry::PLAIN
};

#[derive(Clone, Copy)]
struct Cosformer {
    head_dim: usize,
    max_len: usize,
}

impl Cosformer {
    /// Angle of a position, below π/2.
    fn angle(self, position: usize) -> f64 {
        FRAC_PI_2 * position as f64 / self.max_len as f64
    }
}

impl FeatureMap for Cosformer {
    fn forward(&self, x: &Tensor, _: Side, rows: Rows) -> Result<Features> {
        let x = x.to_dtype(DType::F32)?.relu()?;
        let n_rows = x.dim(2)?;
        let angle = |r: usize| self.angle(rows.start + r % rows.n.max(1));
        let table = |f: fn(f64) -> f64| -> Result<Tensor> {
            let column: Vec<f32> = (0..n_rows).map(|r| f(angle(r)) as f32).collect();
            x.broadcast_mul(&Tensor::from_vec(column, (1, 1, n_rows, 1), x.device())?)
        };
        Ok(Tensor::cat(&[table(f64::sin)?, table(f64::cos)?], D::Minus1)?.into())
    }

    fn on_slices(&self, _: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(*self))
    }

    fn feature_dim(&self) -> usize {
        2 * self.head_dim
    }

    fn input_dim(&self) -> usize {
        self.head_dim
    }

    fn normalizer(&self) -> Normalizer {
        Normalizer::ClampMin(1e-6)
    }

    fn max_len(&self) -> Option<usize> {
        Some(self.max_len)
    }
}

impl SliceMap for Cosformer {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let (sin, cos) = self.angle(at.position).sin_cos();
        let (sines, cosines) = out.split_at_mut(x.len());
        for ((x, s), c) in x.iter().zip(sines).zip(cosines) {
            (*s, *c) = (x.max(0.0) * sin as f32, x.max(0.0) * cos as f32);
        }
        0.0
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
        let angle = std::f64::consts::PI * at.position as f64 / (2.0 * self.max_len as f64);
        let times = |factor: f64| x.iter().map(move |x| x.max(0.0) * factor);
        times(angle.sin()).chain(times(angle.cos())).collect::<Vec<_>>().into()
    }
}
