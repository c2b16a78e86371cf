//! Softmax over a window and linear attention over all that came before it, under one denominator, of whole sequences.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::{
    gradient,
    linear_attention::{apart, together},
    made,
    operands::{Shelf, carried},
    room,
    softmax::Sizes,
    with_slices,
};
use crate::kernels::{
    Simd, for_each_part,
    fused::{hybrid, linear, linear_backward, softmax_backward, softmax_forward},
    hybrid::{Gradients as OfJoint, Joint},
    linear::{Denominators, Gradients as OfLinear, Normalizer, Sequence as Linear},
    softmax::{Gradients as OfSoftmax, Sequence as Softmax, Span},
};

/// What hybrid attention is of: n queries that stand at the end of M ≥ n keys, of which the first are those that leave the window
/// as the queries enter it.
#[derive(Debug, Clone, Copy)]
pub struct Hybrid<'a> {
    /// (b, h, n, d).
    pub q: &'a Tensor,
    /// (b, h_kv, M, d).
    pub k: &'a Tensor,
    /// (b, h_kv, M, d_v).
    pub v: &'a Tensor,
    /// φ(q) (b, h, n, m).
    pub phi_q: &'a Tensor,
    /// φ(k) (b, h_kv, M, m).
    pub phi_k: &'a Tensor,
    /// Logarithms (b, h_kv, M) of the factors of the sums before each key, where they decay; no gradient.
    pub log_decay: Option<&'a Tensor>,
    /// What weights in the window and before it are multiplied by (b, h, n, 2).
    pub shares: &'a Tensor,
    /// Tokens of the window w.
    pub window: usize,
    /// Of the denominators.
    pub normalizer: Normalizer,
}

/// `out_i = (a_i Σ_j e_ij v_j + b_i φ(q_i)ᵀ S) / norm(a_i Σ_j e_ij + b_i φ(q_i)·z)`, `e_ij = exp(q_i·k_j/√d − c_i)` over the last w
/// keys that i sees, c_i the largest score there, S and z the sums over all before them: (b, h, n, d_v).
///
/// # Errors
/// On shapes that do not fit together and on anything but f32 on the CPU.
pub fn hybrid_attention(of: Hybrid<'_>, simd: Simd) -> Result<Tensor> {
    let operands = [of.q, of.k, of.v, of.phi_q, of.phi_k, of.shares];
    let keeps = operands.iter().any(|operand| operand.track_op());
    let shelf = Shelf::default();
    let carried = carried(&operands, &shelf)?;
    carried.apply_op1(Attend { layer: Layer::of(of, simd)?, shelf, keeps, kept: OnceLock::new() })
}

/// The same of tokens that come after others, from the sums over what has left the window before them: S and z side by side
/// (b, h_kv, m, d_v + 1). Gives what comes out and the sums after the last token. No gradient.
///
/// # Errors
/// As [`hybrid_attention`].
pub fn hybrid_attention_after(sums: &Tensor, of: Hybrid<'_>, simd: Simd) -> Result<(Tensor, Tensor)> {
    let layer = Layer::of(of, simd)?;
    let s = layer.sizes;
    if sums.dims4()? != (s.batch, s.kv_heads, layer.m, s.value_dim + 1) {
        candle_core::bail!("sums {:?} before keys {:?}", sums.dims(), of.k.dims());
    }
    let mut after = vec![0f32; sums.elem_count()];
    let (out, _) = with_slices([&sums.contiguous()?], |[before]| layer.forward(Some(before), &mut after, false))?;
    Ok((Tensor::from_vec(out, s.out_shape(), &Device::Cpu)?, Tensor::from_vec(after, sums.shape(), &Device::Cpu)?))
}

/// Operands without gaps, and their sizes.
struct Layer {
    simd: Simd,
    sizes: Sizes,
    m: usize,
    window: usize,
    normalizer: Normalizer,
    /// q, k, v, φ(q), φ(k), shares.
    operands: [Tensor; 6],
    log_decay: Option<Tensor>,
}

/// What the forward made of every query.
struct Kept {
    /// Means over the window (b, h, n, d_v), where there will be a backward.
    means: Vec<f32>,
    /// Its largest scores and the inverses of its totals (b, h, n, 2).
    stats: Vec<f32>,
    /// The totals (b, h, n).
    totals: Vec<f32>,
    /// Sums (b, h, pairs, d_v) over what is before it, of the queries that have any, and their denominators (b, h, pairs).
    far: Vec<f32>,
    far_totals: Vec<f32>,
}

