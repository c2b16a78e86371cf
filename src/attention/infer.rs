//! Whole sequences by the fused kernels, a key head at a time: what `implementation = fused` runs where a step is not
//! all there is. No gradient.

use candle_core::{Result, Tensor};

use super::{
    Heads, Mask, Qkv,
    feature_map::{At, FeatureMap, Side},
    linear::sigmoid,
    with_slices,
};
use crate::kernels::{
    self, Kernels, Simd, for_each_part,
    fused::{self, softmax_forward::Span},
};

/// Sizes as both forms want them.
struct Sizes {
    batch: usize,
    n: usize,
    source: usize,
    width: usize,
    value_dim: usize,
}

impl Sizes {
    fn of(qkv: &Qkv, mask: &Mask) -> Result<Self> {
        let (batch, _, n, width) = qkv.q.dims4()?;
        let (_, _, source, value_dim) = qkv.v.dims4()?;
        if let Mask::Full { source_lengths: Some(lengths) } = mask {
            if lengths.len() != batch {
                candle_core::bail!("{} source lengths for a batch of {batch}", lengths.len());
            }
            if let Some(long) = lengths.iter().find(|l| **l > source) {
                candle_core::bail!("a source length of {long} is beyond the padded length {source}");
            }
        }
        Ok(Self { batch, n, source, width, value_dim })
    }

    /// Tokens of sequence b's source that are not padding.
    fn seen(&self, mask: &Mask, b: usize) -> usize {
        match mask {
            Mask::Full { source_lengths: Some(lengths) } => lengths[b],
            _ => self.source,
        }
    }
}

/// Softmax attention, causal over the last `window` tokens or over a whole source: (b, h, n, d_v).
pub(super) fn softmax(heads: Heads, window: Option<usize>, qkv: &Qkv, mask: &Mask, simd: Simd) -> Result<Tensor> {
    let s = Sizes::of(qkv, mask)?;
    let (kv, group, d) = (heads.n_kv_heads, heads.group(), s.width);
    let span = match mask {
        Mask::Causal => Span::Causal { offset: 0, window },
        Mask::Full { .. } => Span::Full,
    };
    let mut out = vec![0f32; s.batch * heads.n_heads * s.n * s.value_dim];
    if out.is_empty() {
        return Tensor::from_vec(out, (s.batch, heads.n_heads, s.n, s.value_dim), qkv.q.device());
    }
    let (q, k, v) = (qkv.q.contiguous()?, qkv.k.contiguous()?, qkv.v.contiguous()?);
    with_slices([&q, &k, &v], |[q, k, v]| {
        let work = 2 * out.len() * s.source;
        for_each_part(s.batch * kv, work, [&mut out], |i, [out]| {
            let seen = s.seen(mask, i / kv);
            let (keys, values) = (&k[i * s.source * d..][..seen * d], &v[i * s.source * s.value_dim..]);
            let mut scratch = vec![0.0; fused::softmax_forward::scratch_len(seen, d)];
            let queries = &q[i * group * s.n * d..][..group * s.n * d];
            let values = &values[..seen * s.value_dim];
            fused::softmax_forward::forward(simd, queries, keys, values, (s.n, d), span, &mut scratch, out);
        });
        Ok(())
    })?;
    Tensor::from_vec(out, (s.batch, heads.n_heads, s.n, s.value_dim), qkv.q.device())
}

/// Linear attention, causal or over a whole source: (b, h, n, d_v).
pub(super) fn linear(
    heads: Heads,
    map: &dyn FeatureMap,
    gated: bool,
    qkv: &Qkv,
    mask: &Mask,
    simd: Simd,
) -> Result<Tensor> {
    let s = Sizes::of(qkv, mask)?;
    let (kv, group, m, d_v) = (heads.n_kv_heads, heads.group(), map.feature_dim(), s.value_dim);
    let on_slices = map.on_slices(Kernels::Fused(simd))?;
    let (normalizer, on_slices) = (map.normalizer(), on_slices.as_ref());
    let gate = match (&qkv.gate, gated) {
        (Some(gate), true) => gate.contiguous()?,
        (None, true) => candle_core::bail!("a gated variant got no gate"),
        // Read by nobody.
        (_, false) => qkv.v.contiguous()?,
    };
    let features = |x: &[f32], head: usize, side: Side| -> Vec<f32> {
        let mut phi = vec![0.0; x.len() / s.width * m];
        for (position, (x, phi)) in x.chunks_exact(s.width).zip(phi.chunks_exact_mut(m)).enumerate() {
            on_slices.apply(x, At { head, side, position }, phi);
        }
        phi
    };
    let mut out = vec![0f32; s.batch * heads.n_heads * s.n * d_v];
    if out.is_empty() {
        return Tensor::from_vec(out, (s.batch, heads.n_heads, s.n, d_v), qkv.q.device());
    }
    let (q, k, v) = (qkv.q.contiguous()?, qkv.k.contiguous()?, qkv.v.contiguous()?);
    with_slices([&q, &k, &v, &gate], |[q, k, v, gate]| {
        let work = 4 * s.batch * heads.n_heads * s.n.max(s.source) * m * d_v;
        for_each_part(s.batch * kv, work, [&mut out], |i, [out]| {
            let (head, seen) = (i % kv, s.seen(mask, i / kv));
            let mut phi_k = features(&k[i * s.source * s.width..][..seen * s.width], head, Side::Key);
            let values = &v[i * s.source * d_v..][..seen * d_v];
            let decay = gated.then(|| -> Vec<f32> {
                let gate = &gate[i * s.source..][..seen];
                for (phi, x) in phi_k.chunks_exact_mut(m).zip(gate) {
                    phi.iter_mut().for_each(|phi| *phi *= sigmoid(-x));
                }
                gate.iter().map(|x| sigmoid(*x)).collect()
            });
            let queries = q[i * group * s.n * s.width..][..group * s.n * s.width].chunks_exact(s.n * s.width);
            let (mut sums, mut z) = (vec![0.0; m * d_v], vec![0.0; m]);
            if let Mask::Full { .. } = mask {
                for (phi, v) in phi_k.chunks_exact(m).zip(values.chunks_exact(d_v)) {
                    kernels::linear::update(phi, v, 1.0, &mut sums, &mut z);
                }
            }
            for (q, out) in queries.zip(out.chunks_exact_mut(s.n * d_v)) {
                let phi_q = features(q, head, Side::Query);
                match mask {
                    Mask::Causal => {
                        sums.fill(0.0);
                        z.fill(0.0);
                        let decay = decay.as_deref();
                        fused::linear::forward(simd, &phi_q, &phi_k, values, decay, &mut sums, &mut z, normalizer, out);
                    }
                    Mask::Full { .. } => {
                        for (phi, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d_v)) {
                            let den = kernels::linear::read_sums(phi, &sums, &z, out);
                            let scale = 1.0 / normalizer.apply(den);
                            out.iter_mut().for_each(|o| *o *= scale);
                        }
                    }
                }
            }
        });
        Ok(())
    })?;
    Tensor::from_vec(out, (s.batch, heads.n_heads, s.n, d_v), qkv.q.device())
}
