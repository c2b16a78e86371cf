//! What is not trained: it costs no gradient, does not move, and changes nothing in what the rest learns.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use t2r::{
    kernels::Kernels,
    measure::ScriptedClock,
    text::Recall,
    train::{
        Batch, Lessons, Objective, Recalling, Recipe, Surroundings, Task, Trained, Trainee, Trainer, evaluate_distance,
        gradients, loss_and_gradients, mean_distance,
    },
};

use crate::{params, recipe, setup};

const TASK: Recall = Recall { pairs: 2, keys: 5, values: 3 };

fn recalling() -> Recalling {
    Recalling { task: TASK, batch: 8, seed: 1, device: Device::Cpu }
}

fn trainee(variant: &str, trained: Trained) -> Trainee {
    Trainee::new(&setup(variant, None, TASK.vocab_size()), params(2), trained).unwrap()
}

fn batch() -> Batch {
    recalling().batches(1_000_000, 1).unwrap().swap_remove(0)
}

fn flat<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> BTreeMap<String, Vec<f32>> {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    tensors.into_iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect()
}

fn train(trainee: &Trainee, recipe: Recipe) {
    let (lessons, held_out) = (recalling(), [batch()]);
    let (network, vars) = (trainee.network.as_ref(), trainee.params.vars());
    let task = Task { network, vars, lessons: &lessons, held_out: &held_out, identity: "t" };
    let mut hear = |_: &_| Ok(());
    let mut around =
        Surroundings { clock: &ScriptedClock::default(), stop: &|| false, listener: &mut hear, snapshots: None };
    Trainer::new(task, recipe).unwrap().run(&mut around).unwrap();
}

#[test]
fn frozen_parameters_are_in_no_graph_and_the_others_have_the_gradients_that_they_had() {
    let batch = batch();
    for kernels in [Kernels::Plain, t2r::inference::kernels(trainee("t2r:4", Trained::All).network.decoder())] {
        let all = trainee("t2r:4", Trained::All);
        let (loss, whole) = loss_and_gradients(all.network.as_ref(), all.params.vars(), &batch, kernels).unwrap();
        for trained in [Trained::Attention, Trained::FeatureMaps] {
            let some = trainee("t2r:4", trained);
            let vars = some.params.vars();
            assert!(!vars.is_empty() && vars.len() < all.params.vars().len());
            for (name, tensor) in some.params.tensors() {
                assert_eq!(tensor.track_op(), trained.includes(name), "{name}");
            }
            let (again, part) = loss_and_gradients(some.network.as_ref(), vars, &batch, kernels).unwrap();
            assert_eq!(loss, again);
            let wanted = whole.iter().filter(|(name, _)| trained.includes(name));
            assert_eq!(flat(&part), flat(wanted), "{trained}");
        }
    }
}

#[test]
fn a_transfer_keeps_the_graph_of_feature_maps_alone() {
    let (some, batch) = (trainee("hedgehog", Trained::FeatureMaps), batch());
    let distances = some.network.distances(&batch, Kernels::Plain).unwrap();
    assert_eq!(distances.len(), 2);
    for distance in &distances {
        assert!(distance.square.track_op() && !distance.scale.track_op(), "{}", distance.layer);
    }
    let found = mean_distance(&distances).unwrap().backward().unwrap();
    let all = trainee("hedgehog", Trained::All);
    let loss = mean_distance(&all.network.distances(&batch, Kernels::Plain).unwrap()).unwrap();
    let maps: BTreeMap<String, Var> = all
        .params
        .vars()
        .iter()
        .filter(|(name, _)| Trained::FeatureMaps.includes(name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let wanted = flat(&gradients(&loss, &maps).unwrap());
    for (name, tensor) in some.params.tensors() {
        let got = found.get(tensor).map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert_eq!(got.as_ref(), wanted.get(name), "{name}");
    }
}

#[test]
fn transfer_moves_feature_maps_alone_and_brings_them_nearer_and_the_next_stage_goes_on_from_there() {
    let (start, held_out) = (trainee("hedgehog", Trained::FeatureMaps), [batch()]);
    let before = flat(start.params.tensors());
    let far = evaluate_distance(start.network.as_ref(), &held_out).unwrap();
    train(&start, Recipe { objective: Objective::Transfer, trained: Trained::FeatureMaps, ..recipe(40) });
    let near = evaluate_distance(start.network.as_ref(), &held_out).unwrap();
    assert!(near.loss < 0.9 * far.loss, "{far:?} {near:?}");
    let after = flat(start.params.tensors());
    for (name, values) in &after {
        assert_eq!(before[name] != *values, Trained::FeatureMaps.includes(name), "{name}");
    }
    let next = start.again(Trained::All).unwrap();
    assert_eq!(flat(next.params.tensors()), after);
    assert_eq!(next.params.vars().len(), next.params.tensors().len());
    train(&next, recipe(3));
    let moved = flat(next.params.tensors());
    // Keys and values of a layer have biases whose gradient vanishes; all else moves.
    assert!(
        moved["embedding"] != after["embedding"] && moved["blocks.1.ffn.up.weight"] != after["blocks.1.ffn.up.weight"]
    );
}
