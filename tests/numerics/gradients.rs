//! Gradients of every variant's forward against central finite differences of the f64 formula.

use candle_core::{DType, Device, Tensor, Var};
use t2r::{
    attention::{Heads, Mask, Qkv, has_fused_form},
    kernels::{Kernels, Simd},
    params::Params,
    spec::VariantSpec,
};

use crate::layers::{Flat, Layer, every_variant, flat, has_full_form, layer, layer_with};

const HEADS: Heads = Heads { n_heads: 2, n_kv_heads: 1, head_dim: 4 };

/// Weights of the scalar that is differentiated, Σ c_i out_i: none alike, none zero.
fn coefficients(n: usize) -> Vec<f64> {
    (0..n).map(|i| (1.0 + i as f64 * 0.7).sin() + 1.3).collect()
}

fn loss_of_formula(layer: &Layer, x: &Flat, mask: &Mask) -> f64 {
    let out = layer.oracle(x, mask).out;
    out.iter().zip(coefficients(out.len())).map(|(o, c)| o * c).sum()
}

/// The plain loops, and the fused kernels of every level where the variant has them.
fn ways(spec: &VariantSpec) -> Vec<Kernels> {
    let fused = Simd::levels().into_iter().filter(|_| has_fused_form(spec)).map(Kernels::Fused);
    std::iter::once(Kernels::Plain).chain(fused).collect()
}

fn loss_of_forward(layer: &Layer, qkv: &Qkv, mask: &Mask, kernels: Kernels) -> Tensor {
    let out = layer.attention.forward_by(qkv, mask, kernels).unwrap();
    let c = coefficients(out.elem_count()).iter().map(|c| *c as f32).collect::<Vec<_>>();
    (out.flatten_all().unwrap() * Tensor::new(c, &Device::Cpu).unwrap()).unwrap().sum_all().unwrap()
}

/// A step that f32 inputs represent well and that the f64 formula resolves; small, for a relu has kinks to step over.
const STEP: f32 = 1.0 / 8192.0;

fn assert_gradient(what: &str, analytic: &[f32], numeric: &[f64]) {
    let scale = numeric.iter().fold(1e-2f64, |m, x| m.max(x.abs()));
    for (i, (a, n)) in analytic.iter().zip(numeric).enumerate() {
        assert!((f64::from(*a) - n).abs() < 2e-3 * scale, "{what}[{i}]: {a} against {n}");
    }
}

#[test]
fn inputs_of_every_variant() {
    for spec in every_variant() {
        let layer = layer(&spec, HEADS, 4);
        for (mask, n, source) in [(Mask::Causal, 5, 5), (Mask::Full { source_lengths: Some(vec![4]) }, 3, 6)] {
            if !has_full_form(&spec) && mask != Mask::Causal {
                continue;
            }
            let x = layer.random(1, n, source, 1.0, 36);
            let qkv = layer.tensors(&x);
            let vars = [&qkv.q, &qkv.k, &qkv.v].map(|t| Var::from_tensor(t).unwrap());
            let gate = qkv.gate.as_ref().map(|gate| Var::from_tensor(gate).unwrap());
            let [q, k, v] = vars.each_ref().map(|v| v.as_tensor().clone());
            let of_vars = Qkv { q, k, v, gate: gate.as_ref().map(|gate| gate.as_tensor().clone()) };
            let grads = |kernels| loss_of_forward(&layer, &of_vars, &mask, kernels).backward().unwrap();
            let grads: Vec<_> = ways(&spec).into_iter().map(|way| (way, grads(way))).collect();
            for (which, var) in vars.iter().chain(&gate).enumerate() {
                let numeric: Vec<f64> = (0..var.elem_count())
                    .map(|i| {
                        let at = |step: f32| {
                            let mut moved = x.clone();
                            [&mut moved.q, &mut moved.k, &mut moved.v, &mut moved.gate][which][i] += step;
                            loss_of_formula(&layer, &moved, &mask)
                        };
                        (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP))
                    })
                    .collect();
                for (way, grads) in &grads {
                    let what = format!("{spec} {way:?} {mask:?} {}", ["q", "k", "v", "gate"][which]);
                    let analytic = grads.get(var).map_or_else(|| vec![0.0; numeric.len()], flat);
                    assert_gradient(&what, &analytic, &numeric);
                }
            }
        }
    }
}

#[test]
fn learned_parameters() {
    let affine = ["layer.query.weight", "layer.query.bias", "layer.key.weight", "layer.key.bias"];
    for (spec, names) in [
        ("t2r:merged=false", &["layer.weight", "layer.bias"][..]),
        ("rfa", &["layer.sigma"]),
        ("rfa-gate", &["layer.sigma"]),
        ("hedgehog", &affine),
        ("taylor:p=2", &["layer.query.weight", "layer.key.weight"]),
        ("window+t2r:2", &["layer.weight", "layer.bias", "layer.log_gamma"]),
        ("window+performer:2", &["layer.log_gamma"]),
    ] {
        let spec: VariantSpec = spec.parse().unwrap();
        let mut params = Params::trainable(&Device::Cpu, DType::F32, 7);
        let layer = layer_with(&spec, HEADS, 4, &mut params);
        let x = layer.random(1, 5, 5, 1.0, 32);
        let grads = |kernels| loss_of_forward(&layer, &layer.tensors(&x), &Mask::Causal, kernels).backward().unwrap();
        let grads: Vec<_> = ways(&spec).into_iter().map(|way| (way, grads(way))).collect();
        assert_eq!(
            params.vars().keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            names.iter().copied().collect()
        );
        for name in names {
            let var = &params.vars()[*name];
            let start = flat(var.as_tensor());
            let numeric: Vec<f64> = (0..start.len())
                .map(|i| {
                    let at = |step: f32| {
                        let mut moved = start.clone();
                        moved[i] += step;
                        var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                        loss_of_formula(&layer, &x, &Mask::Causal)
                    };
                    (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP))
                })
                .collect();
            var.set(&Tensor::from_vec(start, var.shape(), &Device::Cpu).unwrap()).unwrap();
            assert!(numeric.iter().any(|g| g.abs() > 1e-3), "{spec} {name}: the test sees no gradient");
            for (way, grads) in &grads {
                assert_gradient(&format!("{spec} {way:?} {name}"), &flat(grads.get(var).unwrap()), &numeric);
            }
        }
    }
}

#[test]
fn a_zero_vector_has_a_finite_gradient() {
    for spec in every_variant() {
        let layer = layer(&spec, HEADS, 4);
        let mut x = layer.random(1, 3, 3, 1.0, 33);
        x.q.fill(0.0);
        x.k.fill(0.0);
        let qkv = layer.tensors(&x);
        let (q, k) = (Var::from_tensor(&qkv.q).unwrap(), Var::from_tensor(&qkv.k).unwrap());
        let of_vars = Qkv { q: q.as_tensor().clone(), k: k.as_tensor().clone(), v: qkv.v, gate: qkv.gate };
        for way in ways(&spec) {
            let grads = loss_of_forward(&layer, &of_vars, &Mask::Causal, way).backward().unwrap();
            for var in [&q, &k] {
                assert!(grads.get(var).is_none_or(|g| flat(g).iter().all(|x| x.is_finite())), "{spec} {way:?}");
            }
        }
    }
}
