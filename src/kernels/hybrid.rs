//! Two attentions under one denominator: a softmax over what is near, and linear attention over what is far.

use super::{add_scaled, dot, linear::Normalizer};

/// What is joined, for n queries.
#[derive(Debug, Clone, Copy)]
pub struct Joint<'a> {
    /// T: totals (n) of the weights of what is near.
    pub totals: &'a [f32],
    /// F: weighted sums (n, d_v) of what is far.
    pub far: &'a [f32],
    /// t: sums (n) of its weights.
    pub far_totals: &'a [f32],
    /// a and b, what the weights of both are multiplied by: (n, 2), none below 0.
    pub shares: &'a [f32],
    /// Of the denominator that both have.
    pub normalizer: Normalizer,
}

/// Factors of one query's mean and of its far sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors {
    pub(super) near: f32,
    pub(super) far: f32,
    /// 1 / D.
    pub(super) inverse: f32,
    /// norm′.
    pub(super) slope: f32,
}

impl Joint<'_> {
    /// Of the i-th query.
    #[inline(always)]
    pub(super) fn factors(&self, i: usize) -> Factors {
        let (a, b) = (self.shares[2 * i], self.shares[2 * i + 1]);
        // What weighs nothing may be beyond all numbers.
        let far = if b > 0.0 { b * self.far_totals[i] } else { 0.0 };
        let den = a * self.totals[i] + far;
        let inverse = 1.0 / self.normalizer.apply(den);
        Factors { near: inverse * a * self.totals[i], far: inverse * b, inverse, slope: self.normalizer.slope(den) }
    }
}

/// `out_i = (a_i T_i P_i + b_i F_i) / norm(a_i T_i + b_i t_i)`: `out` (n, d_v) holds the means P of what is near when it comes.
pub fn join(of: Joint<'_>, out: &mut [f32]) {
    let width = out.len() / of.totals.len().max(1);
    for (i, (out, far)) in out.chunks_exact_mut(width.max(1)).zip(of.far.chunks_exact(width.max(1))).enumerate() {
        let factors = of.factors(i);
        out.iter_mut().for_each(|out| *out *= factors.near);
        if factors.far != 0.0 {
            add_scaled(out, factors.far, far);
        }
    }
}

/// Where gradients are written.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of P: (n, d_v).
    pub near: &'a mut [f32],
    /// Of ln T: (n).
    pub log_totals: &'a mut [f32],
    /// Of F: (n, d_v).
    pub far: &'a mut [f32],
    /// Of t: (n).
    pub far_totals: &'a mut [f32],
    /// Of a and b: (n, 2).
    pub shares: &'a mut [f32],
}

impl Gradients<'_> {
    /// Writes those of the i-th query that are single numbers, from `g·P_i` and `g·F_i`, g the gradient of what came out: with
    /// `h = norm′ g·out_i`, `dT = a (g·P − h) / D`, `dt = −b h / D`, `da = T (g·P − h) / D` and `db = (g·F − h t) / D`.
    #[inline(always)]
    pub(super) fn write(&mut self, i: usize, of: &Joint<'_>, factors: Factors, (near, far): (f32, f32)) {
        let Factors { inverse, slope, .. } = factors;
        let along = slope * (factors.near * near + factors.far * far);
        self.log_totals[i] = factors.near * (near - along);
        self.far_totals[i] = -factors.far * along;
        self.shares[2 * i] = inverse * of.totals[i] * (near - along);
        self.shares[2 * i + 1] = inverse * (far - of.far_totals[i] * along);
    }
}

/// Gradients of [`join`], for sums that are numbers, from the means (n, d_v) and the gradient (n, d_v) of what came out.
pub fn backward(of: Joint<'_>, near: &[f32], grad: &[f32], mut into: Gradients<'_>) {
    let width = grad.len() / of.totals.len().max(1);
    for (i, grad) in grad.chunks_exact(width.max(1)).enumerate() {
        let (factors, row) = (of.factors(i), i * width..(i + 1) * width);
        into.near[row.clone()].iter_mut().zip(grad).for_each(|(to, grad)| *to = factors.near * grad);
        into.far[row.clone()].iter_mut().zip(grad).for_each(|(to, grad)| *to = factors.far * grad);
        into.write(i, &of, factors, (dot(grad, &near[row.clone()]), dot(grad, &of.far[row])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_means_by_hand() {
        // a T = 2, b t = 6: (2·4 + 3·5) / 8.
        let of = Joint {
            totals: &[4.0],
            far: &[5.0],
            far_totals: &[2.0],
            shares: &[0.5, 3.0],
            normalizer: Normalizer::ClampMin(1e-2),
        };
        let mut out = [4.0];
        join(of, &mut out);
        assert_eq!(out, [23.0 / 8.0]);
        // Beyond all numbers, and without a share.
        let mut out = [4.0];
        join(Joint { far: &[f32::INFINITY], far_totals: &[f32::INFINITY], shares: &[0.5, 0.0], ..of }, &mut out);
        assert_eq!(out, [4.0]);
    }
}
