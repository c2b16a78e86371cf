//! The workload `translate`: an encoder-decoder generates as many tokens as its source has, and the check of it.

use candle_core::{Device, Result, Tensor};

use super::{
    Visiting,
    check::{Checked, best_draw, compare, drawn_id, dumped, small_model, tolerance, worst},
    fused::kernels,
    memory::{Watch, allocated_by},
    whole_model::{Generation, SPARE, first_ids, generation, random_ids, setup, warm_up, with_weights},
};
use crate::{
    attention::{State, oracle::to_f64, tensor_dtype},
    checkpoint::Checkpoint,
    model::{
        Encoded, Session, Setup, Translator,
        oracle::{self, Sources},
    },
    params::Params,
    spec::Cell,
    sweep::{CheckReport, Measured},
};

/// Source tokens of a check: unlike the target's, and with padding behind all but the longest source.
const CHECKED_SOURCE: usize = 12;

/// One generation over encoded sources. A token is a sample, and the figure is the time per token of the whole
/// generation; encoding is only in the time from end to end.
pub(super) fn translate(cell: &Cell, visit: &Visiting<'_>) -> Result<Measured> {
    let mut watch = Watch::start(visit.device, visit.request.first);
    let (n, source_len) = (cell.seq_len, cell.source_len());
    let setup = setup(cell, n.max(source_len), visit.checkpoint)?;
    let params = Params::frozen(visit.device, tensor_dtype(cell.dtype), cell.seed);
    let model = Translator::new(&setup, &mut with_weights(params, &setup, visit.checkpoint))?;
    let source = Tensor::from_vec(random_ids(cell, source_len), (cell.batch_size, source_len), visit.device)?;
    let begun = visit.clock.now();
    let is_over = || (visit.stop)() || visit.clock.now() - begun >= visit.request.cell_timeout;
    visit.device.synchronize()?;
    let start = visit.clock.now();
    let encoded = model.encode_by(&source, None, kernels(cell))?;
    let mut session = Session::translating(&model, n, &encoded, kernels(cell))?;
    visit.device.synchronize()?;
    let encoding = (visit.clock.now() - start).as_nanos() as f64;
    // A session of its own warms up, over the same source.
    let room = SPARE.min(n);
    let mut short = Session::translating(&model, room, &encoded, kernels(cell))?;
    let warm = warm_up(&mut short, 0..room, cell, visit, &mut watch)?;
    drop(short);
    let Generation { tokens, reached } = generation(&mut session, first_ids(cell), n, visit, &is_over)?;
    let timed_out = tokens.len() < n && !(visit.stop)();
    let done = reached.get(n - 1).copied();
    drop(session);
    let state_bytes = state_bytes(&model, &encoded, n)?;
    Ok(Measured {
        figure_ns: done.map_or(0.0, |ns| ns / n as f64),
        samples_ns: done.map_or_else(Vec::new, |_| tokens),
        iters_per_sample: 1,
        warmup_count: warm.warmup_count,
        warmup_verified: warm.warmup_verified,
        first_ns: warm.first_ns,
        e2e_ns: done.map(|ns| encoding + ns),
        memory: watch.reading(state_bytes),
        timed_out,
    })
}

/// Bytes that the allocator hands out for all layers' states at `n` tokens and their memories of the source; `None` off
/// the CPU.
fn state_bytes(model: &Translator, source: &Encoded, n: usize) -> Result<Option<u64>> {
    if !matches!(model.decoder.device(), Device::Cpu) {
        return Ok(None);
    }
    let batch = source.hidden.dim(0)?;
    let blocks = model.decoder.blocks();
    let steppers = blocks.iter().map(|b| b.attention.attention.stepper()).collect::<Result<Vec<_>>>()?;
    let layers = blocks.iter().filter_map(|b| b.cross.as_ref());
    let memories = layers.map(|cross| cross.absorb(source)).collect::<Result<Vec<_>>>()?;
    let mut states = Vec::with_capacity(steppers.len());
    let ((), own) = allocated_by(|| states.extend(steppers.iter().map(|s| s.state(batch, n))));
    let mut of_source = Vec::with_capacity(memories.len());
    let mut failed = Ok(());
    let ((), cross) = allocated_by(|| {
        for memory in &memories {
            match State::of_source(memory) {
                Ok(state) => of_source.push(state),
                Err(e) => failed = Err(e),
            }
        }
    });
    failed?;
    Ok(own.zip(cross).map(|(own, cross)| own + cross - of_source.iter().map(State::bookkeeping_bytes).sum::<u64>()))
}