impl Layer {
    fn of(of: Hybrid<'_>, simd: Simd) -> Result<Self> {
        let sizes = Sizes::of(of.q.dims4()?, of.k.dims4()?, of.v.dims4()?)?;
        let (batch, h, n, m) = of.phi_q.dims4()?;
        let fits = (batch, h, n) == (sizes.batch, sizes.kv_heads * sizes.group, sizes.n)
            && of.phi_k.dims4()? == (batch, sizes.kv_heads, sizes.source, m)
            && of.shares.dims4()? == (batch, h, n, 2)
            && of.log_decay.is_none_or(|decay| decay.dims() == [batch, sizes.kv_heads, sizes.source]);
        if !fits || m == 0 || of.window == 0 || sizes.source < n || sizes.source - n > of.window {
            candle_core::bail!("hybrid attention of {of:?}");
        }
        let [q, k, v, phi_q, phi_k, shares] = [of.q, of.k, of.v, of.phi_q, of.phi_k, of.shares].map(Tensor::contiguous);
        let operands = [q?, k?, v?, phi_q?, phi_k?, shares?];
        let log_decay = of.log_decay.map(Tensor::contiguous).transpose()?;
        Ok(Self { simd, sizes, m, window: of.window, normalizer: of.normalizer, operands, log_decay })
    }

    /// Queries before which something has left the window: the last so many, each with one key more than the one before it.
    fn pairs(&self) -> usize {
        self.sizes.source.saturating_sub(self.window).min(self.sizes.n)
    }

    fn span(&self) -> Span {
        Span::Causal { offset: self.sizes.source - self.sizes.n, window: Some(self.window) }
    }

    fn work(&self) -> usize {
        let s = self.sizes;
        2 * s.out_len() * (self.window.min(s.source) + self.m)
    }

    /// The operands' numbers, and the logarithms of the decay.
    fn lend<T>(&self, body: impl FnOnce([&[f32]; 6], Option<&[f32]>) -> Result<T>) -> Result<T> {
        let [q, k, v, phi_q, phi_k, shares] = &self.operands;
        // Read by nobody where there is no decay.
        let decay = self.log_decay.as_ref().unwrap_or(shares);
        with_slices([q, k, v, phi_q, phi_k, shares, decay], |[q, k, v, phi_q, phi_k, shares, decay]| {
            body([q, k, v, phi_q, phi_k, shares], self.log_decay.as_ref().map(|_| decay))
        })
    }

    /// What comes out, from the sums before the first token; those after the last go to `after`, if there is room.
    fn forward(&self, before: Option<&[f32]>, after: &mut [f32], keeps: bool) -> Result<(Vec<f32>, Kept)> {
        let (s, m, pairs) = (self.sizes, self.m, self.pairs());
        let (queries, d) = (s.group * s.n, s.value_dim);
        let zeros = |of_part: usize| vec![0f32; s.parts() * of_part];
        let mut out = zeros(queries * d);
        let mut kept = Kept {
            means: zeros(if keeps { queries * d } else { 0 }),
            stats: zeros(2 * queries),
            totals: zeros(queries),
            far: zeros(s.group * pairs * d),
            far_totals: zeros(s.group * pairs),
        };
        let Kept { means, stats, totals, far, far_totals } = &mut kept;
        let buffers = [&mut out[..], means, stats, totals, far, far_totals, after];
        self.lend(|[q, k, v, phi_q, phi_k, shares], log_decay| {
            for_each_part(s.parts(), self.work(), buffers, |i, [out, means, stats, totals, far, far_totals, after]| {
                let (q, keys) = (part(q, i, queries * s.width), part(k, i, s.source * s.width));
                let values = part(v, i, s.source * d);
                let mut scratch = vec![0f32; softmax_forward::scratch_len(s.source, s.width)];
                let (sizes, span) = ((s.n, s.width), self.span());
                softmax_forward::forward(self.simd, q, keys, values, sizes, span, &mut scratch, stats, out);
                totals.iter_mut().zip(stats.chunks_exact(2)).for_each(|(total, stats)| *total = 1.0 / stats[1]);
                if !means.is_empty() {
                    means.copy_from_slice(out);
                }
                let (mut sums, mut z) = (vec![0f32; m * d], vec![0f32; m]);
                let phi_k = &part(phi_k, i, s.source * m)[..pairs * m];
                let decay: Option<Vec<f32>> =
                    log_decay.map(|logs| part(logs, i, s.source)[..pairs].iter().map(|log| log.exp()).collect());
                for g in 0..s.group {
                    sums.fill(0.0);
                    z.fill(0.0);
                    if let Some(before) = before {
                        apart(part(before, i, m * (d + 1)), &mut sums, &mut z);
                    }
                    let phi_q = last(part(phi_q, i * s.group + g, s.n * m), pairs * m);
                    let (far, far_totals) =
                        (&mut far[g * pairs * d..][..pairs * d], &mut far_totals[g * pairs..][..pairs]);
                    let (values, decay) = (&values[..pairs * d], decay.as_deref());
                    let apart = Denominators::Apart(far_totals);
                    linear::forward(self.simd, phi_q, phi_k, values, decay, &mut sums, &mut z, apart, far);
                }
                if !after.is_empty() {
                    together(&sums, &z, after);
                }
                for g in 0..s.group {
                    let joint = self.joint(g, totals, (far, far_totals), part(shares, i, 2 * queries));
                    let out = &mut out[g * s.n * d..][..s.n * d];
                    hybrid::join(self.simd, joint, &mut out[(s.n - pairs) * d..]);
                }
            });
            Ok(())
        })?;
        Ok((out, kept))
    }

