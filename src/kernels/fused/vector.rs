//! What the fused kernels share: loads with tails, exponentials and sines of whole vectors.
//!
//! Whatever is called here or in a kernel must be inlined, closures too: a function of its own would be compiled
//! without the vector instructions. So loops stand where `array::map` and `from_fn` would be shorter.

use pulp::Simd;

/// A slice as whole vectors and what is left of it.
#[inline(always)]
pub(super) fn split<S: Simd>(slice: &[f32]) -> (&[S::f32s], &[f32]) {
    S::as_simd_f32s(slice)
}

/// The first `W` vectors of a slice.
///
/// # Panics
/// If it is shorter.
#[inline(always)]
pub(super) fn load<S: Simd, const W: usize>(slice: &[f32]) -> [S::f32s; W] {
    let vectors = &split::<S>(slice).0[..W];
    let mut loaded = [vectors[0]; W];
    loaded.copy_from_slice(vectors);
    loaded
}

/// Writes `W` vectors to the start of a slice.
///
/// # Panics
/// If it is shorter.
#[inline(always)]
pub(super) fn store<S: Simd, const W: usize>(slice: &mut [f32], values: [S::f32s; W]) {
    S::as_mut_simd_f32s(slice).0[..W].copy_from_slice(&values);
}

/// Applies `op` to every vector of `x` and writes it to `out`, of the same length; lanes beyond the end read 0.
#[inline(always)]
pub(super) fn map<S: Simd>(simd: S, x: &[f32], out: &mut [f32], op: impl Fn(S::f32s) -> S::f32s) {
    let ((x, x_tail), (out, out_tail)) = (split::<S>(x), S::as_mut_simd_f32s(out));
    for (out, x) in out.iter_mut().zip(x) {
        *out = op(*x);
    }
    if !x_tail.is_empty() {
        simd.partial_store_f32s(out_tail, op(simd.partial_load_f32s(x_tail)));
    }
}

/// As [`map`] of two slices.
#[inline(always)]
pub(super) fn map_pairs<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    op: impl Fn(S::f32s, S::f32s) -> S::f32s,
) {
    let ((a, a_tail), (b, b_tail), (out, out_tail)) = (split::<S>(a), split::<S>(b), S::as_mut_simd_f32s(out));
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = op(*a, *b);
    }
    if !a_tail.is_empty() {
        simd.partial_store_f32s(out_tail, op(simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail)));
    }
}

/// As [`map`], in place.
#[inline(always)]
pub(super) fn map_in_place<S: Simd>(simd: S, x: &mut [f32], op: impl Fn(S::f32s) -> S::f32s) {
    let (vectors, tail) = S::as_mut_simd_f32s(x);
    for x in vectors {
        *x = op(*x);
    }
    if !tail.is_empty() {
        let last = op(simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, last);
    }
}

/// As [`map_pairs`], onto the first of the pair.
#[inline(always)]
pub(super) fn map_pairs_in_place<S: Simd>(simd: S, a: &mut [f32], b: &[f32], op: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let ((a, a_tail), (b, b_tail)) = (S::as_mut_simd_f32s(a), split::<S>(b));
    for (a, b) in a.iter_mut().zip(b) {
        *a = op(*a, *b);
    }
    if !a_tail.is_empty() {
        let last = op(simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail));
        simd.partial_store_f32s(a_tail, last);
    }
}

/// Sums of four lanes apart: what keeps enough additions in flight.
const CHAINS: usize = 4;

/// Folds every pair of vectors into sums that start at zero, and adds up their lanes. Lanes beyond the end read 0 from
/// both.
#[inline(always)]
fn sum_pairs<S: Simd>(simd: S, a: &[f32], b: &[f32], add: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (split::<S>(a), split::<S>(b));
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<CHAINS>(), b.as_chunks::<CHAINS>());
    let mut sums = [simd.splat_f32s(0.0); CHAINS];
    for (a, b) in a.iter().zip(b) {
        for c in 0..CHAINS {
            sums[c] = add(a[c], b[c], sums[c]);
        }
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        sums[0] = add(*a, *b, sums[0]);
    }
    if !a_tail.is_empty() {
        sums[1] = add(simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail), sums[1]);
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// `Σ a_i b_i`.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    sum_pairs(
        simd,
        a,
        b,
        #[inline(always)]
        |a, b, sum| simd.mul_add_e_f32s(a, b, sum),
    )
}

