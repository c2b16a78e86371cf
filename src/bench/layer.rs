//! Layer workloads: `attention`, one decode step in place, and `forward`, a whole sequence.

use candle_core::{Device, Result, Tensor};

use super::{
    Visiting, costs,
    fused::kernels,
    heads, measured,
    memory::{Watch, allocated_by},
    resolved,
};
use crate::{
    attention::{self, Attention, Heads, Mask, Qkv, Stepper, TensorState, Token, tensor_dtype},
    measure::{Block, Schedule, sample},
    params::{Init, Params, draw, named_rng},
    spec::Cell,
    sweep::Measured,
};

/// Random numbers that made-up contexts repeat: a prime, so that no two heads see the same.
const TILE: usize = 65_521;

/// Numbers that fill caches of the cell's context.
pub(super) fn tile(cell: &Cell) -> Vec<f32> {
    draw(&mut named_rng(cell.seed, "context"), TILE, Init::Normal(1.0))
}

/// The cell's layer.
pub(super) fn build(cell: &Cell, device: &Device) -> Result<(Box<dyn Attention>, Params)> {
    let mut params = Params::frozen(device, tensor_dtype(cell.dtype), cell.seed);
    let layer = attention::build(&resolved(cell), heads(cell), &mut params, "layer")?;
    Ok((layer, params))
}

/// q, k, v and the gate's pre-activations in f32 with their shapes (b, heads, n, width); a gate that the variant does
/// not have has the width 0.
pub(super) type Inputs = [(Vec<f32>, [usize; 4]); 4];

/// Random inputs as the layer takes them.
pub(super) fn inputs(cell: &Cell, batch: usize, n: usize, stepper: &dyn Stepper, name: &str) -> Inputs {
    let Heads { n_heads, n_kv_heads, head_dim } = heads(cell);
    let (width, gate) = (stepper.input_dim(), usize::from(stepper.gated()));
    let parts =
        [("q", n_heads, width), ("k", n_kv_heads, width), ("v", n_kv_heads, head_dim), ("gate", n_kv_heads, gate)];
    parts.map(|(part, h, width)| {
        let mut rng = named_rng(cell.seed, &format!("{name}.{part}"));
        (draw(&mut rng, batch * h * n * width, Init::Normal(1.0)), [batch, h, n, width])
    })
}

pub(super) fn qkv(inputs: &Inputs, cell: &Cell, device: &Device) -> Result<Qkv> {
    let [q, k, v, gate] = inputs.each_ref().map(|(numbers, shape)| {
        Tensor::from_slice(numbers, shape.as_slice(), device)?.to_dtype(tensor_dtype(cell.dtype))
    });
    let gate = gate?;
    let gate = if gate.elem_count() > 0 { Some(gate.squeeze(3)?) } else { None };
    Ok(Qkv { q: q?, k: k?, v: v?, gate })
}

/// One decode step at context depth `seq_len`, again and again at that depth.
pub(super) fn attention(cell: &Cell, cache_bytes: u64, visit: &Visiting<'_>) -> Result<Measured> {
    let watch = Watch::start(visit.device, visit.request.first);
    let (layer, _params) = build(cell, visit.device)?;
    let stepper = layer.stepper_by(kernels(cell))?;
    let token = inputs(cell, cell.batch_size, 1, stepper.as_ref(), "token");
    if matches!(visit.device, Device::Cpu) {
        return step_on_slices(cell, cache_bytes, visit, stepper.as_ref(), &token, watch);
    }
    let token = qkv(&token, cell, visit.device)?;
    let tile = tile(cell);
    let filled = || -> Result<TensorState> {
        let mut state = layer.tensor_state(cell.batch_size, cell.seq_len, tensor_dtype(cell.dtype), visit.device)?;
        state.fill(cell.seq_len, &tile)?;
        Ok(state)
    };
    let mut states = vec![filled()?];
    let bytes = states[0].used_bytes();
    let n = costs::rotation(cell, bytes, cache_bytes) as usize;
    while states.len() < n {
        states.push(filled()?);
    }
    let mut next = 0;
    measure(visit, watch, Some(bytes), &mut || {
        let state = &mut states[next];
        state.rewind(cell.seq_len - 1);
        layer.extend(&token, state)?;
        next = (next + 1) % n;
        Ok(())
    })
}

