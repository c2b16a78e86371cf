//! The slow reference of a whole decoder: every layer as its formula in f64, from the same parameters by name, with
//! T2R unmerged. Shares no arithmetic with the model it judges.

use std::collections::BTreeMap;

use candle_core::Result;

use super::setup::Setup;
use crate::{
    attention::{
        self, Heads, Mask, Resolved, Stepper,
        oracle::{Inputs, attend, to_f64},
    },
    params::Params,
    spec::{Activation, Norm, Positions, VariantSpec},
};

/// What every intermediate result is moved by to see what becomes of it: as far as f32 rounds at most.
const DISTURBANCE: f64 = f32::EPSILON as f64 / 2.0;

/// Logits and how well they are determined.
#[derive(Debug, Clone)]
pub struct Reference {
    /// (b, n, vocab).
    pub logits: Vec<f64>,
    /// How much errors are amplified on the way: the largest condition of any attention row of any layer or, where it is
    /// more, what the logits move by, relative to the largest of them and over ε, when every number of what passes between
    /// the parts of a layer moves by ±ε/2 of its vector's root mean square. A step of f32 arithmetic is off by that or a few times as much,
    /// so that, to first order, the errors of a whole model are a few ε times this: through all layers, each of which passes on
    /// what it got times its own amplification. The conditions of rows alone would not do: they take queries and keys as
    /// exact, but a relu leaves of numbers near zero what is nearly all error, and a denominator made of such features
    /// passes it on whole.
    pub condition: f64,
}

/// Parameters in f64 by name.
struct Weights(BTreeMap<String, Vec<f64>>);

impl Weights {
    fn get(&self, name: &str) -> Result<&[f64]> {
        match self.0.get(name) {
            Some(values) => Ok(values),
            None => candle_core::bail!("the model has no parameter {name}"),
        }
    }

    /// `y = x Wᵀ + b` for rows of x.
    fn project(&self, name: &str, x: &[f64], n_in: usize) -> Result<Vec<f64>> {
        let weight = self.get(&format!("{name}.weight"))?;
        let bias = self.0.get(&format!("{name}.bias"));
        Ok(x.chunks(n_in)
            .flat_map(|row| {
                weight
                    .chunks(n_in)
                    .enumerate()
                    .map(move |(o, w)| w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>() + bias.map_or(0.0, |b| b[o]))
            })
            .collect())
    }

    fn norm(&self, name: &str, setup: &Setup, x: &[f64]) -> Result<Vec<f64>> {
        let (kind, width) = (setup.shape.norm, setup.shape.d_model);
        let epsilon = setup.conventions.norm_epsilon;
        let gain = self.get(&format!("{name}.weight"))?;
        let bias = self.0.get(&format!("{name}.bias"));
        Ok(x.chunks(width)
            .flat_map(|row| {
                let n = width as f64;
                let mean = if kind == Norm::LayerNorm { row.iter().sum::<f64>() / n } else { 0.0 };
                let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let root = (square + epsilon).sqrt();
                row.iter()
                    .enumerate()
                    .map(move |(i, x)| (x - mean) / root * gain[i] + bias.map_or(0.0, |b| b[i]))
                    .collect::<Vec<_>>()
            })
            .collect())
    }
}

/// Evaluates the model on ids (b, n) of `batch` sequences.
///
/// # Errors
/// If a parameter is missing or cannot be read back.
pub fn logits(setup: &Setup, params: &mut Params, ids: &[u32], batch: usize) -> Result<Reference> {
    evaluate(setup, params, ids, batch, None)
}

/// Source ids (b, M) and the tokens of each source that are not padding.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Ids, row by row.
    pub ids: &'a [u32],
    /// (b).
    pub lengths: &'a [usize],
}

/// Evaluates an encoder-decoder on target ids (b, n) over sources.
///
/// # Errors
/// If a parameter is missing or cannot be read back.
pub fn translation(setup: &Setup, params: &mut Params, sources: Sources<'_>, ids: &[u32]) -> Result<Reference> {
    evaluate(setup, params, ids, sources.lengths.len(), Some(sources))
}

