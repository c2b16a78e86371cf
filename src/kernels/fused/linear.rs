//! Linear attention for one key head as a recurrence: a step, or a whole sequence from one state to another.
//!
//! A pass over S takes a few tokens at once, so that a row is read and written once for all of them.

use pulp::Simd as Vectors;

use super::vector::{load, split, store};
use crate::kernels::{Simd, linear::Denominators};

/// Tokens that share a pass over S where there are many registers, and where there are few.
pub(super) const TOGETHER: [usize; 2] = [4, 2];

/// As [`kernels::linear::step`](crate::kernels::linear::step) after multiplying S and z by `decay` (1 for none).
///
/// `s` is (m, d_v), `z` and `phi_k` are (m), `v` is (d_v), `phi_q` is (group, m), `out` is (group, d_v).
///
/// # Panics
/// If the lengths do not fit together.
pub fn step<'a>(
    simd: Simd,
    phi_q: &[f32],
    phi_k: &[f32],
    v: &[f32],
    decay: f32,
    s: &mut [f32],
    z: &mut [f32],
    denominators: impl Into<Denominators<&'a mut [f32]>>,
    out: &mut [f32],
) {
    let (m, d) = (phi_k.len(), v.len());
    let group = phi_q.len() / m;
    assert!(s.len() == m * d && z.len() == m && phi_q.len() == group * m && out.len() == group * d && d > 0);
    let mut denominators = denominators.into();
    assert!(denominators.fit(group));
    simd.run(Step { first: 0, group, phi_q, phi_k, v, decay, s, z, denominators: &mut denominators, out });
}

/// Causal attention of n tokens for one query head, from the sums before the first token to those after the last:
/// `S_i = g_i S_{i-1} + φ(k_i) v_iᵀ`, z likewise, `out_i = φ(q_i)ᵀ S_i / norm(φ(q_i)·z_i)`, g = `decay` or 1, or both parts of
/// the fraction apart.
///
/// `phi_q` and `phi_k` are (n, m), `v` and `out` are (n, d_v), `decay` is (n), `s` is (m, d_v), `z` is (m).
///
/// # Panics
/// If the lengths do not fit together.
pub fn forward<'a>(
    simd: Simd,
    phi_q: &[f32],
    phi_k: &[f32],
    v: &[f32],
    decay: Option<&[f32]>,
    s: &mut [f32],
    z: &mut [f32],
    denominators: impl Into<Denominators<&'a mut [f32]>>,
    out: &mut [f32],
) {
    let m = z.len();
    let (d, n) = (s.len() / m, phi_k.len() / m);
    assert!(s.len() == m * d && phi_k.len() == n * m && phi_q.len() == n * m && d > 0);
    assert!(v.len() == n * d && out.len() == n * d && decay.is_none_or(|g| g.len() == n));
    let denominators = denominators.into();
    assert!(denominators.fit(n));
    simd.run(Forward { m, d, n, phi_q, phi_k, v, decay, s, z, denominators, out });
}

pub(super) struct Step<'a, 'b> {
    /// Queries before these, of heads that are done.
    pub(super) first: usize,
    pub(super) group: usize,
    pub(super) phi_q: &'a [f32],
    pub(super) phi_k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) decay: f32,
    pub(super) s: &'a mut [f32],
    pub(super) z: &'a mut [f32],
    pub(super) denominators: &'a mut Denominators<&'b mut [f32]>,
    pub(super) out: &'a mut [f32],
}

impl Step<'_, '_> {
    /// The next `G` queries; the first ones of a token bring it into the sums.
    #[inline(always)]
    fn queries<S: Vectors, const G: usize, const WRITE: bool>(&mut self, simd: S, first: usize) {
        let (m, d) = (self.phi_k.len(), self.v.len());
        let token = [Token { phi_k: self.phi_k, v: self.v, decay: self.decay }];
        let queries = [Queries(&self.phi_q[first * m..])];
        let mut scale = denominators::<S, 1, G, WRITE>(simd, token, queries, self.z);
        for g in 0..G {
            scale[0][g] = self.denominators.factor(self.first + first + g, scale[0][g]);
        }
        pass::<S, 1, G, WRITE>(simd, token, queries, self.s, scale, &mut self.out[first * d..], [0]);
    }
}

impl pulp::WithSimd for Step<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(mut self, simd: S) {
        let together = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        // Later queries of a large group find S as the first ones left it.
        let mut first = 0;
        while first < self.group {
            let written = first > 0;
            let left = (self.group - first).min(together);
            match (left, written) {
                (1, false) => self.queries::<S, 1, true>(simd, first),
                (2, false) => self.queries::<S, 2, true>(simd, first),
                (3, false) => self.queries::<S, 3, true>(simd, first),
                (_, false) => self.queries::<S, 4, true>(simd, first),
                (1, true) => self.queries::<S, 1, false>(simd, first),
                (2, true) => self.queries::<S, 2, false>(simd, first),
                (3, true) => self.queries::<S, 3, false>(simd, first),
                (_, true) => self.queries::<S, 4, false>(simd, first),
            }
            first += left;
        }
    }
}

