//! Decoders of every shape: parallel forward, incremental decoding and the f64 model agree.

use candle_core::{DType, Device, Tensor};
use t2r::{
    attention::{Heads, ResolveRequest, has_fused_form, resolve},
    kernels::{Kernels, Simd},
    model::{Decoder, Session, Setup, oracle},
    params::Params,
    spec::{Activation, ModelShape, Norm, Positions, VariantSpec},
};

use crate::layers::{all_counts, every_variant, flat};

const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 6 };

pub(crate) fn setup(
    spec: &VariantSpec,
    norm: Norm,
    positions: Positions,
    activation: Activation,
    tied: bool,
) -> Option<Setup> {
    setup_with(spec, HEADS, (norm, positions, activation, tied), 12)
}

/// `None` where the variant cannot be in that kind of model.
pub(crate) fn setup_with(
    spec: &VariantSpec,
    heads: Heads,
    (norm, positions, activation, tied): (Norm, Positions, Activation, bool),
    max_len: usize,
) -> Option<Setup> {
    let can_merge = positions != Positions::Rotary;
    let request = ResolveRequest { head_dim: heads.head_dim, feature_dim: Some(4), can_merge, causal: true };
    let variant = resolve(spec, request).ok()?;
    let shape = ModelShape {
        n_layers: 2,
        d_model: 16,
        ffn_dim: 20,
        vocab_size: 23,
        norm,
        positions,
        activation,
        tied_output: tied,
    };
    Some(Setup::uniform(shape, heads, variant, None, max_len))
}

/// Largest difference of forward and of stepping from the f64 model, over its largest logit and its condition.
fn errors(setup: &Setup, batch: usize, n: usize) -> (f64, f64) {
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
    let model = Decoder::new(setup, &mut params).unwrap();
    let ids: Vec<u32> = (0..batch * n).map(|i| (i * i + 3) as u32 % 23).collect();
    let forward = flat(&model.forward(&Tensor::from_vec(ids.clone(), (batch, n), &Device::Cpu).unwrap()).unwrap());
    let mut session = Session::new(&model, batch, n).unwrap();
    let stepped_by = |session: &mut Session<'_>| -> Vec<f32> {
        let mut step = |t: usize| {
            let now: Vec<u32> = (0..batch).map(|b| ids[b * n + t]).collect();
            session.step(&now).unwrap().unsqueeze(1).unwrap()
        };
        let steps: Vec<Tensor> = (0..n).map(&mut step).collect();
        flat(&Tensor::cat(&steps, 1).unwrap())
    };
    let stepped = stepped_by(&mut session);
    let fused = has_fused_form(&setup.layers[0].own.spec)
        .then(|| stepped_by(&mut Session::by(&model, batch, n, Kernels::Fused(Simd::detect())).unwrap()));
    let want = oracle::logits(setup, &mut params, &ids, batch).unwrap();
    let scale = want.condition * want.logits.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    let worst = |got: &[f32]| {
        assert_eq!(got.len(), want.logits.len());
        got.iter().zip(&want.logits).fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs() / scale))
    };
    (worst(&forward), fused.map_or(0.0, |fused| worst(&fused)).max(worst(&stepped)))
}

#[test]
fn every_variant_in_every_kind_of_model() {
    let kinds = [
        (Norm::LayerNorm, Positions::Learned, Activation::Gelu, true),
        (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu, false),
        (Norm::LayerNorm, Positions::Sinusoidal, Activation::Relu, false),
    ];
    for spec in every_variant() {
        for (norm, positions, activation, tied) in kinds {
            let Some(setup) = setup(&spec, norm, positions, activation, tied) else {
                // Only T2R's merge has a kind of model in which it cannot be.
                assert_eq!((spec.to_string().as_str(), positions), ("t2r:merged=true", Positions::Rotary));
                continue;
            };
            for (batch, n) in [(1, 1), (3, 9)] {
                let (forward, stepped) = errors(&setup, batch, n);
                let what = format!("{spec} {norm} {positions} {activation} batch {batch} n {n}");
                assert!(forward < 1e-4, "forward {what}: {forward:e}");
                assert!(stepped < 1e-4, "steps {what}: {stepped:e}");
            }
        }
    }
}

