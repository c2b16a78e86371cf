//! The slow reference: every variant as its formula, in f64, with all N × M weights. Nothing here is fast, nothing is
//! shared with the code it judges except the parameters.

use candle_core::{DType, Result, Tensor};

use super::{
    Heads, Mask,
    feature_map::{At, Side, SliceMap},
};
use crate::kernels::linear::Normalizer;

/// The similarity of a query and a key, and what is divided by.
pub enum Weights<'a> {
    /// exp(q·k/√d), over the last `window` tokens or all.
    Softmax {
        /// Tokens a query sees, itself included.
        window: Option<usize>,
    },
    /// φ(q)·φ(k).
    Linear {
        /// φ.
        map: &'a dyn SliceMap,
        /// How the sum of similarities is kept away from zero.
        normalizer: Normalizer,
    },
    /// 0.
    Zero,
}

/// Inputs of one layer in f64: q (b, h, n, input), k (b, h_kv, M, input), v (b, h_kv, M, d_v).
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Sequences.
    pub batch: usize,
    /// Target length.
    pub n: usize,
    /// Source length.
    pub source: usize,
    /// Width of queries and keys.
    pub input_dim: usize,
    /// Width of values.
    pub value_dim: usize,
    /// Queries.
    pub q: Vec<f64>,
    /// Keys.
    pub k: Vec<f64>,
    /// Values.
    pub v: Vec<f64>,
}

/// What the formula gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// (b, h, n, d_v).
    pub out: Vec<f64>,
    /// How much each row of `out` (b, h, n) can amplify a relative error of the similarities: Σ|φ(q)||φ(k)| over the
    /// denominator. 1 for positive features; large where random features nearly cancel.
    pub condition: Vec<f64>,
}

/// A tensor's numbers in f64, flat.
///
/// # Errors
/// If they cannot be read back.
pub fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// Evaluates the formula: `out_i = Σ_j sim(q_i, k_j) v_j / norm(Σ_j sim(q_i, k_j))` over the j that i sees.
#[must_use]
pub fn attend(weights: &Weights<'_>, heads: Heads, x: &Inputs, mask: &Mask) -> Reference {
    let mut out = vec![0.0; x.batch * heads.n_heads * x.n * x.value_dim];
    let mut condition = vec![1.0; x.batch * heads.n_heads * x.n];
    for (b, kv) in (0..x.batch).flat_map(|b| (0..heads.n_kv_heads).map(move |kv| (b, kv))) {
        let part = b * heads.n_kv_heads + kv;
        let keys: Vec<Vec<f64>> = (0..x.source)
            .map(|j| mapped(weights, kv, Side::Key, j, &x.k[(part * x.source + j) * x.input_dim..][..x.input_dim]))
            .collect();
        let value = |j: usize| &x.v[(part * x.source + j) * x.value_dim..][..x.value_dim];
        for (h, i) in (0..heads.group()).flat_map(|g| (0..x.n).map(move |i| (kv * heads.group() + g, i))) {
            let row = (b * heads.n_heads + h) * x.n + i;
            let q = mapped(weights, kv, Side::Query, i, &x.q[row * x.input_dim..][..x.input_dim]);
            let seen = seen_by(weights, mask, b, i, x.source);
            let (similarities, den, amplification) = row_weights(weights, &q, &keys, &seen);
            condition[row] = amplification;
            let out = &mut out[row * x.value_dim..][..x.value_dim];
            for (sim, j) in similarities.iter().zip(seen) {
                out.iter_mut().zip(value(j)).for_each(|(o, v)| *o += sim / den * v);
            }
        }
    }
    Reference { out, condition }
}

/// φ of a query or key, or the vector itself where there is no φ.
fn mapped(weights: &Weights<'_>, head: usize, side: Side, position: usize, x: &[f64]) -> Vec<f64> {
    match weights {
        Weights::Linear { map, .. } => map.formula(x, At { head, side, position }),
        _ => x.to_vec(),
    }
}

/// The keys that query i of sequence b sees.
fn seen_by(weights: &Weights<'_>, mask: &Mask, b: usize, i: usize, source: usize) -> Vec<usize> {
    let window = match weights {
        Weights::Softmax { window } => window.unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let all: Vec<usize> = match mask {
        Mask::Causal => (0..=i).collect(),
        Mask::Full { source_lengths: None } => (0..source).collect(),
        Mask::Full { source_lengths: Some(lengths) } => (0..lengths[b]).collect(),
    };
    all.into_iter().filter(|j| i.saturating_sub(*j) < window).collect()
}

/// Similarities of one query to the keys it sees, their denominator and the row's condition.
fn row_weights(weights: &Weights<'_>, q: &[f64], keys: &[Vec<f64>], seen: &[usize]) -> (Vec<f64>, f64, f64) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    match weights {
        Weights::Zero => (vec![0.0; seen.len()], 1.0, 1.0),
        Weights::Softmax { .. } => {
            let scores: Vec<f64> = seen.iter().map(|j| dot(q, &keys[*j]) / (q.len() as f64).sqrt()).collect();
            let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let similarities: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
            let den = similarities.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            // A score s is known to a relative error, so its exponential to an error in proportion to |s|.
            let steepness = scores.iter().map(|s| s.abs()).fold(1.0, f64::max);
            (similarities, den, steepness)
        }
        Weights::Linear { normalizer, .. } => {
            let similarities: Vec<f64> = seen.iter().map(|j| dot(q, &keys[*j])).collect();
            let sizes = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x * y).abs()).sum::<f64>();
            let magnitude: f64 = seen.iter().map(|j| sizes(q, &keys[*j])).sum();
            let total: f64 = similarities.iter().sum();
            let den = match *normalizer {
                Normalizer::AddEpsilon(eps) => total + eps,
                Normalizer::ClampMin(eps) => total.max(eps),
                Normalizer::SignedClamp(eps) if total < 0.0 => total.min(-eps),
                Normalizer::SignedClamp(eps) => total.max(eps),
            };
            (similarities, den, (magnitude / den.abs()).max(1.0))
        }
    }
}
