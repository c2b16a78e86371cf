//! Linear attention of whole sequences, from features.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::{
    gradient, made, numbers, room,
    softmax::{Sizes, check_lengths},
    with_slices,
};
use crate::kernels::{
    Simd, for_each_part,
    fused::{linear, linear_backward, linear_source},
    linear::{Gradients, Normalizer, Sequence},
};

/// What there is to know beside the features.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Whether query i sees the keys up to i, or all of them.
    pub causal: bool,
    /// Of the denominators.
    pub normalizer: Normalizer,
    /// Keys of each sequence that are not padding, where all are seen; `None`: all.
    pub lengths: Option<Vec<usize>>,
}

/// `out_i = φ(q_i)ᵀ S_i / norm(φ(q_i)·z_i)`, `S_i = g_i S_{i-1} + φ(k_i) v_iᵀ` and z likewise: features phi_q (b, h, n, m)
/// and phi_k (b, h_kv, M, m), v (b, h_kv, M, d_v), and, causal alone, log g (b, h_kv, M); (b, h, n, d_v).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn linear_attention(
    phi_q: &Tensor,
    phi_k: &Tensor,
    v: &Tensor,
    log_decay: Option<&Tensor>,
    how: Linear,
    simd: Simd,
) -> Result<Tensor> {
    let sizes = Sizes::of(phi_q.dims4()?, phi_k.dims4()?, v.dims4()?)?;
    check_lengths(how.lengths.as_deref(), sizes.batch, sizes.source)?;
    if how.causal && (sizes.n != sizes.source || how.lengths.is_some()) || !how.causal && log_decay.is_some() {
        candle_core::bail!("causal attention has a key for every query and no padding, and alone decays: {sizes:?}");
    }
    let op = Attend { how, simd, sizes, decays: log_decay.is_some() };
    // There are three operands: a decay is one more feature of its key.
    let keys = match log_decay {
        Some(log_decay) => Tensor::cat(&[phi_k, &log_decay.unsqueeze(3)?], D::Minus1)?.contiguous()?,
        None => phi_k.contiguous()?,
    };
    phi_q.contiguous()?.apply_op3(&keys, &v.contiguous()?, op)
}

/// Causal attention of tokens that come after others, from the sums before them: S and z side by side (b, h_kv, m, d_v + 1).
/// Gives what comes out and the sums after the last token. No gradient.
///
/// # Errors
/// As [`linear_attention`].
pub fn linear_attention_after(
    sums: &Tensor,
    phi_q: &Tensor,
    phi_k: &Tensor,
    v: &Tensor,
    log_decay: Option<&Tensor>,
    normalizer: Normalizer,
    simd: Simd,
) -> Result<(Tensor, Tensor)> {
    let s = Sizes::of(phi_q.dims4()?, phi_k.dims4()?, v.dims4()?)?;
    let (m, d) = (s.width, s.value_dim);
    if s.n != s.source || sums.dims4()? != (s.batch, s.kv_heads, m, d + 1) {
        candle_core::bail!("sums {:?} before keys {:?}", sums.dims(), phi_k.dims());
    }
    let (mut out, mut after) = (vec![0f32; s.out_len()], vec![0f32; sums.elem_count()]);
    let (phi_q, phi_k, v) = (phi_q.contiguous()?, phi_k.contiguous()?, v.contiguous()?);
    // Read by nobody where there is no decay.
    let log_decay_or_v = log_decay.unwrap_or(&v).contiguous()?;
    with_slices([&sums.contiguous()?, &phi_q, &phi_k, &v, &log_decay_or_v], |[sums, phi_q, phi_k, v, logs]| {
        let work = 4 * s.out_len() * m;
        for_each_part(s.parts(), work, [&mut out, &mut after], |i, [out, after]| {
            let before = &sums[i * m * (d + 1)..][..m * (d + 1)];
            let decay: Option<Vec<f32>> =
                log_decay.map(|_| logs[i * s.n..][..s.n].iter().map(|log| log.exp()).collect());
            let (keys, values) = (&phi_k[i * s.n * m..][..s.n * m], &v[i * s.n * d..][..s.n * d]);
            let (mut of_keys, mut z) = (vec![0f32; m * d], vec![0f32; m]);
            for g in 0..s.group {
                apart(before, &mut of_keys, &mut z);
                let queries = &phi_q[(i * s.group + g) * s.n * m..][..s.n * m];
                let (decay, out) = (decay.as_deref(), &mut out[g * s.n * d..][..s.n * d]);
                linear::forward(simd, queries, keys, values, decay, &mut of_keys, &mut z, normalizer, out);
            }
            together(&of_keys, &z, after);
        });
        Ok(())
    })?;
    let device = &candle_core::Device::Cpu;
    Ok((Tensor::from_vec(out, s.out_shape(), device)?, Tensor::from_vec(after, sums.shape(), device)?))
}

