//! Whole-model workloads: `decode`, tokens at a context depth, and `generate`, a whole generation with milestones.

use std::{ops::Range, time::Duration};

use candle_core::Result;
use rand::Rng;

use super::{
    Visiting, as_is, cross,
    fused::{computed_in, kernels, weights_in_bf16},
    heads, layer, measured,
    memory::{Watch, allocated_by},
    resolved,
};
use crate::{
    attention::tensor_dtype,
    checkpoint::Checkpoint,
    measure::{Block, Sampled, Schedule, each, sample},
    model::{Decoder, Session, Setup, greedy},
    params::{Params, named_rng},
    spec::{Cell, Positions, Workload},
    sweep::Measured,
};

/// Tokens of the session that a generation warms up with.
pub(super) const SPARE: usize = 32;

/// The cell's model with room for `max_len` tokens: that of the checkpoint, with the cell's variant in every layer
/// or as it is, or one of random weights.
pub(super) fn setup(cell: &Cell, max_len: usize, checkpoint: Option<&Checkpoint>) -> Result<Setup> {
    let Some(shape) = cell.model else { candle_core::bail!("{} needs the shape of a model", cell.workload) };
    let uniform = Setup::uniform(shape, heads(cell), resolved(cell), cross(cell), max_len);
    let Some(checkpoint) = checkpoint else { return Ok(uniform) };
    let of = as_is::of_workload(cell, checkpoint);
    let layers = if cell.variant.is_as_is() { of.layers } else { uniform.layers };
    // A learned table is as long as it is.
    let max_len = if shape.positions == Positions::Learned { of.max_len } else { max_len };
    Ok(Setup { layers, max_len, ..of })
}

/// Parameters of that model, found in the checkpoint or drawn.
pub(super) fn with_weights(params: Params, setup: &Setup, checkpoint: Option<&Checkpoint>) -> Params {
    match checkpoint {
        Some(checkpoint) => params.from_source(checkpoint.source_of(setup)),
        None => params,
    }
}

pub(super) fn model(cell: &Cell, max_len: usize, visit: &Visiting<'_>) -> Result<Decoder> {
    let setup = setup(cell, max_len, visit.checkpoint)?;
    let params = Params::frozen(visit.device, tensor_dtype(computed_in(cell)), cell.seed);
    let mut params = with_weights(params, &setup, visit.checkpoint);
    let model = Decoder::new(&setup, &mut params)?;
    // Else every weight would be there twice while it is narrowed.
    drop(params);
    kept(cell, model)
}

/// The model with its weights as the cell keeps them.
pub(super) fn kept(cell: &Cell, model: Decoder) -> Result<Decoder> {
    if weights_in_bf16(cell) { model.with_weights_in_bf16() } else { Ok(model) }
}

/// Whether a checkpoint has what the cell's workload wants of a model.
///
/// # Errors
/// The reason why not.
pub(super) fn suits(cell: &Cell, checkpoint: Option<&Checkpoint>) -> std::result::Result<(), String> {
    let Some(setup) = checkpoint.map(Checkpoint::setup) else { return Ok(()) };
    match (cell.workload == Workload::Translate, setup.has_encoder()) {
        (true, false) => return Err("translate needs an encoder-decoder, and the model is a language model".to_owned()),
        (false, true) => {
            return Err(format!("{} needs a language model, and the model is an encoder-decoder", cell.workload));
        }
        _ => {}
    }
    let spare = if cell.workload == Workload::Decode { SPARE } else { 0 };
    let parts = [cell.seq_len, cell.n_prompt.unwrap_or(0), cell.n_gen.unwrap_or(0), spare];
    let needed = parts.iter().fold(0usize, |sum, n| sum.saturating_add(*n));
    match setup.shape.positions {
        Positions::Learned if needed > setup.max_len => {
            Err(format!("the model knows {} positions and needs {needed}", setup.max_len))
        }
        _ => Ok(()),
    }
}

/// Bytes that the allocator hands out for all layers' states at exactly `depth` tokens; `None` off the CPU.
pub(super) fn state_bytes(model: &Decoder, batch: usize, depth: usize) -> Result<Option<u64>> {
    if !matches!(model.device(), candle_core::Device::Cpu) {
        return Ok(None);
    }
    let steppers = model.blocks().iter().map(|b| b.attention.attention.stepper()).collect::<Result<Vec<_>>>()?;
    let mut states = Vec::with_capacity(steppers.len());
    let ((), bytes) = allocated_by(|| states.extend(steppers.iter().map(|s| s.state(batch, depth))));
    Ok(bytes)
}

/// First ids of the batch: none alike where the vocabulary allows it.
pub(super) fn first_ids(cell: &Cell) -> Vec<u32> {
    let vocab = cell.model.map_or(1, |m| m.vocab_size);
    (0..cell.batch_size).map(|b| ((b * 7 + 1) % vocab) as u32).collect()
}

/// Random ids (b, n), row by row.
pub(super) fn random_ids(cell: &Cell, n: usize) -> Vec<u32> {
    let vocab = cell.model.map_or(1, |m| m.vocab_size);
    let mut rng = named_rng(cell.seed, "tokens");
    (0..cell.batch_size * n).map(|_| rng.random_range(0..vocab as u32)).collect()
}

