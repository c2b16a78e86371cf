//! Softmax attention over all tokens, or over the last w of them: one computation, the span is a parameter.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{
    Attention, Heads, KvCache, Mask, Qkv, Sizes, State, StepError, StepResult, Stepper, TensorState, Token,
    oracle::Weights,
};
use crate::{
    kernels::{Kernels, for_each_part, softmax::Span},
    ops::{Softmax, softmax_attention},
};

/// Queries whose scores are in memory together; keeps the scores at block × n instead of n × n.
const QUERY_BLOCK: usize = 256;

/// A score that no exponential survives, finite so that no difference of two is NaN.
const MASKED: f32 = -1e30;

/// `out_i = Σ_j exp(q_i·k_j/√d) v_j / Σ_j exp(q_i·k_j/√d)`, j over the tokens that i sees.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxAttention {
    heads: Heads,
    /// Tokens a query sees, itself included; `None`: all.
    window: Option<usize>,
    /// Whether the sums go under a denominator with others, where the largest score does not cancel.
    shares_denominator: bool,
    kernels: Kernels,
}

impl SoftmaxAttention {
    /// Attention over all tokens.
    #[must_use]
    pub fn full(heads: Heads) -> Self {
        Self { heads, window: None, shares_denominator: false, kernels: Kernels::Plain }
    }

    /// Causal attention over the last `window` tokens.
    #[must_use]
    pub fn window(heads: Heads, window: usize) -> Self {
        Self { heads, window: Some(window), shares_denominator: false, kernels: Kernels::Plain }
    }

    /// The window of a hybrid.
    pub(super) fn window_of_hybrid(heads: Heads, window: usize) -> Self {
        Self { heads, window: Some(window), shares_denominator: true, kernels: Kernels::Plain }
    }

    /// Slots for `capacity` tokens, and whether the oldest makes room for the newest: a window keeps no more than w.
    pub(super) fn room(&self, capacity: usize) -> (usize, bool) {
        match self.window {
            Some(window) if window <= capacity => (window, true),
            _ => (capacity, false),
        }
    }

    /// Causal attention of queries that stand at `offset..` in the key sequence, block by block: what `finish` makes of
    /// each block's sums.
    pub(super) fn causal(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        offset: usize,
        finish: impl Fn(Sums) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let n = q.dim(2)?;
        let mut blocks = Vec::with_capacity(n.div_ceil(QUERY_BLOCK));
        for start in (0..n).step_by(QUERY_BLOCK) {
            let len = QUERY_BLOCK.min(n - start);
            let first_query = offset + start;
            let first_key = self.window.map_or(0, |w| (first_query + 1).saturating_sub(w));
            let n_keys = first_query + len - first_key;
            let visible: Vec<f32> = (0..len)
                .flat_map(|i| {
                    let (query, window) = (first_query + i, self.window.unwrap_or(usize::MAX));
                    (first_key..first_key + n_keys)
                        .map(move |key| if key <= query && query - key < window { 1.0 } else { 0.0 })
                })
                .collect();
            let visible = Tensor::from_vec(visible, (1, 1, 1, len, n_keys), q.device())?;
            let keys = (k.narrow(2, first_key, n_keys)?, v.narrow(2, first_key, n_keys)?);
            blocks.push(finish(self.sums(&q.narrow(2, start, len)?, &keys.0, &keys.1, Some(&visible))?)?);
        }
        Tensor::cat(&blocks, 2)
    }

    /// Tokens after the `seen` ones of a cache in which the newest take the slots of the oldest.
    fn roll(&self, qkv: &Qkv, keys: &Tensor, values: &Tensor, seen: usize) -> Result<Tensor> {
        let (capacity, n) = (keys.dim(2)?, qkv.k.dim(2)?);
        let held = seen.min(capacity);
        if n == 1 {
            write_slots(keys, &qkv.k, seen)?;
            write_slots(values, &qkv.v, seen)?;
            let held = (seen + 1).min(capacity);
            // A single query sees all that is held, in whatever order.
            let (k, v) = (keys.narrow(2, 0, held)?, values.narrow(2, 0, held)?);
            return self.sums(&qkv.q, &k, &v, None)?.mean(v.dtype());
        }
        let with_past = |cache: &Tensor, new: &Tensor| {
            let oldest = if seen > held { seen % capacity } else { 0 };
            let (first, last) = (cache.narrow(2, oldest, held - oldest)?, cache.narrow(2, 0, oldest)?);
            Tensor::cat(&[&first, &last, new], 2)
        };
        let (k, v) = (with_past(keys, &qkv.k)?, with_past(values, &qkv.v)?);
        let out = self.causal(&qkv.q, &k, &v, held, |sums| sums.mean(v.dtype()))?;
        let kept = n.min(capacity);
        let last = |new: &Tensor| new.narrow(2, n - kept, kept);
        write_slots(keys, &last(&qkv.k)?, seen + n - kept)?;
        write_slots(values, &last(&qkv.v)?, seen + n - kept)?;
        Ok(out)
    }