/// S (m, d_v) and z (m) from rows in which they stand side by side.
pub(super) fn apart(rows: &[f32], s: &mut [f32], z: &mut [f32]) {
    let d = s.len() / z.len();
    for ((row, s), z) in rows.chunks_exact(d + 1).zip(s.chunks_exact_mut(d)).zip(z) {
        s.copy_from_slice(&row[..d]);
        *z = row[d];
    }
}

/// The other way.
pub(super) fn together(s: &[f32], z: &[f32], rows: &mut [f32]) {
    let d = s.len() / z.len();
    for ((row, s), z) in rows.chunks_exact_mut(d + 1).zip(s.chunks_exact(d)).zip(z) {
        row[..d].copy_from_slice(s);
        row[d] = *z;
    }
}

struct Attend {
    how: Linear,
    simd: Simd,
    sizes: Sizes,
    decays: bool,
}

/// Features of a key head's keys and, where they decay, the logarithms that lay behind each.
struct Keys {
    phi: Vec<f32>,
    log_decay: Vec<f32>,
}

impl Keys {
    fn apart(packed: &[f32], m: usize) -> Self {
        let rows = packed.chunks_exact(m + 1);
        Self {
            phi: rows.clone().flat_map(|row| &row[..m]).copied().collect(),
            log_decay: rows.map(|row| row[m]).collect(),
        }
    }
}

impl Attend {
    fn work(&self) -> usize {
        self.sizes.out_len().max(self.sizes.parts() * self.sizes.source * self.sizes.value_dim) * self.sizes.width
    }

    /// Numbers of a key as it is packed.
    fn key_width(&self) -> usize {
        self.sizes.width + usize::from(self.decays)
    }

