//! The slow reference: every variant as its formula, in f64, with all N × M weights. Nothing here is fast, nothing is
//! shared with the code it judges except the parameters.

use candle_core::{DType, Result, Tensor};

use super::{
    Heads, Mask,
    feature_map::{At, Formula, Side, SliceMap},
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
        /// Whether the gate weighs keys: (1 − g_j) Π_{j<l≤i} g_l.
        gated: bool,
    },
    /// exp(q·k/√d − c) over the last `window` tokens, c the largest score there; γ φ(q)·φ(k) over those before.
    Hybrid {
        /// Tokens of the window.
        window: usize,
        /// φ.
        map: &'a dyn SliceMap,
        /// How the sum of both is kept away from zero.
        normalizer: Normalizer,
        /// γ of every query head.
        gamma: &'a [f32],
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
    /// Pre-activations of the gate (b, h_kv, M); empty for variants without one.
    pub gate: Vec<f64>,
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
        let row_of = |rows: &[f64], j: usize, width: usize| rows[(part * x.source + j) * width..][..width].to_vec();
        let keys: Vec<Row> = (0..x.source)
            .map(|j| Row::new(weights, row_of(&x.k, j, x.input_dim), At { head: kv, side: Side::Key, position: j }))
            .collect();
        let value = |j: usize| &x.v[(part * x.source + j) * x.value_dim..][..x.value_dim];
        let gate = if x.gate.is_empty() { &[] } else { &x.gate[part * x.source..][..x.source] };
        for (h, i) in (0..heads.group()).flat_map(|g| (0..x.n).map(move |i| (kv * heads.group() + g, i))) {
            let row = (b * heads.n_heads + h) * x.n + i;
            let q = x.q[row * x.input_dim..][..x.input_dim].to_vec();
            let q = Row::new(weights, q, At { head: kv, side: Side::Query, position: i });
            let seen = seen_by(weights, mask, b, i, x.source);
            let RowWeights { similarities, den, condition: amplification } =
                row_weights(weights, &q, &keys, &seen, Place { i, h, gate });
            condition[row] = amplification;
            let out = &mut out[row * x.value_dim..][..x.value_dim];
            for (sim, j) in similarities.iter().zip(seen) {
                out.iter_mut().zip(value(j)).for_each(|(o, v)| *o += sim / den * v);
            }
        }
    }
    Reference { out, condition }
}

/// A query or key, and its φ where there is one.
struct Row {
    x: Vec<f64>,
    features: Formula,
}

impl Row {
    fn new(weights: &Weights<'_>, x: Vec<f64>, at: At) -> Self {
        let features = match weights {
            Weights::Linear { map, .. } | Weights::Hybrid { map, .. } => map.formula(&x, at),
            Weights::Softmax { .. } | Weights::Zero => Vec::new().into(),
        };
        Self { x, features }
    }
}

/// Where a query stands, and the gates of its head.
struct Place<'a> {
    i: usize,
    h: usize,
    gate: &'a [f64],
}

/// Weights of one query's keys, what they are divided by, and the row's condition.
struct RowWeights {
    similarities: Vec<f64>,
    den: f64,
    condition: f64,
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

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Scores q·k/√d of the keys and the largest of them.
fn scores(q: &Row, keys: &[Row], seen: &[usize]) -> (Vec<f64>, f64) {
    let scores: Vec<f64> = seen.iter().map(|j| dot(&q.x, &keys[*j].x) / (q.x.len() as f64).sqrt()).collect();
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (scores, maximum)
}

/// A similarity of features: its value, Σ|φ(q)||φ(k)| and the logarithm of the factor that both lack.
fn similarity(q: &Formula, k: &Formula) -> (f64, f64, f64) {
    let sizes: f64 = q.phi.iter().zip(&k.phi).map(|(x, y)| (x * y).abs()).sum();
    (dot(&q.phi, &k.phi), sizes, q.log_scale + k.log_scale)
}

fn normalized(total: f64, normalizer: Normalizer) -> f64 {
    match normalizer {
        Normalizer::AddEpsilon(eps) => total + eps,
        Normalizer::ClampMin(eps) => total.max(eps),
        Normalizer::SignedClamp(eps) if total < 0.0 => total.min(-eps),
        Normalizer::SignedClamp(eps) => total.max(eps),
    }
}

/// Similarities of one query to the keys it sees, their denominator and the row's condition.
fn row_weights(weights: &Weights<'_>, q: &Row, keys: &[Row], seen: &[usize], place: Place<'_>) -> RowWeights {
    match weights {
        Weights::Zero => RowWeights { similarities: vec![0.0; seen.len()], den: 1.0, condition: 1.0 },
        Weights::Softmax { .. } => {
            let (scores, maximum) = scores(q, keys, seen);
            let similarities: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
            let den = similarities.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            // A score s is known to a relative error, so its exponential to an error in proportion to |s|.
            let condition = scores.iter().map(|s| s.abs()).fold(1.0, f64::max);
            RowWeights { similarities, den, condition }
        }
        Weights::Linear { normalizer, gated, .. } => {
            let all: Vec<_> = seen.iter().map(|j| similarity(&q.features, &keys[*j].features)).collect();
            // A scale that all share cancels: nothing is added to the denominator of features that have one.
            let top = all.iter().map(|(_, _, scale)| *scale).fold(f64::NEG_INFINITY, f64::max);
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let pace = |j: usize| match gated {
                true => {
                    sigmoid(-place.gate[j]) * place.gate[j + 1..=place.i].iter().map(|x| sigmoid(*x)).product::<f64>()
                }
                false => 1.0,
            };
            let factors: Vec<f64> = seen.iter().zip(&all).map(|(j, (_, _, s))| pace(*j) * (s - top).exp()).collect();
            let similarities: Vec<f64> = all.iter().zip(&factors).map(|((sim, _, _), f)| sim * f).collect();
            let magnitude: f64 = all.iter().zip(&factors).map(|((_, size, _), f)| size * f).sum();
            let den = normalized(similarities.iter().sum(), *normalizer);
            let steepness = all.iter().map(|(_, _, scale)| scale.abs()).fold(1.0, f64::max);
            RowWeights { similarities, den, condition: steepness * (magnitude / den.abs()).max(1.0) }
        }
        Weights::Hybrid { window, normalizer, gamma, .. } => {
            let first = (place.i + 1).saturating_sub(*window);
            let (far, near): (Vec<usize>, Vec<usize>) = seen.iter().partition(|j| **j < first);
            let (scores, maximum) = scores(q, keys, &near);
            let gamma = f64::from(gamma[place.h]);
            let far: Vec<_> = far.iter().map(|j| similarity(&q.features, &keys[*j].features)).collect();
            // Everything is multiplied by exp(−top), so that no feature overflows.
            let top = far.iter().map(|(_, _, scale)| *scale).fold(0.0, f64::max);
            let of_far = |x: f64, scale: f64| gamma * x * (scale - top).exp();
            let near = scores.iter().map(|s| (s - maximum - top).exp());
            let similarities: Vec<f64> =
                far.iter().map(|(sim, _, scale)| of_far(*sim, *scale)).chain(near.clone()).collect();
            let magnitude: f64 = far.iter().map(|(_, size, scale)| of_far(*size, *scale)).chain(near).sum();
            let den = normalized(similarities.iter().sum(), *normalizer);
            let steepness =
                far.iter().map(|(_, _, s)| s.abs()).chain(scores.iter().map(|s| s.abs())).fold(1.0, f64::max);
            RowWeights { similarities, den, condition: steepness * (magnitude / den.abs()).max(1.0) }
        }
    }
}