fn step_on_slices(
    cell: &Cell,
    cache_bytes: u64,
    visit: &Visiting<'_>,
    stepper: &dyn Stepper,
    token: &Inputs,
    watch: Watch,
) -> Result<Measured> {
    let batch = cell.batch_size;
    let mut scratch = vec![0.0; stepper.scratch_len(batch)];
    let mut out = vec![0.0; batch * cell.n_heads * cell.head_dim];
    let (mut first, state_bytes) = allocated_by(|| stepper.state(batch, cell.seq_len));
    first.fill(cell.seq_len, &tile(cell));
    let n = costs::rotation(cell, first.used_bytes(), cache_bytes) as usize;
    let mut states = vec![first; n];
    let [q, k, v, gate] = token.each_ref().map(|(numbers, _)| numbers.as_slice());
    let token = Token { q, k, v, gate };
    let mut next = 0;
    measure(visit, watch, state_bytes, &mut || {
        let state = &mut states[next];
        state.rewind(cell.seq_len - 1);
        stepper.step(token, state, &mut scratch, &mut out)?;
        next = if next + 1 == n { 0 } else { next + 1 };
        Ok(())
    })
}

/// The cell's form of the layer over a whole sequence.
pub(super) fn whole(layer: &dyn Attention, cell: &Cell, qkv: &Qkv, mask: &Mask) -> Result<Tensor> {
    layer.forward_by(qkv, mask, kernels(cell))
}

/// The layer over a whole sequence.
pub(super) fn forward(cell: &Cell, cache_bytes: u64, visit: &Visiting<'_>) -> Result<Measured> {
    let watch = Watch::start(visit.device, visit.request.first);
    let (layer, _params) = build(cell, visit.device)?;
    let stepper = layer.stepper()?;
    let one = qkv(&inputs(cell, cell.batch_size, cell.seq_len, stepper.as_ref(), "sequence"), cell, visit.device)?;
    let n = costs::rotation(cell, costs::input_bytes(cell), cache_bytes) as usize;
    let copy = |x: &Qkv| -> Result<Qkv> {
        let gate = x.gate.as_ref().map(Tensor::force_contiguous).transpose()?;
        Ok(Qkv { q: x.q.force_contiguous()?, k: x.k.force_contiguous()?, v: x.v.force_contiguous()?, gate })
    };
    let mut copies = vec![one];
    while copies.len() < n {
        copies.push(copy(&copies[0])?);
    }
    let mask = if cell.causal { Mask::Causal } else { Mask::Full { source_lengths: None } };
    let mut next = 0;
    measure(visit, watch, None, &mut || {
        whole(layer.as_ref(), cell, &copies[next], &mask)?;
        next = (next + 1) % n;
        Ok(())
    })
}

/// Times blocks of calls as the visit asks.
fn measure(
    visit: &Visiting<'_>,
    mut watch: Watch,
    state_bytes: Option<u64>,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<Measured> {
    let request = visit.request;
    let schedule = Schedule {
        first: request.first,
        block: request.iters_per_sample.map_or(Block::AtLeast(request.min_block), Block::Fixed),
        samples: request.samples_per_round,
        timeout: request.cell_timeout,
    };
    let mut between = || {
        watch.look();
        (visit.rest)();
        (visit.stop)()
    };
    let mut block = |n: u64| {
        (0..n).try_for_each(|_| call())?;
        visit.device.synchronize()
    };
    let sampled = sample(visit.clock, &schedule, &mut between, &mut block)?;
    Ok(measured(sampled, watch.reading(state_bytes)))
}
