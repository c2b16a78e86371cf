//! A state takes the bytes that are predicted, and a step in steady state none, of a layer and of a whole model, counted by the
//! allocator. A binary of its own, with one test: the counters see the whole process, and the harness allocates when a test has
//! run for a minute, so this one must not take long.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device};
use t2r::{
    attention::{Heads, ResolveRequest, Resolved, Token, build, has_fused_form, resolve, state_bytes, variants},
    kernels::{Kernels, Simd},
    measure::{CountingAllocator, allocation_count, live_bytes},
    model::{Decoder, Session, Setup},
    params::Params,
    spec::{Activation, DType as Words, ModelShape, Norm, Positions, VariantSpec},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

#[test]
fn states_take_what_is_predicted_and_steps_nothing() {
    for info in variants() {
        let request = ResolveRequest { head_dim: 64, feature_dim: Some(128), can_merge: true, causal: true };
        let resolved = resolve(&VariantSpec::new(&info.name), request).unwrap();
        one_variant(&resolved, Kernels::Plain);
        if has_fused_form(&resolved.spec) {
            one_variant(&resolved, Kernels::Fused(Simd::detect()));
            for positions in [Positions::Learned, Positions::Rotary] {
                whole_model(&info.name, positions);
            }
        }
    }
}

/// Greedy tokens of a model by fused kernels, from the embedding to the choice of the next id.
fn whole_model(name: &str, positions: Positions) {
    // Large enough that products and attention go to the pool.
    let heads = Heads { n_heads: 8, n_kv_heads: 4, head_dim: 32 };
    let can_merge = positions != Positions::Rotary;
    let request = ResolveRequest { head_dim: 32, feature_dim: Some(64), can_merge, causal: true };
    let variant = resolve(&VariantSpec::new(name), request).unwrap();
    let (norm, activation) = match positions {
        Positions::Rotary => (Norm::RmsNorm, Activation::Swiglu),
        _ => (Norm::LayerNorm, Activation::Gelu),
    };
    let shape = ModelShape {
        n_layers: 2,
        d_model: 256,
        ffn_dim: 640,
        vocab_size: 1500,
        norm,
        positions,
        activation,
        tied_output: true,
    };
    let setup = Setup::uniform(shape, heads, variant, None, 100);
    let model = Decoder::new(&setup, &mut Params::frozen(&Device::Cpu, DType::F32, 1)).unwrap();
    let mut session = Session::by(&model, 4, 100, Kernels::Fused(Simd::detect())).unwrap();
    let mut ids = [1, 2, 3, 4];
    // Past the window of those that have one.
    for _ in 0..70 {
        session.advance(&mut ids).unwrap();
    }
    let before = allocation_count().unwrap();
    for _ in 0..20 {
        session.advance(&mut ids).unwrap();
    }
    assert_eq!(allocation_count().unwrap() - before, 0, "{name} in a model with {positions:?} positions");
}

fn one_variant(resolved: &Resolved, kernels: Kernels) {
    // Large enough that the steps go to the pool: 4 sequences of 8 heads of 64, 128 features.
    let heads = Heads { n_heads: 8, n_kv_heads: 8, head_dim: 64 };
    let what = format!("{} {kernels:?}", resolved.spec);
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 1);
    let stepper = build(resolved, heads, &mut params, "layer").unwrap().stepper_by(kernels).unwrap();
    let (mut state, mut scratch) = (stepper.state(4, 1100), vec![0.0; stepper.scratch_len(4)]);
    let (input, gate) = (vec![0.5f32; 4 * 8 * stepper.input_dim()], [0.5f32; 4 * 8]);
    let (v, mut out) = (vec![0.5f32; 4 * 8 * 64], vec![0.0; 4 * 8 * 64]);
    for len in [1, 63, 64, 65, 1100] {
        let before = live_bytes().expect("the counting allocator is installed");
        let state = stepper.state(4, len);
        let allocated = live_bytes().unwrap() - before;
        let predicted = state_bytes(resolved, heads, 4, len, Words::F32).unwrap().total();
        assert_eq!(Some(allocated), predicted, "{what} at {len}");
        drop(state);
    }
    let mut run = |n: usize| {
        for _ in 0..n {
            let token = Token { q: &input, k: &input, v: &v, gate: &gate };
            stepper.step(token, &mut state, &mut scratch, &mut out).unwrap();
        }
    };
    run(50); // the pool starts with the first
    let before = allocation_count().expect("the counting allocator is installed");
    run(200);
    assert_eq!(allocation_count().unwrap() - before, 0, "{what}");
}