/// `n_gen` greedy tokens from context depth `seq_len`, each a sample of its own.
pub(super) fn decode(cell: &Cell, visit: &Visiting<'_>) -> Result<Measured> {
    let mut watch = Watch::start(visit.device, visit.request.first);
    let (depth, n_gen) = (cell.seq_len, cell.n_gen.unwrap_or(1));
    let capacity = depth + n_gen;
    let model = model(cell, capacity, visit)?;
    let state_bytes = state_bytes(&model, cell.batch_size, depth)?;
    let mut session = Session::by(&model, cell.batch_size, capacity, kernels(cell))?;
    session.fill(depth, &layer::tile(cell))?;
    let mut warm = None;
    if visit.request.first {
        warm = Some(warm_up(&mut session, depth..capacity, cell, visit, &mut watch)?);
    }
    // The discarded token of the measured part stands just before the depth.
    session.rewind(depth - 1);
    let mut ids = first_ids(cell);
    let sampled = time_tokens(visit, &mut watch, false, n_gen, || session.advance(&mut ids))?;
    Ok(Measured {
        warmup_count: warm.as_ref().map_or(0, |w| w.warmup_count) + sampled.warmup_count,
        warmup_verified: warm.as_ref().is_none_or(|w| w.warmup_verified),
        first_ns: warm.and_then(|w| w.first_ns),
        ..measured(sampled, watch.reading(state_bytes))
    })
}

/// Times tokens (or other calls that are samples of their own) one by one, after those that warm up; looks at memory in between.
pub(super) fn time_tokens(
    visit: &Visiting<'_>,
    watch: &mut Watch,
    first: bool,
    samples: usize,
    step: impl FnMut() -> Result<()>,
) -> Result<Sampled> {
    let schedule = Schedule { first, block: Block::Fixed(1), samples, timeout: visit.request.cell_timeout };
    let mut between = || {
        watch.look();
        (visit.rest)();
        (visit.stop)()
    };
    sample(visit.clock, &schedule, &mut between, &mut each(step))
}

/// Times of a generation in ns: of each token, and from the start to the end of each.
pub(super) struct Generation {
    pub(super) tokens: Vec<f64>,
    pub(super) reached: Vec<f64>,
}

/// `n` greedy tokens of every sequence after `ids`, or fewer if it is over before. What lies between two of them, a look or a rest,
/// is part of no time.
pub(super) fn generation(
    session: &mut Session<'_>,
    mut ids: Vec<u32>,
    n: usize,
    visit: &Visiting<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<Generation> {
    let mut of = Generation { tokens: Vec::with_capacity(n), reached: Vec::with_capacity(n) };
    let mut all = Duration::ZERO;
    while of.tokens.len() < n && !is_over() {
        let start = visit.clock.now();
        session.advance(&mut ids)?;
        let one = visit.clock.now() - start;
        all += one;
        of.tokens.push(one.as_nanos() as f64);
        of.reached.push(all.as_nanos() as f64);
        (visit.rest)();
    }
    Ok(of)
}

/// Discards tokens that stand at `positions`, again and again, until they agree.
pub(super) fn warm_up(
    session: &mut Session<'_>,
    positions: Range<usize>,
    cell: &Cell,
    visit: &Visiting<'_>,
    watch: &mut Watch,
) -> Result<Sampled> {
    let mut ids = first_ids(cell);
    let step = || {
        if session.position() == positions.end {
            session.rewind(positions.start);
        }
        session.advance(&mut ids)
    };
    time_tokens(visit, watch, visit.request.first, 0, step)
}

/// One generation as long as the unit's longest cell, read off at every cell's length. The prompt is not timed.
pub(super) fn generate(unit: &[&Cell], visit: &Visiting<'_>) -> Result<Vec<Measured>> {
    let mut watch = Watch::start(visit.device, visit.request.first);
    let Some(cell) = unit.last() else { return Ok(Vec::new()) };
    let (longest, prompt) = (cell.seq_len, cell.n_prompt.unwrap_or(1));
    let model = model(cell, longest + prompt, visit)?;
    let bytes =
        unit.iter().map(|c| state_bytes(&model, c.batch_size, prompt + c.seq_len)).collect::<Result<Vec<_>>>()?;
    let begun = visit.clock.now();
    let is_over = || (visit.stop)() || visit.clock.now() - begun >= visit.request.cell_timeout;
    let room = SPARE.min(model.setup().max_len);
    let mut short = Session::by(&model, cell.batch_size, room, kernels(cell))?;
    let warm = warm_up(&mut short, 0..room, cell, visit, &mut watch)?;
    drop(short);
    let mut session = Session::by(&model, cell.batch_size, longest + prompt, kernels(cell))?;
    let mut ids = first_ids(cell);
    if !is_over() {
        ids = greedy(&session.prefill(&random_ids(cell, prompt))?)?;
    }
    let Generation { tokens, reached } = generation(&mut session, ids, longest, visit, &is_over)?;
    let timed_out = tokens.len() < longest && !(visit.stop)();
    watch.look();
    let memory = watch.reading(None);
    let measured = unit.iter().zip(bytes).map(|(c, state_bytes)| {
        let done = reached.get(c.seq_len - 1).copied();
        let is_longest = c.seq_len == longest;
        let mut memory = if is_longest { memory } else { Default::default() };
        memory.state_bytes = state_bytes;
        Measured {
            figure_ns: done.map_or(0.0, |ns| ns / c.seq_len as f64),
            samples_ns: done.map_or_else(Vec::new, |_| tokens[..c.seq_len].to_vec()),
            iters_per_sample: 1,
            warmup_count: warm.warmup_count,
            warmup_verified: warm.warmup_verified,
            first_ns: warm.first_ns,
            e2e_ns: done,
            memory,
            timed_out,
        }
    });
    Ok(measured.collect())
}