fn evaluate(
    setup: &Setup,
    params: &mut Params,
    ids: &[u32],
    batch: usize,
    sources: Option<Sources<'_>>,
) -> Result<Reference> {
    let shape = setup.shape;
    let mut steppers = BTreeMap::new();
    let softmax = Resolved { spec: VariantSpec::new("softmax"), feature_dim: None };
    for i in 0..shape.n_layers {
        let mut add = |prefix: String, variant: &Resolved| -> Result<()> {
            let variant = attention::unmerged(variant);
            let layer = attention::build(&variant, setup.heads, params, &format!("{prefix}.attention"))?;
            steppers.insert(prefix, layer.stepper()?);
            Ok(())
        };
        add(format!("blocks.{i}"), &setup.layers[i].own)?;
        if let Some(cross) = &setup.layers[i].cross {
            add(format!("blocks.{i}.cross"), cross)?;
            add(format!("encoder.{i}"), &softmax)?;
        }
    }
    let weights = params.tensors().iter().map(|(k, t)| Ok((k.clone(), to_f64(t)?))).collect::<Result<_>>()?;
    let mut model = Model { setup, weights: Weights(weights), steppers, disturbance: 0.0, condition: 1.0 };
    let logits = model.logits(ids, batch, sources)?;
    let of_rows = model.condition;
    model.disturbance = DISTURBANCE;
    let moved = model.logits(ids, batch, sources)?;
    let largest = logits.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let by = logits.iter().zip(&moved).fold(0.0, |m: f64, (x, moved)| m.max((x - moved).abs()));
    Ok(Reference { logits, condition: of_rows.max(by / (f64::from(f32::EPSILON) * largest)) })
}

/// Moves every number by ± a part of the root mean square of its vector of `width`; the signs look random and depend on the
/// numbers.
fn disturb(rows: &mut [f64], width: usize, part: f64) {
    if part == 0.0 {
        return;
    }
    for row in rows.chunks_mut(width.max(1)) {
        let by = part * (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64).sqrt();
        for x in row {
            // The multiplier of SplitMix64, whose upper bits depend on all lower ones.
            let mixed = (x.to_bits() ^ (x.to_bits() >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *x += if mixed >> 63 == 0 { by } else { -by };
        }
    }
}

/// What the formulas of the layers share.
struct Model<'a> {
    setup: &'a Setup,
    weights: Weights,
    /// Variants by the name of their layer.
    steppers: BTreeMap<String, Box<dyn Stepper>>,
    /// What intermediate results are moved by; 0 but to see what becomes of it.
    disturbance: f64,
    /// Largest condition so far.
    condition: f64,
}

impl Model<'_> {
    /// (b, n, vocab).
    fn logits(&mut self, ids: &[u32], batch: usize, sources: Option<Sources<'_>>) -> Result<Vec<f64>> {
        let (shape, setup) = (self.setup.shape, self.setup);
        let encoded = match sources {
            None => None,
            Some(Sources { ids, lengths }) => {
                let mask = Mask::Full { source_lengths: Some(lengths.to_vec()) };
                let mut x = self.embed(ids, batch)?;
                for i in 0..shape.n_layers {
                    self.attention(&format!("encoder.{i}"), &mut x, batch, &mask, None)?;
                    self.feed(&format!("encoder.{i}"), &mut x)?;
                }
                Some((self.weights.norm("encoder_norm", setup, &x)?, mask))
            }
        };
        let mut x = self.embed(ids, batch)?;
        for i in 0..shape.n_layers {
            let prefix = format!("blocks.{i}");
            self.attention(&prefix, &mut x, batch, &Mask::Causal, None)?;
            if let Some((encoded, mask)) = &encoded {
                self.attention(&format!("{prefix}.cross"), &mut x, batch, mask, Some(encoded))?;
            }
            self.feed(&prefix, &mut x)?;
        }
        let (weights, d) = (&self.weights, shape.d_model);
        let y = weights.norm("final_norm", setup, &x)?;
        let output = if shape.tied_output { weights.get("embedding")? } else { weights.get("output.weight")? };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        Ok(y.chunks(d).flat_map(|row| output.chunks(d).map(move |w| dot(w, row))).collect())
    }

    fn embed(&self, ids: &[u32], batch: usize) -> Result<Vec<f64>> {
        let mut x = embed(self.setup, &self.weights, ids, ids.len() / batch.max(1))?;
        disturb(&mut x, self.setup.shape.d_model, self.disturbance);
        Ok(x)
    }

    /// x += attention(norm(x)), keys and values from `source` (b, M, d_model) or from the sequence itself.
    fn attention(
        &mut self,
        prefix: &str,
        x: &mut [f64],
        batch: usize,
        mask: &Mask,
        source: Option<&Vec<f64>>,
    ) -> Result<()> {
        let (shape, heads, d) = (self.setup.shape, self.setup.heads, self.setup.shape.d_model);
        let (weights, stepper) = (&self.weights, &self.steppers[prefix]);
        let name = |part: &str| format!("{prefix}.{part}");
        let mut y = weights.norm(&name("attention_norm"), self.setup, x)?;
        disturb(&mut y, d, self.disturbance);
        let from = source.unwrap_or(&y);
        let (n, m) = (y.len() / (d * batch), from.len() / (d * batch));
        let project = |part: &str, of: &[f64], n: usize, h: usize, width: usize| -> Result<Vec<f64>> {
            let mut rows = by_head(&weights.project(&name(part), of, d)?, batch, n, h, width);
            disturb(&mut rows, width, self.disturbance);
            Ok(rows)
        };
        let mut q = project("q", &y, n, heads.n_heads, heads.head_dim)?;
        let mut k = project("k", from, m, heads.n_kv_heads, heads.head_dim)?;
        if shape.positions == Positions::Rotary && source.is_none() {
            let base = self.setup.conventions.rotary_base;
            rotate(&mut q, n, heads.head_dim, base);
            rotate(&mut k, n, heads.head_dim, base);
        }
        let v = project("v", from, m, heads.n_kv_heads, heads.head_dim)?;
        let gate = match stepper.gated() {
            true => project("gate", &y, n, heads.n_kv_heads, 1)?,
            false => Vec::new(),
        };
        let (input_dim, value_dim) = (heads.head_dim, heads.head_dim);
        let inputs = Inputs { batch, n, source: m, input_dim, value_dim, q, k, v, gate };
        let mixed = attend(&stepper.weights(), heads, &inputs, mask);
        self.condition = mixed.condition.iter().copied().fold(self.condition, f64::max);
        let mut rows = by_row(&mixed.out, batch, n, heads);
        disturb(&mut rows, heads.head_dim, self.disturbance);
        add(x, &weights.project(&name("out"), &rows, heads.n_heads * heads.head_dim)?);
        disturb(x, d, self.disturbance);
        Ok(())
    }

    /// x += feed-forward(norm(x)).
    fn feed(&self, prefix: &str, x: &mut [f64]) -> Result<()> {
        let (shape, weights, d) = (self.setup.shape, &self.weights, self.setup.shape.d_model);
        let name = |part: &str| format!("{prefix}.{part}");
        let mut y = weights.norm(&name("ffn_norm"), self.setup, x)?;
        disturb(&mut y, d, self.disturbance);
        let up = weights.project(&name("ffn.up"), &y, d)?;
        let mut hidden: Vec<f64> = match shape.activation {
            Activation::Relu => up.iter().map(|x| x.max(0.0)).collect(),
            Activation::Gelu => up.iter().map(|x| gelu(*x)).collect(),
            Activation::Swiglu => {
                let gate = weights.project(&name("ffn.gate"), &y, d)?;
                gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
            }
        };
        disturb(&mut hidden, shape.ffn_dim, self.disturbance);
        add(x, &weights.project(&name("ffn.down"), &hidden, shape.ffn_dim)?);
        disturb(x, d, self.disturbance);
        Ok(())
    }
}