    /// Softmax-weighted sums. `visible` broadcasts to (b, h_kv, group, n, source): 1 where a key is seen, 0 elsewhere;
    /// a query that sees nothing gives 0.
    fn sums(&self, q: &Tensor, k: &Tensor, v: &Tensor, visible: Option<&Tensor>) -> Result<Sums> {
        let (batch, h, n, d) = q.dims4()?;
        let (_, kv, source, d_v) = v.dims4()?;
        let group = self.heads.group();
        let q = q.contiguous()?.reshape((batch, kv, group * n, d))?;
        let scale = 1.0 / (d as f64).sqrt();
        let scores = (q.matmul(&k.contiguous()?.t()?)?.to_dtype(DType::F32)? * scale)?;
        let scores = scores.reshape((batch, kv, group, n, source))?;
        let scores = match visible {
            None => scores,
            Some(seen) => {
                scores.broadcast_mul(seen)?.broadcast_add(&seen.affine(-f64::from(MASKED), f64::from(MASKED))?)?
            }
        };
        // Alone, the maximum only keeps exp in range: it cancels, so it carries no gradient.
        let maximum = scores.max_keepdim(D::Minus1)?;
        let maximum = if self.shares_denominator { maximum } else { maximum.detach() };
        let weights = scores.broadcast_sub(&maximum)?.exp()?;
        let weights = match visible {
            None => weights,
            Some(seen) => weights.broadcast_mul(seen)?,
        };
        let total = weights.sum_keepdim(D::Minus1)?.reshape((batch, h, n, 1))?;
        let weights = weights.to_dtype(v.dtype())?.reshape((batch, kv, group * n, source))?;
        let values = weights.matmul(&v.contiguous()?)?.reshape((batch, h, n, d_v))?.to_dtype(DType::F32)?;
        Ok(Sums { values, total })
    }
}

/// Σ_j a_ij v_j (b, h, n, d_v) and Σ_j a_ij (b, h, n, 1) in f32, a_ij = exp(q_i·k_j/√d − c_i), c_i the largest score.
pub(super) struct Sums {
    pub(super) values: Tensor,
    pub(super) total: Tensor,
}

impl Sums {
    /// The weighted mean.
    fn mean(self, dtype: DType) -> Result<Tensor> {
        self.values.broadcast_div(&self.total.maximum(1e-30)?)?.to_dtype(dtype)
    }
}

