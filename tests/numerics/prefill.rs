//! A prompt taken at once leaves a session where steps would have brought it.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use t2r::{
    attention::{Heads, has_fused_form},
    kernels::{Kernels, Simd},
    model::{Decoder, Session, Setup, oracle},
    params::Params,
    spec::{Activation, Norm, Positions, VariantSpec},
};

use crate::{
    layers::{every_variant, flat},
    model::{setup, setup_with},
};

/// Largest difference of the last position's logits after a prompt of `prompt` tokens, and of those of `more` steps
/// after it, from the f64 model, over its largest logit and its condition.
fn error(setup: &Setup, batch: usize, prompt: usize, more: usize, kernels: Kernels) -> f64 {
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 5);
    let model = Decoder::new(setup, &mut params).unwrap();
    let (n, vocab) = (prompt + more, setup.shape.vocab_size);
    let ids: Vec<u32> = (0..batch * n).map(|i| (i * i + 3 * i + 1) as u32 % vocab as u32).collect();
    let mut session = Session::by(&model, batch, n, kernels).unwrap();
    // What a session held before does not matter.
    session.step(&vec![0; batch]).unwrap();
    let first: Vec<u32> = ids.chunks(n).flat_map(|row| &row[..prompt]).copied().collect();
    let mut logits = vec![session.prefill(&first).unwrap()];
    assert_eq!(session.position(), prompt);
    for t in prompt..n {
        let now: Vec<u32> = ids.chunks(n).map(|row| row[t]).collect();
        logits.push(session.step(&now).unwrap());
    }
    let got = flat(&Tensor::stack(&logits, 1).unwrap());
    let want = oracle::logits(setup, &mut params, &ids, batch).unwrap();
    let scale = want.condition * want.logits.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    let last: Vec<f64> = want.logits.chunks(n * vocab).flat_map(|s| &s[(prompt - 1) * vocab..]).copied().collect();
    assert_eq!(got.len(), last.len());
    got.iter().zip(&last).fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs() / scale))
}

/// The plain operations, and the fused ones where the variant has them.
fn ways(spec: &VariantSpec) -> Vec<Kernels> {
    let fused = has_fused_form(spec).then(|| Kernels::Fused(Simd::detect()));
    std::iter::once(Kernels::Plain).chain(fused).collect()
}

#[test]
fn every_variant_goes_on_from_its_prompt() {
    let kinds = [
        (Norm::LayerNorm, Positions::Learned, Activation::Gelu, true),
        (Norm::RmsNorm, Positions::Rotary, Activation::Swiglu, false),
    ];
    for spec in every_variant() {
        for (norm, positions, activation, tied) in kinds {
            let Some(setup) = setup(&spec, norm, positions, activation, tied) else { continue };
            for (batch, prompt, more) in [(1, 1, 3), (2, 4, 6), (3, 9, 3), (1, 12, 0)] {
                for way in ways(&spec) {
                    let error = error(&setup, batch, prompt, more, way);
                    assert!(
                        error < 1e-4,
                        "{spec} {way:?} {positions} batch {batch} prompt {prompt} + {more}: {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_state_is_that_of_steps() {
    for spec in every_variant() {
        let setup = setup(&spec, Norm::LayerNorm, Positions::Learned, Activation::Gelu, true).unwrap();
        let model = Decoder::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
        let (mut at_once, mut stepped) = (Session::new(&model, 2, 12).unwrap(), Session::new(&model, 2, 12).unwrap());
        at_once.prefill(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).unwrap();
        for t in 1..=6 {
            stepped.step(&[t, t + 6]).unwrap();
        }
        assert_eq!((at_once.position(), at_once.state_bytes()), (stepped.position(), stepped.state_bytes()), "{spec}");
    }
}

#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let setup = setup(&VariantSpec::new("softmax"), Norm::LayerNorm, Positions::Learned, Activation::Gelu, true);
    let model = Decoder::new(&setup.unwrap(), &mut Params::frozen(&Device::Cpu, DType::F32, 5)).unwrap();
    let mut session = Session::new(&model, 2, 3).unwrap();
    assert!(session.prefill(&[]).is_err() && session.prefill(&[1, 2, 3]).is_err());
    assert!(session.prefill(&[1; 8]).unwrap_err().to_string().contains("full at 3"));
    assert!(session.prefill(&[1; 6]).is_ok() && session.step(&[1, 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_goes_on_from_any_prompt(
        which in 0usize..64, norm in 0usize..2, positions in 0usize..3, activation in 0usize..3, tied: bool,
        kv in 1usize..4, group in 1usize..4, half in 1usize..4, batch in 1usize..4, prompt in 1usize..150, more in 0usize..4,
    ) {
        let variants = every_variant();
        let spec = &variants[which % variants.len()];
        let heads = Heads { n_heads: kv * group, n_kv_heads: kv, head_dim: 2 * half };
        let kind = (Norm::ALL[norm], Positions::ALL[positions], Activation::ALL[activation], tied);
        if let Some(setup) = setup_with(spec, heads, kind, prompt + more) {
            for way in ways(spec) {
                let error = error(&setup, batch, prompt, more, way);
                prop_assert!(error < 1e-3, "{spec} {way:?} {heads:?} {kind:?} batch {batch} prompt {prompt} + {more}: {error:e}");
            }
        }
    }
}
