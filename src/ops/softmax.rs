//! Softmax attention of whole sequences.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{gradient, made, numbers, room, with_slices};
use crate::kernels::{
    Simd, for_each_part,
    fused::{softmax_backward, softmax_forward},
    softmax::{Gradients, Sequence, Span},
};

/// Which keys of which sequence are seen.
#[derive(Debug, Clone)]
pub struct Softmax {
    /// Among the keys of a sequence.
    pub span: Span,
    /// Keys of each sequence that are not padding; `None`: all.
    pub lengths: Option<Vec<usize>>,
}

/// `out_i = Σ_j exp(q_i·k_j/√d) v_j / Σ_j exp(q_i·k_j/√d)` over the keys that i sees: q (b, h, n, d), k (b, h_kv, M, d), v
/// (b, h_kv, M, d_v), h a multiple of h_kv; (b, h, n, d_v). A query that sees nothing gives 0.
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn softmax_attention(q: &Tensor, k: &Tensor, v: &Tensor, seen: Softmax, simd: Simd) -> Result<Tensor> {
    let sizes = Sizes::of(q.dims4()?, k.dims4()?, v.dims4()?)?;
    check_lengths(seen.lengths.as_deref(), sizes.batch, sizes.source)?;
    let keeps = q.track_op() || k.track_op() || v.track_op();
    let op = Attend { seen, simd, sizes, keeps, stats: OnceLock::new() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// Refuses lengths that are not one for each sequence, or beyond it.
pub(super) fn check_lengths(lengths: Option<&[usize]>, batch: usize, source: usize) -> Result<()> {
    let Some(lengths) = lengths else { return Ok(()) };
    if lengths.len() != batch {
        candle_core::bail!("{} source lengths for a batch of {batch}", lengths.len());
    }
    match lengths.iter().find(|l| **l > source) {
        Some(long) => candle_core::bail!("a source length of {long} is beyond the padded length {source}"),
        None => Ok(()),
    }
}

/// What attention is about: numbers of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) kv_heads: usize,
    /// Query heads of a key head.
    pub(super) group: usize,
    pub(super) n: usize,
    pub(super) source: usize,
    pub(super) width: usize,
    pub(super) value_dim: usize,
}

type Dims = (usize, usize, usize, usize);

impl Sizes {
    /// Of queries, keys and values.
    pub(super) fn of(q: Dims, k: Dims, v: Dims) -> Result<Self> {
        let ((batch, h, n, width), (kb, kv_heads, source, k_width), (vb, v_heads, v_n, value_dim)) = (q, k, v);
        let fits = (kb, vb) == (batch, batch) && v_heads == kv_heads && v_n == source && width == k_width;
        if !fits || kv_heads == 0 || !h.is_multiple_of(kv_heads) || width == 0 || value_dim == 0 {
            candle_core::bail!("attention of q {q:?}, k {k:?}, v {v:?}");
        }
        Ok(Self { batch, kv_heads, group: h / kv_heads, n, source, width, value_dim })
    }

    /// Keys of the i-th key head that are not padding.
    pub(super) fn seen(&self, lengths: Option<&[usize]>, i: usize) -> usize {
        lengths.map_or(self.source, |lengths| lengths[i / self.kv_heads])
    }

    pub(super) fn parts(&self) -> usize {
        self.batch * self.kv_heads
    }

    pub(super) fn out_shape(&self) -> Dims {
        (self.batch, self.kv_heads * self.group, self.n, self.value_dim)
    }

    pub(super) fn out_len(&self) -> usize {
        self.parts() * self.group * self.n * self.value_dim
    }
}

struct Attend {
    seen: Softmax,
    simd: Simd,
    sizes: Sizes,
    /// Whether there will be a backward.
    keeps: bool,
    /// What the forward keeps of every query for it.
    stats: OnceLock<Vec<f32>>,
}

impl Attend {
    fn work(&self) -> usize {
        let s = self.sizes;
        2 * s.out_len() * s.source
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "softmax-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let s = self.sizes;
        let (q, k, v) = (numbers(q, q_layout)?, numbers(k, k_layout)?, numbers(v, v_layout)?);
        let mut out = vec![0f32; s.out_len()];
        let mut stats = vec![0f32; if self.keeps { 2 * s.parts() * s.group * s.n } else { 0 }];
        if !out.is_empty() {
            for_each_part(s.parts(), self.work(), [&mut out, &mut stats], |i, [out, stats]| {
                let seen = s.seen(self.seen.lengths.as_deref(), i);
                let q = &q[i * s.group * s.n * s.width..][..s.group * s.n * s.width];
                let keys = &k[i * s.source * s.width..][..seen * s.width];
                let values = &v[i * s.source * s.value_dim..][..seen * s.value_dim];
                let mut scratch = vec![0f32; softmax_forward::scratch_len(seen, s.width)];
                let (sizes, span) = ((s.n, s.width), self.seen.span);
                softmax_forward::forward(self.simd, q, keys, values, sizes, span, &mut scratch, stats, out);
            });
        }
        // An operation runs once; should it run again, the first figures are the same.
        let _ = self.stats.set(stats);
        made(out, s.out_shape())
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes;
        let grad = grad.contiguous()?;
        let Some(stats) = self.stats.get() else { candle_core::bail!("a backward before its forward") };
        let (mut dq, mut dk, mut dv) = (room(q), room(k), room(v));
        if s.out_len() > 0 {
            let buffers = [&mut dq[..], &mut dk, &mut dv];
            with_slices([q, k, v, out, &grad], |[q, k, v, out, grad]| {
                for_each_part(s.parts(), 3 * self.work(), buffers, |i, [dq, dk, dv]| {
                    let seen = s.seen(self.seen.lengths.as_deref(), i);
                    let queries = s.group * s.n;
                    let of = Sequence {
                        q: &q[i * queries * s.width..][..queries * s.width],
                        keys: &k[i * s.source * s.width..][..seen * s.width],
                        values: &v[i * s.source * s.value_dim..][..seen * s.value_dim],
                        grad: &grad[i * queries * s.value_dim..][..queries * s.value_dim],
                        log_totals: &[],
                    };
                    let out = &out[i * queries * s.value_dim..][..queries * s.value_dim];
                    let stats = &stats[i * queries * 2..][..queries * 2];
                    let mut scratch = vec![0f32; softmax_backward::scratch_len(s.group, s.n, s.width, s.value_dim)];
                    let keys = if dk.is_empty() { dk } else { &mut dk[..seen * s.width] };
                    let values = if dv.is_empty() { dv } else { &mut dv[..seen * s.value_dim] };
                    let into = Gradients { q: dq, keys, values };
                    let (sizes, span) = ((s.n, s.width), self.seen.span);
                    softmax_backward::backward(self.simd, of, sizes, span, (out, stats), &mut scratch, into);
                });
                Ok(())
            })?;
        }
        Ok((gradient(q, dq)?, gradient(k, dk)?, gradient(v, dv)?))
    }
}
