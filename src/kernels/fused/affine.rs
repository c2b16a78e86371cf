//! φ(x) = max(scale · W x + b, floor) of many vectors of one head, and its gradients.

use pulp::Simd as Vectors;

use super::{
    tile::{add_product, add_product_of_transposed},
    vector::{map_in_place, map_pairs},
};
use crate::kernels::Simd;

/// Vectors taken together.
const BLOCK: usize = 48;

/// As [`features::affine_relu`](crate::kernels::features::affine_relu) of every row, where `floor` is 0; −∞ leaves all as it
/// is. `x` is (n, d), `weight` (m, d), `bias` (m), `phi` (n, m); `room` is m · d numbers of scratch memory.
///
/// # Panics
/// If the lengths do not fit together.
pub fn forward(
    simd: Simd,
    x: &[f32],
    (scale, floor): (f32, f32),
    weight: &[f32],
    bias: &[f32],
    room: &mut [f32],
    phi: &mut [f32],
) {
    let m = bias.len();
    let d = weight.len() / m;
    assert!(weight.len() == m * d && room.len() == m * d && x.len().is_multiple_of(d) && phi.len() == x.len() / d * m);
    simd.run(Forward { x, scale, floor, weight, bias, room, phi });
}

struct Forward<'a> {
    x: &'a [f32],
    scale: f32,
    floor: f32,
    weight: &'a [f32],
    bias: &'a [f32],
    room: &'a mut [f32],
    phi: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, scale, floor, weight, bias, room, phi } = self;
        let m = bias.len();
        let d = weight.len() / m;
        for (c, column) in room.chunks_exact_mut(m).enumerate() {
            for (r, w) in column.iter_mut().enumerate() {
                *w = scale * weight[r * d + c];
            }
        }
        for (x, phi) in x.chunks(BLOCK * d).zip(phi.chunks_mut(BLOCK * m)) {
            phi.chunks_exact_mut(m).for_each(|phi| phi.copy_from_slice(bias));
            add_product(simd, x, room, m, phi);
            let floor = simd.splat_f32s(floor);
            map_in_place(
                simd,
                phi,
                #[inline(always)]
                |x| simd.max_f32s(x, floor),
            );
        }
    }
}

/// Numbers of scratch memory that [`backward`] wants.
#[must_use]
pub fn room_len(m: usize) -> usize {
    BLOCK * m
}

/// Adds the gradients of x (n, d), of the weight (m, d) and of the bias (m), from x, φ (n, m) and the gradient of φ; an
/// empty one is not wanted. The slope at the floor is 0.
///
/// # Panics
/// If the lengths do not fit together.
pub fn backward(
    simd: Simd,
    (x, phi, grad): (&[f32], &[f32], &[f32]),
    (scale, floor): (f32, f32),
    weight: &[f32],
    room: &mut [f32],
    (dx, dw, db): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let m = room.len() / BLOCK;
    let d = weight.len() / m;
    assert!(
        room.len() == BLOCK * m && weight.len() == m * d && phi.len() == x.len() / d * m && grad.len() == phi.len()
    );
    assert!(dx.is_empty() || dx.len() == x.len());
    assert!(dw.is_empty() || dw.len() == weight.len());
    assert!(db.is_empty() || db.len() == m);
    simd.run(Backward { x, phi, grad, scale, floor, weight, room, dx, dw, db });
}

struct Backward<'a> {
    x: &'a [f32],
    phi: &'a [f32],
    grad: &'a [f32],
    scale: f32,
    floor: f32,
    weight: &'a [f32],
    room: &'a mut [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    db: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { x, phi, grad, scale, floor, weight, room, dx, dw, db } = self;
        let m = room.len() / BLOCK;
        let d = weight.len() / m;
        let (zero, floor, factor) = (simd.splat_f32s(0.0), simd.splat_f32s(floor), simd.splat_f32s(scale));
        for (i, (phi, grad)) in phi.chunks(BLOCK * m).zip(grad.chunks(BLOCK * m)).enumerate() {
            let slopes = &mut room[..phi.len()];
            map_pairs(
                simd,
                phi,
                grad,
                slopes,
                #[inline(always)]
                |phi, grad| simd.select_f32s(simd.greater_than_f32s(phi, floor), grad, zero),
            );
            if !db.is_empty() {
                for row in slopes.chunks_exact(m) {
                    db.iter_mut().zip(row).for_each(|(db, slope)| *db += slope);
                }
            }
            map_in_place(
                simd,
                slopes,
                #[inline(always)]
                |x| simd.mul_f32s(x, factor),
            );
            let at = i * BLOCK * d..(i * BLOCK + phi.len() / m) * d;
            if !dw.is_empty() {
                add_product_of_transposed(simd, slopes, m, &x[at.clone()], dw);
            }
            if !dx.is_empty() {
                add_product(simd, slopes, weight, d, &mut dx[at]);
            }
        }
    }
}