fn embed(setup: &Setup, weights: &Weights, ids: &[u32], n: usize) -> Result<Vec<f64>> {
    let d = setup.shape.d_model;
    let table = weights.get("embedding")?;
    let learned = weights.0.get("positions");
    let row = |i: usize, id: usize| -> Vec<f64> {
        let position = |c: usize| match setup.shape.positions {
            Positions::Rotary => 0.0,
            // sin(pos / 10000^(2i/d)) in place 2i, the cosine in place 2i + 1 (Vaswani et al. 2017, §3.5).
            Positions::Sinusoidal => {
                let angle = (i % n) as f64 / 10_000f64.powf((c - c % 2) as f64 / d as f64);
                if c.is_multiple_of(2) { angle.sin() } else { angle.cos() }
            }
            Positions::Learned => learned.map_or(0.0, |p| p[i % n * d + c]),
        };
        (0..d).map(|c| table[id * d + c] + position(c)).collect()
    };
    Ok(ids.iter().enumerate().flat_map(|(i, id)| row(i, *id as usize)).collect())
}

/// (b·n, h·d) → (b, h, n, d).
fn by_head(x: &[f64], batch: usize, n: usize, h: usize, d: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for (b, head) in (0..batch).flat_map(|b| (0..h).map(move |head| (b, head))) {
        (0..n).for_each(|t| out.extend_from_slice(&x[((b * n + t) * h + head) * d..][..d]));
    }
    out
}

/// (b, h, n, d) → (b·n, h·d).
fn by_row(x: &[f64], batch: usize, n: usize, heads: Heads) -> Vec<f64> {
    let (h, d) = (heads.n_heads, heads.head_dim);
    let mut out = Vec::with_capacity(x.len());
    for (b, t) in (0..batch).flat_map(|b| (0..n).map(move |t| (b, t))) {
        (0..h).for_each(|head| out.extend_from_slice(&x[((b * h + head) * n + t) * d..][..d]));
    }
    out
}

fn rotate(x: &mut [f64], n: usize, d: usize, base: f64) {
    for (row, x) in x.chunks_mut(d).enumerate() {
        for i in 0..d / 2 {
            // Pair i turns by position · base^(−2i/d) (Su et al. 2021, eq. 15).
            let angle = (row % n) as f64 / base.powf(2.0 * i as f64 / d as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (x[i], x[i + d / 2]);
            (x[i], x[i + d / 2]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
}

/// GELU, tanh approximation (Hendrycks and Gimpel 2016).
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