    /// The i-th key head's keys that are seen.
    fn keys<'a>(&self, k: &'a [f32], i: usize) -> &'a [f32] {
        let seen = self.sizes.seen(self.how.lengths.as_deref(), i);
        &k[i * self.sizes.source * self.key_width()..][..seen * self.key_width()]
    }

    fn values<'a>(&self, v: &'a [f32], i: usize) -> &'a [f32] {
        let seen = self.sizes.seen(self.how.lengths.as_deref(), i);
        &v[i * self.sizes.source * self.sizes.value_dim..][..seen * self.sizes.value_dim]
    }

    /// Every query head apart: each has its own sums.
    fn causal(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        let s = self.sizes;
        let (m, d) = (s.width, s.value_dim);
        for_each_part(s.parts() * s.group, self.work(), [out], |i, [out]| {
            let (packed, values) = (self.keys(k, i / s.group), self.values(v, i / s.group));
            let apart = self.decays.then(|| Keys::apart(packed, m));
            let phi_k = apart.as_ref().map_or(packed, |keys| &keys.phi);
            let decay: Option<Vec<f32>> =
                apart.as_ref().map(|keys| keys.log_decay.iter().map(|log| log.exp()).collect());
            let (mut sums, mut z) = (vec![0f32; m * d], vec![0f32; m]);
            let (phi_q, decay) = (&q[i * s.n * m..][..s.n * m], decay.as_deref());
            linear::forward(self.simd, phi_q, phi_k, values, decay, &mut sums, &mut z, self.how.normalizer, out);
        });
    }

    fn full(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        let s = self.sizes;
        let m = s.width;
        for_each_part(s.parts(), self.work(), [out], |i, [out]| {
            let (mut sums, mut z) = (vec![0f32; m * s.value_dim], vec![0f32; m]);
            linear_source::absorb(self.simd, self.keys(k, i), self.values(v, i), &mut sums, &mut z);
            let phi_q = &q[i * s.group * s.n * m..][..s.group * s.n * m];
            linear_source::read(self.simd, phi_q, &sums, &z, self.how.normalizer, out);
        });
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "linear-attention"
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
        let (q, k, v) = (numbers(q, q_layout)?, numbers(k, k_layout)?, numbers(v, v_layout)?);
        let mut out = vec![0f32; self.sizes.out_len()];
        if !out.is_empty() {
            if self.how.causal { self.causal(q, k, v, &mut out) } else { self.full(q, k, v, &mut out) }
        }
        made(out, self.sizes.out_shape())
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
        let (m, d) = (s.width, s.value_dim);
        let grad = grad.contiguous()?;
        let (mut dq, mut dk, mut dv) = (room(q), room(k), room(v));
        if s.out_len() > 0 {
            let buffers = [&mut dq[..], &mut dk, &mut dv];
            with_slices([q, k, v, out, &grad], |[q, k, v, out, grad]| {
                for_each_part(s.parts(), 3 * self.work(), buffers, |i, [dq, dk, dv]| {
                    let (packed, values) = (self.keys(k, i), self.values(v, i));
                    let seen = values.len() / d;
                    let apart = self.decays.then(|| Keys::apart(packed, m));
                    let (phi_k, log_decay) =
                        apart.as_ref().map_or((packed, None), |keys| (&keys.phi, Some(keys.log_decay.as_slice())));
                    let wanted = |n: usize, wanted: bool| vec![0f32; if wanted { n } else { 0 }];
                    // Gradients that are packed together are made apart.
                    let mut of_keys = wanted(seen * m, self.decays && !dk.is_empty());
                    let mut of_decay = wanted(seen, self.decays && !dk.is_empty());
                    let mut scratch = vec![0f32; linear_backward::scratch_len(s.n, seen, m, d)];
                    for g in 0..s.group {
                        let at = (i * s.group + g) * s.n;
                        let of = Sequence {
                            phi_q: &q[at * m..][..s.n * m],
                            phi_k,
                            v: values,
                            grad: &grad[at * d..][..s.n * d],
                            log_decay,
                            causal: self.how.causal,
                            denominators: self.how.normalizer.into(),
                        };
                        let into = Gradients {
                            phi_q: if dq.is_empty() { &mut [] } else { &mut dq[g * s.n * m..][..s.n * m] },
                            phi_k: match (dk.is_empty(), self.decays) {
                                (true, _) => &mut [],
                                (false, true) => &mut of_keys,
                                (false, false) => &mut dk[..seen * m],
                            },
                            v: if dv.is_empty() { &mut [] } else { &mut dv[..seen * d] },
                            log_decay: &mut of_decay,
                        };
                        linear_backward::backward(self.simd, of, m, &out[at * d..][..s.n * d], &mut scratch, into);
                    }
                    for ((packed, row), log) in dk.chunks_exact_mut(m + 1).zip(of_keys.chunks_exact(m)).zip(&of_decay) {
                        packed[..m].copy_from_slice(row);
                        packed[m] = *log;
                    }
                });
                Ok(())
            })?;
        }
        Ok((gradient(q, dq)?, gradient(k, dk)?, gradient(v, dv)?))
    }
}