#[test]
fn a_model_with_weights_in_bf16_is_the_same_one_rounded() {
    let kinds = [
        (Norm::LayerNorm, Positions::Learned, Activation::Gelu, true),
        (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu, false),
    ];
    let (batch, n) = (3, 9);
    let ids: Vec<u32> = (0..batch * n).map(|i| (i * i + 3) as u32 % 23).collect();
    let tokens = Tensor::from_vec(ids.clone(), (batch, n), &Device::Cpu).unwrap();
    for spec in ["softmax", "t2r", "elu"].map(VariantSpec::new) {
        for (norm, positions, activation, tied) in kinds {
            let setup = setup(&spec, norm, positions, activation, tied).unwrap();
            let model = |params: &mut Params| Decoder::new(&setup, params).unwrap();
            let exact = flat(&model(&mut Params::frozen(&Device::Cpu, DType::F32, 5)).forward(&tokens).unwrap());
            let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
            let narrow = model(&mut params).with_weights_in_bf16().unwrap();
            // The tensor library widens its weights, and is the twin of the steps that read two to a word.
            let want = flat(&narrow.forward(&tokens).unwrap());
            let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
            let off =
                |got: &[f32], from: &[f32]| got.iter().zip(from).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            for kernels in [Kernels::Plain, Kernels::Fused(Simd::detect()), Kernels::Fused(Simd::scalar())] {
                let mut session = Session::by(&narrow, batch, n, kernels).unwrap();
                let mut step = |t: usize| {
                    let now: Vec<u32> = (0..batch).map(|b| ids[b * n + t]).collect();
                    session.step(&now).unwrap().unsqueeze(1).unwrap()
                };
                let stepped = flat(&Tensor::cat(&(0..n).map(&mut step).collect::<Vec<_>>(), 1).unwrap());
                assert!(off(&stepped, &want) < 1e-4, "{spec} {norm} {kernels:?}: {:e}", off(&stepped, &want));
            }
            let fused = flat(&narrow.forward_by(&tokens, None, Kernels::Fused(Simd::detect())).unwrap());
            assert!(off(&fused, &want) < 1e-4, "{spec} {norm} forward");
            // Eight binary digits a weight: another model, and not by much.
            let rounding = off(&want, &exact);
            assert!(rounding > 1e-5 && rounding < 5e-2, "{spec} {norm}: rounding {rounding:e}");
        }
    }
}

#[test]
fn weights_in_bf16_are_the_nearest_and_lie_in_pairs() {
    let setup = setup(&VariantSpec::new("softmax"), Norm::RmsNorm, Positions::Rotary, Activation::Gelu, false).unwrap();
    let exact = Decoder::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
    let exact = flat(&exact.output().weight);
    let narrow = Decoder::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
    let narrow = narrow.with_weights_in_bf16().unwrap();
    let kept = flat(&narrow.output().weight.to_dtype(DType::F32).unwrap());
    for (kept, exact) in kept.iter().zip(&exact) {
        let (below, above) = (exact.to_bits() & 0xFFFF_0000, (exact.to_bits() & 0xFFFF_0000) + 0x1_0000);
        let nearest = [below, above]
            .map(f32::from_bits)
            .into_iter()
            .min_by(|a, b| (a - exact).abs().total_cmp(&(b - exact).abs()));
        assert_eq!(Some(*kept), nearest, "{exact}");
    }
    let odd = Setup { shape: ModelShape { ffn_dim: 21, ..setup.shape }, ..setup };
    let odd = Decoder::new(&odd, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
    let message = odd.with_weights_in_bf16().err().unwrap().to_string();
    assert!(message.contains("rows of an odd length"), "{message}");
}

#[test]
fn merged_and_unmerged_models_are_one_function() {
    let make = |spec: &str| {
        let setup = setup(&spec.parse().unwrap(), Norm::LayerNorm, Positions::Learned, Activation::Gelu, true).unwrap();
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
        let model = Decoder::new(&setup, &mut params).unwrap();
        flat(&model.forward(&Tensor::from_vec(vec![1u32, 5, 9, 2], (1, 4), &Device::Cpu).unwrap()).unwrap())
    };
    let (merged, unmerged) = (make("t2r:merged=true"), make("t2r:merged=false"));
    assert!(merged.iter().zip(&unmerged).all(|(a, b)| (a - b).abs() < 1e-4));
    assert_ne!(merged, make("elu"));
}

#[test]
fn every_parameter_of_a_trainable_model_gets_a_gradient() {
    for spec in every_variant().into_iter().filter(|s| all_counts(s, 8)) {
        let kind = (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu);
        let Some(setup) = setup(&spec, kind.0, kind.1, kind.2, false) else { continue };
        let mut params = Params::trainable(&Device::Cpu, DType::F32, 5);
        let model = Decoder::new(&setup, &mut params).unwrap();
        let ids = Tensor::from_vec(vec![1u32, 5, 9, 2, 7, 3, 4, 8], (1, 8), &Device::Cpu).unwrap();
        let grads = model.forward(&ids).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in params.vars() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{spec}: {name} got no gradient"));
            assert!(flat(grad).iter().all(|g| g.is_finite()), "{spec}: {name}");
        }
    }
}

