//! Which form of a kernel runs: the one place where the plain loops and the fused ones are chosen between.

use super::{
    Simd, dot, features,
    fused::{self, linear_steps::Tokens},
    hybrid::{self, Joint},
    linear::{self, Denominators},
    softmax,
};

/// The plain loops, or the fused kernels with a level of vector instructions.
#[derive(Debug, Clone, Copy)]
pub enum Kernels {
    /// What everything else is tested against.
    Plain,
    /// At the speed of the machine.
    Fused(Simd),
}

impl Kernels {
    /// [`softmax::step`] for every query of a group: `q` is (group, d), `out` (group, d_v), `totals` (group) or empty.
    pub fn softmax_step(
        self,
        group: usize,
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        totals: &mut [f32],
        out: &mut [f32],
    ) {
        match self {
            Self::Fused(simd) => fused::softmax_step::step(simd, group, q, keys, values, totals, out),
            Self::Plain => {
                let (d, d_v) = (q.len() / group, out.len() / group);
                for (g, (q, out)) in q.chunks_exact(d).zip(out.chunks_exact_mut(d_v)).enumerate() {
                    let total = softmax::step(q, keys, values, out);
                    if let Some(to) = totals.get_mut(g) {
                        *to = total;
                    }
                }
            }
        }
    }

    /// [`linear::step`] of one head after another, as [`fused::linear_steps::steps`] lays them out.
    pub fn linear_steps(
        self,
        heads: usize,
        tokens: Tokens<'_>,
        sums: &mut [f32],
        mut denominators: Denominators<&mut [f32]>,
        out: &mut [f32],
    ) {
        let Tokens { phi_q, phi_k, v, decay } = tokens;
        match self {
            Self::Fused(simd) => fused::linear_steps::steps(simd, heads, tokens, sums, denominators, out),
            Self::Plain => {
                let (m, d, width) = (phi_k.len() / heads, v.len() / heads, sums.len() / heads);
                let (of_q, of_out) = (phi_q.len() / heads, out.len() / heads);
                for (i, (sums, out)) in sums.chunks_exact_mut(width).zip(out.chunks_exact_mut(of_out)).enumerate() {
                    let (s, rest) = sums.split_at_mut(m * d);
                    let token = linear::Token {
                        phi_q: &phi_q[i * of_q..][..of_q],
                        phi_k: &phi_k[i * m..][..m],
                        v: &v[i * d..][..d],
                        decay: decay.get(i).copied().unwrap_or(1.0),
                    };
                    let denominators = match &mut denominators {
                        Denominators::Divide(normalizer) => Denominators::Divide(*normalizer),
                        Denominators::Apart(all) => Denominators::Apart(&mut all[i * of_q / m..][..of_q / m]),
                    };
                    linear::step(token, s, &mut rest[..m], denominators, out);
                }
            }
        }
    }

    /// [`hybrid::join`].
    pub fn join(self, of: Joint<'_>, out: &mut [f32]) {
        match self {
            Self::Fused(simd) => fused::hybrid::join(simd, of, out),
            Self::Plain => hybrid::join(of, out),
        }
    }

    /// [`features::elu_plus_one`].
    pub fn elu_plus_one(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Plain => features::elu_plus_one(x, out),
            Self::Fused(simd) => fused::features::elu_plus_one(simd, x, out),
        }
    }

    /// [`features::fourier`].
    pub fn fourier(self, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        match self {
            Self::Plain => features::fourier(x, weight, epsilon, out),
            Self::Fused(simd) => fused::features::fourier(simd, x, weight, epsilon, out),
        }
    }

    /// `W x`: `weight` is (out, in), `x` (in), `out` (out).
    pub fn matrix_vector(self, weight: &[f32], x: &[f32], out: &mut [f32]) {
        match self {
            Self::Plain => {
                out.iter_mut().zip(weight.chunks_exact(x.len())).for_each(|(out, row)| *out = dot(row, x));
            }
            Self::Fused(simd) => fused::features::matrix_vector(simd, weight, x, out),
        }
    }

    /// [`features::exponentials`].
    pub fn exponentials(self, x: &mut [f32]) -> (f32, f32) {
        match self {
            Self::Plain => features::exponentials(x),
            Self::Fused(simd) => fused::features::exponentials(simd, x),
        }
    }

    /// [`features::affine_relu`].
    pub fn affine_relu(self, x: &[f32], scale: f32, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        match self {
            Self::Plain => features::affine_relu(x, scale, weight, bias, out),
            Self::Fused(simd) => fused::features::affine_relu(simd, x, scale, weight, bias, out),
        }
    }

    /// `max(x, 0)`.
    pub fn relu(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Fused(simd) => fused::features::relu(simd, x, out),
            Self::Plain => out.iter_mut().zip(x).for_each(|(out, x)| *out = x.max(0.0)),
        }
    }
}
