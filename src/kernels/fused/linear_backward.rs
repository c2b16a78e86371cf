//! Gradients of linear attention over a whole sequence for one query head, with sums that are made anew and stay in the
//! nearest cache.
//!
//! With v⁺ = (v, 1) and n⁺_i the gradient of the weighted sums and of their denominator, the causal form is three more
//! recurrences of the kind that the forward is: `dφ(q)_i = Σ_{j≤i} (n⁺_i·v⁺_j) φ(k_j)` from first to last, and from last
//! to first `dφ(k)_j = Σ_{i≥j} (v⁺_j·n⁺_i) φ(q_i)` and `dv_j = Σ_{i≥j} (φ(k_j)·φ(q_i)) n_i`. Over a whole source the sums
//! do not move, and the same are products of matrices.

use pulp::Simd as Vectors;

use super::{
    linear::{Queries, TOGETHER, Token, pass},
    tile::{add_product, add_product_of_transposed},
    vector::dot,
};
use crate::kernels::{
    Simd,
    linear::{Denominators, Gradients, Sequence},
};

/// Tokens whose widened values and gradients are at hand together.
const BLOCK: usize = 64;

/// Numbers of scratch memory that [`backward`] wants for n queries over a source.
#[must_use]
pub fn scratch_len(n: usize, source: usize, m: usize, d: usize) -> usize {
    3 * n + source + 1 + BLOCK * (2 * (d + 1) + m.max(d)) + (d + 1) * m + m * d + m
}

/// As [`kernels::linear::backward`](crate::kernels::linear::backward); `out` (n, d_v) is what the forward made, empty where
/// denominators came out apart.
///
/// # Panics
/// If the lengths do not fit together or `scratch` is shorter than [`scratch_len`].
pub fn backward(simd: Simd, of: Sequence<'_>, m: usize, out: &[f32], scratch: &mut [f32], into: Gradients<'_>) {
    let (n, source) = (of.phi_q.len() / m, of.phi_k.len() / m);
    if n == 0 || source == 0 {
        return;
    }
    let d = of.v.len() / source;
    assert!(of.phi_q.len() == n * m && of.phi_k.len() == source * m && of.v.len() == source * d && d > 0);
    assert!(of.grad.len() == n * d && (!of.causal || n == source));
    assert!(match of.denominators {
        Denominators::Divide(_) => out.len() == n * d,
        Denominators::Apart(grads) => grads.len() == n,
    });
    assert!(of.log_decay.is_none_or(|g| g.len() == n && of.causal));
    assert!(into.phi_q.is_empty() || into.phi_q.len() == n * m);
    assert!(into.phi_k.is_empty() || into.phi_k.len() == source * m);
    assert!(into.v.is_empty() || into.v.len() == source * d);
    assert!(into.log_decay.is_empty() || into.log_decay.len() == n);
    let (vectors, scratch) = scratch[..scratch_len(n, source, m, d)].split_at_mut(3 * n + source + 1);
    let (scales, rest) = vectors.split_at_mut(n);
    let (slopes, rest) = rest.split_at_mut(n);
    let (pairs, decay) = rest.split_at_mut(n);
    let (values, scratch) = scratch.split_at_mut(BLOCK * (d + 1));
    let (grads, scratch) = scratch.split_at_mut(BLOCK * (d + 1));
    let (rows, scratch) = scratch.split_at_mut(BLOCK * m.max(d));
    let (wide, scratch) = scratch.split_at_mut((d + 1) * m);
    let (narrow, z) = scratch.split_at_mut(m * d);
    simd.run(Backward {
        of,
        n,
        source,
        m,
        d,
        out,
        scales,
        slopes,
        pairs,
        decay,
        values,
        grads,
        rows,
        wide,
        narrow,
        z,
        into,
    });
}

