//! The encoder-decoder: parallel forward, incremental decoding and the f64 formula agree; padding does not count.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use t2r::{
    attention::{Heads, ResolveRequest, has_fused_form, resolve},
    kernels::{Kernels, Simd},
    model::{
        Session, Setup, Translator,
        oracle::{self, Sources},
    },
    params::Params,
    spec::{Activation, ModelShape, Norm, Positions, VariantSpec},
};

use crate::layers::{every_variant, flat, has_full_form};

/// A small encoder-decoder with maps of `sizes` (across, causal); nothing for variants that look back only.
fn setup(
    spec: &VariantSpec,
    heads: Heads,
    sizes: (usize, usize),
    kind: (Norm, Positions, Activation),
) -> Option<Setup> {
    let (norm, positions, activation) = kind;
    let request = |feature_dim, causal| ResolveRequest {
        head_dim: heads.head_dim,
        feature_dim: Some(feature_dim),
        can_merge: positions != Positions::Rotary,
        causal,
    };
    let cross = resolve(spec, request(sizes.0, false)).ok()?;
    let variant = resolve(spec, request(sizes.1, true)).ok()?;
    let shape = ModelShape {
        n_layers: 2,
        d_model: 16,
        ffn_dim: 20,
        vocab_size: 23,
        norm,
        positions,
        activation,
        tied_output: true,
    };
    Some(Setup::uniform(shape, heads, variant, Some(cross), 40))
}

const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 6 };
const KIND: (Norm, Positions, Activation) = (Norm::LayerNorm, Positions::Sinusoidal, Activation::Relu);

fn ids(n: usize, skip: usize) -> Vec<u32> {
    (skip..skip + n).map(|i| (i * i + 3 * i + 1) as u32 % 23).collect()
}

fn tensor(ids: &[u32], batch: usize) -> Tensor {
    Tensor::from_slice(ids, (batch, ids.len() / batch), &Device::Cpu).unwrap()
}

/// Logits in parallel, token by token, and token by token with the kernels given.
fn both(model: &Translator, source: &[u32], lengths: &[usize], target: &[u32], fused: Option<Simd>) -> Vec<Vec<f32>> {
    let batch = lengths.len();
    let (n, source) = (target.len() / batch, tensor(source, batch));
    let parallel = model.forward(&source, Some(lengths), &tensor(target, batch)).unwrap();
    let stepped = |kernels: Kernels| {
        let encoded = model.encode_by(&source, Some(lengths), kernels).unwrap();
        let mut session = Session::translating(model, n, &encoded, kernels).unwrap();
        let steps: Vec<Tensor> =
            (0..n).map(|t| session.step(&target.chunks(n).map(|row| row[t]).collect::<Vec<_>>()).unwrap()).collect();
        flat(&Tensor::stack(&steps, 1).unwrap())
    };
    let mut all = vec![flat(&parallel), stepped(Kernels::Plain)];
    all.extend(fused.map(|simd| stepped(Kernels::Fused(simd))));
    all
}

fn assert_agrees(setup: &Setup, padded: usize, lengths: &[usize], n: usize) {
    let what = format!("{} source {padded} {lengths:?} target {n}", setup.layers[0].own.spec);
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
    let model = Translator::new(setup, &mut params).unwrap();
    let (source, target) = (ids(lengths.len() * padded, 2), ids(lengths.len() * n, 0));
    let want = oracle::translation(setup, &mut params, Sources { ids: &source, lengths }, &target).unwrap();
    let scale = want.condition * want.logits.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    let fused = has_fused_form(&setup.layers[0].own.spec).then(Simd::detect);
    for (form, got) in ["parallel", "steps", "fused"].iter().zip(both(&model, &source, lengths, &target, fused)) {
        assert_eq!(got.len(), want.logits.len(), "{form} {what}");
        let worst = got.iter().zip(&want.logits).fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs() / scale));
        assert!(worst < 1e-4, "{form} {what}: {worst:e}");
    }
}

#[test]
fn every_variant_translates_sources_and_targets_of_any_length() {
    for spec in every_variant().into_iter().filter(has_full_form) {
        for kind in [KIND, (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu)] {
            let Some(setup) = setup(&spec, HEADS, (8, 4), kind) else {
                assert_eq!((spec.to_string().as_str(), kind.1), ("t2r:merged=true", Positions::Rotary));
                continue;
            };
            for (padded, lengths, n) in
                [(1, vec![1], 1), (7, vec![7, 3, 1], 5), (39, vec![39, 20], 2), (2, vec![2, 1], 33)]
            {
                assert_agrees(&setup, padded, &lengths, n);
            }
        }
    }
}

#[test]
fn what_stands_in_the_padding_does_not_count() {
    for spec in every_variant().into_iter().filter(has_full_form) {
        let setup = setup(&spec, HEADS, (8, 4), KIND).unwrap();
        let model = Translator::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
        let (lengths, target) = ([5, 2], ids(6, 0));
        let mut source = ids(10, 2);
        let before = both(&model, &source, &lengths, &target, None);
        source[7..].fill(0);
        assert_eq!(before, both(&model, &source, &lengths, &target, None), "{spec}");
        source[6] = (source[6] + 1) % 23;
        let changed = spec.name != "none";
        assert_eq!(before != both(&model, &source, &lengths, &target, None), changed, "{spec}: the last token counts");
    }
}

