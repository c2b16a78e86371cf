//! A window of softmax and a feature map for all that came before it, under one denominator (as LoLCATs; Zhang et al.
//! 2024, arXiv 2410.10254).

mod step;
mod whole;

use candle_core::{D, DType, Device, Result, Tensor};

use self::step::HybridStepper;
use super::{
    Attention, Heads, Mask, Qkv, Sizes, SoftmaxAttention, StepError, Stepper, TensorState,
    feature_map::{FeatureMap, Rows, Side, to_slice},
    linear::{self, Sums, causal_sums, query_features, values_and_ones, within},
    pace::{NOTHING, Pace},
};
use crate::kernels::{Kernels, linear::Normalizer};

/// `out_i = (Σ_{j in window} a_ij v_j + γ Σ_{j before} φ(q_i)·φ(k_j) v_j) / (Σ_{j in window} a_ij + γ Σ_{j before}
/// φ(q_i)·φ(k_j))`, a_ij = exp(q_i·k_j/√d − c_i), c_i the window's largest score, γ > 0 learned per query head, as its
/// logarithm: what were negative would have no gradient back.
pub struct HybridAttention {
    heads: Heads,
    window: usize,
    map: Box<dyn FeatureMap>,
    scaled: bool,
    /// (h).
    log_gamma: Tensor,
}

/// The window's share of the denominator is at least 1, so that only features of either sign can bring it near zero.
fn normalizer(map: Normalizer) -> Normalizer {
    match map {
        Normalizer::SignedClamp(_) => map,
        Normalizer::AddEpsilon(_) | Normalizer::ClampMin(_) => Normalizer::ClampMin(1e-30),
    }
}

/// The last tokens of (b, h_kv, M, ·), no more than the window holds.
fn last(all: &Tensor, window: usize) -> Result<Tensor> {
    let len = all.dim(2)?;
    let keep = len.min(window);
    all.narrow(2, len - keep, keep)?.contiguous()
}

impl HybridAttention {
    /// A layer of these heads, with a window of so many tokens before this map.
    #[must_use]
    pub fn new(heads: Heads, window: usize, map: Box<dyn FeatureMap>, scaled: bool, log_gamma: Tensor) -> Self {
        Self { heads, window, map, scaled, log_gamma }
    }

    fn empty(&self, batch: usize, dtype: DType, device: &Device) -> Result<TensorState> {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let none = Tensor::zeros((batch, n_kv_heads, 0, head_dim), dtype, device)?;
        let Sums { sums, level } = Sums::empty(batch, self.heads, self.map.feature_dim(), self.scaled, device)?;
        Ok(TensorState::Hybrid { keys: none.clone(), values: none, sums, level, seen: 0, window: self.window })
    }

    /// Features and values of the keys that leave the window as each of the n new tokens enters it: key t − w at t,
    /// nothing while there is none.
    fn leaving(&self, keys: &Tensor, values: &Tensor, s: &Sizes, seen: usize) -> Result<(Tensor, Tensor, Pace)> {
        let held = keys.dim(2)? - s.n;
        let missing = (self.window - held).min(s.n);
        let len = s.n - missing;
        let none =
            |width: usize| Tensor::zeros((s.batch, self.heads.n_kv_heads, missing, width), DType::F32, keys.device());
        let nothing = || none(1)?.squeeze(3)? + NOTHING;
        if len == 0 {
            let pace = if self.scaled { Pace::RunningMaximum { scales: nothing()? } } else { Pace::Still };
            return Ok((none(self.map.feature_dim())?, none(s.value_dim + 1)?, pace));
        }
        // The first that leaves is the oldest there is.
        let start = seen.saturating_sub(held);
        let (keys, values) = (keys.narrow(2, 0, len)?, values.narrow(2, 0, len)?);
        let features = self.map.forward(&keys.contiguous()?, Side::Key, Rows { start, n: len })?;
        let pace = match features.log_scale {
            None => Pace::Still,
            Some(scales) => Pace::RunningMaximum { scales: Tensor::cat(&[&nothing()?, &scales], 2)? },
        };
        let phi = Tensor::cat(&[&none(self.map.feature_dim())?, &features.phi], 2)?;
        Ok((phi, Tensor::cat(&[&none(s.value_dim + 1)?, &values_and_ones(&values)?], 2)?, pace))
    }
}

