//! Linear attention over any feature map: chunked and differentiable over tensors, recurrent in place on slices.

mod feed;
mod step;

use candle_core::{D, DType, Device, Result, Tensor};

use self::{
    feed::{Fed, Pass},
    step::LinearStepper,
};
pub(super) use self::{
    feed::{Raised, raised},
    step::raise,
};
use super::{
    Attention, Heads, Mask, Qkv, Sizes, StepError, Stepper, TensorState,
    feature_map::{FeatureMap, Features, Rows, Side},
    pace::{NOTHING, Pace},
    softmax::padding,
};
use crate::{
    kernels::{Kernels, linear::Normalizer},
    ops::{Linear, linear_attention, linear_attention_after},
};

/// Tokens whose mutual weights are in memory together in the causal forward.
pub const CHUNK: usize = 64;

/// `out_i = φ(q_i)ᵀ S_i / (φ(q_i)·z_i)` with S_i = g_i S_{i-1} + (1 − g_i) φ(k_i) v_iᵀ and z_i likewise, or plain sums
/// where there is no gate; see [`Normalizer`] for the denominator. Sums are kept in f32 whatever the dtype of the inputs.
pub struct LinearAttention {
    heads: Heads,
    map: Box<dyn FeatureMap>,
    /// Whether [`Qkv::gate`] decays the sums.
    gated: bool,
    /// Whether features come with a scale.
    scaled: bool,
}

impl LinearAttention {
    /// A layer of these heads with this map.
    #[must_use]
    pub fn new(heads: Heads, map: Box<dyn FeatureMap>, gated: bool, scaled: bool) -> Self {
        Self { heads, map, gated, scaled }
    }

    /// How the weights of these keys move: by the gate, by the scale of the features, or not.
    fn pace(&self, qkv: &Qkv, keys: &Features) -> Result<Pace> {
        match (self.gated, &qkv.gate, &keys.log_scale) {
            (true, None, _) => candle_core::bail!("a gated variant got no gate"),
            (true, Some(gate), _) => Pace::gate(gate),
            (false, _, Some(scales)) => Ok(Pace::RunningMaximum { scales: scales.clone() }),
            (false, _, None) => Ok(Pace::Still),
        }
    }

    /// Causal attention from the sums before the first token to the sums after the last.
    fn causal(&self, qkv: &Qkv, s: &Sizes, start: usize, before: Sums) -> Result<(Tensor, Sums)> {
        within(self.map.as_ref(), start + s.n)?;
        let (phi_q, _) = query_features(self.map.as_ref(), self.heads, &qkv.q, start)?;
        let keys = self.map.forward(&qkv.k, Side::Key, Rows { start, n: s.n })?;
        let pace = self.pace(qkv, &keys)?;
        let read = causal_sums(&phi_q, &keys.phi, &values_and_ones(&qkv.v)?, &pace, before)?;
        let out = normalize(&read.sums, self.map.normalizer())?;
        Ok((out.reshape((s.batch, self.heads.n_heads, s.n, s.value_dim))?.to_dtype(qkv.v.dtype())?, read.after))
    }

    /// Sums over a whole source, without its padding: (b, h_kv, m, d_v + 1).
    fn source_sums(&self, k: &Tensor, v: &Tensor, source_lengths: Option<&[usize]>) -> Result<Tensor> {
        let (batch, _, source, _) = k.dims4()?;
        within(self.map.as_ref(), source)?;
        let Features { mut phi, log_scale } = self.map.forward(k, Side::Key, Rows { start: 0, n: source })?;
        let seen = match source_lengths {
            None => None,
            Some(lengths) => Some(padding(lengths, source, k.device())?.reshape((batch, 1, source))?),
        };
        if let Some(scales) = log_scale {
            phi = phi.broadcast_mul(&against_their_top(scales, source_lengths)?.exp()?.unsqueeze(3)?)?;
        }
        if let Some(seen) = seen {
            phi = phi.broadcast_mul(&seen.unsqueeze(3)?)?;
        }
        phi.contiguous()?.t()?.matmul(&values_and_ones(v)?)
    }

