//! Beam search on the decode engine against all sentences there are, and greedy search against the parallel model.

use candle_core::{DType, Device, Tensor};
use t2r::{
    kernels::{Kernels, Simd},
    model::{Search, Translator, translate},
    params::Params,
};

use crate::setup;

const VOCAB: u32 = 5;
const END: u32 = 0;

fn model(variant: &str, seed: u64) -> Translator {
    let mut params = Params::frozen(&Device::Cpu, DType::F32, seed);
    Translator::new(&setup(variant, Some(variant), VOCAB as usize).merged(), &mut params).unwrap()
}

fn sources() -> Vec<Vec<u32>> {
    vec![vec![2, 3, END], vec![4, END], vec![3, 3, 2, 4, END]]
}

fn search(beams: usize, max_len: usize) -> Search {
    Search { beams, length_penalty: 0.6, max_len, end: END, padding: 1 }
}

/// ln p of each token of a target, by the parallel model alone on its source.
fn log_p(model: &Translator, source: &[u32], target: &[u32]) -> Vec<Vec<f64>> {
    let tensor = |ids: &[u32]| Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu).unwrap();
    let inputs = [&[END][..], target].concat();
    let logits = model.forward(&tensor(source), None, &tensor(&inputs)).unwrap().squeeze(0).unwrap();
    let rows: Vec<Vec<f32>> = logits.to_vec2().unwrap();
    rows.iter()
        .map(|row| {
            let sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            row.iter().map(|x| f64::from(*x) - sum).collect()
        })
        .collect()
}

/// The best of all targets of up to `most` tokens that end, by ln p / ((5 + length) / 6)^0.6, the end counted.
fn best_of_all(model: &Translator, source: &[u32], most: usize) -> Vec<u32> {
    let mut open = vec![Vec::new()];
    let mut best = (f64::MIN, Vec::new());
    while let Some(target) = open.pop() {
        let log_p = log_p(model, source, &target);
        let way: f64 = target.iter().zip(&log_p).map(|(id, row)| row[*id as usize]).sum();
        let length = target.len() as f64 + 1.0;
        let score = (way + log_p[target.len()][END as usize]) / ((5.0 + length) / 6.0).powf(0.6);
        if score > best.0 {
            best = (score, target.clone());
        }
        if target.len() < most {
            open.extend((1..VOCAB).map(|id| [&target[..], &[id]].concat()));
        }
    }
    best.1
}

#[test]
fn with_room_for_all_it_finds_the_best_there_is() {
    for (variant, seed) in [("softmax", 1), ("t2r:6", 2), ("elu", 3), ("performer:8", 4)] {
        let model = model(variant, seed);
        // Up to 64 targets go on, each with 5 tokens: none is ever left out.
        let found = translate(&model, &sources(), &search(320, 4), Kernels::Plain).unwrap();
        for (source, target) in sources().iter().zip(&found.targets) {
            assert_eq!(*target, best_of_all(&model, source, 3), "{variant} {source:?}");
        }
    }
}

#[test]
fn one_beam_is_greedy_whatever_it_is_batched_with_and_by_whichever_kernels() {
    for (variant, seed) in [("softmax", 5), ("t2r:6", 6), ("rfa:8", 7)] {
        let model = model(variant, seed);
        for kernels in [Kernels::Plain, Kernels::Fused(Simd::detect())] {
            let found = translate(&model, &sources(), &search(1, 8), kernels).unwrap();
            for (source, got) in sources().iter().zip(&found.targets) {
                let mut want = Vec::new();
                while want.len() < 8 {
                    let last = log_p(&model, source, &want).pop().unwrap();
                    let next = (0..VOCAB).max_by(|a, b| last[*a as usize].total_cmp(&last[*b as usize])).unwrap();
                    if next == END {
                        break;
                    }
                    want.push(next);
                }
                assert_eq!(*got, want, "{variant} {source:?}");
            }
        }
    }
}

#[test]
fn nothing_to_translate_is_nothing() {
    let found = translate(&model("softmax", 1), &[], &search(2, 8), Kernels::Plain).unwrap();
    assert!(found.targets.is_empty() && found.steps == 0);
}