impl Attention for HybridAttention {
    fn forward(&self, qkv: &Qkv, mask: &Mask) -> Result<Tensor> {
        match mask {
            Mask::Causal => {
                let batch = qkv.q.dim(0)?;
                self.extend(qkv, &mut self.empty(batch, qkv.k.dtype(), qkv.k.device())?)
            }
            Mask::Full { .. } => Err(StepError::LooksBackOnly.into()),
        }
    }

    fn extend(&self, qkv: &Qkv, state: &mut TensorState) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        s.require_square()?;
        let TensorState::Hybrid { keys, values, sums, level, seen, window } = state else {
            return Err(StepError::WrongState.into());
        };
        let shape = (s.batch, self.heads.n_heads, s.n, s.value_dim);
        if s.n == 0 || s.batch == 0 {
            return Tensor::zeros(shape, qkv.v.dtype(), qkv.v.device());
        }
        within(self.map.as_ref(), *seen + s.n)?;
        let all_keys = Tensor::cat(&[&*keys, &qkv.k], 2)?;
        let all_values = Tensor::cat(&[&*values, &qkv.v], 2)?;
        let held = keys.dim(2)?;
        let near = SoftmaxAttention::window_of_hybrid(self.heads, *window).causal(
            &qkv.q,
            &all_keys,
            &all_values,
            held,
            |n| Tensor::cat(&[n.values, n.total], D::Minus1),
        )?;
        let (phi_q, query_scale) = query_features(self.map.as_ref(), self.heads, &qkv.q, *seen)?;
        let (phi_k, v, pace) = self.leaving(&all_keys, &all_values, &s, *seen)?;
        let far = causal_sums(&phi_q, &phi_k, &v, &pace, Sums { sums: sums.clone(), level: level.clone() })?;
        let (kv, group) = (self.heads.n_kv_heads, self.heads.group());
        let near = near.reshape((s.batch, kv, group, s.n, s.value_dim + 1))?;
        let gamma = self.log_gamma.to_dtype(DType::F32)?.exp()?.reshape((1, kv, group, 1, 1))?;
        let (near, far_sums) = match (far.levels, query_scale) {
            (Some(levels), Some(scale)) => {
                // The true scale of the features matters here; what is beyond 1 is taken from the window instead.
                let scale = scale.broadcast_add(&levels.unsqueeze(2)?)?.unsqueeze(4)?;
                let above = scale.relu()?.neg()?.exp()?;
                let below = scale.minimum(0f32)?.exp()?;
                (near.broadcast_mul(&above)?, far.sums.broadcast_mul(&below)?)
            }
            _ => (near, far.sums),
        };
        let both = (near + far_sums.broadcast_mul(&gamma)?)?;
        let out = linear::normalize(&both, normalizer(self.map.normalizer()))?;
        *seen += s.n;
        (*keys, *values) = (last(&all_keys, *window)?, last(&all_values, *window)?);
        (*sums, *level) = (far.after.sums, far.after.level);
        out.reshape(shape)?.to_dtype(qkv.v.dtype())
    }

    fn forward_by(&self, qkv: &Qkv, mask: &Mask, kernels: Kernels) -> Result<Tensor> {
        match (kernels, mask) {
            (Kernels::Fused(simd), Mask::Causal) => self.fused_forward(qkv, simd),
            _ => self.forward(qkv, mask),
        }
    }

    fn extend_by(&self, qkv: &Qkv, state: &mut TensorState, kernels: Kernels) -> Result<Tensor> {
        match kernels {
            Kernels::Fused(simd) => self.fused_extend(qkv, state, simd),
            Kernels::Plain => self.extend(qkv, state),
        }
    }

    fn tensor_state(&self, batch: usize, _capacity: usize, dtype: DType, device: &Device) -> Result<TensorState> {
        self.empty(batch, dtype, device)
    }

    fn stepper_by(&self, kernels: Kernels) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(HybridStepper {
            kernels,
            heads: self.heads,
            softmax: SoftmaxAttention::window_of_hybrid(self.heads, self.window),
            feature_dim: self.map.feature_dim(),
            normalizer: normalizer(self.map.normalizer()),
            max_len: self.map.max_len(),
            scaled: self.scaled,
            gamma: to_slice(&self.log_gamma)?.iter().map(|log| log.exp()).collect(),
            window: self.window,
            map: self.map.on_slices(kernels)?,
        }))
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        let mut all = self.map.parameters();
        all.push(("log_gamma", self.log_gamma.clone()));
        all
    }
}
