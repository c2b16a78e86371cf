//! What the loop learns and refuses.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use t2r::{
    kernels::Kernels,
    measure::ScriptedClock,
    model::{Decoder, Distance, Dropout, Translator},
    text::{Pair, Pairs, Recall},
    train::{
        Batch, Ended, Lessons, Listener, Marks, Network, Recalling, Recipe, Surroundings, Task, TrainEvent, Trainer,
        Translating, evaluate,
    },
};

use crate::{params, recipe, setup};

const TASK: Recall = Recall { pairs: 2, keys: 5, values: 3 };

fn recalling(batch: usize) -> Recalling {
    Recalling { task: TASK, batch, seed: 1, device: Device::Cpu }
}

/// Everything that a training says.
#[derive(Default)]
struct Heard(Vec<TrainEvent>);

impl Listener for Heard {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self.0.push(event.clone());
        Ok(())
    }
}

fn train(task: Task<'_>, recipe: Recipe) -> anyhow::Result<(Ended, Vec<TrainEvent>)> {
    let mut heard = Heard::default();
    let clock = ScriptedClock::default();
    let mut around = Surroundings { clock: &clock, stop: &|| false, listener: &mut heard, snapshots: None };
    let ended = Trainer::new(task, recipe)?.run(&mut around)?;
    Ok((ended, heard.0))
}

#[test]
fn a_model_learns_and_says_what_it_does() {
    let (lessons, mut params) = (recalling(8), params(2));
    let model = Decoder::new(&setup("t2r:4", None, TASK.vocab_size()), &mut params).unwrap();
    let held_out = recalling(8).batches(1_000_000, 1).unwrap();
    let before = evaluate(&model, &held_out).unwrap();
    let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &held_out, identity: "t" };
    let (ended, events) = train(task, recipe(60)).unwrap();
    assert_eq!(ended, Ended::Done);
    let after = evaluate(&model, &held_out).unwrap();
    assert!(after.loss < 0.8 * before.loss, "{before:?} {after:?}");
    let steps: Vec<_> =
        events.iter().filter_map(|e| if let TrainEvent::Step(s) = e { Some(*s) } else { None }).collect();
    assert_eq!(steps.iter().map(|s| s.step).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    // Two answers a sequence, eight sequences an update.
    assert!(steps.iter().all(|s| s.tokens == 16 * s.step && s.loss.is_finite() && s.grad_norm > 0.0));
    let seen: Vec<_> =
        events.iter().filter_map(|e| if let TrainEvent::Validated(v) = e { Some(*v) } else { None }).collect();
    assert_eq!(seen.len(), 21);
    assert_eq!((seen[0].step, seen[0].loss, seen[0].improved), (0, before.loss, true));
    assert_eq!(seen[20].loss, after.loss);
    let best = seen.iter().map(|v| v.loss).fold(f64::MAX, f64::min);
    assert_eq!(seen.iter().rev().find(|v| v.improved).unwrap().loss, best);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let run = |batch: usize, accumulate: usize| {
        let (lessons, mut params) = (recalling(batch), params(2));
        let model = Decoder::new(&setup("elu", None, TASK.vocab_size()), &mut params).unwrap();
        let recipe = Recipe { accumulate, dropout: 0.0, ..recipe(3) };
        let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &[], identity: "t" };
        let (_, events) = train(task, recipe).unwrap();
        let losses: Vec<f64> =
            events.iter().filter_map(|e| if let TrainEvent::Step(s) = e { Some(s.loss) } else { None }).collect();
        losses
    };
    let (whole, parts) = (run(8, 1), run(2, 4));
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-5), "{whole:?} {parts:?}");
    assert!(whole[0] != whole[1]);
}

#[test]
fn an_encoder_decoder_learns_to_copy() {
    let marks = Marks { end: 0, padding: 1 };
    let pairs: Vec<Pair> = (0..40u32)
        .map(|i| {
            let ids: Vec<u32> = (0..2 + i % 3).map(|j| 2 + (i * 7 + j * 3) % 6).collect();
            Pair { source: ids.clone(), target: ids }
        })
        .collect();
    let pairs = Pairs::new("copies", pairs, 8, 10, 3).unwrap();
    let lessons = Translating { pairs, marks, device: Device::Cpu };
    let mut params = params(3);
    let model = Translator::new(&setup("t2r:4", Some("t2r:8"), 8), &mut params).unwrap();
    let held_out = lessons.batches(0, 5).unwrap();
    let before = evaluate(&model, &held_out).unwrap();
    let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &[], identity: "t" };
    train(task, Recipe { dropout: 0.0, ..recipe(80) }).unwrap();
    let after = evaluate(&model, &held_out).unwrap();
    assert!(after.loss < 0.7 * before.loss, "{before:?} {after:?}");
}

fn flat(vars: &BTreeMap<String, Var>) -> BTreeMap<String, Vec<f32>> {
    vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// Says that the loss is what `values` make of one variable.
struct Broken {
    inner: Decoder,
    value: f64,
}

impl Network for Broken {
    fn hidden(&self, batch: &Batch, kernels: Kernels, dropout: &mut Dropout) -> Result<Tensor> {
        self.inner.hidden(batch, kernels, dropout)? * self.value
    }
    fn distances(&self, _: &Batch, _: Kernels) -> Result<Vec<Distance>> {
        Ok(Vec::new())
    }
    fn decoder(&self) -> &Decoder {
        &self.inner
    }
}

#[test]
fn a_loss_that_is_no_number_stops_before_anything_moves() {
    for value in [f64::NAN, f64::INFINITY] {
        let (lessons, mut params) = (recalling(2), params(2));
        let inner = Decoder::new(&setup("elu", None, TASK.vocab_size()), &mut params).unwrap();
        let before = flat(params.vars());
        let model = Broken { inner, value };
        let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &[], identity: "t" };
        let error = train(task, recipe(2)).unwrap_err().to_string();
        assert!(error.contains("the loss is NaN"), "{error}");
        assert_eq!(flat(params.vars()), before);
    }
}

#[test]
fn what_the_loss_does_not_reach_is_named() {
    let (lessons, mut params) = (recalling(2), params(2));
    let model = Decoder::new(&setup("elu", None, TASK.vocab_size()), &mut params).unwrap();
    let mut vars = params.vars().clone();
    vars.insert("idle".to_owned(), Var::zeros(3, DType::F32, &Device::Cpu).unwrap());
    let task = || Task { network: &model, vars: &vars, lessons: &lessons, held_out: &[], identity: "t" };
    let error = train(task(), recipe(2)).unwrap_err().to_string();
    assert!(error.contains("'idle' got no gradient"), "{error}");
    let empty = BTreeMap::new();
    let error = train(Task { vars: &empty, ..task() }, recipe(2)).unwrap_err().to_string();
    assert!(error.contains("nothing to train"), "{error}");
    let bad = Recipe { dropout: 1.0, ..recipe(2) };
    assert!(train(task(), bad).unwrap_err().to_string().contains("dropout is 1"));
}
