//! What the fused kernels of linear attention are fed: features, with gates and running maxima turned into factors of keys
//! and decays of sums.

use candle_core::{Result, Tensor};

use super::{LinearAttention, against_their_top, within};
use crate::{
    attention::{
        Qkv,
        feature_map::{Features, Rows, Side},
        pace::{log_gate, running_maximum},
    },
    kernels::{Kernels, Simd},
};

/// What a whole pass looks at: all that came before, from sums with a level where features have a scale; or a source
/// without its padding.
pub(super) enum Pass<'a> {
    Causal(Option<&'a Tensor>),
    Full(Option<Vec<usize>>),
}

/// What the fused kernels are fed.
pub(super) struct Fed {
    /// φ(q) (b, h, n, m).
    pub(super) phi_q: Tensor,
    /// φ(k) (b, h_kv, M, m), with the gate's share or its scale in it.
    pub(super) phi_k: Tensor,
    /// Logarithms (b, h_kv, M) of the factors of the sums before each token.
    pub(super) log_decay: Option<Tensor>,
    /// The level of the sums after the last token (b, h_kv, 1).
    pub(super) level: Option<Tensor>,
}

/// Keys with a scale, as the fused kernels are fed them: the running maximum is a decay of the sums, and a factor of each key.
pub(in crate::attention) struct Raised {
    /// φ(k) (b, h_kv, M, m) against the maximum so far.
    pub(in crate::attention) phi_k: Tensor,
    /// (b, h_kv, M), without a gradient.
    pub(in crate::attention) log_decay: Tensor,
    /// The largest scale so far, at each key (b, h_kv, M).
    pub(in crate::attention) maxima: Tensor,
}

/// From φ(k) (b, h_kv, M, m), its log scales (b, h_kv, M) and the level of the sums before it.
pub(in crate::attention) fn raised(phi: &Tensor, scales: &Tensor, before: Option<&Tensor>) -> Result<Raised> {
    let source = scales.dim(2)?;
    let maxima = running_maximum(scales)?;
    let maxima = match before {
        Some(before) => maxima.broadcast_maximum(before)?,
        None => maxima,
    };
    let first = before.map_or_else(|| maxima.narrow(2, 0, 1), |before| Ok(before.clone()))?;
    let before = Tensor::cat(&[&first, &maxima.narrow(2, 0, source - 1)?], 2)?;
    let phi_k = phi.broadcast_mul(&(scales - &maxima)?.exp()?.unsqueeze(3)?)?;
    Ok(Raised { phi_k, log_decay: (before - &maxima)?.detach(), maxima })
}

impl LinearAttention {
    /// What the fused kernels want of tokens at `start..`. A causal pass goes on from the `level` of the sums before it.
    pub(super) fn features(&self, qkv: &Qkv, start: usize, pass: &Pass<'_>, simd: Simd) -> Result<Fed> {
        let ((batch, h, n, input), source) = (qkv.q.dims4()?, qkv.k.dim(2)?);
        within(self.map.as_ref(), start + n.max(source))?;
        let (kv, group, m) = (self.heads.n_kv_heads, self.heads.group(), self.map.feature_dim());
        let rows = qkv.q.contiguous()?.reshape((batch, kv, group * n, input))?;
        let kernels = Kernels::Fused(simd);
        let phi_q = self.map.forward_by(&rows, Side::Query, Rows { start, n }, kernels)?.phi;
        let Features { phi, log_scale } = self.map.forward_by(&qkv.k, Side::Key, Rows { start, n: source }, kernels)?;
        let phi_q = phi_q.reshape((batch, h, n, m))?;
        let still = |phi_k| Ok(Fed { phi_q: phi_q.clone(), phi_k, log_decay: None, level: None });
        match (self.gated, &qkv.gate, log_scale, pass) {
            (true, None, ..) => candle_core::bail!("a gated variant got no gate"),
            (true, Some(gate), ..) => {
                let (keep, take) = log_gate(gate)?;
                let phi_k = phi.broadcast_mul(&take.exp()?.unsqueeze(3)?)?;
                Ok(Fed { phi_q, phi_k, log_decay: Some(keep), level: None })
            }
            (false, _, None, _) => still(phi),
            (false, _, Some(scales), Pass::Causal(before)) => {
                let Raised { phi_k, log_decay, maxima } = raised(&phi, &scales, *before)?;
                Ok(Fed { phi_q, phi_k, log_decay: Some(log_decay), level: Some(maxima.narrow(2, source - 1, 1)?) })
            }
            (false, _, Some(scales), Pass::Full(lengths)) => {
                still(phi.broadcast_mul(&against_their_top(scales, lengths.as_deref())?.exp()?.unsqueeze(3)?)?)
            }
        }
    }
}
