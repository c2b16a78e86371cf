//! Products, norms, activations, argmax.

use t2r::kernels::{Simd, dense, fused};

use crate::{WIDTHS, assert_close, dot, numbers, ways};

fn product(way: Option<Simd>, x: &[f32], weight: &[f32], bias: &[f32], n_in: usize, y: &mut [f32]) {
    match way {
        Some(simd) => fused::product::product(simd, x, weight, bias, n_in, y),
        None => dense::product(x, weight, bias, n_in, y),
    }
}

fn check_product(rows: usize, n_in: usize, n_out: usize, biased: bool) {
    let (x, weight) = (numbers(rows * n_in, 1), numbers(n_out * n_in, 2));
    let bias = if biased { numbers(n_out, 3) } else { Vec::new() };
    let entry = |x, i: usize| dot(x, &weight[i * n_in..][..n_in]) + bias.get(i).map_or(0.0, |b| f64::from(*b));
    let want: Vec<f64> = x.chunks(n_in).flat_map(|x| (0..n_out).map(move |i| entry(x, i))).collect();
    for way in ways() {
        let mut y = vec![f32::NAN; rows * n_out];
        product(way, &x, &weight, &bias, n_in, &mut y);
        assert_close(&y, &want, 5e-6, &format!("{way:?}, rows {rows}, {n_in} to {n_out}, bias {biased}"));
    }
}

#[test]
fn the_product_is_its_formula() {
    for rows in [0, 1, 2, 3, 4, 7, 16] {
        for n_in in WIDTHS {
            for n_out in [0, 1, 3, 4, 5, 30] {
                check_product(rows, n_in, n_out, n_out % 2 == 1);
            }
        }
    }
}

/// Weights of eight binary digits, which bf16 holds exactly, and the same two to a word.
fn in_bf16(n: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let exact: Vec<f32> = numbers(n, seed).iter().map(|x| (x * 128.0).floor() / 128.0).collect();
    let upper = |x: f32| x.to_bits() >> 16;
    let words = exact.chunks_exact(2).map(|pair| upper(pair[0]) | (upper(pair[1]) << 16)).collect();
    (exact, words)
}

#[test]
fn a_product_with_weights_in_bf16_is_its_formula() {
    for rows in [0, 1, 2, 3, 4, 7, 16] {
        for n_in in [2, 6, 8, 34, 64, 66, 80, 128, 256, 514] {
            for n_out in [0, 1, 3, 4, 5, 30] {
                let (x, bias) = (numbers(rows * n_in, 1), numbers(n_out, 3));
                let (weight, words) = in_bf16(n_out * n_in, 2);
                let entry = |x, i: usize| dot(x, &weight[i * n_in..][..n_in]) + f64::from(bias[i]);
                let want: Vec<f64> = x.chunks(n_in).flat_map(|x| (0..n_out).map(move |i| entry(x, i))).collect();
                for simd in Simd::levels() {
                    let (mut y, mut room) = (vec![f32::NAN; rows * n_out], vec![f32::NAN; x.len()]);
                    let ordered = fused::product::in_order::<u32>(simd, &x, n_in, &mut room);
                    fused::product::product(simd, ordered, &words, &bias, n_in, &mut y);
                    assert_close(&y, &want, 5e-6, &format!("{simd:?}, rows {rows}, {n_in} to {n_out}"));
                }
            }
        }
    }
    let (exact, words) = in_bf16(10, 4);
    let mut wide = vec![f32::NAN; 10];
    fused::weight::widen(&words, &mut wide);
    assert_eq!(wide, exact);
}

#[test]
fn a_product_that_pays_for_threads_is_the_same() {
    check_product(1, 257, 1031, true);
    check_product(5, 130, 601, false);
}

#[test]
fn argmax_is_the_first_of_the_largest() {
    for n in [1, 2, 15, 16, 17, 33, 1000] {
        for at in [0, n / 2, n - 1] {
            let mut x = numbers(n, 1);
            x[at] = 3.0;
            x[n - 1] = 3.0;
            for way in ways() {
                let got = way.map_or_else(|| dense::argmax(&x), |simd| fused::rows::argmax(simd, &x));
                assert_eq!(got, Some(at), "{way:?}, {n}");
            }
        }
    }
    let odd = [f32::NEG_INFINITY, f32::NAN, -2.0];
    for way in ways() {
        let argmax = |x: &[f32]| way.map_or_else(|| dense::argmax(x), |simd| fused::rows::argmax(simd, x));
        assert_eq!((argmax(&[]), argmax(&odd), argmax(&odd[..1])), (None, Some(2), Some(0)), "{way:?}");
        assert_eq!(argmax(&[f32::NAN; 20]), Some(0), "{way:?}");
    }
}

