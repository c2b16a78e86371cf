//! Gradients of random Fourier features of many vectors of one head.

use pulp::Simd as Vectors;

use super::{
    tile::{add_product, add_product_of_transposed},
    vector::dot,
};
use crate::kernels::Simd;

/// Vectors taken together.
const BLOCK: usize = 48;

/// Numbers of scratch memory that [`backward`] wants for vectors of d numbers and D draws.
#[must_use]
pub fn room_len(d: usize, n_draws: usize) -> usize {
    BLOCK * (2 * d + n_draws)
}

/// Adds the gradients of x (n, d) and of the draws (D, d) of [`features::fourier`](crate::kernels::features::fourier), from
/// x, φ (n, 2D) and the gradient of φ; an empty one is not wanted. With a_i = w_i·x̂ the angles,
/// `da = cos a · g_sin − sin a · g_cos`, and x̂ = x / (‖x‖ + ε) turns away from x as it grows.
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward(
    simd: Simd,
    (x, phi, grad): (&[f32], &[f32], &[f32]),
    weight: &[f32],
    epsilon: f32,
    d: usize,
    room: &mut [f32],
    (dx, dw): (&mut [f32], &mut [f32]),
) {
    let n_draws = weight.len() / d;
    assert!(weight.len() == n_draws * d && x.len().is_multiple_of(d) && room.len() == room_len(d, n_draws));
    assert!(phi.len() == x.len() / d * 2 * n_draws && grad.len() == phi.len());
    assert!(dx.is_empty() || dx.len() == x.len());
    assert!(dw.is_empty() || dw.len() == weight.len());
    simd.run(Backward { x, phi, grad, weight, epsilon, d, room, dx, dw });
}

struct Backward<'a> {
    x: &'a [f32],
    phi: &'a [f32],
    grad: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    d: usize,
    room: &'a mut [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, phi, grad, weight, epsilon, d, room, dx, dw } = self;
        let n_draws = weight.len() / d;
        let (unit, room) = room.split_at_mut(BLOCK * d);
        let (moved, slopes) = room.split_at_mut(BLOCK * d);
        let width = 2 * n_draws;
        for (block, x) in x.chunks(BLOCK * d).enumerate() {
            let n = x.len() / d;
            let (unit, moved, slopes) = (&mut unit[..n * d], &mut moved[..n * d], &mut slopes[..n * n_draws]);
            for i in 0..n {
                let (x, at) = (&x[i * d..][..d], (block * BLOCK + i) * width);
                let ((sin, cos), (of_sin, of_cos)) =
                    (phi[at..][..width].split_at(n_draws), grad[at..][..width].split_at(n_draws));
                let slopes = &mut slopes[i * n_draws..][..n_draws];
                for r in 0..n_draws {
                    slopes[r] = cos[r] * of_sin[r] - sin[r] * of_cos[r];
                }
                let inverse = 1.0 / (dot(simd, x, x).sqrt() + epsilon);
                unit[i * d..][..d].iter_mut().zip(x).for_each(|(unit, x)| *unit = inverse * x);
            }
            if !dw.is_empty() {
                add_product_of_transposed(simd, slopes, n_draws, unit, dw);
            }
            if dx.is_empty() {
                continue;
            }
            moved.fill(0.0);
            add_product(simd, slopes, weight, d, moved);
            for i in 0..n {
                let (x, moved) = (&x[i * d..][..d], &moved[i * d..][..d]);
                let norm = dot(simd, x, x).sqrt();
                let inverse = 1.0 / (norm + epsilon);
                // The zero vector has no direction to turn away from.
                let along = if norm > 0.0 { inverse * inverse * dot(simd, x, moved) / norm } else { 0.0 };
                let dx = &mut dx[(block * BLOCK + i) * d..][..d];
                for (dx, (x, moved)) in dx.iter_mut().zip(x.iter().zip(moved)) {
                    *dx += inverse * moved - along * x;
                }
            }
        }
    }
}
