//! Gradients of what stands between attention layers: activations, norms, the affine map, the loss, and the update.

use t2r::kernels::{
    Simd,
    activation::Activation,
    adamw::{Factors, update},
    dense::{self, NormGradients},
    fused,
};

use crate::{assert_close, assert_gradient, differences, numbers, ways, wide};

const LENGTHS: [usize; 6] = [1, 7, 8, 15, 33, 130];

#[test]
fn activations_and_their_slopes_are_their_formulas() {
    let formula = |activation: Activation, x: f64| match activation {
        Activation::Relu => x.max(0.0),
        Activation::Gelu => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::EluPlusOne if x > 0.0 => x + 1.0,
        Activation::EluPlusOne => x.exp(),
    };
    for activation in Activation::ALL {
        for n in LENGTHS {
            let x: Vec<f32> = numbers(n, 1).iter().map(|x| 6.0 * x).collect();
            let grad = numbers(n, 2);
            let want: Vec<f64> = x.iter().map(|x| formula(activation, f64::from(*x))).collect();
            let slopes = differences(&wide(&x), |x| {
                x.iter().zip(&grad).map(|(x, g)| formula(activation, *x) * f64::from(*g)).sum()
            });
            for way in ways() {
                let (mut out, mut dx) = (vec![f32::NAN; n], vec![f32::NAN; n]);
                match way {
                    Some(simd) => {
                        fused::activation::apply(simd, activation, &x, &mut out);
                        fused::activation::backward(simd, activation, &x, &grad, &mut dx);
                    }
                    None => {
                        out = x.iter().map(|x| activation.of(*x)).collect();
                        dx = x.iter().zip(&grad).map(|(x, g)| g * activation.slope(*x)).collect();
                    }
                }
                assert_close(&out, &want, 1e-6, &format!("{way:?}, {activation:?}, {n}"));
                assert_gradient(&dx, &slopes, 1e-6, &format!("{way:?}, {activation:?}, {n}"));
            }
        }
        for way in ways() {
            let (x, mut dx) = ([0f32, -0.0, 100.0, -100.0, f32::MAX, f32::MIN], [f32::NAN; 6]);
            match way {
                Some(simd) => fused::activation::backward(simd, activation, &x, &[1.0; 6], &mut dx),
                None => dx = x.map(|x| activation.slope(x)),
            }
            let at_zero = match activation {
                Activation::Relu => 0.0,
                Activation::Gelu => 0.5,
                Activation::EluPlusOne => 1.0,
            };
            assert_eq!(dx[..3], [at_zero, at_zero, 1.0], "{way:?}, {activation:?}");
            assert!(dx[3].abs() < 1e-30 && dx[4] == 1.0 && dx[5].abs() < 1e-30, "{way:?}, {activation:?}: {dx:?}");
            let slope = match way {
                Some(simd) => {
                    let mut slope = [0f32];
                    fused::activation::backward(simd, activation, &[f32::NAN], &[1.0], &mut slope);
                    slope[0]
                }
                None => activation.slope(f32::NAN),
            };
            // Of relu a comparison decides, as in its forward, which gives 0 there.
            assert_eq!(slope.is_nan(), activation != Activation::Relu, "{way:?}, {activation:?}: {slope}");
        }
    }
}

#[test]
fn swiglu_has_the_gradients_of_its_formula() {
    for n in LENGTHS {
        let (gate, up, grad) =
            (numbers(n, 1).iter().map(|x| 5.0 * x).collect::<Vec<_>>(), numbers(n, 2), numbers(n, 3));
        let loss = |gate: &[f64], up: &[f64]| {
            (0..n).map(|i| gate[i] / (1.0 + (-gate[i]).exp()) * up[i] * f64::from(grad[i])).sum::<f64>()
        };
        let of_gate = differences(&wide(&gate), |gate| loss(gate, &wide(&up)));
        let of_up = differences(&wide(&up), |up| loss(&wide(&gate), up));
        for simd in Simd::levels() {
            let (mut d_gate, mut d_up) = (vec![f32::NAN; n], vec![f32::NAN; n]);
            fused::activation::silu_times_backward(simd, &gate, &up, &grad, &mut d_gate, &mut d_up);
            assert_gradient(&d_gate, &of_gate, 1e-6, &format!("{simd:?}, {n}"));
            assert_gradient(&d_up, &of_up, 1e-6, &format!("{simd:?}, {n}"));
        }
    }
}

