//! Perplexity, generation and distances on a checkpoint.

use candle_core::{Device, Tensor};
use t2r::{
    checkpoint::{Conversion, LayerChoice},
    inference::{Ended, Request, Sampling, Windows, attention_distance, generate, kernels, perplexity},
    kernels::Kernels,
    model::Decoder,
    params::Params,
};

use crate::{decoder, fixture, logits, open};

fn text(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * i + 7 * i + 3) as u32 % 288).collect()
}

/// Mean of −ln softmax(logits)[next] in f64 over windows of `len`.
fn nll_by_hand(model: &Decoder, ids: &[u32], len: usize) -> f64 {
    let windows = ids.chunks(len).filter(|w| w.len() > 1).map(|window| {
        let all = &logits(model, &window[..window.len() - 1])[0].1;
        let rows = all.chunks(288).zip(&window[1..]);
        let row = |(row, id): (&[f32], &u32)| {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let top = row.iter().copied().fold(f64::MIN, f64::max);
            top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln() - row[*id as usize]
        };
        (rows.clone().map(row).sum::<f64>(), rows.count())
    });
    let (sum, n) = windows.fold((0.0, 0), |(sum, n), (s, m)| (sum + s, n + m));
    sum / n as f64
}

#[test]
fn perplexity_is_that_of_the_logits() {
    for name in ["llama", "gpt2"] {
        let model = decoder(&open(&fixture(name)));
        let ids = text(50);
        for kernels in [Kernels::Plain, kernels(&model)] {
            let mut heard = 0;
            let windows = Windows { len: 12, stride: 12, max: None };
            let score = perplexity(&model, &ids, windows, kernels, &mut |s| {
                heard = s.windows;
                true
            })
            .unwrap();
            // Four windows of 12 and one of 2: 4 · 11 + 1 tokens.
            assert_eq!((score.tokens, score.windows, score.covered, heard), (45, 5, 50, 5));
            let want = nll_by_hand(&model, &ids, 12);
            assert!((score.nll().unwrap() - want).abs() < 1e-4 * want, "{name}: {score:?} against {want}");
        }
    }
}

#[test]
fn a_window_beyond_the_positions_of_a_model_is_an_error() {
    let model = decoder(&open(&fixture("gpt2")));
    let windows = Windows { len: 30, stride: 30, max: None };
    let error = perplexity(&model, &text(30), windows, Kernels::Plain, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("beyond the model's 24"), "{error}");
    assert!(perplexity(&model, &[1, 288, 2], windows, Kernels::Plain, &mut |_| true).is_err());
}

#[test]
fn greedy_generation_follows_the_likeliest_of_the_parallel_forward() {
    let model = decoder(&open(&fixture("llama")));
    let mut ids = text(5);
    let mut heard = Vec::new();
    let request = Request { prompt: &ids.clone(), max_tokens: 8, sampling: Sampling::greedy(), ends: &[] };
    let generated = generate(&model, request, kernels(&model), &mut |id| {
        heard.push(id);
        true
    })
    .unwrap();
    assert_eq!((generated.tokens, generated.ended), (8, Ended::Full));
    // Keys and values of the 12 tokens that were stepped on: 2 layers, 2 key heads of 10, f32.
    assert_eq!(generated.state_bytes, 12 * 2 * 2 * 2 * 10 * 4);
    for id in heard {
        let all = &logits(&model, &ids)[0].1;
        let last = &all[all.len() - 288..];
        assert!(last.iter().all(|x| *x <= last[id as usize] + 1e-4), "after {ids:?}");
        ids.push(id);
    }
}

#[test]
fn a_generation_ends_where_the_text_does_or_the_listener_has_enough() {
    let model = decoder(&open(&fixture("llama")));
    let prompt = text(5);
    let mut first = Vec::new();
    let request = Request { prompt: &prompt, max_tokens: 6, sampling: Sampling::greedy(), ends: &[] };
    generate(&model, request, Kernels::Plain, &mut |id| {
        first.push(id);
        true
    })
    .unwrap();
    let ends = [first[3]];
    let before = first.iter().position(|id| *id == first[3]).unwrap();
    let ended = generate(&model, Request { ends: &ends, ..request }, Kernels::Plain, &mut |_| true).unwrap();
    assert_eq!((ended.tokens, ended.ended), (before, Ended::EndOfText));
    let stopped = generate(&model, request, Kernels::Plain, &mut |_| false).unwrap();
    assert_eq!((stopped.tokens, stopped.ended), (1, Ended::Stopped));
    assert!(generate(&model, Request { prompt: &[], ..request }, Kernels::Plain, &mut |_| true).is_err());
}

#[test]
fn the_state_of_a_converted_model_does_not_grow() {
    let from = open(&fixture("llama"));
    let layers = LayerChoice::Percent(100);
    let conversion = Conversion { to: "t2r".parse().unwrap(), feature_dim: Some(6), cross_feature_dim: None, layers };
    let setup = conversion.apply(from.setup()).unwrap();
    let mut params = Params::frozen(&Device::Cpu, candle_core::DType::F32, 1).from_source(from.source_of(&setup));
    let model = Decoder::new(&setup, &mut params).unwrap();
    let bytes = |max_tokens: usize| {
        let request = Request { prompt: &text(3), max_tokens, sampling: Sampling::greedy(), ends: &[] };
        generate(&model, request, kernels(&model), &mut |_| true).unwrap().state_bytes
    };
    // 2 layers, 2 key heads, 6 features of 10 values and a one, f32.
    assert_eq!((bytes(2), bytes(300)), (2 * 2 * 6 * 11 * 4, 2 * 2 * 6 * 11 * 4));
}

#[test]
fn a_model_is_no_way_from_itself_and_some_way_from_a_window() {
    let from = open(&fixture("llama"));
    let teacher = decoder(&from);
    let ids = Tensor::from_vec(text(23), (1, 23), &Device::Cpu).unwrap();
    for kernels in [Kernels::Plain, kernels(&teacher)] {
        let distances = attention_distance(&teacher, &teacher, &ids, kernels).unwrap();
        assert_eq!(distances, [0.0, 0.0]);
        let layers = LayerChoice::These([1].into());
        let conversion = Conversion { to: "none".parse().unwrap(), feature_dim: None, cross_feature_dim: None, layers };
        let setup = conversion.apply(from.setup()).unwrap();
        let mut params = Params::frozen(&Device::Cpu, candle_core::DType::F32, 1).from_source(from.source_of(&setup));
        let student = Decoder::new(&setup, &mut params).unwrap();
        let distances = attention_distance(&student, &teacher, &ids, kernels).unwrap();
        // The first layer is the teacher's; in the second the distance from nothing is the length of the teacher's weights,
        // which sum to 1 over at most 23 keys.
        assert_eq!(distances[0], 0.0);
        assert!(distances[1] > (1f64 / 23.0).sqrt() && distances[1] <= 1.0, "{distances:?}");
    }
}