/// A batch of sources of unlike lengths through a small model, in parallel and token by token, against the f64 model.
pub(super) fn check(cell: &Cell, checkpoint: Option<&Checkpoint>, device: &Device) -> Result<Checked> {
    let (mut setup, batch, n) = small_model(cell, checkpoint, 0)?;
    let padded = cell.source_len().min(CHECKED_SOURCE);
    setup.max_len = n.max(padded);
    let lengths: Vec<usize> = (0..batch).map(|b| padded.div_ceil(b + 1)).collect();
    let mut params = Params::frozen(device, tensor_dtype(cell.dtype), cell.seed);
    let model = Translator::new(&setup, &mut params)?;
    let ((source, target), want) = well_conditioned(&setup, &mut params, &lengths, (padded, n))?;
    let tensor = |ids: &[u32], n: usize| Tensor::from_slice(ids, (batch, n), device);
    let (source, ids) = (tensor(&source, padded)?, tensor(&target, n)?);
    let parallel = model.forward(&source, Some(&lengths), &ids)?;
    let encoded = model.encode_by(&source, Some(&lengths), kernels(cell))?;
    let mut session = Session::translating(&model, n, &encoded, kernels(cell))?;
    let mut steps = Vec::with_capacity(n);
    for t in 0..n {
        let now: Vec<u32> = target.chunks(n).map(|row| row[t]).collect();
        steps.push(session.step(&now)?);
    }
    let logits = Tensor::stack(&steps, 1)?;
    let tolerance = tolerance(cell.dtype, 3 * setup.shape.n_layers);
    let [a, b] = [&parallel, &logits]
        .map(|got| -> Result<CheckReport> { Ok(compare(&to_f64(got)?, &want.logits, tolerance, |_| want.condition)) });
    let report = worst(a?, b?);
    let mut tensors = dumped(&params);
    let lengths: Vec<u32> = lengths.iter().map(|n| *n as u32).collect();
    tensors.insert("source".to_owned(), source);
    tensors.insert("source_lengths".to_owned(), Tensor::from_vec(lengths, batch, &Device::Cpu)?);
    tensors.insert("ids".to_owned(), ids);
    tensors.insert("reference".to_owned(), Tensor::from_vec(want.logits, logits.shape(), &Device::Cpu)?);
    tensors.insert("logits".to_owned(), logits);
    tensors.insert("logits_parallel".to_owned(), parallel);
    Ok(Checked { report, tensors, batch_size: batch, n_tokens: n, tolerance })
}

/// Source and target ids.
type Pair = (Vec<u32>, Vec<u32>);

/// Source and target ids whose logits the formula determines well, and those logits; the best of a few draws.
fn well_conditioned(
    setup: &Setup,
    params: &mut Params,
    lengths: &[usize],
    (padded, n): (usize, usize),
) -> Result<(Pair, oracle::Reference)> {
    best_draw(|draw| {
        let source: Vec<u32> = (2..lengths.len() * padded + 2).map(|i| drawn_id(i, draw, setup)).collect();
        let target: Vec<u32> = (0..lengths.len() * n).map(|i| drawn_id(i, draw, setup)).collect();
        let reference = oracle::translation(setup, params, Sources { ids: &source, lengths }, &target)?;
        Ok(((source, target), reference))
    })
}
