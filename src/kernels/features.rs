//! Feature maps φ of one vector.

use super::dot;

/// `x + 1` above zero, `exp x` below: elu(x) + 1 (Katharopoulos et al. 2020, eq. 7).
pub fn elu_plus_one(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = if *x > 0.0 { x + 1.0 } else { x.exp() };
    }
}

/// `√(1/D) [sin(w_i·x̂), cos(w_i·x̂)]`, `x̂ = x / (‖x‖ + ε)` (Peng et al. 2021, §3.1): `weight` is (D, d), `out` is (2D).
pub fn fourier(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let n_draws = out.len() / 2;
    let inverse = 1.0 / (dot(x, x).sqrt() + epsilon);
    let scale = (1.0 / n_draws as f32).sqrt();
    let (sines, cosines) = out.split_at_mut(n_draws);
    for ((w, sine), cosine) in weight.chunks_exact(x.len()).zip(sines).zip(cosines) {
        let (s, c) = (inverse * dot(w, x)).sin_cos();
        (*sine, *cosine) = (scale * s, scale * c);
    }
}

/// `exp(x_i − max x)` in place of every x; returns the largest x and the sum of what is there then.
pub fn exponentials(x: &mut [f32]) -> (f32, f32) {
    let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - highest).exp());
    (highest, x.iter().sum())
}

/// `relu(scale · W x + b)` (Kasai et al. 2021, eq. 5): `weight` is (m, d), `bias` and `out` are (m).
pub fn affine_relu(x: &[f32], scale: f32, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    for ((out, row), b) in out.iter_mut().zip(weight.chunks_exact(x.len())).zip(bias) {
        *out = (scale * dot(row, x) + b).max(0.0);
    }
}
