//! The workload `train`: one step of a model on a batch, and its check against the f64 formula.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};

use super::{
    Visiting,
    check::{Checked, compare, dumped, small_model, tolerance, well_conditioned, worst},
    fused::kernels,
    measured,
    memory::Watch,
    whole_model::{random_ids, setup, time_tokens, with_weights},
};
use crate::{
    attention::{oracle::to_f64, tensor_dtype},
    checkpoint::Checkpoint,
    model::{Decoder, Setup, oracle},
    params::Params,
    spec::{Cell, DType},
    sweep::{CheckReport, Measured},
    train::{AdamW, AdamWSettings, Batch, Gradients, Trained, loss_and_gradients, step},
};

/// So small that thousands of steps on one batch change nothing that could overflow or settle; a step costs the same.
const LEARNING_RATE: f64 = 1e-7;

/// Length of the step along the gradient over which the loss is differenced. In f64 it may be so short that next to no kink
/// of a relu lies within, and that what a small denominator bends is straight; rounding is a millionth of the slope still.
const DIFFERENCE: f64 = 1e-6;

/// Relative error allowed to the slope along the gradient, beside what rounding of the forward allows.
const BENT: f64 = 1e-3;

/// One step after another on one batch of random tokens. Model, optimiser and batch are made before; the loss is read back in
/// every step, as training does.
pub(super) fn train(cell: &Cell, visit: &Visiting<'_>) -> Result<Measured> {
    let mut watch = Watch::start(visit.device, visit.request.first);
    let n = cell.seq_len;
    let setup = setup(cell, n, visit.checkpoint)?;
    let params = Params::trainable(visit.device, tensor_dtype(cell.dtype), cell.seed);
    let mut params = with_weights(params, &setup, visit.checkpoint);
    let model = Decoder::new(&setup, &mut params)?;
    let settings = AdamWSettings { learning_rate: LEARNING_RATE, ..AdamWSettings::default() };
    let mut optimiser = AdamW::new(settings, params.vars())?;
    let ids = Tensor::from_vec(random_ids(cell, n + 1), (cell.batch_size, n + 1), visit.device)?;
    let batch = Batch::of_sequences(&ids)?;
    let call = || {
        step(&model, params.vars(), &mut optimiser, &batch, kernels(cell))?;
        visit.device.synchronize()
    };
    let sampled = time_tokens(visit, &mut watch, visit.request.first, visit.request.samples_per_round, call)?;
    Ok(measured(sampled, watch.reading(None)))
}

/// Three parts of a step against f64 formulas: the logits, the slope of the loss along the gradient, and the first update.
pub(super) fn check(cell: &Cell, checkpoint: Option<&Checkpoint>, device: &Device) -> Result<Checked> {
    let (setup, batch, n) = small_model(cell, checkpoint, 0)?;
    let mut params = Params::trainable(device, tensor_dtype(cell.dtype), cell.seed);
    let model = Decoder::new(&setup, &mut params)?;
    let (ids, want) = well_conditioned(&setup, &mut params, batch, n)?;
    let vocab = setup.shape.vocab_size;
    let targets: Vec<u32> = ids.iter().map(|id| (5 * id + 3) % vocab as u32).collect();
    let tensor = |ids: &[u32]| Tensor::from_slice(ids, (batch, n), device);
    let examples = Batch::new(tensor(&ids)?, tensor(&targets)?)?;
    let vars = params.vars().clone();
    let before = numbers(vars.iter().map(|(name, var)| (name, var.as_tensor())))?;
    let mut tensors = dumped(&params);
    // The dump shows the parameters before the step, and variables change in place.
    for tensor in tensors.values_mut() {
        *tensor = tensor.detach().copy()?;
    }

    let logits = model.forward_by(&examples.inputs, None, kernels(cell))?.detach();
    let tolerance = tolerance(cell.dtype, setup.shape.n_layers);
    let forward = compare(&to_f64(&logits)?, &want.logits, tolerance, |_| want.condition);

    let (_, gradients) = loss_and_gradients(&model, &vars, &examples, kernels(cell))?;
    let (by_gradient, by_formula) = slopes(cell, &setup, (&ids, &targets), batch, (&before, &gradients))?;
    let slope = compare(&[by_gradient], &[by_formula], tolerance + BENT, |_| want.condition);

    let settings = AdamWSettings::default();
    AdamW::new(settings, &vars)?.update_by(&vars, &gradients, kernels(cell))?;
    let update = check_update(&settings, &vars, &before, &gradients, cell.dtype)?;

    let report = worst(worst(forward, slope), update);
    tensors.extend(gradients.into_iter().map(|(name, g)| (format!("gradient.{name}"), g)));
    tensors.extend(vars.into_iter().map(|(name, var)| (format!("updated.{name}"), var.as_tensor().clone())));
    tensors.insert("ids".to_owned(), examples.inputs);
    tensors.insert("targets".to_owned(), examples.targets);
    tensors.insert("reference".to_owned(), Tensor::from_vec(want.logits, logits.shape(), &Device::Cpu)?);
    tensors.insert("logits".to_owned(), logits);
    Ok(Checked { report, tensors, batch_size: batch, n_tokens: n, tolerance })
}