struct Backward<'a> {
    of: Sequence<'a>,
    n: usize,
    source: usize,
    m: usize,
    d: usize,
    out: &'a [f32],
    /// 1 / norm(D_i), or 1.
    scales: &'a mut [f32],
    /// Gradients of the denominators D_i.
    slopes: &'a mut [f32],
    /// φ(q_i)·dφ(q)_i, which the gradient of a decay is made of.
    pairs: &'a mut [f32],
    /// Factors of the sums before each token, and 1 after the last.
    decay: &'a mut [f32],
    /// v⁺ of a block, and n⁺.
    values: &'a mut [f32],
    grads: &'a mut [f32],
    /// What a sweep over a block gives.
    rows: &'a mut [f32],
    /// Sums (d_v + 1, m), and (m, d_v).
    wide: &'a mut [f32],
    narrow: &'a mut [f32],
    z: &'a mut [f32],
    into: Gradients<'a>,
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(mut self, simd: S) {
        self.decay.fill(1.0);
        if let Some(log_decay) = self.of.log_decay {
            self.decay.iter_mut().zip(log_decay).for_each(|(g, log)| *g = log.exp());
        }
        self.denominators(simd);
        if self.of.causal {
            if !(self.into.phi_q.is_empty() && self.into.log_decay.is_empty()) {
                self.forwards(simd);
            }
            if !(self.into.phi_k.is_empty() && self.into.log_decay.is_empty() && self.into.v.is_empty()) {
                self.backwards(simd);
            }
        } else {
            self.over_all(simd);
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn denominators<S: Vectors>(&mut self, simd: S) {
        let (m, d) = (self.m, self.d);
        let normalizer = match self.of.denominators {
            Denominators::Divide(normalizer) => normalizer,
            Denominators::Apart(grads) => {
                self.scales.fill(1.0);
                self.slopes.copy_from_slice(grads);
                return;
            }
        };
        self.z.fill(0.0);
        if !self.of.causal {
            for k in self.of.phi_k.chunks_exact(m) {
                self.z.iter_mut().zip(k).for_each(|(z, k)| *z += k);
            }
        }
        for i in 0..self.n {
            if self.of.causal {
                let (k, decay) = (&self.of.phi_k[i * m..][..m], self.decay[i]);
                self.z.iter_mut().zip(k).for_each(|(z, k)| *z = decay * *z + k);
            }
            let den = dot(simd, &self.of.phi_q[i * m..][..m], self.z);
            let along = dot(simd, &self.of.grad[i * d..][..d], &self.out[i * d..][..d]);
            self.scales[i] = 1.0 / normalizer.apply(den);
            self.slopes[i] = -normalizer.slope(den) * self.scales[i] * along;
        }
    }

    /// v⁺ of `count` tokens of the source from `first` on.
    #[inline(always)]
    fn widen_values(&mut self, first: usize, count: usize) {
        let d = self.d;
        let values = self.of.v[first * d..][..count * d].chunks_exact(d);
        for (wide, v) in self.values.chunks_exact_mut(d + 1).zip(values) {
            wide[..d].copy_from_slice(v);
            wide[d] = 1.0;
        }
    }

    /// n⁺ of `count` queries from `first` on.
    #[inline(always)]
    fn widen_grads(&mut self, first: usize, count: usize) {
        let d = self.d;
        let grads = self.of.grad[first * d..][..count * d].chunks_exact(d).enumerate();
        for (wide, (i, grad)) in self.grads.chunks_exact_mut(d + 1).zip(grads) {
            let scale = self.scales[first + i];
            wide[..d].iter_mut().zip(grad).for_each(|(wide, grad)| *wide = scale * grad);
            wide[d] = self.slopes[first + i];
        }
    }

    /// From first to last: the gradients of the queries' features.
    #[inline(always)]
    fn forwards<S: Vectors>(&mut self, simd: S) {
        let (n, m, d) = (self.n, self.m, self.d);
        self.wide.fill(0.0);
        for first in (0..n).step_by(BLOCK) {
            let count = BLOCK.min(n - first);
            self.widen_values(first, count);
            self.widen_grads(first, count);
            let sweep = Sweep {
                count,
                reads: Rows { numbers: self.grads, stride: d + 1, width: d + 1 },
                writes: Rows { numbers: self.values, stride: d + 1, width: d + 1 },
                values: Rows { numbers: &self.of.phi_k[first * m..], stride: m, width: m },
                decay: &self.decay[first..],
                reversed: false,
            };
            sweep.run(simd, self.wide, self.rows);
            let rows = &self.rows[..count * m];
            for (i, row) in rows.chunks_exact(m).enumerate() {
                self.pairs[first + i] = dot(simd, &self.of.phi_q[(first + i) * m..][..m], row);
            }
            if !self.into.phi_q.is_empty() {
                add(&mut self.into.phi_q[first * m..], rows);
            }
        }
    }

    /// From last to first: the gradients of the keys' features, of the values and of the decay.
    #[inline(always)]
    fn backwards<S: Vectors>(&mut self, simd: S) {
        let (n, m, d) = (self.n, self.m, self.d);
        let of_decay = !self.into.log_decay.is_empty();
        self.wide.fill(0.0);
        self.narrow.fill(0.0);
        let mut later = 0f64;
        for block in (0..n.div_ceil(BLOCK)).rev() {
            let first = block * BLOCK;
            let count = BLOCK.min(n - first);
            self.widen_grads(first, count);
            let (phi_q, phi_k) = (&self.of.phi_q[first * m..], &self.of.phi_k[first * m..]);
            if of_decay || !self.into.phi_k.is_empty() {
                self.widen_values(first, count);
                let sweep = Sweep {
                    count,
                    reads: Rows { numbers: self.values, stride: d + 1, width: d + 1 },
                    writes: Rows { numbers: self.grads, stride: d + 1, width: d + 1 },
                    values: Rows { numbers: phi_q, stride: m, width: m },
                    // A token's gradients decay by the factor that the token after it brings.
                    decay: &self.decay[first + 1..],
                    reversed: true,
                };
                sweep.run(simd, self.wide, self.rows);
                let rows = &self.rows[..count * m];
                if of_decay {
                    for (i, row) in rows.chunks_exact(m).enumerate().rev() {
                        // What a token's logarithm moves is what later queries see of this key and those before it.
                        let of_key = dot(simd, &phi_k[i * m..][..m], row);
                        later += f64::from(self.pairs[first + i]) - f64::from(of_key);
                        if first + i > 0 {
                            self.into.log_decay[first + i] += later as f32;
                        }
                    }
                }
                if !self.into.phi_k.is_empty() {
                    add(&mut self.into.phi_k[first * m..], rows);
                }
            }
            if !self.into.v.is_empty() {
                let sweep = Sweep {
                    count,
                    reads: Rows { numbers: phi_k, stride: m, width: m },
                    writes: Rows { numbers: phi_q, stride: m, width: m },
                    values: Rows { numbers: self.grads, stride: d + 1, width: d },
                    decay: &self.decay[first + 1..],
                    reversed: true,
                };
                sweep.run(simd, self.narrow, self.rows);
                add(&mut self.into.v[first * d..], &self.rows[..count * d]);
            }
        }
    }

    /// Where every query sees the whole source: products with sums that do not move.
    #[inline(always)]
    fn over_all<S: Vectors>(&mut self, simd: S) {
        let (n, source, m, d) = (self.n, self.source, self.m, self.d);
        if !self.into.phi_q.is_empty() {
            self.wide.fill(0.0);
            for first in (0..source).step_by(BLOCK) {
                let count = BLOCK.min(source - first);
                self.widen_values(first, count);
                let keys = &self.of.phi_k[first * m..][..count * m];
                add_product_of_transposed(simd, &self.values[..count * (d + 1)], d + 1, keys, self.wide);
            }
            for first in (0..n).step_by(BLOCK) {
                let count = BLOCK.min(n - first);
                self.widen_grads(first, count);
                let out = &mut self.into.phi_q[first * m..][..count * m];
                add_product(simd, &self.grads[..count * (d + 1)], self.wide, m, out);
            }
        }
        self.wide.fill(0.0);
        self.narrow.fill(0.0);
        for first in (0..n).step_by(BLOCK) {
            let count = BLOCK.min(n - first);
            self.widen_grads(first, count);
            let queries = &self.of.phi_q[first * m..][..count * m];
            add_product_of_transposed(simd, &self.grads[..count * (d + 1)], d + 1, queries, self.wide);
            for (row, wide) in self.rows.chunks_exact_mut(d).zip(self.grads[..count * (d + 1)].chunks_exact(d + 1)) {
                row.copy_from_slice(&wide[..d]);
            }
            add_product_of_transposed(simd, queries, m, &self.rows[..count * d], self.narrow);
        }
        for first in (0..source).step_by(BLOCK) {
            let count = BLOCK.min(source - first);
            if !self.into.phi_k.is_empty() {
                self.widen_values(first, count);
                let out = &mut self.into.phi_k[first * m..][..count * m];
                add_product(simd, &self.values[..count * (d + 1)], self.wide, m, out);
            }
            if !self.into.v.is_empty() {
                let keys = &self.of.phi_k[first * m..][..count * m];
                add_product(simd, keys, self.narrow, d, &mut self.into.v[first * d..][..count * d]);
            }
        }
    }
}

/// Rows of `width` numbers, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    numbers: &'a [f32],
    stride: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn get(self, i: usize) -> &'a [f32] {
        &self.numbers[i * self.stride..][..self.width]
    }
}

