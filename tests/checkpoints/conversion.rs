//! Swapped attention: what is copied, what is new, and that a written model reads back as it was.

use candle_core::{DType, Device};
use t2r::{
    checkpoint::{Checkpoint, Conversion, LayerChoice},
    model::{Decoder, Setup},
    params::Params,
    spec::VariantSpec,
};

use crate::{FAMILIES, decoder, distance, fixture, logits, open};

const IDS: [u32; 9] = [3, 17, 200, 41, 5, 5, 250, 99, 7];

fn swap(checkpoint: &Checkpoint, to: &str, layers: &str) -> Setup {
    let layers: LayerChoice = layers.parse().unwrap();
    let to: VariantSpec = to.parse().unwrap();
    let feature_dim = ["t2r", "rfa", "rfa-gate", "performer"].contains(&to.name.as_str()).then_some(6);
    Conversion { to, feature_dim, cross_feature_dim: None, layers }.apply(checkpoint.setup()).unwrap()
}

fn built(checkpoint: &Checkpoint, setup: &Setup) -> (Decoder, Params) {
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 4).from_source(checkpoint.source_of(setup));
    (Decoder::new(setup, &mut params).unwrap(), params)
}

#[test]
fn a_written_model_reads_back_in_every_family_with_every_attention() {
    for name in FAMILIES {
        let from = open(&fixture(name));
        for (to, layers) in [
            ("softmax", "all"),
            ("t2r", "all"),
            ("t2r", "0"),
            ("rfa:orthogonal=true", "1"),
            ("window+hedgehog:3", "all"),
            ("rfa-gate", "all"),
            ("window:4", "1"),
            ("none", "0"),
            ("performer", "all"),
        ] {
            let setup = swap(&from, to, layers);
            let (model, params) = built(&from, &setup);
            let dir = tempfile::tempdir().unwrap();
            let tokenizer = from.tokenizer().unwrap();
            from.description().with_setup(&setup).save(dir.path(), &params, Some(&tokenizer)).unwrap();
            let back = open(dir.path());
            assert_eq!(back.setup(), &setup, "{name} {to}");
            assert_eq!(back.description().special, from.description().special, "{name} {to}");
            assert_eq!(back.tokenizer().unwrap().encode("It is 42").unwrap(), tokenizer.encode("It is 42").unwrap());
            let want = &logits(&model, &IDS)[0].1;
            // Where maps merge, sums are taken in another order.
            for (form, got) in logits(&decoder(&back), &IDS) {
                assert!(distance(&got, want) < 2e-4, "{name} {to} {layers} {form}: {}", distance(&got, want));
            }
            let (_, again) = built(&back, &setup);
            assert!(again.drawn().is_empty(), "{name} {to}: nothing of a written model is drawn");
            for (parameter, tensor) in params.tensors() {
                let [before, after] =
                    [tensor, &again.tensors()[parameter]].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                assert_eq!(before, after, "{name} {to}: {parameter}");
            }
        }
    }
}

#[test]
fn only_what_the_new_attention_adds_is_new() {
    let from = open(&fixture("llama"));
    let drawn = |to: &str, layers: &str| {
        let (_, params) = built(&from, &swap(&from, to, layers));
        params.drawn().iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(drawn("softmax", "all"), [""; 0]);
    assert_eq!(drawn("t2r", "1"), ["blocks.1.attention.bias", "blocks.1.attention.weight"]);
    let gated =
        ["attention.draws", "attention.sigma", "gate.bias", "gate.weight"].map(|part| format!("blocks.0.{part}"));
    assert_eq!(drawn("rfa-gate", "0"), gated);
    let hybrid = ["attention.bias", "attention.log_gamma", "attention.weight"].map(|part| format!("blocks.0.{part}"));
    assert_eq!(drawn("window+t2r", "0"), hybrid);
}

#[test]
fn the_original_weights_come_back_with_softmax() {
    let from = open(&fixture("llama"));
    let want = &logits(&decoder(&from), &IDS)[0].1;
    let dir = tempfile::tempdir().unwrap();
    let setup = swap(&from, "t2r", "all");
    from.description().with_setup(&setup).save(dir.path(), &built(&from, &setup).1, None).unwrap();
    let converted = open(dir.path());
    assert!(distance(&logits(&decoder(&converted), &IDS)[0].1, want) > 1e-2, "another attention gives other logits");
    let (back, params) = built(&converted, &swap(&converted, "softmax", "all"));
    assert!(params.drawn().is_empty());
    assert_eq!(&logits(&back, &IDS)[0].1, want);
    assert!(converted.tokenizer().is_err_and(|e| e.to_string().contains("tokenizer.json")));
}

#[test]
fn a_converted_model_does_not_pass_for_what_it_was() {
    let from = open(&fixture("qwen2"));
    let dir = tempfile::tempdir().unwrap();
    let config = |setup: &Setup| -> serde_json::Value {
        from.description().with_setup(setup).save(dir.path(), &built(&from, setup).1, None).unwrap();
        serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap()
    };
    let plain = config(from.setup());
    assert_eq!((&plain["model_type"], plain.get("t2r")), (&"qwen2".into(), None));
    let converted = config(&swap(&from, "t2r", "0"));
    assert_eq!((&converted["model_type"], &converted["t2r"]["model_type"]), (&"t2r".into(), &"qwen2".into()));
    let layer = &converted["t2r"]["layers"][0];
    assert_eq!((&layer["attention"], &layer["feature_dim"]), (&"t2r:merged=false".into(), &6.into()));
    assert_eq!(converted["hidden_size"], plain["hidden_size"]);
}
