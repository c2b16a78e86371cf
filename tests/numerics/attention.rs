//! The law (forward = folded step = extend over any split), the f64 formula, grouped heads, masks, state sizes.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use t2r::{
    attention::{CHUNK, Heads, Mask, Qkv, has_fused_form, state_bytes},
    kernels::{Kernels, Simd},
    params::Params,
    spec::{DType as Words, VariantSpec},
};

use crate::layers::{assert_close, every_variant, flat, has_full_form, layer, layer_with};

const TOLERANCE: f64 = 2e-5;

/// Heads without and with groups, and widths that are no multiple of a vector register.
const HEADS: [Heads; 3] = [
    Heads { n_heads: 2, n_kv_heads: 2, head_dim: 8 },
    Heads { n_heads: 6, n_kv_heads: 2, head_dim: 5 },
    Heads { n_heads: 3, n_kv_heads: 1, head_dim: 17 },
];

/// Levels of vector instructions that the variant has a fused form for.
fn fused_levels(spec: &VariantSpec) -> Vec<Simd> {
    if has_fused_form(spec) { Simd::levels() } else { Vec::new() }
}

fn law(spec: &VariantSpec, heads: Heads, m: usize, batch: usize, n: usize, seed: u64) {
    let layer = layer(spec, heads, m);
    let what = format!("{spec} {heads:?} m {m} batch {batch} n {n}");
    let x = layer.random(batch, n, n, 1.0, seed);
    let want = layer.oracle(&x, &Mask::Causal);
    assert_close(&format!("forward {what}"), &layer.forward(&x, &Mask::Causal), &want, heads.head_dim, TOLERANCE);
    assert_close(&format!("step {what}"), &layer.folded(&x), &want, heads.head_dim, TOLERANCE);
    for simd in fused_levels(spec) {
        let fused = layer.folded_by(&x, Kernels::Fused(simd));
        assert_close(&format!("{simd:?} step {what}"), &fused, &want, heads.head_dim, TOLERANCE);
        let fused = layer.infer(&x, &Mask::Causal, simd);
        assert_close(&format!("{simd:?} forward {what}"), &fused, &want, heads.head_dim, TOLERANCE);
    }
    for split in [n / 3, n.saturating_sub(1)] {
        for kernels in std::iter::once(Kernels::Plain).chain(fused_levels(spec).into_iter().map(Kernels::Fused)) {
            let got = extended(&layer, &layer.tensors(&x), n, split, kernels);
            let what = format!("{kernels:?} extend {what} split {split}");
            assert_close(&what, &got, &want, heads.head_dim, TOLERANCE);
        }
    }
}

/// The sequence in two calls of `extend`.
fn extended(layer: &crate::layers::Layer, qkv: &Qkv, n: usize, split: usize, kernels: Kernels) -> Vec<f32> {
    let batch = qkv.q.dims()[0];
    let mut state = layer.attention.tensor_state(batch, n, DType::F32, &Device::Cpu).unwrap();
    let parts: Vec<Tensor> = [(0, split), (split, n - split)]
        .iter()
        .map(|(start, len)| {
            let cut = |x: &Tensor| x.narrow(2, *start, *len).unwrap();
            let part = Qkv { q: cut(&qkv.q), k: cut(&qkv.k), v: cut(&qkv.v), gate: qkv.gate.as_ref().map(cut) };
            layer.attention.extend_by(&part, &mut state, kernels).unwrap()
        })
        .filter(|part| part.elem_count() > 0)
        .collect();
    let expected = state_bytes(&layer.resolved, layer.heads, batch, n, Words::F32).unwrap();
    assert_eq!(Some(state.used_bytes()), expected.total());
    if parts.is_empty() { Vec::new() } else { flat(&Tensor::cat(&parts, 2).unwrap()) }
}

#[test]
fn forward_step_extend_and_formula_agree_at_odd_sizes() {
    for spec in every_variant() {
        for heads in HEADS {
            for n in [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3] {
                law(&spec, heads, 6, 2, n, 1);
            }
        }
    }
}