/// Numbers of every tensor in f64, by name.
type Numbers = BTreeMap<String, Vec<f64>>;

fn numbers<'a>(tensors: impl Iterator<Item = (&'a String, &'a Tensor)>) -> Result<Numbers> {
    tensors.map(|(name, tensor)| Ok((name.clone(), to_f64(tensor)?))).collect()
}

fn set_all(vars: &BTreeMap<String, Var>, values: &Numbers) -> Result<()> {
    for (name, values) in values {
        let var = &vars[name];
        let tensor = Tensor::from_slice(values, var.shape(), &Device::Cpu)?;
        var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
    }
    Ok(())
}

/// The slope of the loss along the gradient, by the gradient and by differences of the f64 formula. The formula moves
/// parameters of its own in f64, since those of the model are too coarse to be moved so little. Those of feature maps it
/// reads in f32 all the same, so that both slopes are taken over the way that they really went.
fn slopes(
    cell: &Cell,
    setup: &Setup,
    (ids, targets): (&[u32], &[u32]),
    batch: usize,
    (start, gradients): (&Numbers, &Gradients),
) -> Result<(f64, f64)> {
    let mut params = Params::trainable(&Device::Cpu, candle_core::DType::F64, cell.seed);
    Decoder::new(setup, &mut params)?;
    let vars = params.vars().clone();
    let gradients = numbers(gradients.iter())?;
    let norm = gradients.values().flatten().map(|g| g * g).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    let mut at = |length: f64| -> Result<(f64, f64)> {
        let mut way = 0.0;
        let moved = start.iter().map(|(name, values)| {
            let is_coarse = Trained::FeatureMaps.includes(name);
            let towards = values.iter().zip(&gradients[name]).map(|(x, g)| {
                let there = x + length * g / norm;
                let there = if is_coarse { f64::from(there as f32) } else { there };
                way += (there - x) * g;
                there
            });
            (name.clone(), towards.collect())
        });
        set_all(&vars, &moved.collect())?;
        let loss = loss(&oracle::logits(setup, &mut params, ids, batch)?.logits, targets, setup.shape.vocab_size);
        Ok((way, loss))
    };
    let ((way_up, loss_up), (way_down, loss_down)) = (at(DIFFERENCE)?, at(-DIFFERENCE)?);
    let per_length = 1.0 / (2.0 * DIFFERENCE);
    Ok(((way_up - way_down) * per_length, (loss_up - loss_down) * per_length))
}

/// Mean over positions of `ln Σ exp(x) − x_target`.
fn loss(logits: &[f64], targets: &[u32], vocab: usize) -> f64 {
    let of_row = |(row, target): (&[f64], &u32)| {
        let most = row.iter().copied().fold(f64::MIN, f64::max);
        most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln() - row[*target as usize]
    };
    logits.chunks(vocab).zip(targets).map(of_row).sum::<f64>() / targets.len() as f64
}

/// The first update: both moments are then the gradient and its square, so that a parameter goes from θ to
/// `θ − η·λ·θ − η·g / (|g| + ε)`.
fn check_update(
    settings: &AdamWSettings,
    vars: &BTreeMap<String, Var>,
    before: &Numbers,
    gradients: &Gradients,
    dtype: DType,
) -> Result<CheckReport> {
    let gradients = numbers(gradients.iter())?;
    let AdamWSettings { learning_rate, weight_decay, epsilon, .. } = *settings;
    let moved = before.iter().flat_map(|(name, theta)| {
        let one = move |(x, g): (&f64, &f64)| x - learning_rate * (weight_decay * x + g / (g.abs() + epsilon));
        theta.iter().zip(&gradients[name]).map(one)
    });
    let want: Vec<f64> = moved.collect();
    let got: Vec<f64> =
        numbers(vars.iter().map(|(name, var)| (name, var.as_tensor())))?.into_values().flatten().collect();
    // Rounding of one parameter: the largest is about 1.
    let rounding = match dtype {
        DType::F32 => 1e-6,
        DType::F16 => 2e-3,
        DType::Bf16 => 2e-2,
    };
    Ok(compare(&got, &want, rounding, |_| 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_the_formula_by_hand() {
        // Two equal logits: ln 2; and a certain one: 0.
        let got = loss(&[0.0, 0.0, 1000.0, 0.0], &[1, 0], 2);
        assert!((got - 2f64.ln() / 2.0).abs() < 1e-12, "{got}");
    }
}
