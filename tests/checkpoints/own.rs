//! Models of this program's own shapes, encoder-decoders among them.

use candle_core::{DType, Device, Tensor};
use t2r::{
    attention::{Heads, ResolveRequest, Resolved, resolve},
    checkpoint::{Conversion, Description, Family, LayerChoice, SpecialTokens},
    model::{Decoder, Setup, Translator},
    params::Params,
    spec::{Activation, ModelShape, Norm, Positions, VariantSpec},
};

use crate::{distance, open};

const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 6 };

fn setup(own: &str, cross: Option<&str>, kind: (Norm, Positions, Activation)) -> Setup {
    let (norm, positions, activation) = kind;
    let shape = ModelShape {
        n_layers: 2,
        d_model: 16,
        ffn_dim: 20,
        vocab_size: 23,
        norm,
        positions,
        activation,
        tied_output: positions != Positions::Rotary,
    };
    let resolved = |name: &str, causal: bool| -> Resolved {
        let request = ResolveRequest { head_dim: 6, feature_dim: Some(4), can_merge: false, causal };
        resolve(&name.parse::<VariantSpec>().unwrap(), request).unwrap()
    };
    Setup::uniform(shape, HEADS, resolved(own, true), cross.map(|name| resolved(name, false)), 20)
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn ids(n: usize) -> Tensor {
    let ids: Vec<u32> = (0..n).map(|i| (i * i + 5) as u32 % 23).collect();
    Tensor::from_vec(ids, (1, n), &Device::Cpu).unwrap()
}

#[test]
fn language_models_of_every_kind_read_back() {
    for norm in Norm::ALL {
        for positions in Positions::ALL {
            for activation in Activation::ALL {
                let setup = setup("t2r", None, (*norm, *positions, *activation));
                let mut params = Params::frozen(&Device::Cpu, DType::F32, 9);
                let model = Decoder::new(&setup, &mut params).unwrap();
                let special = SpecialTokens { bos: None, eos: vec![3, 4] };
                let dir = tempfile::tempdir().unwrap();
                Description::own(&setup, special.clone()).save(dir.path(), &params, None).unwrap();
                let back = open(dir.path());
                assert_eq!((back.setup(), &back.description().special), (&setup, &special));
                let want = flat(&model.forward(&ids(9)).unwrap());
                let got = flat(&crate::decoder(&back).forward(&ids(9)).unwrap());
                assert!(distance(&got, &want) < 2e-4, "{norm} {positions} {activation}");
            }
        }
    }
}

#[test]
fn a_model_that_has_the_shape_of_a_family_is_kept_in_its_layout() {
    let family = |setup: &Setup| Description::own(setup, SpecialTokens::default()).family();
    let gpt2 = setup("t2r", None, (Norm::LayerNorm, Positions::Learned, Activation::Gelu));
    assert_eq!(family(&gpt2), Family::Own, "grouped heads");
    let heads = Heads { n_heads: 4, n_kv_heads: 4, head_dim: 4 };
    let mut gpt2 = Setup { heads, ..gpt2 };
    assert_eq!(family(&gpt2), Family::Gpt2);
    gpt2.conventions.out_bias = false;
    assert_eq!(family(&gpt2), Family::Own);
    let mut llama = setup("t2r", None, (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu));
    for (qkv, out, ffn, want) in [
        (false, false, false, Family::Llama),
        (true, true, true, Family::Llama),
        (true, false, false, Family::Llama),
        (true, false, true, Family::Own),
        (false, true, false, Family::Own),
    ] {
        let c = &mut llama.conventions;
        (c.qkv_bias, c.out_bias, c.ffn_bias) = (qkv, out, ffn);
        assert_eq!(family(&llama), want);
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 9);
        Decoder::new(&llama, &mut params).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Description::own(&llama, SpecialTokens::default()).save(dir.path(), &params, None).unwrap();
        assert_eq!(open(dir.path()).setup(), &llama);
    }
    let softmax = setup("softmax", Some("softmax"), (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu));
    assert_eq!(family(&softmax), Family::Own, "an encoder");
}

#[test]
fn an_encoder_decoder_reads_back_and_converts_across_too() {
    let softmax = setup("softmax", Some("softmax"), (Norm::LayerNorm, Positions::Sinusoidal, Activation::Relu));
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 9);
    Translator::new(&softmax, &mut params).unwrap();
    let dir = tempfile::tempdir().unwrap();
    Description::own(&softmax, SpecialTokens::default()).save(dir.path(), &params, None).unwrap();
    let teacher = open(dir.path());
    assert!(teacher.setup().has_encoder());
    assert!(teacher.decoder(&Device::Cpu, DType::F32).is_err_and(|e| e.to_string().contains("encoder-decoder")));

    let conversion = Conversion {
        to: VariantSpec::new("t2r"),
        feature_dim: Some(4),
        cross_feature_dim: Some(10),
        layers: LayerChoice::Percent(100),
    };
    let setup = conversion.apply(teacher.setup()).unwrap();
    let sizes: Vec<_> =
        setup.layers.iter().map(|l| (l.own.feature_dim, l.cross.as_ref().and_then(|c| c.feature_dim))).collect();
    assert_eq!(sizes, [(Some(4), Some(10)); 2]);
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 9).from_source(teacher.source_of(&setup));
    let model = Translator::new(&setup, &mut params).unwrap();
    let new = |prefix: &str| ["bias", "weight"].map(|part| format!("{prefix}.attention.{part}"));
    let drawn = ["blocks.0", "blocks.0.cross", "blocks.1", "blocks.1.cross"].map(new).concat();
    assert_eq!(params.drawn().iter().cloned().collect::<Vec<_>>(), drawn);
    let out = tempfile::tempdir().unwrap();
    teacher.description().with_setup(&setup).save(out.path(), &params, None).unwrap();
    let back = open(out.path());
    let (merged, _) = back.translator(&Device::Cpu, DType::F32).unwrap();
    let want = flat(&model.forward(&ids(7), None, &ids(5)).unwrap());
    let got = flat(&merged.forward(&ids(7), None, &ids(5)).unwrap());
    assert!(distance(&got, &want) < 2e-4, "merged at inference");
    assert!(conversion_refuses(&teacher, "window"));
}

/// What looks back only has no form across.
fn conversion_refuses(teacher: &t2r::checkpoint::Checkpoint, to: &str) -> bool {
    let to = VariantSpec::new(to);
    let layers = LayerChoice::Percent(100);
    Conversion { to, feature_dim: None, cross_feature_dim: None, layers }.apply(teacher.setup()).is_err()
}