    /// What the queries of head g of a group join, of those that join anything.
    fn joint<'a>(
        &self,
        g: usize,
        totals: &'a [f32],
        (far, far_totals): (&'a [f32], &'a [f32]),
        shares: &'a [f32],
    ) -> Joint<'a> {
        let (n, d, pairs) = (self.sizes.n, self.sizes.value_dim, self.pairs());
        Joint {
            totals: last(part(totals, g, n), pairs),
            far: part(far, g, pairs * d),
            far_totals: part(far_totals, g, pairs),
            shares: last(part(shares, g, 2 * n), 2 * pairs),
            normalizer: self.normalizer,
        }
    }

    /// Gradients of the operands, in their order; empty ones of those that carry none.
    fn backward(&self, kept: &Kept, grad: &[f32]) -> Result<[Vec<f32>; 6]> {
        let s = self.sizes;
        let mut all = self.operands.each_ref().map(room);
        let buffers = all.each_mut().map(|room| &mut room[..]);
        self.lend(|[q, k, v, phi_q, phi_k, shares], log_decay| {
            let (queries, d, m) = (s.group * s.n, s.value_dim, self.m);
            for_each_part(s.parts(), 3 * self.work(), buffers, |i, into| {
                let head = Head {
                    layer: self,
                    q: part(q, i, queries * s.width),
                    keys: part(k, i, s.source * s.width),
                    values: part(v, i, s.source * d),
                    phi_q: part(phi_q, i, queries * m),
                    phi_k: part(phi_k, i, s.source * m),
                    shares: part(shares, i, 2 * queries),
                    log_decay: log_decay.map(|logs| part(logs, i, s.source)),
                    kept,
                    i,
                };
                head.backward(part(grad, i, queries * d), into);
            });
            Ok(())
        })?;
        Ok(all)
    }
}

/// The i-th of equal parts of `len` numbers.
fn part(all: &[f32], i: usize, len: usize) -> &[f32] {
    &all[i * len..][..len]
}

fn last(all: &[f32], len: usize) -> &[f32] {
    &all[all.len() - len..]
}

/// A key head with its queries, on the way back.
struct Head<'a> {
    layer: &'a Layer,
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    phi_q: &'a [f32],
    phi_k: &'a [f32],
    shares: &'a [f32],
    log_decay: Option<&'a [f32]>,
    kept: &'a Kept,
    i: usize,
}

