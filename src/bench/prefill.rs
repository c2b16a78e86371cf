//! The workload `prefill`: a whole prompt through a model, to its first token.

use candle_core::{Device, Result, Tensor};

use super::{
    Visiting,
    check::{Checked, compare, dumped, small_model, tolerance, well_conditioned},
    fused::kernels,
    measured,
    memory::Watch,
    whole_model::{model, random_ids, state_bytes, time_tokens},
};
use crate::{
    attention::{max_len, oracle::to_f64, tensor_dtype},
    checkpoint::Checkpoint,
    model::{Decoder, Session, greedy},
    params::Params,
    spec::Cell,
    sweep::Measured,
};

/// Tokens that the check generates after the prompt, from the states it has left.
const STEPS_AFTER: usize = 2;

/// Time to the first token: the prompt, the logits of its last position, the choice of a token. Each call is a sample and
/// starts from nothing; model, session and prompt are made before.
pub(super) fn prefill(cell: &Cell, visit: &Visiting<'_>) -> Result<Measured> {
    let mut watch = Watch::start(visit.device, visit.request.first);
    let n = cell.seq_len;
    let model = model(cell, n, visit)?;
    let state_bytes = state_bytes(&model, cell.batch_size, n)?;
    let prompt = random_ids(cell, n);
    let mut session = Session::by(&model, cell.batch_size, n, kernels(cell))?;
    let call = || {
        greedy(&session.prefill(&prompt)?)?;
        visit.device.synchronize()
    };
    let sampled = time_tokens(visit, &mut watch, visit.request.first, visit.request.samples_per_round, call)?;
    Ok(measured(sampled, watch.reading(state_bytes)))
}

/// Logits after the prompt and after a few steps from there, against the f64 model.
pub(super) fn check(cell: &Cell, checkpoint: Option<&Checkpoint>, device: &Device) -> Result<Checked> {
    let (setup, batch, prompt) = small_model(cell, checkpoint, STEPS_AFTER)?;
    let n = max_len(&cell.variant).map_or(prompt + STEPS_AFTER, |known| known.min(prompt + STEPS_AFTER));
    let mut params = Params::frozen(device, tensor_dtype(cell.dtype), cell.seed);
    let model = Decoder::new(&setup, &mut params)?;
    let (ids, want) = well_conditioned(&setup, &mut params, batch, n)?;
    let mut session = Session::by(&model, batch, n, kernels(cell))?;
    let first: Vec<u32> = ids.chunks(n).flat_map(|row| &row[..prompt]).copied().collect();
    let mut logits = vec![session.prefill(&first)?];
    for t in prompt..n {
        let now: Vec<u32> = ids.chunks(n).map(|row| row[t]).collect();
        logits.push(session.step(&now)?);
    }
    let out = Tensor::stack(&logits, 1)?;
    let vocab = setup.shape.vocab_size;
    let last = want.logits.chunks(n * vocab).flat_map(|rows| &rows[(prompt - 1) * vocab..]).copied();
    let reference: Vec<f64> = last.collect();
    let tolerance = tolerance(cell.dtype, setup.shape.n_layers);
    let report = compare(&to_f64(&out)?, &reference, tolerance, |_| want.condition);
    let mut tensors = dumped(&params);
    tensors.insert("ids".to_owned(), Tensor::from_vec(ids, (batch, n), &Device::Cpu)?);
    tensors.insert("reference".to_owned(), Tensor::from_vec(reference, out.shape(), &Device::Cpu)?);
    tensors.insert("logits".to_owned(), out);
    Ok(Checked { report, tensors, batch_size: batch, n_tokens: n, tolerance })
}
