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

/// Where gradients of a norm go; an empty one is not wanted.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// (rows, width), overwritten.
    pub x: &'a mut [f32],
    /// (width), added to.
    pub gain: &'a mut [f32],
    /// (width), added to.
    pub bias: &'a mut [f32],
}

/// Gradients of [`layer_norm`] (`centred`) or [`rms_norm`] over rows x (rows, width): with x̂ the normalised row, s its
/// scale and h = gain · g, `dx = s (h − mean h − x̂ mean(h x̂))`, where RMS norm has no mean h.
pub fn norm_backward(x: &[f32], gain: &[f32], epsilon: f32, centred: bool, grad: &[f32], into: NormGradients<'_>) {
    let width = gain.len();
    let n = width as f32;
    for (row, (x, grad)) in x.chunks_exact(width).zip(grad.chunks_exact(width)).enumerate() {
        let mean = if centred { x.iter().sum::<f32>() / n } else { 0.0 };
        let scale = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n + epsilon).sqrt();
        let normal = |i: usize| (x[i] - mean) * scale;
        let level = if centred { (0..width).map(|i| grad[i] * gain[i]).sum::<f32>() / n } else { 0.0 };
        let along = (0..width).map(|i| grad[i] * gain[i] * normal(i)).sum::<f32>() / n;
        for i in 0..width {
            if !into.x.is_empty() {
                into.x[row * width + i] = scale * (grad[i] * gain[i] - level - normal(i) * along);
            }
            if !into.gain.is_empty() {
                into.gain[i] += grad[i] * normal(i);
            }
            if !into.bias.is_empty() {
                into.bias[i] += grad[i];
            }
        }
    }
}

/// `ln Σ_v exp(x_v) − (1−ε) x_target − ε mean_v x_v` of one row of logits, whose gradient times `scale` takes their place;
/// ε is the label smoothing (Szegedy et al. 2016).
pub fn cross_entropy(logits: &mut [f32], target: usize, smoothing: f32, scale: f32) -> f32 {
    let share = smoothing / logits.len() as f32;
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|x| (x - highest).exp()).sum();
    let below: f32 = logits.iter().map(|x| highest - x).sum();
    let loss = (1.0 - smoothing) * (highest - logits[target]) + share * below + total.ln();
    logits.iter_mut().for_each(|x| *x = scale * ((*x - highest).exp() / total - share));
    logits[target] -= scale * (1.0 - smoothing);
    loss
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
