//! Two attentions under one denominator, against the formula in f64 and its differences.

use t2r::kernels::{
    Simd,
    fused::hybrid as fused,
    hybrid::{self, Gradients, Joint},
    linear::Normalizer,
};

use crate::{WIDTHS, assert_close, assert_gradient, differences, numbers, ways, wide};

/// Means, totals, far sums, far totals, shares.
type Inputs = [Vec<f32>; 5];

fn inputs(n: usize, width: usize) -> Inputs {
    let positive = |len, seed| numbers(len, seed).iter().map(|x| x + 1.5).collect();
    // Every third query takes nothing from afar.
    let shares = (0..2 * n).map(|i| if i % 6 == 1 { 0.0 } else { 0.2 + (i % 7) as f32 }).collect();
    [numbers(n * width, 1), positive(n, 2), numbers(n * width, 3), numbers(n, 4), shares]
}

fn joint<'a>([_, totals, far, far_totals, shares]: &'a Inputs, normalizer: Normalizer) -> Joint<'a> {
    Joint { totals, far, far_totals, shares, normalizer }
}

fn norm(normalizer: Normalizer, den: f64) -> f64 {
    match normalizer {
        Normalizer::AddEpsilon(eps) => den + eps,
        Normalizer::ClampMin(eps) => den.max(eps),
        Normalizer::SignedClamp(eps) => den.abs().max(eps).copysign(den),
    }
}

fn formula([means, totals, far, far_totals, shares]: [&[f64]; 5], normalizer: Normalizer) -> Vec<f64> {
    let width = means.len() / totals.len();
    let row = |i: usize| {
        let (a, b) = (shares[2 * i] * totals[i], shares[2 * i + 1]);
        let den = norm(normalizer, a + b * far_totals[i]);
        (i * width..(i + 1) * width).map(move |c| (a * means[c] + b * far[c]) / den)
    };
    (0..totals.len()).flat_map(row).collect()
}

const NORMALIZERS: [Normalizer; 4] = [
    Normalizer::ClampMin(1e-30),
    Normalizer::AddEpsilon(0.5),
    // These hold some of the denominators.
    Normalizer::ClampMin(4.0),
    Normalizer::SignedClamp(3.0),
];

#[test]
fn what_is_joined_is_its_formula() {
    for (n, width) in WIDTHS.iter().flat_map(|width| [(1, *width), (13, *width)]) {
        let x = inputs(n, width);
        let wide = x.each_ref().map(|x| wide(x));
        for normalizer in NORMALIZERS {
            let want = formula(wide.each_ref().map(|x| &x[..]), normalizer);
            for way in ways() {
                let mut out = x[0].clone();
                match way {
                    Some(simd) => fused::join(simd, joint(&x, normalizer), &mut out),
                    None => hybrid::join(joint(&x, normalizer), &mut out),
                }
                assert_close(&out, &want, 1e-5, &format!("{way:?}, {normalizer:?}, n {n}, width {width}"));
            }
        }
    }
}

fn gradients(way: Option<Simd>, x: &Inputs, normalizer: Normalizer, grad: &[f32]) -> [Vec<f32>; 5] {
    let mut all = x.each_ref().map(|x| vec![f32::NAN; x.len()]);
    let [near, log_totals, far, far_totals, shares] = all.each_mut().map(|x| &mut x[..]);
    let into = Gradients { near, log_totals, far, far_totals, shares };
    match way {
        Some(simd) => fused::backward(simd, joint(x, normalizer), &x[0], grad, into),
        None => hybrid::backward(joint(x, normalizer), &x[0], grad, into),
    }
    all
}

#[test]
fn gradients_are_the_differences_of_the_formula() {
    for (n, width) in [(7, 1), (13, 3), (6, 8), (4, 33)] {
        let x = inputs(n, width);
        let grad = numbers(n * width, 9);
        let all = x.each_ref().map(|x| wide(x));
        for normalizer in NORMALIZERS {
            let want: Vec<Vec<f64>> = (0..5)
                .map(|which| {
                    let loss = |moved: &[f64]| {
                        let mut of = all.each_ref().map(|x| &x[..]);
                        of[which] = moved;
                        formula(of, normalizer).iter().zip(&grad).map(|(out, grad)| out * f64::from(*grad)).sum()
                    };
                    // Of totals it is that of their logarithm.
                    let scale = |i: usize| if which == 1 { all[1][i] } else { 1.0 };
                    differences(&all[which], loss).iter().enumerate().map(|(i, slope)| scale(i) * slope).collect()
                })
                .collect();
            for way in ways() {
                for (i, (got, want)) in gradients(way, &x, normalizer, &grad).iter().zip(&want).enumerate() {
                    assert_gradient(got, want, 1e-5, &format!("{way:?}, {normalizer:?}, n {n}, width {width}, {i}"));
                }
            }
        }
    }
}

#[test]
fn nothing_joins_nothing() {
    let x: Inputs = Default::default();
    for way in ways() {
        let mut out: [f32; 0] = [];
        match way {
            Some(simd) => fused::join(simd, joint(&x, NORMALIZERS[0]), &mut out),
            None => hybrid::join(joint(&x, NORMALIZERS[0]), &mut out),
        }
        assert!(gradients(way, &x, NORMALIZERS[0], &[]).iter().all(Vec::is_empty));
    }
}