impl Attention for SoftmaxAttention {
    fn forward(&self, qkv: &Qkv, mask: &Mask) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        if s.n == 0 || s.source == 0 || s.batch == 0 {
            return Tensor::zeros((s.batch, self.heads.n_heads, s.n, s.value_dim), qkv.v.dtype(), qkv.v.device());
        }
        match mask {
            Mask::Causal => {
                s.require_square()?;
                self.causal(&qkv.q, &qkv.k, &qkv.v, 0, |sums| sums.mean(qkv.v.dtype()))
            }
            Mask::Full { source_lengths } => {
                self.read(&qkv.q, &self.absorb(&qkv.k, &qkv.v, source_lengths.as_deref())?, 0)
            }
        }
    }

    fn absorb(&self, k: &Tensor, v: &Tensor, source_lengths: Option<&[usize]>) -> Result<TensorState> {
        if self.window.is_some() {
            return Err(StepError::LooksBackOnly.into());
        }
        let lengths = source_lengths.map(<[usize]>::to_vec);
        Ok(TensorState::Source { keys: k.contiguous()?, values: v.contiguous()?, lengths })
    }

    fn read(&self, q: &Tensor, memory: &TensorState, _start: usize) -> Result<Tensor> {
        let TensorState::Source { keys, values, lengths } = memory else {
            return Err(StepError::WrongState.into());
        };
        let (batch, _, n, _) = q.dims4()?;
        let source = keys.dim(2)?;
        let visible = lengths.as_deref().map(|lengths| padding(lengths, source, q.device())).transpose()?;
        let visible = visible.map(|v| v.reshape((batch, 1, 1, 1, source))).transpose()?;
        let blocks = (0..n).step_by(QUERY_BLOCK).map(|start| {
            let q = q.narrow(2, start, QUERY_BLOCK.min(n - start))?;
            self.sums(&q, keys, values, visible.as_ref())?.mean(values.dtype())
        });
        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 2)
    }

    fn extend(&self, qkv: &Qkv, state: &mut TensorState) -> Result<Tensor> {
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        s.require_square()?;
        let TensorState::KvCache { keys, values, seen, rolling } = state else {
            return Err(StepError::WrongState.into());
        };
        if s.n == 0 {
            return self.forward(qkv, &Mask::Causal);
        }
        if *rolling {
            let out = self.roll(qkv, keys, values, *seen)?;
            *seen += s.n;
            return Ok(out);
        }
        let offset = append(qkv, keys, values, seen)?;
        let (k, v) = (keys.narrow(2, 0, *seen)?, values.narrow(2, 0, *seen)?);
        self.causal(&qkv.q, &k, &v, offset, |sums| sums.mean(v.dtype()))
    }

    fn tensor_state(&self, batch: usize, capacity: usize, dtype: DType, device: &Device) -> Result<TensorState> {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let (capacity, rolling) = self.room(capacity);
        TensorState::kv_cache((batch, n_kv_heads, capacity, head_dim), rolling, dtype, device)
    }

    fn forward_by(&self, qkv: &Qkv, mask: &Mask, kernels: Kernels) -> Result<Tensor> {
        let Kernels::Fused(simd) = kernels else { return self.forward(qkv, mask) };
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        let (span, lengths) = match mask {
            Mask::Causal => {
                s.require_square()?;
                (Span::Causal { offset: 0, window: self.window }, None)
            }
            Mask::Full { .. } if self.window.is_some() => return Err(StepError::LooksBackOnly.into()),
            Mask::Full { source_lengths } => (Span::Full, source_lengths.clone()),
        };
        if s.batch == 0 || s.n == 0 || s.source == 0 {
            return self.forward(qkv, mask);
        }
        softmax_attention(&qkv.q, &qkv.k, &qkv.v, Softmax { span, lengths }, simd)
    }

    fn extend_by(&self, qkv: &Qkv, state: &mut TensorState, kernels: Kernels) -> Result<Tensor> {
        let Kernels::Fused(simd) = kernels else { return self.extend(qkv, state) };
        let s = Sizes::of(qkv, self.heads, self.heads.head_dim)?;
        s.require_square()?;
        match state {
            TensorState::KvCache { keys, values, seen, rolling: false } if s.n > 0 => {
                let offset = append(qkv, keys, values, seen)?;
                let (k, v) = (keys.narrow(2, 0, *seen)?, values.narrow(2, 0, *seen)?);
                let span = Span::Causal { offset, window: self.window };
                softmax_attention(&qkv.q, &k, &v, Softmax { span, lengths: None }, simd)
            }
            // A window that rolls from the start: all that it will hold is among the new tokens.
            TensorState::KvCache { keys, values, seen, rolling: true } if *seen == 0 && s.n > 0 => {
                let capacity = keys.dim(2)?;
                let mut t = s.n.saturating_sub(capacity);
                while t < s.n {
                    let run = (capacity - t % capacity).min(s.n - t);
                    keys.slice_set(&qkv.k.narrow(2, t, run)?.contiguous()?, 2, t % capacity)?;
                    values.slice_set(&qkv.v.narrow(2, t, run)?.contiguous()?, 2, t % capacity)?;
                    t += run;
                }
                *seen = s.n;
                self.forward_by(qkv, &Mask::Causal, Kernels::Fused(simd))
            }
            state => self.extend(qkv, state),
        }
    }

    fn stepper_by(&self, kernels: Kernels) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(Self { kernels, ..*self }))
    }
}

