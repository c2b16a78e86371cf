//! Linear attention over any feature map: chunked and differentiable over tensors, recurrent in place on slices.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{
    Attention, Heads, Mask, Qkv, Recurrent, Sizes, State, StepError, StepResult, Stepper, TensorState, Token,
    feature_map::{At, FeatureMap, Rows, Side, SliceMap},
    oracle::Weights,
    softmax::padding,
};
use crate::kernels::{self, for_each_part, linear::Normalizer};

/// Tokens whose mutual weights are in memory together in the causal forward.
pub const CHUNK: usize = 64;

/// `out_i = φ(q_i)ᵀ S_i / (φ(q_i)·z_i)` with S_i = Σ_{j≤i} φ(k_j) v_jᵀ and z_i = Σ_{j≤i} φ(k_j); see
/// [`Normalizer`] for the denominator. Sums are kept in f32 whatever the dtype of the inputs.
pub struct LinearAttention {
    heads: Heads,
    map: Box<dyn FeatureMap>,
}

impl LinearAttention {
    /// A layer of these heads with this map.
    #[must_use]
    pub fn new(heads: Heads, map: Box<dyn FeatureMap>) -> Self {
        Self { heads, map }
    }

    /// The feature map.
    #[must_use]
    pub fn map(&self) -> &dyn FeatureMap {
        self.map.as_ref()
    }

    /// φ(q) as (b, h_kv, group, n, m): the queries of a group share the map of their key head.
    fn query_features(&self, q: &Tensor, start: usize) -> Result<Tensor> {
        let (batch, _, n, input) = q.dims4()?;
        let (kv, group) = (self.heads.n_kv_heads, self.heads.group());
        let rows = q.contiguous()?.reshape((batch, kv, group * n, input))?;
        let phi = self.map.forward(&rows, Side::Query, Rows { start, n })?;
        phi.reshape((batch, kv, group, n, self.map.feature_dim()))
    }

    /// Values with a column of ones: their sums are S and z side by side.
    fn values_and_ones(v: &Tensor) -> Result<Tensor> {
        let v = v.to_dtype(DType::F32)?;
        let (batch, kv, n, _) = v.dims4()?;
        Tensor::cat(&[&v, &Tensor::ones((batch, kv, n, 1), DType::F32, v.device())?], D::Minus1)?.contiguous()
    }

    /// Divides the weighted sums by the sum of weights, their last column.
    fn normalize(&self, sums: &Tensor) -> Result<Tensor> {
        let d_v = sums.dim(D::Minus1)? - 1;
        let den = sums.narrow(D::Minus1, d_v, 1)?;
        let den = match self.map.normalizer() {
            Normalizer::AddEpsilon(eps) => (den + eps)?,
            Normalizer::ClampMin(eps) => den.maximum(eps)?,
            Normalizer::SignedClamp(eps) => den.ge(0f32)?.where_cond(&den.maximum(eps)?, &den.minimum(-eps)?)?,
        };
        sums.narrow(D::Minus1, 0, d_v)?.broadcast_div(&den)
    }

    /// Causal attention chunk by chunk, from the sums before the first token to the sums after the last: within a
    /// chunk by masked weights, across chunks by the state. Memory is linear in n, and the graph has n / CHUNK links.
    fn causal(&self, qkv: &Qkv, s: &Sizes, start: usize, mut sums: Tensor) -> Result<(Tensor, Tensor)> {
        let (kv, group, m) = (self.heads.n_kv_heads, self.heads.group(), self.map.feature_dim());
        let phi_q = self.query_features(&qkv.q, start)?;
        let phi_k = self.map.forward(&qkv.k, Side::Key, Rows { start, n: s.n })?;
        let v = Self::values_and_ones(&qkv.v)?;
        let mut chunks = Vec::with_capacity(s.n.div_ceil(CHUNK));
        for first in (0..s.n).step_by(CHUNK) {
            let len = CHUNK.min(s.n - first);
            let q = phi_q.narrow(3, first, len)?.contiguous()?.reshape((s.batch, kv, group * len, m))?;
            let k = phi_k.narrow(2, first, len)?.contiguous()?;
            let v = v.narrow(2, first, len)?.contiguous()?;
            let k_t = k.t()?;
            let weights = q.matmul(&k_t)?.broadcast_mul(&lower_triangle(len, group, q.device())?)?;
            let out = (weights.matmul(&v)? + q.matmul(&sums)?)?;
            chunks.push(out.reshape((s.batch, kv, group, len, s.value_dim + 1))?);
            sums = (sums + k_t.matmul(&v)?)?;
        }
        let out = self.normalize(&Tensor::cat(&chunks, 3)?)?;
        Ok((out.reshape((s.batch, self.heads.n_heads, s.n, s.value_dim))?.to_dtype(qkv.v.dtype())?, sums))
    }