impl Head<'_> {
    /// First through the joint, then through each of both sides.
    fn backward(&self, grad: &[f32], [dq, dk, dv, dphi_q, dphi_k, dshares]: [&mut [f32]; 6]) {
        let (s, pairs, simd) = (self.layer.sizes, self.layer.pairs(), self.layer.simd);
        let (n, d) = (s.n, s.value_dim);
        let (kept, of_part) = (self.kept, |len: usize| s.group * len);
        let means = part(&kept.means, self.i, of_part(n * d));
        // A query that joins nothing is its mean.
        let (mut d_means, mut d_totals) = (grad.to_vec(), vec![0f32; of_part(n)]);
        let (mut d_far, mut d_far_totals) = (vec![0f32; of_part(pairs * d)], vec![0f32; of_part(pairs)]);
        let mut of_shares = vec![0f32; 2 * pairs];
        for g in 0..s.group {
            let far = (part(&kept.far, self.i, of_part(pairs * d)), part(&kept.far_totals, self.i, of_part(pairs)));
            let joint = self.layer.joint(g, part(&kept.totals, self.i, of_part(n)), far, self.shares);
            let first = (g + 1) * n - pairs;
            let into = OfJoint {
                near: &mut d_means[first * d..][..pairs * d],
                log_totals: &mut d_totals[first..][..pairs],
                far: &mut d_far[g * pairs * d..][..pairs * d],
                far_totals: &mut d_far_totals[g * pairs..][..pairs],
                shares: &mut of_shares,
            };
            let (means, grad) = (&means[first * d..][..pairs * d], &grad[first * d..][..pairs * d]);
            hybrid::backward(simd, joint, means, grad, into);
            if !dshares.is_empty() {
                dshares[2 * first..][..2 * pairs].copy_from_slice(&of_shares);
            }
        }
        self.through_sums((&d_far, &d_far_totals), [&mut *dv, dphi_q, dphi_k]);
        if dq.is_empty() && dk.is_empty() && dv.is_empty() {
            return;
        }
        let of = Softmax { q: self.q, keys: self.keys, values: self.values, grad: &d_means, log_totals: &d_totals };
        let mut scratch = vec![0f32; softmax_backward::scratch_len(s.group, n, s.width, d)];
        let forward = (means, part(&kept.stats, self.i, of_part(2 * n)));
        let into = OfSoftmax { q: dq, keys: dk, values: dv };
        softmax_backward::backward(simd, of, (n, s.width), self.layer.span(), forward, &mut scratch, into);
    }

    /// From gradients of the far sums (group, pairs, d_v) and their denominators to those of values and features.
    fn through_sums(&self, (sums, totals): (&[f32], &[f32]), [dv, dphi_q, dphi_k]: [&mut [f32]; 3]) {
        let (Sizes { n, value_dim: d, group, .. }, m, pairs) = (self.layer.sizes, self.layer.m, self.layer.pairs());
        if pairs == 0 || dphi_q.is_empty() && dphi_k.is_empty() && dv.is_empty() {
            return;
        }
        let mut scratch = vec![0f32; linear_backward::scratch_len(pairs, pairs, m, d)];
        for g in 0..group {
            let of = Linear {
                phi_q: last(part(self.phi_q, g, n * m), pairs * m),
                phi_k: &self.phi_k[..pairs * m],
                v: &self.values[..pairs * d],
                grad: part(sums, g, pairs * d),
                log_decay: self.log_decay.map(|logs| &logs[..pairs]),
                causal: true,
                denominators: Denominators::Apart(part(totals, g, pairs)),
            };
            let first = (g + 1) * n - pairs;
            let into = OfLinear {
                phi_q: if dphi_q.is_empty() { &mut [] } else { &mut dphi_q[first * m..][..pairs * m] },
                phi_k: if dphi_k.is_empty() { &mut [] } else { &mut dphi_k[..pairs * m] },
                v: if dv.is_empty() { &mut [] } else { &mut dv[..pairs * d] },
                log_decay: &mut [],
            };
            linear_backward::backward(self.layer.simd, of, m, &[], &mut scratch, into);
        }
    }
}

struct Attend {
    layer: Layer,
    shelf: Shelf,
    /// Whether there will be a backward.
    keeps: bool,
    kept: OnceLock<Kept>,
}

impl CustomOp1 for Attend {
    fn name(&self) -> &'static str {
        "hybrid-attention"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (out, kept) = self.layer.forward(None, &mut [], self.keeps)?;
        if self.keeps {
            // An operation runs once; should it run again, the first figures are the same.
            let _ = self.kept.set(kept);
        }
        made(out, self.layer.sizes.out_shape())
    }

    fn bwd(&self, carried: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = self.kept.get() else { candle_core::bail!("a backward before its forward") };
        let all = with_slices([&grad.contiguous()?], |[grad]| self.layer.backward(kept, grad))?;
        let gradients = self.layer.operands.iter().zip(all).map(|(of, numbers)| gradient(of, numbers));
        self.shelf.put(gradients.collect::<Result<_>>()?);
        if carried.track_op() { Tensor::new(1f32, &Device::Cpu).map(Some) } else { Ok(None) }
    }
}
