//! What surrounds attention in a decode step, one row at a time: products with weights, norms, activations, argmax.

use super::dot;

/// `y = x Wᵀ + b`: `x` is (rows, in), `weight` (out, in), `bias` (out) or empty, `y` (rows, out).
pub fn product(x: &[f32], weight: &[f32], bias: &[f32], n_in: usize, y: &mut [f32]) {
    let n_out = weight.len() / n_in;
    for (x, y) in x.chunks_exact(n_in).zip(y.chunks_exact_mut(n_out.max(1))) {
        for (i, (y, w)) in y.iter_mut().zip(weight.chunks_exact(n_in)).enumerate() {
            *y = dot(w, x) + bias.get(i).copied().unwrap_or(0.0);
        }
    }
}

/// Place of the largest number, the first of equals; `None` of an empty row. NaN is never the largest.
#[must_use]
pub fn argmax(x: &[f32]) -> Option<usize> {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter().position(|x| *x == largest).or(if x.is_empty() { None } else { Some(0) })
}

/// `(x − mean) / √(variance + ε) · gain + bias` of one row (Ba et al. 2016); `bias` may be empty.
pub fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for (i, ((out, x), gain)) in out.iter_mut().zip(x).zip(gain).enumerate() {
        *out = (x - mean) * scale * gain + bias.get(i).copied().unwrap_or(0.0);
    }
}

/// `x / √(mean of squares + ε) · gain` of one row (Zhang and Sennrich 2019).
pub fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * scale * gain;
    }
}

/// √(2/π).
pub(super) const GELU_SCALE: f32 = 0.797_884_6;
/// Weight of the cube in the tanh form of gelu.
pub(super) const GELU_CUBE: f32 = 0.044_715;

/// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))` (Hendrycks and Gimpel 2016).
pub fn gelu(x: &mut [f32]) {
    for x in x {
        *x = 0.5 * *x * (1.0 + (GELU_SCALE * *x * (1.0 + GELU_CUBE * *x * *x)).tanh());
    }
}

/// `max(x, 0)`.
pub fn relu(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

/// `up ← silu(gate) · up`, silu(x) = x / (1 + exp(−x)).
pub fn silu_times(gate: &[f32], up: &mut [f32]) {
    for (up, gate) in up.iter_mut().zip(gate) {
        *up *= gate / (1.0 + (-gate).exp());
    }
}