#[test]
fn long_sequences_agree_beyond_one_block_of_queries() {
    for spec in ["softmax", "window:70", "window+hedgehog:70", "window+performer:200"] {
        law(&spec.parse().unwrap(), HEADS[1], 6, 1, 300, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_law_holds_for_random_shapes(
        kv in 1usize..3, group in 1usize..4, d in 1usize..20, half_m in 1usize..20, batch in 1usize..4,
        n in 0usize..90, seed in 0u64..1000,
    ) {
        for spec in every_variant() {
            law(&spec, Heads { n_heads: kv * group, n_kv_heads: kv, head_dim: d }, 2 * half_m, batch, n, seed);
        }
    }
}

#[test]
fn bidirectional_and_cross_agree_with_the_formula_and_ignore_padding() {
    for spec in every_variant().into_iter().filter(has_full_form) {
        for heads in HEADS {
            let layer = layer(&spec, heads, 6);
            for (n, source) in [(5, 5), (1, 9), (9, 1), (3, 70), (4, 0)] {
                let x = layer.random(3, n, source, 1.0, 3);
                let masks = [None, Some(vec![source, source / 2, 0])];
                for source_lengths in masks {
                    let mask = Mask::Full { source_lengths };
                    let what = format!("{spec} {heads:?} n {n} source {source} {mask:?}");
                    let want = layer.oracle(&x, &mask);
                    assert_close(&what, &layer.forward(&x, &mask), &want, heads.head_dim, TOLERANCE);
                    for simd in fused_levels(&spec) {
                        let fused = layer.infer(&x, &mask, simd);
                        assert_close(&format!("{simd:?} {what}"), &fused, &want, heads.head_dim, TOLERANCE);
                    }
                }
            }
        }
    }
}

#[test]
fn padding_beyond_the_source_is_refused() {
    let layer = layer(&VariantSpec::new("t2r"), HEADS[0], 4);
    let qkv = layer.tensors(&layer.random(1, 2, 3, 1.0, 1));
    let mask = Mask::Full { source_lengths: Some(vec![4]) };
    assert!(layer.attention.forward(&qkv, &mask).unwrap_err().to_string().contains("beyond the padded length 3"));
}

#[test]
fn what_looks_back_has_no_bidirectional_form_and_causal_needs_equal_lengths() {
    let back: Vec<VariantSpec> = every_variant().into_iter().filter(|s| !has_full_form(s)).collect();
    assert!(["window", "rfa-gate", "window+t2r"].iter().all(|name| back.iter().any(|s| s.name == *name)));
    for spec in back {
        let layer = layer(&spec, HEADS[0], 4);
        let qkv = layer.tensors(&layer.random(1, 3, 3, 1.0, 1));
        assert!(layer.attention.forward(&qkv, &Mask::Full { source_lengths: None }).is_err(), "{spec}");
    }
    for spec in ["softmax", "elu"] {
        let layer = layer(&VariantSpec::new(spec), HEADS[0], 4);
        let qkv = layer.tensors(&layer.random(1, 3, 4, 1.0, 1));
        assert!(layer.attention.forward(&qkv, &Mask::Causal).is_err());
    }
}

#[test]
fn states_are_as_large_as_predicted_and_linear_ones_do_not_grow() {
    // By hand: 2 key heads of width 5, batch 3, f32. softmax: 2·5·4·6 = 240 a token; m = 6: 6·(5+1)·4·6 = 864.
    let heads = HEADS[1];
    for spec in every_variant() {
        let layer = layer(&spec, heads, 6);
        let stepper = layer.attention.stepper().unwrap();
        for n in [1usize, 7, 200] {
            let x = layer.random(3, n, n, 1.0, 5);
            let mut state = stepper.state(3, n);
            let (mut scratch, mut out) = (vec![0.0; stepper.scratch_len(3)], vec![0.0; 3 * 6 * 5]);
            for _ in 0..n {
                let (q, k) = (&x.q[..3 * 6 * layer.input_dim], &x.k[..3 * 2 * layer.input_dim]);
                let gate = if layer.gated { &x.gate[..6] } else { &[] };
                let token = t2r::attention::Token { q, k, v: &x.v[..30], gate };
                stepper.step(token, &mut state, &mut scratch, &mut out).unwrap();
            }
            let w = layer.resolved.spec.param("w").map(|w| w.parse::<usize>().unwrap());
            let cache = match spec.name.as_str() {
                "softmax" => 240 * n as u64,
                _ => 240 * w.map_or(0, |w| n.min(w)) as u64,
            };
            // 144 bytes a feature; performer keeps one number more a head and sequence, 24 bytes.
            let sums = match spec.name.trim_start_matches("window+") {
                "softmax" | "window" | "none" => 0,
                "elu" => 5 * 144,
                "cosformer" => 10 * 144,
                "taylor" if layer.resolved.spec.param("p") == Some("3") => 13 * 144,
                "taylor" => 273 * 144,
                "performer" => 864 + 24,
                "rfa" | "rfa-gate" | "t2r" | "hedgehog" => 864,
                _ => 144 * layer.resolved.feature_dim.unwrap() as u64,
            };
            assert_eq!(state.used_bytes(), cache + sums, "{spec} at {n}");
            let predicted = state_bytes(&layer.resolved, heads, 3, n, Words::F32).unwrap();
            assert_eq!((predicted.cache, predicted.sums), (cache, sums), "{spec} at {n}");
        }
    }
}

#[test]
fn a_full_cache_says_so_and_keeps_what_it_has() {
    let layer = layer(&VariantSpec::new("softmax"), HEADS[0], 4);
    let stepper = layer.attention.stepper().unwrap();
    let mut state = stepper.state(1, 1);
    let token = t2r::attention::Token { q: &[1.0; 16], k: &[1.0; 16], v: &[1.0; 16], gate: &[] };
    let mut out = [0.0; 16];
    stepper.step(token, &mut state, &mut [], &mut out).unwrap();
    let before = state.clone();
    let error = stepper.step(token, &mut state, &mut [], &mut out).unwrap_err();
    assert_eq!(error.to_string(), "the KV cache is full at 1 tokens");
    assert_eq!(state, before);
}

#[test]
fn positions_beyond_what_the_variant_knows_are_refused_and_leave_the_state_alone() {
    for spec in ["cosformer:max_len=2", "window+cosformer:1:max_len=2"] {
        let layer = layer(&spec.parse().unwrap(), HEADS[0], 4);
        let x = layer.random(1, 3, 3, 1.0, 1);
        let error = layer.attention.forward(&layer.tensors(&x), &Mask::Causal).unwrap_err().to_string();
        assert!(error.contains("position 2 is beyond the 2"), "{error}");
        let stepper = layer.attention.stepper().unwrap();
        let (mut state, mut scratch, mut out) = (stepper.state(1, 3), vec![0.0; stepper.scratch_len(1)], [0.0; 16]);
        let token = t2r::attention::Token { q: &x.q[..16], k: &x.k[..16], v: &x.v[..16], gate: &[] };
        for _ in 0..2 {
            stepper.step(token, &mut state, &mut scratch, &mut out).unwrap();
        }
        let before = state.clone();
        assert!(stepper.step(token, &mut state, &mut scratch, &mut out).is_err());
        assert_eq!(state, before);
    }
}

#[test]
fn a_cosine_of_distance_by_hand() {
    // d = 1, M = 2, values 1 and 3, q = k = 1: weights cos(π/4) for the first key and 1 for the second.
    let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
    let layer = layer(&"cosformer:max_len=2".parse().unwrap(), heads, 2);
    let mut x = layer.random(1, 2, 2, 1.0, 1);
    (x.q, x.k, x.v) = (vec![1.0; 2], vec![1.0; 2], vec![1.0, 3.0]);
    let near = 0.5f64.sqrt();
    let want = (near + 3.0) / (near + 1.0);
    for got in [layer.forward(&x, &Mask::Causal), layer.folded(&x)] {
        assert!((f64::from(got[1]) - want).abs() < 1e-6, "{got:?} against {want}");
    }
}

#[test]
fn a_hybrid_by_hand() {
    // d = 1, a window of one token, φ = elu + 1, γ = 1: out_1 = (e⁰ v_1 + φ(q_1) φ(k_0) v_0) / (1 + φ(q_1) φ(k_0)).
    let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
    let layer = layer(&"window+elu:1".parse().unwrap(), heads, 1);
    let mut x = layer.random(1, 2, 2, 1.0, 1);
    (x.q, x.k, x.v) = (vec![9.0, 2.0], vec![1.0, -7.0], vec![5.0, 1.0]);
    let want = (1.0 + 3.0 * 2.0 * 5.0) / (1.0 + 3.0 * 2.0);
    for got in [layer.forward(&x, &Mask::Causal), layer.folded(&x)] {
        assert!((f64::from(got[0]) - 5.0).abs() < 1e-6 && (f64::from(got[1]) - want).abs() < 1e-5, "{got:?}");
    }
}

#[test]
fn a_gate_by_hand() {
    // Equal features, so that weights are the gates alone: g_0 = ½, g_1 = ¾. z: ½·¾ + ¼, values 8 and 2.
    let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 4 };
    let layer = layer(&"rfa-gate".parse().unwrap(), heads, 6);
    let mut x = layer.random(1, 2, 2, 1.0, 1);
    (x.q, x.k, x.gate) = (vec![1.0; 8], vec![1.0; 8], vec![0.0, 3f32.ln()]);
    x.v = [vec![8.0; 4], vec![2.0; 4]].concat();
    let want = (0.375 * 8.0 + 0.25 * 2.0) / (0.375 + 0.25);
    for got in [layer.forward(&x, &Mask::Causal), layer.folded(&x)] {
        assert!((f64::from(got[4]) - want).abs() < 1e-5, "{got:?} against {want}");
    }
}

#[test]
fn denominators_of_random_features_by_hand() {
    // D = 1 and d = 1: the similarity is cos(σ w (q̂ − k̂)), x̂ = ±1/1.001, and 1 where q = k.
    let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
    // A draw whose similarity of −1 to 1 is negative.
    const SEED: u64 = 1;
    let over = |spec: &str, q: f32, n: usize, gate: f32| {
        let mut params = Params::frozen(&Device::Cpu, DType::F32, SEED);
        let layer = layer_with(&spec.parse().unwrap(), heads, 2, &mut params);
        let mut x = layer.random(1, n, n, 1.0, 1);
        (x.q, x.k, x.v, x.gate) = (vec![q; n], vec![1.0; n], vec![3.0; n], vec![gate; n]);
        let parameters = layer.attention.parameters();
        let product: f64 = parameters.iter().map(|(_, tensor)| f64::from(flat(tensor)[0])).product();
        let got = [layer.forward(&x, &Mask::Causal), layer.folded(&x)].map(|out| f64::from(out[n - 1]));
        (got, (2.0 / 1.001 * product).cos())
    };
    // The value is 3 everywhere: 3 Σ sim over the denominator.
    for (spec, q, n, gate, factor) in [
        // Signed, any sum beyond 0.001 is divided by itself.
        ("rfa", 1.0, 2, 0.0, 1.0),
        ("rfa", -1.0, 2, 0.0, 1.0),
        // Positive, it is 100 at least: a similarity keeps its sign.
        ("rfa:denominator=positive", 1.0, 2, 0.0, 0.02),
        ("rfa:denominator=positive", 1.0, 99, 0.0, 0.99),
        ("rfa:denominator=positive", 1.0, 150, 0.0, 1.0),
        ("rfa:denominator=positive", -1.0, 2, 0.0, 0.02),
        // With a gate it is 0.1: 1 − g of one token is 0.05, and of two with half the past 0.75.
        ("rfa-gate:denominator=positive", 1.0, 1, 19f32.ln(), 0.5),
        ("rfa-gate:denominator=positive", 1.0, 2, 0.0, 1.0),
        ("rfa-gate:denominator=positive", -1.0, 1, 19f32.ln(), 0.5),
    ] {
        let (got, similarity) = over(spec, q, n, gate);
        assert!(similarity < -0.1, "{spec}: the draw shows no sign: {similarity}");
        let similarity = if q > 0.0 || !spec.contains("positive") { 1.0 } else { similarity };
        let want = 3.0 * factor * similarity;
        assert!(got.iter().all(|got| (got - want).abs() < 1e-4), "{spec} q {q} n {n}: {got:?} against {want}");
    }
}

#[test]
fn a_taylor_similarity_is_the_second_order_exponential() {
    // 1 + s + s²/2 of s = (P_q q)·(P_k k)/√p, against φ(q)·φ(k).
    use t2r::attention::feature_map::{At, MapShape, Side, find};
    let mut params = t2r::params::Params::frozen(&Device::Cpu, DType::F32, 3);
    let shape = MapShape { n_kv_heads: 1, head_dim: 5, feature_dim: 13 };
    let map = (find("taylor").unwrap().build)(&"taylor:p=3".parse().unwrap(), shape, &mut params, "t").unwrap();
    let map = map.on_slices(Kernels::Plain).unwrap();
    let (q, k) = ([0.3, -1.2, 0.7, 2.0, -0.4], [1.1, 0.2, -0.9, 0.5, 0.8]);
    let at = |side| At { head: 0, side, position: 0 };
    let (phi_q, phi_k) = (map.formula(&q, at(Side::Query)).phi, map.formula(&k, at(Side::Key)).phi);
    let similarity: f64 = phi_q.iter().zip(&phi_k).map(|(a, b)| a * b).sum();
    let project = |name: &str, x: &[f64]| -> Vec<f64> {
        flat(&params.tensors()[name]).chunks(5).map(|w| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
    };
    let (q, k) = (project("t.query.weight", &q), project("t.key.weight", &k));
    let s = q.iter().zip(&k).map(|(a, b)| a * b).sum::<f64>() / 3f64.sqrt();
    assert!((similarity - (1.0 + s + s * s / 2.0)).abs() < 1e-12);
}

#[test]
fn performer_features_estimate_the_exponential() {
    // E φ(q)·φ(k) = exp(q·k/√d) (Choromanski et al. 2021, lemma 1); 40,000 draws estimate it to a few percent.
    use t2r::attention::feature_map::{At, MapShape, Side, find};
    let mut params = t2r::params::Params::frozen(&Device::Cpu, DType::F32, 3);
    let shape = MapShape { n_kv_heads: 1, head_dim: 4, feature_dim: 40_000 };
    let map = (find("performer").unwrap().build)(&VariantSpec::new("performer"), shape, &mut params, "p").unwrap();
    let map = map.on_slices(Kernels::Plain).unwrap();
    let (q, k) = ([0.3, -1.2, 0.7, 1.0], [1.1, 0.2, -0.9, 0.5]);
    let whole = |x: &[f64], side| -> Vec<f64> {
        let features = map.formula(x, At { head: 0, side, position: 0 });
        features.phi.iter().map(|phi| phi * features.log_scale.exp()).collect()
    };
    let estimate: f64 = whole(&q, Side::Query).iter().zip(whole(&k, Side::Key)).map(|(a, b)| a * b).sum();
    let exact = (q.iter().zip(&k).map(|(a, b)| a * b).sum::<f64>() / 2.0).exp();
    assert!((estimate / exact - 1.0).abs() < 0.05, "{estimate} against {exact}");
}