/// `Σ x_i`.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    sum_pairs(
        simd,
        x,
        x,
        #[inline(always)]
        |x, _, sum| simd.add_f32s(x, sum),
    )
}

/// The largest number of a slice; -∞ of an empty one.
#[inline(always)]
pub(super) fn maximum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, tail) = split::<S>(x);
    let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
    for x in vectors {
        largest = simd.max_f32s(largest, *x);
    }
    tail.iter().copied().fold(simd.reduce_max_f32s(largest), f32::max)
}

/// The smallest of the numbers; +∞ for none.
#[inline(always)]
pub(super) fn minimum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, tail) = split::<S>(x);
    let mut smallest = simd.splat_f32s(f32::INFINITY);
    for x in vectors {
        smallest = simd.min_f32s(smallest, *x);
    }
    tail.iter().copied().fold(simd.reduce_min_f32s(smallest), f32::min)
}

/// 1.5 · 2²³: added to a number and taken away again, it rounds to the nearest whole number, which then stands in the
/// low bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// Offset of the exponent of an f32.
const BIAS: f32 = 127.0;
/// Below this the nearest power of two has no exponent left and the exponential is 0.
const LOWEST: f32 = -88.03;
/// Above this the exponential keeps the value it has here (1.7e38), short of infinity.
const HIGHEST: f32 = 88.3;
/// ln 2 in two parts; the first has 11 bits, so that products with whole exponents are exact.
const LN_2: [f32; 2] = [0.692_871_1, 0.000_276_086_8];
/// `(exp r − 1 − r) / r²` over |r| ≤ ln 2 / 2, from the constant up: the minimax fit, relative error 3e-9 of exp r.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_4, 0.008_368_85, 0.001_381_432];

/// Σ coefficients_i x^i.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(coefficients[i]));
    }
    sum
}

/// exp x: relative error at most 2e-7 from -87.3 to 88; below, absolute error under 2^-126 and 0 from -88.03; above
/// 88.3 it stays at 2.2e38. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (low, high) = (simd.splat_f32s(LOWEST), simd.splat_f32s(HIGHEST));
    // Comparisons with NaN are false, so that it passes.
    let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
    let x = simd.select_f32s(simd.greater_than_f32s(x, high), high, x);
    let round = simd.splat_f32s(ROUND + BIAS);
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(shifted, round);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[0]), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[1]), r);
    let rest = simd.mul_add_e_f32s(simd.mul_f32s(r, r), polynomial(simd, r, EXP), r);
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(bits);
    simd.mul_add_e_f32s(rest, power, power)
}

/// π/2 in four parts of few bits, so that products with whole numbers up to 2¹⁴ are exact.
const HALF_PI: [f32; 4] = [1.570_312_5, 4.835_128_8e-4, 3.138_557e-7, 6.077_1e-11];
/// Beyond this the reduction by [`HALF_PI`] loses digits.
pub(super) const LARGEST_ANGLE: f32 = 8192.0;
/// `(sin r − r) / r³` in r², |r| ≤ π/4.
const SIN: [f32; 3] = [-0.166_666_55, 0.008_332_169, -0.000_195_160_12];
/// `(cos r − 1 + r²/2) / r⁴` in r², |r| ≤ π/4.
const COS: [f32; 3] = [0.041_666_646, -0.001_388_735_5, 0.000_024_437_008];

