//! Training steps of models of every shape: every variable has a gradient, and the gradient is that of the formula.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use t2r::{
    attention::{Heads, has_fused_form},
    kernels::{Kernels, Simd},
    model::{Decoder, Setup, oracle},
    params::Params,
    spec::{Activation, Norm, Positions},
    train::{AdamW, AdamWSettings, Batch, loss_and_gradients, step},
};

use crate::{
    layers::{all_counts, every_variant, flat},
    model::setup_with,
};

/// The plain operations, and the fused ones where the variant has them.
fn ways(setup: &Setup) -> Vec<Kernels> {
    let fused = has_fused_form(&setup.layers[0].own.spec).then(|| Kernels::Fused(Simd::detect()));
    std::iter::once(Kernels::Plain).chain(fused).collect()
}

fn made(setup: &Setup) -> (Decoder, Params) {
    let mut params = Params::trainable(&Device::Cpu, DType::F32, 5);
    (Decoder::new(&setup.unmerged(), &mut params).unwrap(), params)
}

fn ids(batch: usize, n: usize) -> Vec<u32> {
    draw(batch, n, 0)
}

fn draw(batch: usize, n: usize, draw: usize) -> Vec<u32> {
    (0..batch * n).map(|i| (i * i + (3 + draw) * i + 1) as u32 % 23).collect()
}

/// Ids for which no denominator nearly vanishes, where a slope would say nothing: random features can cancel. The best
/// of a few draws.
fn well_conditioned(setup: &Setup, params: &mut Params, batch: usize, n: usize) -> Vec<u32> {
    let mut condition = |ids: &[u32]| {
        let inputs: Vec<u32> = ids.chunks(n).flat_map(|row| &row[..n - 1]).copied().collect();
        oracle::logits(setup, params, &inputs, batch).unwrap().condition
    };
    let mut draws: Vec<_> = (0..60).map(|i| draw(batch, n, i)).map(|ids| (condition(&ids), ids)).collect();
    draws.sort_by(|a, b| a.0.total_cmp(&b.0));
    draws.swap_remove(0).1
}

/// Mean over positions of −ln softmax(logits)[next token], from the f64 model on the current parameters.
fn loss_of_formula(setup: &Setup, params: &mut Params, ids: &[u32], batch: usize) -> f64 {
    let n = ids.len() / batch - 1;
    let inputs: Vec<u32> = ids.chunks(n + 1).flat_map(|row| &row[..n]).copied().collect();
    let targets: Vec<u32> = ids.chunks(n + 1).flat_map(|row| &row[1..]).copied().collect();
    let logits = oracle::logits(setup, params, &inputs, batch).unwrap().logits;
    let rows = logits.chunks(setup.shape.vocab_size).zip(&targets);
    rows.map(|(row, t)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[*t as usize]).sum::<f64>()
        / (batch * n) as f64
}

#[test]
fn the_gradient_of_each_parameter_is_that_of_the_formula() {
    let heads = Heads { n_heads: 2, n_kv_heads: 1, head_dim: 4 };
    for spec in every_variant().into_iter().filter(|s| all_counts(s, 5)) {
        // A smooth activation, so that only T2R's own relu has kinks.
        let kind = (Norm::LayerNorm, Positions::Learned, Activation::Gelu, true);
        let setup = setup_with(&spec, heads, kind, 5).unwrap();
        let (model, mut params) = made(&setup);
        let ids = well_conditioned(&setup, &mut params, 2, 6);
        let batch = Batch::of_sequences(&Tensor::from_vec(ids.clone(), (2, 6), &Device::Cpu).unwrap()).unwrap();
        let vars = params.vars().clone();
        let found = ways(&setup).into_iter().map(|way| loss_and_gradients(&model, &vars, &batch, way).unwrap());
        let found: Vec<_> = found.collect();
        let want = loss_of_formula(&setup, &mut params, &ids, 2);
        assert!(found.iter().all(|(loss, _)| (loss - want).abs() < 1e-4), "{spec}: not {want}");
        let scale = found.iter().flat_map(|(_, g)| g.values().flat_map(flat)).fold(1e-2f32, |m, g| m.max(g.abs()));
        for (name, var) in &vars {
            let start = flat(var.as_tensor());
            // One element of each parameter, none at the same place.
            let i = (7 * name.len() + 3) % start.len();
            let mut at = |step: f32| {
                let mut moved = start.clone();
                moved[i] += step;
                let real = f64::from(moved[i]) - f64::from(start[i]);
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                (real, loss_of_formula(&setup, &mut params, &ids, 2))
            };
            // So small that T2R's relu hardly ever has a kink within; the formula is in f64.
            let step = 1.0 / 262_144.0;
            let ((up, above), (down, below)) = (at(step), at(-step));
            var.set(&Tensor::from_vec(start, var.shape(), &Device::Cpu).unwrap()).unwrap();
            let numeric = (above - below) / (up - down);
            for (way, (_, gradients)) in ways(&setup).iter().zip(&found) {
                let got = flat(&gradients[name])[i];
                let off = (f64::from(got) - numeric).abs();
                assert!(off < 2e-3 * f64::from(scale), "{spec} {way:?} {name}[{i}]: {got} against {numeric}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_learns_a_batch(
        which in 0usize..64, norm in 0usize..2, positions in 0usize..3, activation in 0usize..3, tied: bool,
        kv in 1usize..4, group in 1usize..4, half in 1usize..4, batch in 1usize..4, n in prop_oneof![Just(1usize), 2usize..80],
        fused: bool,
    ) {
        let variants = every_variant();
        let spec = &variants[which % variants.len()];
        let heads = Heads { n_heads: kv * group, n_kv_heads: kv, head_dim: 2 * half };
        let kind = (Norm::ALL[norm], Positions::ALL[positions], Activation::ALL[activation], tied);
        if let Some(setup) = setup_with(spec, heads, kind, n).filter(|_| all_counts(spec, n)) {
            let (model, params) = made(&setup);
            let ids = Tensor::from_vec(ids(batch, n + 1), (batch, n + 1), &Device::Cpu).unwrap();
            let batch = Batch::of_sequences(&ids).unwrap();
            let mut optimiser = AdamW::new(AdamWSettings::default(), params.vars()).unwrap();
            let ways = ways(&setup);
            let way = ways[usize::from(fused) % ways.len()];
            let losses: Vec<f64> =
                (0..8).map(|_| step(&model, params.vars(), &mut optimiser, &batch, way).unwrap()).collect();
            prop_assert!(losses.iter().all(|l| l.is_finite()), "{spec} {way:?} {heads:?} {kind:?}: {losses:?}");
            // Few random features nearly cancel for some inputs, and leave no slope that a step of any length would follow; their
            // gradients are held against the formula above, over inputs that are well-conditioned.
            let learns = losses[7] < losses[0] || spec.name.starts_with("rfa");
            prop_assert!(learns, "{spec} {way:?} {heads:?} {kind:?}: {losses:?}");
        }
    }
}