/// `T ← g_i T + w_i x_iᵀ`, `out_i = r_iᵀ T` over the tokens of a block, from first to last or reversed.
struct Sweep<'a> {
    count: usize,
    /// r.
    reads: Rows<'a>,
    /// w.
    writes: Rows<'a>,
    /// x.
    values: Rows<'a>,
    decay: &'a [f32],
    reversed: bool,
}

impl Sweep<'_> {
    #[inline(always)]
    fn run<S: Vectors>(&self, simd: S, sums: &mut [f32], out: &mut [f32]) {
        let mut first = 0;
        if S::REGISTER_COUNT >= 32 {
            while first + TOGETHER[0] <= self.count {
                self.tokens::<S, { TOGETHER[0] }>(simd, first, sums, out);
                first += TOGETHER[0];
            }
        } else {
            while first + TOGETHER[1] <= self.count {
                self.tokens::<S, { TOGETHER[1] }>(simd, first, sums, out);
                first += TOGETHER[1];
            }
        }
        while first < self.count {
            self.tokens::<S, 1>(simd, first, sums, out);
            first += 1;
        }
    }

    #[inline(always)]
    fn tokens<S: Vectors, const T: usize>(&self, simd: S, first: usize, sums: &mut [f32], out: &mut [f32]) {
        let mut tokens = [Token { phi_k: &[], v: &[], decay: 1.0 }; T];
        let mut queries = [Queries(&[]); T];
        let mut at = [0; T];
        for t in 0..T {
            let i = if self.reversed { self.count - 1 - first - t } else { first + t };
            tokens[t] = Token { phi_k: self.writes.get(i), v: self.values.get(i), decay: self.decay[i] };
            queries[t] = Queries(self.reads.get(i));
            at[t] = i * self.values.width;
        }
        pass::<S, T, 1, true>(simd, tokens, queries, sums, [[1.0; 1]; T], out, at);
    }
}

/// `out += x` as far as x goes.
#[inline(always)]
fn add(out: &mut [f32], x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
}