/// (sin x, cos x) for |x| ≤ [`LARGEST_ANGLE`], absolute error at most 2e-7.
#[inline(always)]
pub(super) fn sin_cos<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let round = simd.splat_f32s(ROUND);
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_2_PI), round);
    let n = simd.sub_f32s(shifted, round);
    let mut r = x;
    for part in HALF_PI {
        r = simd.mul_add_e_f32s(n, simd.splat_f32s(-part), r);
    }
    let square = simd.mul_f32s(r, r);
    let sine = simd.mul_add_e_f32s(simd.mul_f32s(square, r), polynomial(simd, square, SIN), r);
    let half = simd.mul_add_e_f32s(square, simd.splat_f32s(-0.5), simd.splat_f32s(1.0));
    let cosine = simd.mul_add_e_f32s(simd.mul_f32s(square, square), polynomial(simd, square, COS), half);
    // Quarter turns: odd ones swap the two, the second bit is the sign of the sine, and of the cosine one turn on.
    let quarter = simd.transmute_u32s_f32s(shifted);
    let (one, two, up) = (simd.splat_u32s(1), simd.splat_u32s(2), simd.splat_u32s(30));
    let odd = simd.equal_u32s(simd.and_u32s(quarter, one), one);
    let sine_sign = simd.wrapping_dyn_shl_u32s(simd.and_u32s(quarter, two), up);
    let cosine_sign = simd.wrapping_dyn_shl_u32s(simd.and_u32s(simd.add_u32s(quarter, one), two), up);
    let (sine, cosine) = (simd.select_f32s(odd, cosine, sine), simd.select_f32s(odd, sine, cosine));
    (
        simd.xor_f32s(sine, simd.transmute_f32s_u32s(sine_sign)),
        simd.xor_f32s(cosine, simd.transmute_f32s_u32s(cosine_sign)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    struct Map<'a>(&'a [f32], &'a mut [f32], bool);

    impl pulp::WithSimd for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(x, out, exponential) = self;
            if exponential {
                map(simd, x, out, |x| exp(simd, x));
            } else {
                let (sines, cosines) = out.split_at_mut(x.len());
                map(simd, x, sines, |x| sin_cos(simd, x).0);
                map(simd, x, cosines, |x| sin_cos(simd, x).1);
            }
        }
    }

    #[test]
    fn exp_is_within_its_bound_over_the_whole_range() {
        for simd in kernels::Simd::levels() {
            let x: Vec<f32> = (0..=1_000_003).map(|i| -100.0 + 188.0 * i as f32 / 1e6).collect();
            let mut out = vec![0.0; x.len()];
            simd.run(Map(&x, &mut out, true));
            for (x, got) in x.iter().zip(&out) {
                let want = f64::from(*x).exp();
                let bound = if *x >= -87.3 { 2e-7 * want } else { 2f64.powi(-126) };
                assert!((f64::from(*got) - want).abs() <= bound, "{simd:?}: exp({x}) = {got}, not {want}");
            }
            let edges = [0.0, -0.0, f32::NEG_INFINITY, -1e30, f32::MIN, -88.1, f32::INFINITY, f32::MAX, f32::NAN];
            let mut out = edges;
            simd.run(Map(&edges, &mut out, true));
            assert_eq!(out[..6], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "{simd:?}");
            assert!(out[6] == out[7] && out[6].is_finite() && out[6] > 1e38 && out[8].is_nan(), "{simd:?}: {out:?}");
        }
    }

    #[test]
    fn sines_and_cosines_are_within_their_bound() {
        for simd in kernels::Simd::levels() {
            let x: Vec<f32> = (0..=400_001)
                .map(|i| i as f32 / 1e4 - 20.0)
                .chain((0..=400_001).map(|i| (i as f32 / 2e5 - 1.0) * LARGEST_ANGLE))
                .collect();
            let mut out = vec![0.0; 2 * x.len()];
            simd.run(Map(&x, &mut out, false));
            let (sines, cosines) = out.split_at(x.len());
            for ((x, sine), cosine) in x.iter().zip(sines).zip(cosines) {
                let (s, c) = f64::from(*x).sin_cos();
                let error = (f64::from(*sine) - s).abs().max((f64::from(*cosine) - c).abs());
                assert!(error <= 2e-7, "{simd:?}: sin and cos of {x}: {sine}, {cosine}, not {s}, {c}");
            }
        }
    }
}