/// Puts tokens that stand at `position..`, no more than there are slots, into a cache that rolls.
fn write_slots(cache: &Tensor, new: &Tensor, position: usize) -> Result<()> {
    let (capacity, n) = (cache.dim(2)?, new.dim(2)?);
    let slot = position % capacity;
    let before_end = n.min(capacity - slot);
    cache.slice_set(&new.narrow(2, 0, before_end)?.contiguous()?, 2, slot)?;
    if before_end < n {
        cache.slice_set(&new.narrow(2, before_end, n - before_end)?.contiguous()?, 2, 0)?;
    }
    Ok(())
}

/// Writes new keys and values behind those that a cache holds; where they begin.
fn append(qkv: &Qkv, keys: &Tensor, values: &Tensor, seen: &mut usize) -> Result<usize> {
    let (capacity, n) = (keys.dim(2)?, qkv.k.dim(2)?);
    if *seen + n > capacity {
        return Err(StepError::CacheFull { capacity }.into());
    }
    keys.slice_set(&qkv.k.contiguous()?, 2, *seen)?;
    values.slice_set(&qkv.v.contiguous()?, 2, *seen)?;
    *seen += n;
    Ok(*seen - n)
}

/// 1 for the tokens of each source, 0 for its padding: (b, source).
pub(crate) fn padding(lengths: &[usize], source: usize, device: &Device) -> Result<Tensor> {
    if let Some(long) = lengths.iter().find(|l| **l > source) {
        candle_core::bail!("a source length of {long} is beyond the padded length {source}");
    }
    let seen: Vec<f32> =
        lengths.iter().flat_map(|len| (0..source).map(move |j| if j < *len { 1.0 } else { 0.0 })).collect();
    Tensor::from_vec(seen, (lengths.len(), source), device)
}

impl Stepper for SoftmaxAttention {
    fn state(&self, batch: usize, capacity: usize) -> State {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let (capacity, rolling) = self.room(capacity);
        State::KvCache(KvCache::new(batch * n_kv_heads, capacity, head_dim, head_dim, rolling))
    }

    fn scratch_len(&self, _batch: usize) -> usize {
        0
    }

    fn step(&self, token: Token<'_>, state: &mut State, _: &mut [f32], out: &mut [f32]) -> StepResult {
        let State::KvCache(cache) = state else { return Err(StepError::WrongState) };
        let capacity = cache.capacity();
        let slot = cache.next_slot().ok_or(StepError::CacheFull { capacity })?;
        cache.advance();
        let (d, group, held) = (self.heads.head_dim, self.heads.group(), cache.len());
        let (keys, values) = cache.buffers();
        let parts = keys.len() / (capacity * d);
        let work = 2 * parts * group * held * d;
        for_each_part(parts, work, [keys, values, out], |i, [keys, values, out]| {
            keys[slot * d..][..d].copy_from_slice(&token.k[i * d..][..d]);
            values[slot * d..][..d].copy_from_slice(&token.v[i * d..][..d]);
            let q = &token.q[i * group * d..][..group * d];
            self.kernels.softmax_step(group, q, &keys[..held * d], &values[..held * d], &mut [], out);
        });
        Ok(())
    }

    fn read_source(&self, q: &[f32], _position: usize, memory: &State, _: &mut [f32], out: &mut [f32]) -> StepResult {
        let State::Source(source) = memory else { return Err(StepError::WrongState) };
        let Heads { n_kv_heads, head_dim: d, .. } = self.heads;
        let (group, parts) = (self.heads.group(), source.lengths.len() * n_kv_heads);
        let work = 2 * n_kv_heads * group * d * source.lengths.iter().sum::<usize>();
        for_each_part(parts, work, [out], |i, [out]| {
            let (first, len) = (i * source.padded * d, source.lengths[i / n_kv_heads] * d);
            let (keys, values) = (&source.keys[first..][..len], &source.values[first..][..len]);
            self.kernels.softmax_step(group, &q[i * group * d..][..group * d], keys, values, &mut [], out);
        });
        Ok(())
    }

    fn input_dim(&self) -> usize {
        self.heads.head_dim
    }

    fn weights(&self) -> Weights<'_> {
        Weights::Softmax { window: self.window }
    }
}
