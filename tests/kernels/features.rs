//! Feature maps.

use t2r::kernels::{features, fused};

use crate::{WIDTHS, assert_close, dot, numbers, ways};

#[test]
fn elu_plus_one_is_its_formula_from_minus_infinity_on() {
    for n in WIDTHS {
        let mut x: Vec<f32> = numbers(n, 1).iter().map(|x| x * 20.0).collect();
        x[0] = -1e4;
        let formula = |x: &f32| if *x > 0.0 { f64::from(*x) + 1.0 } else { f64::from(*x).exp() };
        let want: Vec<f64> = x.iter().map(formula).collect();
        for way in ways() {
            let mut out = vec![f32::NAN; n];
            match way {
                Some(simd) => fused::features::elu_plus_one(simd, &x, &mut out),
                None => features::elu_plus_one(&x, &mut out),
            }
            assert_close(&out, &want, 3e-7, &format!("{way:?}, {n}"));
            assert!(out.iter().all(|x| *x >= 0.0), "{way:?}: a feature below zero");
        }
    }
}

#[test]
fn affine_relu_is_its_formula() {
    for d in WIDTHS {
        for m in [1, 7, 8, 9, 32] {
            let (x, weight, bias) = (numbers(d, 1), numbers(m * d, 2), numbers(m, 3));
            let row = |(w, b): (&[f32], &f32)| (0.125 * dot(w, &x) + f64::from(*b)).max(0.0);
            let want: Vec<f64> = weight.chunks(d).zip(&bias).map(row).collect();
            for way in ways() {
                let mut out = vec![f32::NAN; m];
                match way {
                    Some(simd) => fused::features::affine_relu(simd, &x, 0.125, &weight, &bias, &mut out),
                    None => features::affine_relu(&x, 0.125, &weight, &bias, &mut out),
                }
                assert_close(&out, &want, 1e-6, &format!("{way:?}, d {d}, m {m}"));
            }
        }
    }
}

#[test]
fn relu_keeps_what_is_positive() {
    for simd in t2r::kernels::Simd::levels() {
        let x = numbers(37, 1);
        let mut out = vec![f32::NAN; 37];
        fused::features::relu(simd, &x, &mut out);
        assert!(out.iter().zip(&x).all(|(out, x)| *out == if *x > 0.0 { *x } else { 0.0 }), "{simd:?}");
    }
}

#[test]
fn random_fourier_features_are_their_formula_at_small_and_huge_angles() {
    for (size, tolerance) in [(4.0, 2e-6), (300.0, 1e-4), (1e6, 1.0)] {
        for d in WIDTHS {
            for n_draws in [1, 8, 17, 32] {
                let x = numbers(d, 1);
                let weight: Vec<f32> = numbers(n_draws * d, 2).iter().map(|w| w * size).collect();
                let norm = dot(&x, &x).sqrt() + 1e-3;
                let angles: Vec<f64> = weight.chunks(d).map(|w| dot(w, &x) / norm).collect();
                let scale = (1.0 / n_draws as f64).sqrt();
                let sines = angles.iter().map(|a| scale * a.sin());
                let want: Vec<f64> = sines.chain(angles.iter().map(|a| scale * a.cos())).collect();
                for way in ways() {
                    let mut out = vec![f32::NAN; 2 * n_draws];
                    match way {
                        Some(simd) => fused::features::fourier(simd, &x, &weight, 1e-3, &mut out),
                        None => features::fourier(&x, &weight, 1e-3, &mut out),
                    }
                    let what = format!("{way:?}, size {size}, d {d}, draws {n_draws}");
                    assert_close(&out, &want, tolerance, &what);
                    let (sines, cosines) = out.split_at(n_draws);
                    let on_circle = |(s, c): (&f32, &f32)| ((s * s + c * c) * n_draws as f32 - 1.0).abs() < 1e-5;
                    assert!(sines.iter().zip(cosines).all(on_circle), "{what}: {out:?}");
                }
            }
        }
    }
}