/// Root of the mean square of each parameter against the formula it is drawn by. Of n numbers it scatters by 1/√(2n): at most
/// 2 % here, and 6 % is allowed.
#[test]
fn a_new_model_starts_with_embeddings_of_unit_logits_and_small_sub_layers() {
    let heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 12 };
    let request = ResolveRequest { head_dim: heads.head_dim, feature_dim: None, can_merge: false, causal: true };
    let (d_model, ffn_dim) = (64, 160);
    for n_layers in [1, 3] {
        let shape = ModelShape {
            n_layers,
            d_model,
            ffn_dim,
            vocab_size: 100,
            norm: Norm::LayerNorm,
            positions: Positions::Learned,
            activation: Activation::Swiglu,
            tied_output: true,
        };
        let softmax = resolve(&VariantSpec::new("softmax"), request).unwrap();
        let setup = Setup::uniform(shape, heads, softmax, None, 100);
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
        Decoder::new(&setup, &mut params).unwrap();
        let root = |n: usize| (n as f64).sqrt();
        let share = 1.0 / (2 * n_layers) as f64;
        let expected = [
            ("embedding", 1.0 / root(d_model)),
            ("positions", 0.02),
            ("q.weight", 1.0 / root(d_model)),
            ("v.weight", 1.0 / root(d_model)),
            ("out.weight", share / root(48)),
            ("ffn.gate.weight", 1.0 / root(d_model)),
            ("ffn.up.weight", 1.0 / root(d_model)),
            ("ffn.down.weight", share / root(ffn_dim)),
        ];
        for (i, (part, deviation)) in (0..n_layers).flat_map(|i| expected.map(|e| (i, e))) {
            let name = if part.contains('.') { format!("blocks.{i}.{part}") } else { part.to_owned() };
            let values = flat(params.tensors().get(&name).unwrap_or_else(|| panic!("no {name}")));
            let mean_square = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64;
            let ratio = mean_square.sqrt() / deviation;
            assert!((ratio - 1.0).abs() < 0.06, "{name} of {n_layers} layers: {ratio} times what it should be");
        }
    }
}

#[test]
fn a_session_refuses_a_wrong_batch_and_a_position_beyond_the_model() {
    let setup = setup(&VariantSpec::new("elu"), Norm::LayerNorm, Positions::Learned, Activation::Gelu, true).unwrap();
    let model = Decoder::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
    let mut session = Session::new(&model, 2, 20).unwrap();
    assert!(session.step(&[1]).is_err());
    for _ in 0..12 {
        session.step(&[1, 2]).unwrap();
    }
    assert!(session.step(&[1, 2]).unwrap_err().to_string().contains("beyond the model's 12"));
}