#[test]
fn norms_are_their_formulas_and_bear_a_large_mean() {
    for n in WIDTHS {
        for mean in [0.0, 100.0] {
            let x: Vec<f32> = numbers(n, 1).iter().map(|x| x + mean).collect();
            let (gain, bias) = (numbers(n, 2), numbers(n, 3));
            let average = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(f64::from(*x))).sum::<f64>() / n as f64;
            let mu = average(&|x| x);
            let (variance, square) = (average(&|x| (x - mu).powi(2)), average(&|x| x * x));
            let number = |i: usize| (f64::from(x[i]), f64::from(gain[i]), f64::from(bias[i]));
            let layer = |i| {
                let (x, g, b) = number(i);
                (x - mu) / (variance + 1e-5).sqrt() * g + b
            };
            let rms = |i| {
                let (x, g, _) = number(i);
                x / (square + 1e-5).sqrt() * g
            };
            for way in ways() {
                let (mut normed, mut scaled) = (vec![f32::NAN; n], vec![f32::NAN; n]);
                match way {
                    Some(simd) => {
                        fused::rows::layer_norm(simd, &x, &gain, &bias, 1e-5, &mut normed);
                        fused::rows::rms_norm(simd, &x, &gain, 1e-5, &mut scaled);
                    }
                    None => {
                        dense::layer_norm(&x, &gain, &bias, 1e-5, &mut normed);
                        dense::rms_norm(&x, &gain, 1e-5, &mut scaled);
                    }
                }
                let what = format!("{way:?}, n {n}, mean {mean}");
                // A mean of 100 has 8e-6 of rounding in f32, against a deviation of about 0.6 (or, of one number, 0).
                let tolerance = if mean == 0.0 { 2e-6 } else { 1e-4 };
                assert_close(&normed, &(0..n).map(layer).collect::<Vec<_>>(), tolerance, &what);
                assert_close(&scaled, &(0..n).map(rms).collect::<Vec<_>>(), 2e-6, &what);
            }
        }
    }
}

#[test]
fn a_layer_norm_may_have_no_bias() {
    for way in ways() {
        let mut out = [f32::NAN; 2];
        match way {
            Some(simd) => fused::rows::layer_norm(simd, &[1.0, 3.0], &[2.0, 5.0], &[], 0.0, &mut out),
            None => dense::layer_norm(&[1.0, 3.0], &[2.0, 5.0], &[], 0.0, &mut out),
        }
        assert_eq!(out, [-2.0, 5.0], "{way:?}"); // (∓1) / 1 times the gain
    }
}

#[test]
fn activations_are_their_formulas_at_every_size_of_number() {
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let silu = |x: f64| x / (1.0 + (-x).exp());
    for n in WIDTHS {
        for size in [3.0, 30.0, 1e4] {
            let (x, up) = (numbers(n, 1).iter().map(|x| x * size).collect::<Vec<_>>(), numbers(n, 2));
            for way in ways() {
                let (mut gelus, mut relus, mut products) = (x.clone(), x.clone(), up.clone());
                match way {
                    Some(simd) => {
                        fused::rows::gelu(simd, &mut gelus);
                        fused::rows::relu(simd, &mut relus);
                        fused::rows::silu_times(simd, &x, &mut products);
                    }
                    None => {
                        dense::gelu(&mut gelus);
                        dense::relu(&mut relus);
                        dense::silu_times(&x, &mut products);
                    }
                }
                let of = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(f64::from(*x))).collect::<Vec<_>>();
                let what = format!("{way:?}, n {n}, size {size}");
                assert_close(&gelus, &of(&gelu), 1e-6, &what);
                assert_close(&relus, &of(&|x| x.max(0.0)), 0.0, &what);
                let want: Vec<f64> = of(&silu).iter().zip(&up).map(|(s, u)| s * f64::from(*u)).collect();
                assert_close(&products, &want, 1e-6, &what);
            }
        }
    }
}
