//! The slow reference of a whole decoder: every layer as its formula in f64, from the same parameters by name, with
//! T2R unmerged. Shares no arithmetic with the model it judges.

use std::collections::BTreeMap;

use candle_core::Result;

use super::decoder::Setup;
use crate::{
    attention::{
        self, Heads, Mask,
        oracle::{Inputs, attend, to_f64},
    },
    params::Params,
    spec::{Activation, Norm, Positions},
};

/// Logits and how well they are determined.
#[derive(Debug, Clone)]
pub struct Reference {
    /// (b, n, vocab).
    pub logits: Vec<f64>,
    /// Largest condition of any attention row of any layer.
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

    fn norm(&self, name: &str, kind: Norm, x: &[f64], width: usize) -> Result<Vec<f64>> {
        let gain = self.get(&format!("{name}.weight"))?;
        let bias = self.0.get(&format!("{name}.bias"));
        Ok(x.chunks(width)
            .flat_map(|row| {
                let n = width as f64;
                let mean = if kind == Norm::LayerNorm { row.iter().sum::<f64>() / n } else { 0.0 };
                let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let root = (square + 1e-5).sqrt();
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
    let variant = attention::unmerged(&setup.variant);
    let mut layers = Vec::new();
    for i in 0..setup.shape.n_layers {
        let layer = attention::build(&variant, setup.heads, params, &format!("blocks.{i}.attention"))?;
        layers.push(layer.stepper()?);
    }
    let weights = params.tensors().iter().map(|(k, t)| Ok((k.clone(), to_f64(t)?))).collect::<Result<_>>()?;
    let weights = Weights(weights);
    let (shape, heads, d) = (setup.shape, setup.heads, setup.shape.d_model);
    let n = ids.len() / batch.max(1);
    let mut x = embed(setup, &weights, ids, n)?;
    let mut condition = 1f64;
    for (i, layer) in layers.iter().enumerate() {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let y = weights.norm(&name("attention_norm"), shape.norm, &x, d)?;
        let project = |part: &str, h: usize| -> Result<Vec<f64>> {
            Ok(by_head(&weights.project(&name(part), &y, d)?, batch, n, h, heads.head_dim))
        };
        let (mut q, mut k) = (project("q", heads.n_heads)?, project("k", heads.n_kv_heads)?);
        if shape.positions == Positions::Rotary {
            rotate(&mut q, n, heads.head_dim);
            rotate(&mut k, n, heads.head_dim);
        }
        let v = project("v", heads.n_kv_heads)?;
        let gate = match layer.gated() {
            true => by_head(&weights.project(&name("gate"), &y, d)?, batch, n, heads.n_kv_heads, 1),
            false => Vec::new(),
        };
        let (input_dim, value_dim) = (heads.head_dim, heads.head_dim);
        let inputs = Inputs { batch, n, source: n, input_dim, value_dim, q, k, v, gate };
        let mixed = attend(&layer.weights(), heads, &inputs, &Mask::Causal);
        condition = mixed.condition.iter().copied().fold(condition, f64::max);
        let rows = by_row(&mixed.out, batch, n, heads);
        add(&mut x, &weights.project(&name("out"), &rows, heads.n_heads * heads.head_dim)?);
        let y = weights.norm(&name("ffn_norm"), shape.norm, &x, d)?;
        let up = weights.project(&name("ffn.up"), &y, d)?;
        let hidden: Vec<f64> = match shape.activation {
            Activation::Relu => up.iter().map(|x| x.max(0.0)).collect(),
            Activation::Gelu => up.iter().map(|x| gelu(*x)).collect(),
            Activation::Swiglu => {
                let gate = weights.project(&name("ffn.gate"), &y, d)?;
                gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
            }
        };
        add(&mut x, &weights.project(&name("ffn.down"), &hidden, shape.ffn_dim)?);
    }
    let y = weights.norm("final_norm", shape.norm, &x, d)?;
    let output = if shape.tied_output { weights.get("embedding")? } else { weights.get("output.weight")? };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let logits = y.chunks(d).flat_map(|row| output.chunks(d).map(move |w| dot(w, row))).collect();
    Ok(Reference { logits, condition })
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

fn rotate(x: &mut [f64], n: usize, d: usize) {
    for (row, x) in x.chunks_mut(d).enumerate() {
        for i in 0..d / 2 {
            // Pair i turns by position · 10000^(−2i/d) (Su et al. 2021, eq. 15).
            let angle = (row % n) as f64 / 10_000f64.powf(2.0 * i as f64 / d as f64);
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
