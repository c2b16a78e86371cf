//! φ(x) = elu(x) + 1 (Katharopoulos et al. 2020, eq. 7): fixed, positive, as long as the head is wide.

use candle_core::{DType, Result, Tensor};

use super::{At, FeatureMap, Features, Formula, MapEntry, Rows, Side, SliceMap};
use crate::{
    kernels::{Kernels, activation::Activation, linear::Normalizer},
    ops,
};

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "elu",
    summary: "linear attention with φ(x) = elu(x) + 1, m = head_dim",
    build: |_, shape, _, _| Ok(Box::new(Elu { dim: shape.head_dim })),
    fused: true,
    ..MapEntry::PLAIN
};

#[derive(Clone, Copy)]
struct Elu {
    dim: usize,
}

impl FeatureMap for Elu {
    fn forward(&self, x: &Tensor, _: Side, _: Rows) -> Result<Features> {
        // elu(x) + 1 is x + 1 above zero and exp(x) below, written so: exp(x) − 1 + 1 would lose small features. The
        // clamp keeps the branch that is not taken finite, whose gradient would otherwise be 0 · inf.
        let x = x.to_dtype(DType::F32)?;
        let below = x.neg()?.relu()?.neg()?.exp()?;
        Ok(x.gt(0f32)?.where_cond(&(&x + 1.0)?, &below)?.into())
    }

    fn forward_by(&self, x: &Tensor, side: Side, rows: Rows, kernels: Kernels) -> Result<Features> {
        match kernels {
            Kernels::Plain => self.forward(x, side, rows),
            Kernels::Fused(simd) => Ok(ops::activation(x, Activation::EluPlusOne, simd)?.into()),
        }
    }

    fn on_slices(&self, kernels: Kernels) -> Result<Box<dyn SliceMap>> {
        Ok(Box::new(EluOnSlices { kernels }))
    }

    fn feature_dim(&self) -> usize {
        self.dim
    }

    fn normalizer(&self) -> Normalizer {
        Normalizer::AddEpsilon(1e-6)
    }
}

struct EluOnSlices {
    kernels: Kernels,
}

impl SliceMap for EluOnSlices {
    fn apply(&self, x: &[f32], _: At, out: &mut [f32]) -> f32 {
        self.kernels.elu_plus_one(x, out);
        0.0
    }

    fn is_by_number(&self) -> bool {
        true
    }

    fn formula(&self, x: &[f64], _: At) -> Formula {
        x.iter().map(|x| if *x > 0.0 { x + 1.0 } else { x.exp() }).collect::<Vec<_>>().into()
    }
}
