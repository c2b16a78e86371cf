//! Gradients of layer norm and RMS norm for a few rows.

use pulp::Simd as Vectors;

use super::vector::{dot, sum};
use crate::kernels::{Simd, dense::NormGradients};

/// As [`dense::norm_backward`](crate::kernels::dense::norm_backward); `room` is 2 · width numbers of scratch memory.
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward(
    simd: Simd,
    x: &[f32],
    gain: &[f32],
    epsilon: f32,
    centred: bool,
    grad: &[f32],
    room: &mut [f32],
    into: NormGradients<'_>,
) {
    let width = gain.len();
    assert!(x.len() == grad.len() && x.len().is_multiple_of(width) && room.len() == 2 * width);
    assert!(into.x.is_empty() || into.x.len() == x.len());
    assert!(into.gain.is_empty() || into.gain.len() == width);
    assert!(into.bias.is_empty() || into.bias.len() == width);
    simd.run(Backward { x, gain, epsilon, centred, grad, room, into });
}

struct Backward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    epsilon: f32,
    centred: bool,
    grad: &'a [f32],
    room: &'a mut [f32],
    into: NormGradients<'a>,
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, gain, epsilon, centred, grad, room, into } = self;
        let width = gain.len();
        let n = width as f32;
        let (normal, slope) = room.split_at_mut(width);
        for (i, (x, grad)) in x.chunks_exact(width).zip(grad.chunks_exact(width)).enumerate() {
            let mean = if centred { sum(simd, x) / n } else { 0.0 };
            for (normal, x) in normal.iter_mut().zip(x) {
                *normal = x - mean;
            }
            let scale = 1.0 / (dot(simd, normal, normal) / n + epsilon).sqrt();
            for normal in normal.iter_mut() {
                *normal *= scale;
            }
            for (gain, (grad, normal)) in into.gain.iter_mut().zip(grad.iter().zip(&*normal)) {
                *gain += grad * normal;
            }
            for (bias, grad) in into.bias.iter_mut().zip(grad) {
                *bias += grad;
            }
            if into.x.is_empty() {
                continue;
            }
            for (slope, (grad, gain)) in slope.iter_mut().zip(grad.iter().zip(gain)) {
                *slope = grad * gain;
            }
            let level = if centred { sum(simd, slope) / n } else { 0.0 };
            let along = dot(simd, slope, normal) / n;
            let out = &mut into.x[i * width..][..width];
            for (out, (slope, normal)) in out.iter_mut().zip(slope.iter().zip(&*normal)) {
                *out = scale * (slope - level - normal * along);
            }
        }
    }
}
