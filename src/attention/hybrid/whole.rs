//! Whole sequences of a hybrid by fused kernels.

use candle_core::{D, DType, Result, Tensor};

use super::{
    super::{
        Heads, Qkv, Sizes, StepError, TensorState,
        feature_map::{Features, Rows, Side},
        linear::{Raised, raised, within},
        pace::NOTHING,
    },
    HybridAttention, last, normalizer,
};
use crate::{
    kernels::{Kernels, Simd},
    ops::{Hybrid, hybrid_attention, hybrid_attention_after},
};

/// What the fused kernels are fed beside queries, keys and values.
struct Fed {
    phi_q: Tensor,
    phi_k: Tensor,
    log_decay: Option<Tensor>,
    shares: Tensor,
    /// The level of the sums after the last token, for features with a scale.
    level: Option<Tensor>,
}

impl Fed {
    fn operands<'a>(&'a self, q: &'a Tensor, k: &'a Tensor, v: &'a Tensor, of: &HybridAttention) -> Hybrid<'a> {
        Hybrid {
            q,
            k,
            v,
            phi_q: &self.phi_q,
            phi_k: &self.phi_k,
            log_decay: self.log_decay.as_ref(),
            shares: &self.shares,
            window: of.window,
            normalizer: normalizer(of.map.normalizer()),
        }
    }
}

impl HybridAttention {
    /// The causal forward.
    pub(super) fn fused_forward(&self, qkv: &Qkv, simd: Simd) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        s.require_square()?;
        if s.n == 0 || s.batch == 0 {
            return Tensor::zeros((s.batch, self.heads.n_heads, s.n, s.value_dim), DType::F32, qkv.v.device());
        }
        let fed = self.feed(&qkv.q, &qkv.k, 0, None, simd)?;
        hybrid_attention(fed.operands(&qkv.q, &qkv.k, &qkv.v, self), simd)
    }

    /// Tokens after those of a state.
    pub(super) fn fused_extend(&self, qkv: &Qkv, state: &mut TensorState, simd: Simd) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        s.require_square()?;
        let TensorState::Hybrid { keys, values, sums, level, seen, window } = state else {
            return Err(StepError::WrongState.into());
        };
        if s.n == 0 || s.batch == 0 {
            return self.fused_forward(qkv, simd);
        }
        let all_keys = Tensor::cat(&[&*keys, &qkv.k], 2)?;
        let all_values = Tensor::cat(&[&*values, &qkv.v], 2)?;
        let fed = self.feed(&qkv.q, &all_keys, *seen, level.as_ref(), simd)?;
        let of = fed.operands(&qkv.q, &all_keys, &all_values, self);
        let (out, after) = hybrid_attention_after(sums, of, simd)?;
        (*keys, *values) = (last(&all_keys, *window)?, last(&all_values, *window)?);
        (*sums, *level, *seen) = (after, fed.level, *seen + s.n);
        Ok(out)
    }

    /// Features of queries (b, h, n, d) from position `start` on and of the keys (b, h_kv, M, d) that end with theirs, from the
    /// `level` of the sums before them.
    fn feed(&self, q: &Tensor, keys: &Tensor, start: usize, level: Option<&Tensor>, simd: Simd) -> Result<Fed> {
        let ((batch, h, n, d), source) = (q.dims4()?, keys.dim(2)?);
        within(self.map.as_ref(), start + n)?;
        let (Heads { n_kv_heads: kv, .. }, group) = (self.heads, self.heads.group());
        let kernels = Kernels::Fused(simd);
        let rows = q.contiguous()?.reshape((batch, kv, group * n, d))?;
        let queries = self.map.forward_by(&rows, Side::Query, Rows { start, n }, kernels)?;
        let of_keys = Rows { start: start + n - source, n: source };
        let Features { phi, log_scale } = self.map.forward_by(keys, Side::Key, of_keys, kernels)?;
        let phi_q = queries.phi.reshape((batch, h, n, self.map.feature_dim()))?;
        let gamma = self.log_gamma.to_dtype(DType::F32)?.exp()?.reshape((1, h, 1))?.broadcast_as((batch, h, n))?;
        let (Some(scales), Some(of_queries)) = (log_scale, queries.log_scale) else {
            let shares = Tensor::stack(&[&gamma.ones_like()?, &gamma], D::Minus1)?;
            return Ok(Fed { phi_q, phi_k: phi, log_decay: None, shares, level: None });
        };
        let Raised { phi_k, log_decay, maxima } = raised(&phi, &scales, level)?;
        // Query i is read out of sums that end with key i − missing.
        let pairs = source.saturating_sub(self.window).min(n);
        let nothing = (Tensor::zeros((batch, kv, n - pairs), DType::F32, q.device())? + NOTHING)?;
        let levels = Tensor::cat(&[&nothing, &maxima.narrow(2, 0, pairs)?], 2)?;
        let scale = of_queries.reshape((batch, kv, group, n))?.broadcast_add(&levels.unsqueeze(2)?)?;
        let scale = scale.reshape((batch, h, n))?;
        // What is beyond 1 is taken from the window instead.
        let (above, below) = (scale.relu()?.neg()?.exp()?, scale.minimum(0f32)?.exp()?);
        let shares = Tensor::stack(&[&above, &(below * gamma)?], D::Minus1)?;
        let level = match pairs {
            0 => level.cloned(),
            _ => Some(maxima.narrow(2, pairs - 1, 1)?),
        };
        Ok(Fed { phi_q, phi_k, log_decay: Some(log_decay), shares, level })
    }
}
