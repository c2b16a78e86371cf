//! Huge, tiny, zero and all-zero-feature inputs: outputs stay finite and right.

use candle_core::{DType, Device};
use t2r::{
    attention::{Heads, Mask, has_fused_form},
    kernels::{Kernels, Simd},
    params::Params,
    spec::VariantSpec,
};

use crate::layers::{assert_close, every_variant, layer};

const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 8 };

#[test]
fn huge_and_tiny_inputs_are_finite_and_right() {
    for spec in every_variant() {
        let layer = layer(&spec, HEADS, 6);
        for scale in [1e-30, 1e-8, 30.0, 1e4, 1e9] {
            // Squares of scores of 1e18 times values of 1e9 are beyond f32 whatever one does.
            if scale > 1e8 && spec.name.ends_with("taylor") {
                continue;
            }
            let x = layer.random(2, 70, 70, scale, 11);
            // Scores of 1e18 decide between keys by their last bits: only finiteness can be asked there.
            // Exponentials of numbers far beyond f32's digits: softmax, and the features that are made of them.
            let exponential = ["softmax", "performer", "hedgehog"].iter().any(|n| spec.name.ends_with(n));
            let by_last_bits = scale > 1e3 && (exponential || spec.name.starts_with("window"));
            let want = layer.oracle(&x, &Mask::Causal);
            let mut forms =
                vec![("forward".to_owned(), layer.forward(&x, &Mask::Causal)), ("step".to_owned(), layer.folded(&x))];
            for simd in if has_fused_form(&spec) { Simd::levels() } else { Vec::new() } {
                forms.push((format!("{simd:?} forward"), layer.infer(&x, &Mask::Causal, simd)));
                forms.push((format!("{simd:?} step"), layer.folded_by(&x, Kernels::Fused(simd))));
            }
            for (form, got) in forms {
                assert!(got.iter().all(|x| x.is_finite()), "{form} {spec} at {scale:e}");
                if !by_last_bits {
                    assert_close(&format!("{form} {spec} at {scale:e}"), &got, &want, HEADS.head_dim, 1e-4);
                }
            }
        }
    }
}

#[test]
fn zero_inputs_average_the_values_or_give_zero() {
    for spec in every_variant() {
        let layer = layer(&spec, HEADS, 6);
        let mut x = layer.random(1, 5, 5, 1.0, 12);
        x.q.fill(0.0);
        x.k.fill(0.0);
        let want = layer.oracle(&x, &Mask::Causal);
        assert_close(&format!("forward {spec}"), &layer.forward(&x, &Mask::Causal), &want, HEADS.head_dim, 1e-5);
        assert_close(&format!("step {spec}"), &layer.folded(&x), &want, HEADS.head_dim, 1e-5);
    }
}

#[test]
fn all_zero_features_give_zero_and_not_nan() {
    // A merged T2R maps negative pre-activations to φ = 0 for every key: 0 / max(0, 1e-2).
    let layer = layer(&"t2r:merged=true".parse().unwrap(), HEADS, 6);
    let mut x = layer.random(1, 3, 3, 1.0, 13);
    x.q.iter_mut().chain(&mut x.k).for_each(|x| *x = -x.abs());
    assert!(layer.forward(&x, &Mask::Causal).iter().chain(&layer.folded(&x)).all(|x| *x == 0.0));
}

#[test]
fn elu_keeps_small_features() {
    // x = -12 everywhere: φ = e^-12 in all 8 dimensions, one token: 8e^-24 v / (8e^-24 + 1e-6).
    let layer = layer(&VariantSpec::new("elu"), HEADS, 8);
    let mut x = layer.random(1, 1, 1, 1.0, 14);
    x.q.fill(-12.0);
    x.k.fill(-12.0);
    let weight = 8.0 * (-24f64).exp() / (8.0 * (-24f64).exp() + 1e-6);
    for got in [layer.forward(&x, &Mask::Causal), layer.folded(&x)] {
        assert!((f64::from(got[0]) / (weight * f64::from(x.v[0])) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_merged_projection_gives_the_same_features() {
    // q = W_q x + b_q through φ, against the merged W̃ x + b̃ through the relu alone.
    use candle_core::Tensor;
    use t2r::attention::feature_map::{MapShape, Rows, Side, find};
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 21);
    let spec: VariantSpec = "t2r:merged=false".parse().unwrap();
    let shape = MapShape { n_kv_heads: 2, head_dim: 8, feature_dim: 6 };
    let map = (find("t2r").unwrap().build)(&spec, shape, &mut params, "t2r").unwrap();
    let random = |shape: &[usize], params: &mut Params, name: &str| {
        params.get(name, shape, t2r::params::Init::Normal(0.5)).unwrap()
    };
    let (x, n) = (random(&[3, 10], &mut params, "x"), 3);
    for (side, heads) in [(Side::Query, 4), (Side::Key, 2)] {
        let w = random(&[heads * 8, 10], &mut params, &format!("w{heads}"));
        let b = random(&[heads * 8], &mut params, &format!("b{heads}"));
        let project = |w: &Tensor, b: &Tensor, width: usize| -> Tensor {
            let y = x.matmul(&w.t().unwrap()).unwrap().broadcast_add(b).unwrap();
            let y = y.reshape((1, n, heads, width)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
            y.reshape((1, 2, heads / 2 * n, width)).unwrap()
        };
        let rows = Rows { start: 0, n };
        let want = map.forward(&project(&w, &b, 8), side, rows).unwrap();
        let (merged_w, merged_b) = map.merge(&w, &b, side).unwrap().unwrap();
        let got = map.merged().unwrap().forward(&project(&merged_w, &merged_b, 6), side, rows).unwrap();
        let error = (want.phi - got.phi).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error < 1e-5, "{side:?}: {error}");
    }
    // What cannot merge says so.
    for name in ["elu", "rfa"] {
        let map = (find(name).unwrap().build)(&VariantSpec::new(name), shape, &mut params, name).unwrap();
        assert!(map.merged().is_none());
    }
}