#[test]
fn norms_have_the_gradients_of_their_formulas() {
    let epsilon = 1e-3;
    for width in [1, 2, 7, 8, 33, 80] {
        for centred in [true, false] {
            let rows = 3;
            let (x, gain) = (numbers(rows * width, 1), numbers(width, 2));
            let (bias, grad) = (numbers(width, 3), numbers(rows * width, 4));
            let loss = |x: &[f64], gain: &[f64], bias: &[f64]| {
                let of_row = |(x, grad): (&[f64], &[f32])| {
                    let n = width as f64;
                    let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
                    let scale = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(epsilon)).sqrt();
                    (0..width).map(|i| ((x[i] - mean) / scale * gain[i] + bias[i]) * f64::from(grad[i])).sum::<f64>()
                };
                x.chunks(width).zip(grad.chunks(width)).map(of_row).sum::<f64>()
            };
            let (wx, wg, wb) = (wide(&x), wide(&gain), wide(&bias));
            let of_x = differences(&wx, |x| loss(x, &wg, &wb));
            let of_gain = differences(&wg, |gain| loss(&wx, gain, &wb));
            let of_bias = differences(&wb, |bias| loss(&wx, &wg, bias));
            for way in ways() {
                for all in [true, false] {
                    let room = |n: usize| vec![0f32; if all { n } else { 0 }];
                    let (mut dx, mut dg, mut db) = (room(rows * width), vec![0f32; width], room(width));
                    let into = NormGradients { x: &mut dx, gain: &mut dg, bias: &mut db };
                    match way {
                        Some(simd) => {
                            let mut scratch = vec![f32::NAN; 2 * width];
                            fused::norm::backward(simd, &x, &gain, epsilon, centred, &grad, &mut scratch, into);
                        }
                        None => dense::norm_backward(&x, &gain, epsilon, centred, &grad, into),
                    }
                    let what = format!("{way:?}, width {width}, centred {centred}");
                    assert_gradient(&dg, &of_gain, 2e-5, &what);
                    if all {
                        assert_gradient(&dx, &of_x, 2e-5, &what);
                        assert_gradient(&db, &of_bias, 1e-6, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn the_affine_map_and_its_gradients_are_those_of_its_formula() {
    let sizes = [(1, 1, 1), (5, 3, 2), (49, 8, 7), (60, 33, 12), (100, 5, 33)];
    for ((n, d, m), floor) in sizes.into_iter().flat_map(|size| [(size, 0.0), (size, f32::NEG_INFINITY)]) {
        let (x, weight, bias, grad) = (numbers(n * d, 1), numbers(m * d, 2), numbers(m, 3), numbers(n * m, 4));
        let scale = 0.5;
        let map = |x: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
            let of_row = |x: &[f64]| {
                let pre = |r: usize| f64::from(scale) * (0..d).map(|c| weight[r * d + c] * x[c]).sum::<f64>() + bias[r];
                (0..m).map(|r| pre(r).max(f64::from(floor))).collect::<Vec<_>>()
            };
            x.chunks(d).flat_map(of_row).collect()
        };
        let (wx, ww, wb) = (wide(&x), wide(&weight), wide(&bias));
        let loss = |phi: Vec<f64>| phi.iter().zip(&grad).map(|(phi, g)| phi * f64::from(*g)).sum::<f64>();
        let want = [
            differences(&wx, |x| loss(map(x, &ww, &wb))),
            differences(&ww, |w| loss(map(&wx, w, &wb))),
            differences(&wb, |b| loss(map(&wx, &ww, b))),
        ];
        for simd in Simd::levels() {
            let (mut room, mut phi) = (vec![f32::NAN; m * d], vec![f32::NAN; n * m]);
            fused::affine::forward(simd, &x, (scale, floor), &weight, &bias, &mut room, &mut phi);
            assert_close(&phi, &map(&wx, &ww, &wb), 1e-5, &format!("{simd:?}"));
            let mut room = vec![f32::NAN; fused::affine::room_len(m)];
            let [mut dx, mut dw, mut db] = [n * d, m * d, m].map(|len| vec![0f32; len]);
            let into = (&mut dx[..], &mut dw[..], &mut db[..]);
            fused::affine::backward(simd, (&x, &phi, &grad), (scale, floor), &weight, &mut room, into);
            for (got, want) in [dx, dw, db].iter().zip(&want) {
                assert_gradient(got, want, 1e-5, &format!("{simd:?}, {n} of {d} to {m}"));
            }
        }
    }
}

#[test]
fn the_loss_and_its_gradient_are_those_of_the_formula() {
    for n in LENGTHS {
        for size in [1.0, 30.0, 1e4] {
            let logits: Vec<f32> = numbers(n, 1).iter().map(|x| size * x).collect();
            let target = n / 2;
            for smoothing in [0f32, 0.1] {
                let epsilon = f64::from(smoothing);
                let loss = |x: &[f64]| {
                    let most = x.iter().copied().fold(f64::MIN, f64::max);
                    let mean = x.iter().map(|x| most - x).sum::<f64>() / n as f64;
                    (1.0 - epsilon) * (most - x[target])
                        + epsilon * mean
                        + x.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
                };
                let want: Vec<f64> = differences(&wide(&logits), loss).iter().map(|x| 0.25 * x).collect();
                for way in ways() {
                    let mut slopes = logits.clone();
                    let got = match way {
                        Some(simd) => fused::loss::cross_entropy(simd, &mut slopes, target, smoothing, 0.25),
                        None => dense::cross_entropy(&mut slopes, target, smoothing, 0.25),
                    };
                    let what = format!("{way:?}, {n}, {size}, {smoothing}");
                    assert_close(&[got], &[loss(&wide(&logits))], 2e-6, &what);
                    assert_gradient(&slopes, &want, 2e-5, &what);
                }
            }
        }
    }
}

#[test]
fn the_update_is_its_formula() {
    let factors = Factors { beta1: 0.8, beta2: 0.9, rate: 0.1, unbias: 2.0, epsilon: 1e-3, keep: 0.99 };
    for n in LENGTHS {
        let (theta, m, grad) = (numbers(n, 1), numbers(n, 2), numbers(n, 4));
        let v: Vec<f32> = numbers(n, 3).iter().map(|x| x.abs()).collect();
        let one = |i: usize| {
            let (g, beta1, beta2) = (f64::from(grad[i]), f64::from(factors.beta1), f64::from(factors.beta2));
            let m = beta1 * f64::from(m[i]) + (1.0 - beta1) * g;
            let v = beta2 * f64::from(v[i]) + (1.0 - beta2) * g * g;
            let moved = f64::from(factors.rate) * m / ((2.0 * v).sqrt() + f64::from(factors.epsilon));
            [f64::from(factors.keep) * f64::from(theta[i]) - moved, m, v]
        };
        for simd in Simd::levels() {
            let (mut t, mut first, mut second) = (theta.clone(), m.clone(), v.clone());
            update(simd, factors, &mut t, &mut first, &mut second, &grad);
            let want = |which: usize| (0..n).map(|i| one(i)[which]).collect::<Vec<_>>();
            assert_close(&t, &want(0), 1e-6, &format!("{simd:?}"));
            assert_close(&first, &want(1), 1e-6, &format!("{simd:?}"));
            assert_close(&second, &want(2), 1e-6, &format!("{simd:?}"));
        }
    }
}