struct Forward<'a> {
    n: usize,
    m: usize,
    d: usize,
    phi_q: &'a [f32],
    phi_k: &'a [f32],
    v: &'a [f32],
    decay: Option<&'a [f32]>,
    s: &'a mut [f32],
    z: &'a mut [f32],
    denominators: Denominators<&'a mut [f32]>,
    out: &'a mut [f32],
}

impl Forward<'_> {
    #[inline(always)]
    fn tokens<S: Vectors, const T: usize>(&mut self, simd: S, first: usize) {
        let (m, d) = (self.m, self.d);
        let mut tokens = [Token { phi_k: &[], v: &[], decay: 1.0 }; T];
        let mut queries = [Queries(&[]); T];
        let mut at = [0; T];
        for t in 0..T {
            let i = first + t;
            at[t] = t * d;
            tokens[t] = Token { phi_k: &self.phi_k[i * m..][..m], v: &self.v[i * d..][..d], decay: 1.0 };
            if let Some(decay) = self.decay {
                tokens[t].decay = decay[i];
            }
            queries[t] = Queries(&self.phi_q[i * m..]);
        }
        let mut scale = denominators::<S, T, 1, true>(simd, tokens, queries, self.z);
        for t in 0..T {
            scale[t][0] = self.denominators.factor(first + t, scale[t][0]);
        }
        pass::<S, T, 1, true>(simd, tokens, queries, self.s, scale, &mut self.out[first * d..], at);
    }
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(mut self, simd: S) {
        let n = self.n;
        let mut first = 0;
        if S::REGISTER_COUNT >= 32 {
            while first + TOGETHER[0] <= n {
                self.tokens::<S, { TOGETHER[0] }>(simd, first);
                first += TOGETHER[0];
            }
        } else {
            while first + TOGETHER[1] <= n {
                self.tokens::<S, { TOGETHER[1] }>(simd, first);
                first += TOGETHER[1];
            }
        }
        while first < n {
            self.tokens::<S, 1>(simd, first);
            first += 1;
        }
    }
}

/// What a token adds: φ(k) (m), v (d_v), and the factor that the sums take first.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) phi_k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) decay: f32,
}

/// φ(q) of the queries of one token, (group, m) and perhaps more behind.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a>(pub(super) &'a [f32]);