#[test]
fn self_and_cross_attention_have_maps_of_their_own_size() {
    let setup = setup(&VariantSpec::new("t2r"), HEADS, (8, 4), KIND).unwrap();
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
    let model = Translator::new(&setup, &mut params).unwrap();
    let shape = |name: &str| params.tensors()[name].dims().to_vec();
    assert_eq!(shape("blocks.1.attention.weight"), [2, 4, 6]);
    assert_eq!(shape("blocks.1.cross.attention.weight"), [2, 8, 6]);
    // States by hand, f32, 2 layers, batch 3, 2 key heads: 4·(6 + 1) numbers of the target and 8·(6 + 1) of the source.
    let encoded = model.encode(&tensor(&ids(30, 0), 3), None).unwrap();
    let mut session = Session::translating(&model, 40, &encoded, Kernels::Plain).unwrap();
    let bytes = session.state_bytes();
    assert_eq!(bytes, 2 * 3 * 2 * (4 * 7 + 8 * 7) * 4);
    for _ in 0..40 {
        session.step(&[1, 2, 3]).unwrap();
    }
    assert_eq!(session.state_bytes(), bytes, "a linear state does not grow");
}

#[test]
fn merged_and_unmerged_translators_are_one_function() {
    let make = |spec: &str| {
        let setup = setup(&spec.parse().unwrap(), HEADS, (8, 4), KIND).unwrap();
        let model = Translator::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
        both(&model, &ids(10, 2), &[5, 4], &ids(8, 0), None)
    };
    for (merged, unmerged) in make("t2r:merged=true").iter().zip(make("t2r:merged=false")) {
        assert!(merged.iter().zip(&unmerged).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn every_parameter_of_encoder_and_decoder_gets_a_gradient() {
    for spec in every_variant().into_iter().filter(|s| has_full_form(s) && s.name != "none") {
        let kind = (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu);
        let Some(setup) = setup(&spec, HEADS, (8, 4), kind) else { continue };
        let mut params = Params::trainable(&Device::Cpu, DType::F32, 5);
        let model = Translator::new(&setup, &mut params).unwrap();
        let logits = model.forward(&tensor(&ids(10, 2), 2), Some(&[5, 3]), &tensor(&ids(8, 0), 2)).unwrap();
        let gradients = logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in params.vars() {
            let gradient = gradients.get(var).unwrap_or_else(|| panic!("{spec}: {name} got no gradient"));
            assert!(flat(gradient).iter().all(|g| g.is_finite()), "{spec}: {name}");
        }
    }
}

#[test]
fn an_encoder_that_no_layer_looks_at_does_not_learn() {
    let setup = setup(&VariantSpec::new("none"), HEADS, (8, 4), KIND).unwrap();
    let mut params = Params::trainable(&Device::Cpu, DType::F32, 5);
    let model = Translator::new(&setup, &mut params).unwrap();
    let encoded = model.encode(&tensor(&ids(6, 0), 2), None).unwrap();
    let loss = model.decoder.forward_over(&tensor(&ids(4, 3), 2), Some(&encoded)).unwrap().sqr().unwrap().sum_all();
    let grads = loss.unwrap().backward().unwrap();
    for (name, var) in params.vars() {
        assert!(!name.starts_with("encoder"), "{name} is to be trained");
        assert!(grads.get(var).is_some(), "{name} got no gradient");
    }
    assert!(!params.vars().is_empty());
}

#[test]
fn what_looks_back_only_is_refused_across() {
    for name in ["window", "rfa-gate", "window+t2r"] {
        let spec = VariantSpec::new(name);
        assert!(setup(&spec, HEADS, (8, 4), KIND).is_none());
        // Even where someone builds it by hand, no source can be absorbed.
        let request = ResolveRequest { head_dim: 6, feature_dim: Some(4), can_merge: true, causal: true };
        let variant = resolve(&spec, request).unwrap();
        let softmax = setup(&VariantSpec::new("softmax"), HEADS, (8, 4), KIND).unwrap();
        let by_hand = Setup::uniform(softmax.shape, HEADS, variant.clone(), Some(variant), 40);
        let model = Translator::new(&by_hand, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
        let error = model.forward(&tensor(&ids(4, 0), 1), None, &tensor(&ids(2, 0), 1)).unwrap_err().to_string();
        assert!(error.contains("looks back only"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_translates(
        which in 0usize..64, kv in 1usize..4, group in 1usize..4, half in 1usize..5, cross in 1usize..6,
        own in 1usize..6, norm in 0usize..2, positions in 0usize..3, activation in 0usize..3,
        padded in 1usize..30, cuts in prop::collection::vec(0usize..30, 1..4), n in 1usize..20,
    ) {
        let variants: Vec<VariantSpec> = every_variant().into_iter().filter(has_full_form).collect();
        let spec = &variants[which % variants.len()];
        let heads = Heads { n_heads: kv * group, n_kv_heads: kv, head_dim: 2 * half };
        let kind = (Norm::ALL[norm], Positions::ALL[positions], Activation::ALL[activation]);
        let lengths: Vec<usize> = cuts.iter().map(|cut| 1 + cut % padded).collect();
        if let Some(setup) = setup(spec, heads, (2 * cross, 2 * own), kind) {
            assert_agrees(&setup, padded, &lengths, n);
        }
    }
}