    /// Every query over sums that no longer move.
    fn read_sums(&self, q: &Tensor, sums: &Tensor, start: usize) -> Result<Tensor> {
        let (batch, h, n, _) = q.dims4()?;
        within(self.map.as_ref(), start + n)?;
        let (kv, group, m) = (self.heads.n_kv_heads, self.heads.group(), self.map.feature_dim());
        let (phi_q, _) = query_features(self.map.as_ref(), self.heads, q, start)?;
        let phi_q = phi_q.reshape((batch, kv, group * n, m))?.contiguous()?;
        let out = normalize(&phi_q.matmul(sums)?, self.map.normalizer())?;
        out.reshape((batch, h, n, sums.dim(D::Minus1)? - 1))?.to_dtype(q.dtype())
    }
}

/// Log scales (b, h_kv, M) less the largest of those that are seen; far below it those that are not.
fn against_their_top(scales: Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let (batch, _, source) = scales.dims3()?;
    let scales = match lengths {
        None => scales,
        Some(lengths) => {
            let seen = padding(lengths, source, scales.device())?.reshape((batch, 1, source))?;
            scales.broadcast_mul(&seen)?.broadcast_add(&seen.affine(-NOTHING, NOTHING)?)?
        }
    };
    scales.broadcast_sub(&scales.max_keepdim(D::Minus1)?)
}

/// Refuses positions that the map does not know.
pub(super) fn within(map: &dyn FeatureMap, end: usize) -> Result<()> {
    match map.max_len() {
        Some(max_len) if end > max_len => Err(StepError::BeyondMaxLen { position: end - 1, max_len }.into()),
        _ => Ok(()),
    }
}

/// φ(q) as (b, h_kv, group, n, m), and its log scale (b, h_kv, group, n): the queries of a group share the map of their
/// key head.
pub(super) fn query_features(
    map: &dyn FeatureMap,
    heads: Heads,
    q: &Tensor,
    start: usize,
) -> Result<(Tensor, Option<Tensor>)> {
    let (batch, _, n, input) = q.dims4()?;
    let (kv, group) = (heads.n_kv_heads, heads.group());
    let rows = q.contiguous()?.reshape((batch, kv, group * n, input))?;
    let Features { phi, log_scale } = map.forward(&rows, Side::Query, Rows { start, n })?;
    let log_scale = log_scale.map(|scale| scale.reshape((batch, kv, group, n))).transpose()?;
    Ok((phi.reshape((batch, kv, group, n, map.feature_dim()))?, log_scale))
}

/// Values with a column of ones: their sums are S and z side by side.
pub(super) fn values_and_ones(v: &Tensor) -> Result<Tensor> {
    let v = v.to_dtype(DType::F32)?;
    let (batch, kv, n, _) = v.dims4()?;
    Tensor::cat(&[&v, &Tensor::ones((batch, kv, n, 1), DType::F32, v.device())?], D::Minus1)?.contiguous()
}

/// Divides weighted sums by the sum of weights, their last column.
pub(super) fn normalize(sums: &Tensor, normalizer: Normalizer) -> Result<Tensor> {
    let d_v = sums.dim(D::Minus1)? - 1;
    let den = sums.narrow(D::Minus1, d_v, 1)?;
    let den = match normalizer {
        Normalizer::AddEpsilon(eps) => (den + eps)?,
        Normalizer::ClampMin(eps) => den.maximum(eps)?,
        Normalizer::SignedClamp(eps) => den.ge(0f32)?.where_cond(&den.maximum(eps)?, &den.minimum(-eps)?)?,
    };
    sums.narrow(D::Minus1, 0, d_v)?.broadcast_div(&den)
}

/// What a linear state holds.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    /// S and z (b, h_kv, m, d_v + 1).
    pub(super) sums: Tensor,
    /// The running maximum they are written against (b, h_kv, 1), for features with a scale.
    pub(super) level: Option<Tensor>,
}

impl Sums {
    /// Before the first token.
    pub(super) fn empty(batch: usize, heads: Heads, feature_dim: usize, scaled: bool, device: &Device) -> Result<Self> {
        let sums = (batch, heads.n_kv_heads, feature_dim, heads.head_dim + 1);
        let level = || Tensor::full(NOTHING as f32, (batch, heads.n_kv_heads, 1), device);
        let level = if scaled { Some(level()?) } else { None };
        Ok(Self { sums: Tensor::zeros(sums, DType::F32, device)?, level })
    }
}

