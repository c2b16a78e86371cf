//! φ(x) = m^-½ · exp(w_i·x' − |x'|²/2), x' = x·d^-¼, w_i ~ N(0, I) orthogonal in blocks (Choromanski et al. 2021, FAVOR+):
//! positive random features of exp(q·k/√d).
//!
//! The exponentials overflow by themselves, so every row is written against its own largest exponent, which is handed on
//! as its scale: a query's cancels, and the state keeps the running maximum of the keys'. Nothing is added to the
//! denominator, since that would not scale along.

use candle_core::{D, DType, Result, Tensor};

use super::{
    At, DEFAULT_FEATURE_DIM, FeatureMap, Features, Formula, MapEntry, MapShape, Rows, Side, SliceMap,
    draws::orthogonal, project, to_slice,
};
use crate::kernels::{Kernels, dot, linear::Normalizer};

/// Far below every sum that is written against its largest exponent, unless all of it underflows.
const NORMALIZER: Normalizer = Normalizer::ClampMin(1e-30);

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "performer",
    summary: "linear attention with positive random features of the exponential (FAVOR+)",
    feature_dim: |_, _, asked| Ok(asked.unwrap_or(DEFAULT_FEATURE_DIM)),
    build: |_, shape, params, prefix| {
        let draws = orthogonal(shape, shape.feature_dim, params, &format!("{prefix}.draws"))?;
        Ok(Box::new(Performer { shape, draws }))
    },
    flops: |m, d| 2 * m * d + m,
    fused: true,
    scaled: true,
    ..MapEntry::PLAIN
};

struct Performer {
    shape: MapShape,
    /// (h_kv, m, d)
    draws: Tensor,
}

impl FeatureMap for Performer {
    fn forward(&self, x: &Tensor, _: Side, _: Rows) -> Result<Features> {
        let MapShape { head_dim, feature_dim, .. } = self.shape;
        let x = (x.to_dtype(DType::F32)? * (head_dim as f64).powf(-0.25))?;
        let half_square = (x.sqr()?.sum_keepdim(D::Minus1)? * 0.5)?;
        let exponents = project(&x, &self.draws)?.broadcast_sub(&half_square)?;
        // It is put back as the scale, so that it cancels and carries no gradient.
        let top = exponents.max_keepdim(D::Minus1)?.detach();
        let phi = (exponents.broadcast_sub(&top)?.exp()? * (feature_dim as f64).powf(-0.5))?;
        Ok(Features { phi, log_scale: Some(top.squeeze(D::Minus1)?) })
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        vec![("draws", self.draws.clone())]
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(PerformerOnSlices { kernels, shape: self.shape, draws: to_slice(&self.draws)? }))
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

struct PerformerOnSlices {
    kernels: Kernels,
    shape: MapShape,
    draws: Vec<f32>,
}

impl PerformerOnSlices {
    /// w (m, d) of one head.
    fn of_head(&self, head: usize) -> &[f32] {
        let MapShape { head_dim: d, feature_dim: m, .. } = self.shape;
        &self.draws[head * m * d..][..m * d]
    }
}

impl SliceMap for PerformerOnSlices {
    fn apply(&self, x: &[f32], at: At, out: &mut [f32]) -> f32 {
        let d = x.len() as f32;
        let shrink = d.powf(-0.25);
        let half_square = 0.5 * dot(x, x) / d.sqrt();
        self.kernels.matrix_vector(self.of_head(at.head), x, out);
        out.iter_mut().for_each(|out| *out = shrink * *out - half_square);
        let (top, _) = self.kernels.exponentials(out);
        let scale = (out.len() as f32).powf(-0.5);
        out.iter_mut().for_each(|e| *e *= scale);
        top
    }

    fn formula(&self, x: &[f64], at: At) -> Formula {
        let x: Vec<f64> = x.iter().map(|x| x / (self.shape.head_dim as f64).powf(0.25)).collect();
        let half_square = x.iter().map(|x| x * x).sum::<f64>() / 2.0;
        let exponent = |w: &[f32]| w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() - half_square;
        let exponents: Vec<f64> = self.of_head(at.head).chunks(x.len()).map(exponent).collect();
        let top = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let m = self.shape.feature_dim as f64;
        Formula { phi: exponents.iter().map(|e| (e - top).exp() / m.sqrt()).collect(), log_scale: top }
    }
}
