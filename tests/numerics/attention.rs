//! The law (forward = folded step = extend over any split), the f64 formula, grouped heads, masks, state sizes.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use t2r::{
    attention::{CHUNK, Heads, Mask, Qkv, state_bytes},
    spec::{DType as Words, VariantSpec},
};

use crate::layers::{assert_close, every_variant, flat, layer};

const TOLERANCE: f64 = 2e-5;

/// Heads without and with groups, and widths that are no multiple of a vector register.
const HEADS: [Heads; 3] = [
    Heads { n_heads: 2, n_kv_heads: 2, head_dim: 8 },
    Heads { n_heads: 6, n_kv_heads: 2, head_dim: 5 },
    Heads { n_heads: 3, n_kv_heads: 1, head_dim: 17 },
];

fn law(spec: &VariantSpec, heads: Heads, m: usize, batch: usize, n: usize, seed: u64) {
    let layer = layer(spec, heads, m);
    let what = format!("{spec} {heads:?} m {m} batch {batch} n {n}");
    let x = layer.random(batch, n, n, 1.0, seed);
    let want = layer.oracle(&x, &Mask::Causal);
    assert_close(&format!("forward {what}"), &layer.forward(&x, &Mask::Causal), &want, heads.head_dim, TOLERANCE);
    assert_close(&format!("step {what}"), &layer.folded(&x), &want, heads.head_dim, TOLERANCE);
    for split in [n / 3, n.saturating_sub(1)] {
        let got = extended(&layer, &layer.tensors(&x), n, split);
        assert_close(&format!("extend {what} split {split}"), &got, &want, heads.head_dim, TOLERANCE);
    }
}

/// The sequence in two calls of `extend`.
fn extended(layer: &crate::layers::Layer, qkv: &Qkv, n: usize, split: usize) -> Vec<f32> {
    let batch = qkv.q.dims()[0];
    let mut state = layer.attention.tensor_state(batch, n, DType::F32, &Device::Cpu).unwrap();
    let parts: Vec<Tensor> = [(0, split), (split, n - split)]
        .iter()
        .map(|(start, len)| {
            let cut = |x: &Tensor| x.narrow(2, *start, *len).unwrap();
            let part = Qkv { q: cut(&qkv.q), k: cut(&qkv.k), v: cut(&qkv.v) };
            layer.attention.extend(&part, &mut state).unwrap()
        })
        .filter(|part| part.elem_count() > 0)
        .collect();
    let expected = state_bytes(&layer.resolved, layer.heads, batch, n, Words::F32).unwrap();
    assert_eq!(state.used_bytes(), expected);
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
fn softmax_agrees_beyond_one_block_of_queries() {
    for spec in ["softmax", "window:70"] {
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
    for spec in every_variant().into_iter().filter(|s| s.name != "window") {
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
fn window_has_no_bidirectional_form_and_causal_needs_equal_lengths() {
    let window = layer(&VariantSpec::new("window"), HEADS[0], 4);
    let qkv = window.tensors(&window.random(1, 3, 3, 1.0, 1));
    assert!(window.attention.forward(&qkv, &Mask::Full { source_lengths: None }).is_err());
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
                let token = t2r::attention::Token { q, k, v: &x.v[..30] };
                stepper.step(token, &mut state, &mut scratch, &mut out).unwrap();
            }
            let expected = match spec.name.as_str() {
                "softmax" => 240 * n as u64,
                "window" => 240 * n.min(layer.resolved.spec.params[0].1.parse().unwrap()) as u64,
                "none" => 0,
                "elu" => 5 * 6 * 4 * 6,
                _ => 864,
            };
            assert_eq!(state.used_bytes(), expected, "{spec} at {n}");
            assert_eq!(state_bytes(&layer.resolved, heads, 3, n, Words::F32), Some(expected), "{spec} at {n}");
        }
    }
}

#[test]
fn a_full_cache_says_so_and_keeps_what_it_has() {
    let layer = layer(&VariantSpec::new("softmax"), HEADS[0], 4);
    let stepper = layer.attention.stepper().unwrap();
    let mut state = stepper.state(1, 1);
    let token = t2r::attention::Token { q: &[1.0; 16], k: &[1.0; 16], v: &[1.0; 16] };
    let mut out = [0.0; 16];
    stepper.step(token, &mut state, &mut [], &mut out).unwrap();
    let before = state.clone();
    let error = stepper.step(token, &mut state, &mut [], &mut out).unwrap_err();
    assert_eq!(error.to_string(), "the KV cache is full at 1 tokens");
    assert_eq!(state, before);
}
