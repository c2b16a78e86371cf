//! Linear attention over sums that do not move: a source taken in as a whole, and queries that look at it.

use pulp::Simd as Vectors;

use super::{
    tile::{add_product, add_product_of_transposed},
    vector::{dot, map_in_place},
};
use crate::kernels::{Simd, linear::Normalizer};

/// Queries read out together.
const BLOCK: usize = 48;

/// `S += Σ_j φ(k_j) v_jᵀ`, `z += Σ_j φ(k_j)`: `phi_k` is (source, m), `v` is (source, d_v), `s` is (m, d_v), `z` is (m).
///
/// # Panics
/// If the lengths do not fit together.
pub fn absorb(simd: Simd, phi_k: &[f32], v: &[f32], s: &mut [f32], z: &mut [f32]) {
    let m = z.len();
    assert!(s.len().is_multiple_of(m) && phi_k.len() / m * s.len() == v.len() * m && phi_k.len().is_multiple_of(m));
    simd.run(Absorb { phi_k, v, s, z });
}

struct Absorb<'a> {
    phi_k: &'a [f32],
    v: &'a [f32],
    s: &'a mut [f32],
    z: &'a mut [f32],
}

impl pulp::WithSimd for Absorb<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { phi_k, v, s, z } = self;
        let m = z.len();
        let d = s.len() / m;
        // Blocks of tokens, so that both sides of a product are in the nearest cache.
        for (phi_k, v) in phi_k.chunks(BLOCK * m).zip(v.chunks(BLOCK * d)) {
            add_product_of_transposed(simd, phi_k, m, v, s);
            for k in phi_k.chunks_exact(m) {
                z.iter_mut().zip(k).for_each(|(z, k)| *z += k);
            }
        }
    }
}

/// `out_i = φ(q_i)ᵀ S / norm(φ(q_i)·z)`: `phi_q` is (n, m), `out` is (n, d_v).
///
/// # Panics
/// If the lengths do not fit together.
pub fn read(simd: Simd, phi_q: &[f32], s: &[f32], z: &[f32], normalizer: Normalizer, out: &mut [f32]) {
    let m = z.len();
    assert!(s.len().is_multiple_of(m) && phi_q.len() / m * s.len() == out.len() * m && phi_q.len().is_multiple_of(m));
    simd.run(Read { phi_q, s, z, normalizer, out });
}

struct Read<'a> {
    phi_q: &'a [f32],
    s: &'a [f32],
    z: &'a [f32],
    normalizer: Normalizer,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { phi_q, s, z, normalizer, out } = self;
        let m = z.len();
        let d = s.len() / m;
        out.fill(0.0);
        for (phi_q, out) in phi_q.chunks(BLOCK * m).zip(out.chunks_mut(BLOCK * d)) {
            add_product(simd, phi_q, s, d, out);
            for (q, out) in phi_q.chunks_exact(m).zip(out.chunks_exact_mut(d)) {
                let scale = simd.splat_f32s(1.0 / normalizer.apply(dot(simd, q, z)));
                map_in_place(
                    simd,
                    out,
                    #[inline(always)]
                    |x| simd.mul_f32s(x, scale),
                );
            }
        }
    }
}