/// What a causal pass gives.
pub(super) struct Read {
    /// Weighted sums of values and of ones, not yet divided: (b, h_kv, group, n, d_v + 1).
    pub(super) sums: Tensor,
    /// The level each row of `sums` is written against (b, h_kv, n), for features with a scale.
    pub(super) levels: Option<Tensor>,
    /// The state after the last token.
    pub(super) after: Sums,
}

/// Chunk by chunk: within a chunk by masked weights, across chunks by the state. Memory is linear in n, and the graph
/// has n / CHUNK links. `phi_q` (b, h_kv, group, n, m), `phi_k` (b, h_kv, n, m), `v` with its ones (b, h_kv, n, d_v + 1).
pub(super) fn causal_sums(phi_q: &Tensor, phi_k: &Tensor, v: &Tensor, pace: &Pace, before: Sums) -> Result<Read> {
    let (batch, kv, group, n, m) = phi_q.dims5()?;
    let width = v.dim(D::Minus1)?;
    let Sums { mut sums, mut level } = before;
    let (mut chunks, mut levels) = (Vec::with_capacity(n.div_ceil(CHUNK)), Vec::new());
    for first in (0..n).step_by(CHUNK) {
        let len = CHUNK.min(n - first);
        let q = phi_q.narrow(3, first, len)?.contiguous()?.reshape((batch, kv, group * len, m))?;
        let k = phi_k.narrow(2, first, len)?.contiguous()?;
        let v = v.narrow(2, first, len)?.contiguous()?;
        let weights = q.matmul(&k.t()?)?.broadcast_mul(&lower_triangle(len, group, q.device())?)?;
        let past = q.matmul(&sums)?;
        let by_pair = |t: &Tensor, last: usize| t.reshape((batch, kv, group, len, last));
        let out = match pace.chunk(first, len, level.as_ref())? {
            None => {
                let out = (weights.matmul(&v)? + past)?;
                sums = (sums + k.t()?.matmul(&v)?)?;
                out
            }
            Some(chunk) => {
                let weights = by_pair(&weights, len)?.broadcast_mul(&chunk.pairs()?.unsqueeze(2)?)?;
                let past = by_pair(&past, width)?.broadcast_mul(&chunk.past()?.unsqueeze(2)?)?;
                let weights = weights.reshape((batch, kv, group * len, len))?;
                let out = (weights.matmul(&v)? + past.reshape((batch, kv, group * len, width))?)?;
                let k = k.broadcast_mul(&chunk.keys_at_end()?)?;
                sums = (sums.broadcast_mul(&chunk.past_at_end()?)? + k.t()?.matmul(&v)?)?;
                levels.extend(chunk.levels()?);
                level = chunk.level();
                out
            }
        };
        chunks.push(by_pair(&out, width)?);
    }
    let levels = if levels.is_empty() { None } else { Some(Tensor::cat(&levels, 2)?) };
    Ok(Read { sums: Tensor::cat(&chunks, 3)?, levels, after: Sums { sums, level } })
}

/// 1 on and below the diagonal, for each query of a group: (group · len, len).
fn lower_triangle(len: usize, group: usize, device: &Device) -> Result<Tensor> {
    let rows = (0..group * len).map(|r| r % len);
    let ones: Vec<f32> = rows.flat_map(|i| (0..len).map(move |j| if j <= i { 1.0 } else { 0.0 })).collect();
    Tensor::from_vec(ones, (group * len, len), device)
}