    /// Every query over the whole source: S and z once.
    fn full(&self, qkv: &Qkv, s: &Sizes, source_lengths: Option<&[usize]>) -> Result<Tensor> {
        let (kv, group, m) = (self.heads.n_kv_heads, self.heads.group(), self.map.feature_dim());
        let mut phi_k = self.map.forward(&qkv.k, Side::Key, Rows { start: 0, n: s.source })?;
        if let Some(lengths) = source_lengths {
            let seen = padding(lengths, s.source, qkv.k.device())?.reshape((s.batch, 1, s.source, 1))?;
            phi_k = phi_k.broadcast_mul(&seen)?;
        }
        let sums = phi_k.contiguous()?.t()?.matmul(&Self::values_and_ones(&qkv.v)?)?;
        let phi_q = self.query_features(&qkv.q, 0)?.reshape((s.batch, kv, group * s.n, m))?;
        let out = self.normalize(&phi_q.contiguous()?.matmul(&sums)?)?;
        out.reshape((s.batch, self.heads.n_heads, s.n, s.value_dim))?.to_dtype(qkv.v.dtype())
    }
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
                let sums = (s.batch, self.heads.n_kv_heads, self.map.feature_dim(), s.value_dim + 1);
                let sums = Tensor::zeros(sums, DType::F32, qkv.v.device())?;
                Ok(self.causal(qkv, &s, 0, sums)?.0)
            }
            Mask::Full { source_lengths } => self.full(qkv, &s, source_lengths.as_deref()),
        }
    }

    fn extend(&self, qkv: &Qkv, state: &mut TensorState) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.map.input_dim())?;
        s.require_square()?;
        let TensorState::Recurrent { sums, position } = state else {
            return Err(StepError::WrongState.into());
        };
        if s.n == 0 || s.batch == 0 {
            return self.forward(qkv, &Mask::Causal);
        }
        let (out, after) = self.causal(qkv, &s, *position, sums.clone())?;
        (*sums, *position) = (after, *position + s.n);
        Ok(out)
    }

    fn tensor_state(&self, batch: usize, _: usize, _: DType, device: &Device) -> Result<TensorState> {
        let shape = (batch, self.heads.n_kv_heads, self.map.feature_dim(), self.heads.head_dim + 1);
        Ok(TensorState::Recurrent { sums: Tensor::zeros(shape, DType::F32, device)?, position: 0 })
    }

    fn stepper(&self) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(LinearStepper {
            heads: self.heads,
            input_dim: self.map.input_dim(),
            feature_dim: self.map.feature_dim(),
            normalizer: self.map.normalizer(),
            map: self.map.on_slices()?,
        }))
    }

    fn parameters(&self) -> Vec<(&'static str, Tensor)> {
        self.map.parameters()
    }
}

struct LinearStepper {
    heads: Heads,
    input_dim: usize,
    feature_dim: usize,
    normalizer: Normalizer,
    map: Box<dyn SliceMap>,
}

impl Stepper for LinearStepper {
    fn state(&self, batch: usize, _capacity: usize) -> State {
        State::Recurrent(Recurrent::new(batch * self.heads.n_kv_heads, self.feature_dim, self.heads.head_dim))
    }

    fn scratch_len(&self, batch: usize) -> usize {
        batch * self.heads.n_kv_heads * (self.heads.group() + 1) * self.feature_dim
    }

    fn step(&self, token: Token<'_>, state: &mut State, scratch: &mut [f32], out: &mut [f32]) -> StepResult {
        let State::Recurrent(recurrent) = state else { return Err(StepError::WrongState) };
        let (group, input, m, d) = (self.heads.group(), self.input_dim, self.feature_dim, self.heads.head_dim);
        let position = recurrent.position;
        recurrent.position += 1;
        let sums = recurrent.sums();
        let parts = sums.len() / (m * (d + 1));
        let work = sums.len() * (1 + group);
        for_each_part(parts, work, [sums, scratch, out], |i, [sums, phi, out]| {
            let at = |side| At { head: i % self.heads.n_kv_heads, side, position };
            let (phi_k, phi_q) = phi.split_at_mut(m);
            self.map.apply(&token.k[i * input..][..input], at(Side::Key), phi_k);
            let queries = token.q[i * group * input..][..group * input].chunks_exact(input);
            for (q, phi) in queries.zip(phi_q.chunks_exact_mut(m)) {
                self.map.apply(q, at(Side::Query), phi);
            }
            let (s, z) = sums.split_at_mut(m * d);
            kernels::linear::step(phi_q, phi_k, &token.v[i * d..][..d], s, z, self.normalizer, out);
        });
        Ok(())
    }

    fn input_dim(&self) -> usize {
        self.input_dim
    }

    fn weights(&self) -> Weights<'_> {
        Weights::Linear { map: self.map.as_ref(), normalizer: self.normalizer }
    }
}