/// Adds `T` tokens one after another to the sums and reads each out for its `G` queries, times `scale`, whose outputs (G, d_v)
/// begin `at` places of `out`. Without `WRITE` the sums hold the tokens already, and are read alone (T = 1).
#[inline(always)]
pub(super) fn pass<S: Vectors, const T: usize, const G: usize, const WRITE: bool>(
    simd: S,
    tokens: [Token<'_>; T],
    queries: [Queries<'_>; T],
    s: &mut [f32],
    scale: [[f32; G]; T],
    out: &mut [f32],
    at: [usize; T],
) {
    let d = tokens[0].v.len();
    let mut decays = false;
    for token in tokens {
        decays |= token.decay != 1.0;
    }
    let mut tile = Tile { d, column: 0, tokens, queries, s, out, at, scale };
    // As many columns at once as there are registers for sums, values and the row itself.
    if S::REGISTER_COUNT >= 32 {
        if T * G == 1 {
            tile.columns::<S, 8, WRITE>(simd, decays);
        }
        if T == 1 {
            tile.columns::<S, 4, WRITE>(simd, decays);
        }
    } else if T * G == 1 {
        tile.columns::<S, 4, WRITE>(simd, decays);
    }
    tile.columns::<S, 2, WRITE>(simd, decays);
    tile.columns::<S, 1, WRITE>(simd, decays);
    if tile.column < d {
        tile.tail::<S, WRITE>(simd);
    }
}

/// Moves z on token by token; gives `φ(q)·z` of every query.
#[inline(always)]
fn denominators<S: Vectors, const T: usize, const G: usize, const WRITE: bool>(
    simd: S,
    tokens: [Token<'_>; T],
    queries: [Queries<'_>; T],
    z: &mut [f32],
) -> [[f32; G]; T] {
    let m = z.len();
    let mut sums = [[simd.splat_f32s(0.0); G]; T];
    let (vectors, tail) = S::as_mut_simd_f32s(z);
    for t in 0..T {
        let Token { phi_k, decay, .. } = tokens[t];
        let (keys, keys_tail) = split::<S>(&phi_k[..m]);
        let decay = simd.splat_f32s(decay);
        for (i, (z, k)) in vectors.iter_mut().zip(keys).enumerate() {
            if WRITE {
                *z = simd.mul_add_e_f32s(*z, decay, *k);
            }
            for g in 0..G {
                let q = split::<S>(&queries[t].0[g * m..][..m]).0[i];
                sums[t][g] = simd.mul_add_e_f32s(q, *z, sums[t][g]);
            }
        }
        if !tail.is_empty() {
            let mut last = simd.partial_load_f32s(tail);
            if WRITE {
                last = simd.mul_add_e_f32s(last, decay, simd.partial_load_f32s(keys_tail));
                simd.partial_store_f32s(tail, last);
            }
            for g in 0..G {
                let q = simd.partial_load_f32s(split::<S>(&queries[t].0[g * m..][..m]).1);
                sums[t][g] = simd.mul_add_e_f32s(q, last, sums[t][g]);
            }
        }
    }
    let mut all = [[0.0; G]; T];
    for t in 0..T {
        for g in 0..G {
            all[t][g] = simd.reduce_sum_f32s(sums[t][g]);
        }
    }
    all
}

/// The columns of S and of the outputs that are left to do, from `column` on.
struct Tile<'a, 'b, const T: usize, const G: usize> {
    d: usize,
    column: usize,
    tokens: [Token<'a>; T],
    queries: [Queries<'a>; T],
    s: &'b mut [f32],
    out: &'b mut [f32],
    /// Where each token's outputs begin.
    at: [usize; T],
    scale: [[f32; G]; T],
}

impl<const T: usize, const G: usize> Tile<'_, '_, T, G> {
    /// All blocks of `W` vectors that are left.
    #[inline(always)]
    fn columns<S: Vectors, const W: usize, const WRITE: bool>(&mut self, simd: S, decays: bool) {
        while self.column + W * S::F32_LANES <= self.d {
            if decays {
                self.rows::<S, W, WRITE, true>(simd);
            } else {
                self.rows::<S, W, WRITE, false>(simd);
            }
            self.column += W * S::F32_LANES;
        }
    }

    #[inline(always)]
    fn rows<S: Vectors, const W: usize, const WRITE: bool, const DECAY: bool>(&mut self, simd: S) {
        let (d, column) = (self.d, self.column);
        let m = self.tokens[0].phi_k.len();
        let zero = simd.splat_f32s(0.0);
        let mut values = [[zero; W]; T];
        let mut keys = [&self.tokens[0].phi_k[..m]; T];
        let mut queries = [[&self.queries[0].0[..m]; G]; T];
        for t in 0..T {
            values[t] = load::<S, W>(&self.tokens[t].v[column..]);
            keys[t] = &self.tokens[t].phi_k[..m];
            for g in 0..G {
                queries[t][g] = &self.queries[t].0[g * m..][..m];
            }
        }
        let mut sums = [[[zero; W]; G]; T];
        for i in 0..m {
            let row = &mut self.s[i * d + column..][..W * S::F32_LANES];
            let mut state = load::<S, W>(row);
            for t in 0..T {
                if WRITE {
                    let key = simd.splat_f32s(keys[t][i]);
                    let decay = simd.splat_f32s(self.tokens[t].decay);
                    for w in 0..W {
                        if DECAY {
                            state[w] = simd.mul_f32s(state[w], decay);
                        }
                        state[w] = simd.mul_add_e_f32s(key, values[t][w], state[w]);
                    }
                }
                for g in 0..G {
                    let query = simd.splat_f32s(queries[t][g][i]);
                    for w in 0..W {
                        sums[t][g][w] = simd.mul_add_e_f32s(query, state[w], sums[t][g][w]);
                    }
                }
            }
            if WRITE {
                store::<S, W>(row, state);
            }
        }
        for t in 0..T {
            for g in 0..G {
                let scale = simd.splat_f32s(self.scale[t][g]);
                for w in 0..W {
                    sums[t][g][w] = simd.mul_f32s(sums[t][g][w], scale);
                }
                store::<S, W>(&mut self.out[self.at[t] + g * d + column..], sums[t][g]);
            }
        }
    }

    /// The last columns, fewer than a vector.
    #[inline(always)]
    fn tail<S: Vectors, const WRITE: bool>(&mut self, simd: S) {
        let (d, column) = (self.d, self.column);
        let m = self.tokens[0].phi_k.len();
        let mut sums = [[simd.splat_f32s(0.0); G]; T];
        for i in 0..m {
            let row = &mut self.s[i * d + column..(i + 1) * d];
            let mut state = simd.partial_load_f32s(row);
            for t in 0..T {
                let Token { phi_k, v, decay } = self.tokens[t];
                if WRITE {
                    let added = simd.mul_f32s(simd.splat_f32s(phi_k[i]), simd.partial_load_f32s(&v[column..]));
                    state = simd.mul_add_e_f32s(state, simd.splat_f32s(decay), added);
                }
                for g in 0..G {
                    let query = simd.splat_f32s(self.queries[t].0[g * m + i]);
                    sums[t][g] = simd.mul_add_e_f32s(query, state, sums[t][g]);
                }
            }
            if WRITE {
                simd.partial_store_f32s(row, state);
            }
        }
        for t in 0..T {
            for g in 0..G {
                let scaled = simd.mul_f32s(sums[t][g], simd.splat_f32s(self.scale[t][g]));
                let start = self.at[t] + g * d;
                simd.partial_store_f32s(&mut self.out[start + column..start + d], scaled);
            }
        }
    }
}