impl Attention for LinearAttention {
    fn forward(&self, qkv: &Qkv, mask: &Mask) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.map.input_dim())?;
        if s.n == 0 || s.source == 0 || s.batch == 0 {
            return Tensor::zeros((s.batch, self.heads.n_heads, s.n, s.value_dim), qkv.v.dtype(), qkv.v.device());
        }
        match mask {
            Mask::Causal => {
                s.require_square()?;
                let empty = Sums::empty(s.batch, self.heads, self.map.feature_dim(), self.scaled, qkv.v.device())?;
                Ok(self.causal(qkv, &s, 0, empty)?.0)
            }
            Mask::Full { source_lengths } => {
                self.read(&qkv.q, &self.absorb(&qkv.k, &qkv.v, source_lengths.as_deref())?, 0)
            }
        }
    }

    fn absorb(&self, k: &Tensor, v: &Tensor, source_lengths: Option<&[usize]>) -> Result<TensorState> {
        if self.gated {
            return Err(StepError::LooksBackOnly.into());
        }
        Ok(TensorState::Recurrent { sums: self.source_sums(k, v, source_lengths)?, level: None, position: 0 })
    }

    fn read(&self, q: &Tensor, memory: &TensorState, start: usize) -> Result<Tensor> {
        match memory {
            TensorState::Recurrent { sums, .. } => self.read_sums(q, sums, start),
            _ => Err(StepError::WrongState.into()),
        }
    }

    fn extend(&self, qkv: &Qkv, state: &mut TensorState) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.map.input_dim())?;
        s.require_square()?;
        let TensorState::Recurrent { sums, level, position } = state else {
            return Err(StepError::WrongState.into());
        };
        if s.n == 0 || s.batch == 0 {
            return self.forward(qkv, &Mask::Causal);
        }
        let before = Sums { sums: sums.clone(), level: level.clone() };
        let (out, after) = self.causal(qkv, &s, *position, before)?;
        (*sums, *level, *position) = (after.sums, after.level, *position + s.n);
        Ok(out)
    }

    fn tensor_state(&self, batch: usize, _: usize, _: DType, device: &Device) -> Result<TensorState> {
        let Sums { sums, level } = Sums::empty(batch, self.heads, self.map.feature_dim(), self.scaled, device)?;
        Ok(TensorState::Recurrent { sums, level, position: 0 })
    }

    fn forward_by(&self, qkv: &Qkv, mask: &Mask, kernels: Kernels) -> Result<Tensor> {
        let Kernels::Fused(simd) = kernels else { return self.forward(qkv, mask) };
        let s = Sizes::of(qkv, self.heads, self.map.input_dim())?;
        let (causal, lengths) = match mask {
            Mask::Causal => {
                s.require_square()?;
                (true, None)
            }
            Mask::Full { .. } if self.gated => return Err(StepError::LooksBackOnly.into()),
            Mask::Full { source_lengths } => (false, source_lengths.clone()),
        };
        if s.batch == 0 || s.n == 0 || s.source == 0 {
            return self.forward(qkv, mask);
        }
        let pass = if causal { Pass::Causal(None) } else { Pass::Full(lengths.clone()) };
        let Fed { phi_q, phi_k, log_decay, .. } = self.features(qkv, 0, &pass, simd)?;
        let how = Linear { causal, normalizer: self.map.normalizer(), lengths };
        linear_attention(&phi_q, &phi_k, &qkv.v, log_decay.as_ref(), how, simd)
    }

    fn extend_by(&self, qkv: &Qkv, state: &mut TensorState, kernels: Kernels) -> Result<Tensor> {
        let Kernels::Fused(simd) = kernels else { return self.extend(qkv, state) };
        let s = Sizes::of(qkv, self.heads, self.map.input_dim())?;
        s.require_square()?;
        let TensorState::Recurrent { sums, level, position } = state else {
            return Err(StepError::WrongState.into());
        };
        if s.n == 0 || s.batch == 0 {
            return self.forward(qkv, &Mask::Causal);
        }
        let fed = self.features(qkv, *position, &Pass::Causal(level.as_ref()), simd)?;
        let (normalizer, log_decay) = (self.map.normalizer(), fed.log_decay.as_ref());
        let (out, after) = linear_attention_after(sums, &fed.phi_q, &fed.phi_k, &qkv.v, log_decay, normalizer, simd)?;
        (*sums, *level, *position) = (after, fed.level, *position + s.n);
        Ok(out)
    }

    fn stepper_by(&self, kernels: Kernels) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(LinearStepper {
            heads: self.heads,
            input_dim: self.map.input_dim(),
            feature_dim: self.map.feature_dim(),
            normalizer: self.map.normalizer(),
            max_len: self.map.max_len(),
            gated: self.gated,
            scaled: self.scaled,
            map: self.map.on_slices(kernels)?,
            kernels,
        }))
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        self.map.parameters()
    }

    fn gated(&self) -> bool {
        self.gated
    }
}
