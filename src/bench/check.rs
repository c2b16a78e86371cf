//! Before a cell is timed: its code against the f64 formula, at a small size with the same shapes otherwise.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::{
    fused::{computed_in, kernels, weights_in_bf16},
    heads, layer, prefill, train, translate, whole_model,
};
use crate::{
    attention::{
        CHUNK, Mask, Stepper, Token,
        oracle::{Inputs, attend, to_f64},
        tensor_dtype, window_of,
    },
    checkpoint::Checkpoint,
    model::{Decoder, Session, Setup, oracle},
    params::Params,
    spec::{Cell, DType, Workload},
    sweep::CheckReport,
};

/// Sequences that the check of a layer computes at the most: enough that larger layers go to the pool.
const LAYER_BATCH: usize = 4;
/// Tokens beyond a chunk of the forward, a block of the softmax step, or a window: each of them is passed.
const BEYOND: usize = 5;
/// Longest check of a window, and the length above which one sequence has to do.
const MAX_TOKENS: usize = 4096;
const MAX_BATCH_TOKENS: usize = 512;
/// Sequences, tokens, layers and vocabulary entries of a checked model.
const MODEL_BATCH: usize = 2;
const MODEL_TOKENS: usize = 9;
const MODEL_LAYERS: usize = 2;
/// Longest check of a model with a window.
const MAX_MODEL_TOKENS: usize = 80;
const MODEL_VOCAB: usize = 256;
/// Inputs of a model are drawn again while the formula itself amplifies errors more than this, so many times.
const GOOD_CONDITION: f64 = 20.0;
const MAX_DRAWS: usize = 12;

/// A check with all that went into it, for `--dump`.
pub(super) struct Checked {
    pub(super) report: CheckReport,
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Sizes of the check where they are not the cell's.
    pub(super) batch_size: usize,
    pub(super) n_tokens: usize,
    pub(super) tolerance: f64,
}

/// Runs the check of the cell's workload.
pub(super) fn check(cell: &Cell, checkpoint: Option<&Checkpoint>, device: &Device) -> Result<Checked> {
    match cell.workload {
        Workload::Attention | Workload::Forward => check_layer(cell, device),
        Workload::Prefill => prefill::check(cell, checkpoint, device),
        Workload::Decode | Workload::Generate => check_model(cell, checkpoint, device),
        Workload::Translate => translate::check(cell, checkpoint, device),
        Workload::Train => train::check(cell, checkpoint, device),
    }
}

/// Error relative to the largest output that rounding alone may cause in a well-conditioned row.
pub(super) fn tolerance(dtype: DType, n_layers: usize) -> f64 {
    let one_layer = match dtype {
        DType::F32 => 1e-4,
        DType::F16 => 1e-2,
        DType::Bf16 => 8e-2,
    };
    one_layer * (1 + n_layers) as f64
}

fn check_layer(cell: &Cell, device: &Device) -> Result<Checked> {
    let window = window_of(&cell.variant).unwrap_or(0);
    let n = cell.seq_len.min(CHUNK.max(window).saturating_add(BEYOND)).min(MAX_TOKENS);
    let batch = cell.batch_size.min(if n > MAX_BATCH_TOKENS { 1 } else { LAYER_BATCH });
    let (attention, params) = layer::build(cell, device)?;
    let stepper = attention.stepper_by(kernels(cell))?;
    let parts = layer::inputs(cell, batch, n, stepper.as_ref(), "check");
    let qkv = layer::qkv(&parts, cell, device)?;
    let mask = if cell.causal { Mask::Causal } else { Mask::Full { source_lengths: None } };
    let out = match cell.workload {
        Workload::Forward => layer::whole(attention.as_ref(), cell, &qkv, &mask)?,
        _ if matches!(device, Device::Cpu) => folded(cell, &parts, batch, n, stepper.as_ref())?,
        _ => {
            let mut state = attention.tensor_state(batch, n, tensor_dtype(cell.dtype), device)?;
            attention.extend(&qkv, &mut state)?
        }
    };
    let inputs = Inputs {
        batch,
        n,
        source: n,
        input_dim: stepper.input_dim(),
        value_dim: cell.head_dim,
        q: to_f64(&qkv.q)?,
        k: to_f64(&qkv.k)?,
        v: to_f64(&qkv.v)?,
        gate: qkv.gate.as_ref().map_or(Ok(Vec::new()), to_f64)?,
    };
    let want = attend(&stepper.weights(), heads(cell), &inputs, &mask);
    let tolerance = tolerance(cell.dtype, 0);
    let report = compare(&to_f64(&out)?, &want.out, tolerance, |i| want.condition[i / cell.head_dim]);
    let shape = out.dims().to_vec();
    let reference = Tensor::from_vec(want.out, shape, &Device::Cpu)?;
    let mut tensors = dumped(&params);
    for (name, tensor) in [("q", &qkv.q), ("k", &qkv.k), ("v", &qkv.v), ("out", &out), ("reference", &reference)] {
        tensors.insert(name.to_owned(), tensor.clone());
    }
    tensors.extend(qkv.gate.map(|gate| ("gate".to_owned(), gate)));
    Ok(Checked { report, tensors, batch_size: batch, n_tokens: n, tolerance })
}

/// The step folded over the inputs, laid out as a forward is.
fn folded(cell: &Cell, parts: &layer::Inputs, batch: usize, n: usize, stepper: &dyn Stepper) -> Result<Tensor> {
    let (h, d) = (cell.n_heads, cell.head_dim);
    let mut state = stepper.state(batch, n);
    let mut scratch = vec![0.0; stepper.scratch_len(batch)];
    let mut out = vec![0.0; batch * h * d];
    let mut steps = Vec::with_capacity(n);
    for t in 0..n {
        let [q, k, v, gate] = parts.each_ref().map(|(data, [_, _, _, width])| -> Vec<f32> {
            data.chunks((n * width).max(1)).flat_map(|rows| rows[t * width..][..*width].iter().copied()).collect()
        });
        stepper.step(Token { q: &q, k: &k, v: &v, gate: &gate }, &mut state, &mut scratch, &mut out)?;
        steps.push(Tensor::from_slice(&out, (batch, h, 1, d), &Device::Cpu)?);
    }
    Tensor::cat(&steps, 2)
}

fn check_model(cell: &Cell, checkpoint: Option<&Checkpoint>, device: &Device) -> Result<Checked> {
    let (setup, batch, n) = small_model(cell, checkpoint, 0)?;
    let mut params = Params::frozen(device, tensor_dtype(computed_in(cell)), cell.seed);
    let model = whole_model::kept(cell, Decoder::new(&setup, &mut params)?)?;
    let (ids, want) = well_conditioned(&setup, &mut params, batch, n)?;
    let mut session = Session::by(&model, batch, n, kernels(cell))?;
    let mut steps = Vec::with_capacity(n);
    for t in 0..n {
        let now: Vec<u32> = (0..batch).map(|b| ids[b * n + t]).collect();
        steps.push(session.step(&now)?.unsqueeze(1)?);
    }
    let out = Tensor::cat(&steps, 1)?;
    let tolerance = tolerance(cell.dtype, setup.shape.n_layers);
    let mut report = compare(&to_f64(&out)?, &want.logits, tolerance, |_| want.condition);
    let ids = Tensor::from_vec(ids, (batch, n), &Device::Cpu)?;
    if weights_in_bf16(cell) {
        // What rounding does to a model leaves room for much. Over the same rounded weights, steps are as near as in f32.
        let rounded = to_f64(&model.forward(&ids.to_device(device)?)?)?;
        let tolerance = self::tolerance(DType::F32, setup.shape.n_layers);
        report.passed &= compare(&to_f64(&out)?, &rounded, tolerance, |_| want.condition).passed;
    }
    let mut tensors = dumped(&params);
    tensors.insert("ids".to_owned(), ids);
    tensors.insert("reference".to_owned(), Tensor::from_vec(want.logits, out.shape(), &Device::Cpu)?);
    tensors.insert("logits".to_owned(), out);
    Ok(Checked { report, tensors, batch_size: batch, n_tokens: n, tolerance })
}

/// The cell's model cut down to what the formula can be evaluated for, with room for `more` tokens than are checked;
/// sequences and tokens. That of a checkpoint keeps its conventions and gets random weights.
pub(super) fn small_model(cell: &Cell, checkpoint: Option<&Checkpoint>, more: usize) -> Result<(Setup, usize, usize)> {
    // Enough that tokens leave a window, unless it is too wide for the formula.
    let passed = window_of(&cell.variant).map_or(0, |w| w.saturating_add(BEYOND));
    let n = cell.seq_len.min(MODEL_TOKENS.max(if passed > MAX_MODEL_TOKENS { 0 } else { passed }));
    let mut setup = whole_model::setup(cell, n + more, checkpoint)?;
    setup.max_len = n + more;
    setup.shape.n_layers = setup.shape.n_layers.min(MODEL_LAYERS);
    setup.layers.truncate(setup.shape.n_layers);
    setup.shape.vocab_size = setup.shape.vocab_size.min(MODEL_VOCAB);
    Ok((setup, cell.batch_size.min(MODEL_BATCH), n))
}

/// Ids whose logits the formula determines well, and those logits: random features can nearly cancel for some inputs,
/// where no implementation could be judged. The best of a few draws.
pub(super) fn well_conditioned(
    setup: &Setup,
    params: &mut Params,
    batch: usize,
    n: usize,
) -> Result<(Vec<u32>, oracle::Reference)> {
    best_draw(|draw| {
        let ids: Vec<u32> = (0..batch * n).map(|i| drawn_id(i, draw, setup)).collect();
        let reference = oracle::logits(setup, params, &ids, batch)?;
        Ok((ids, reference))
    })
}

/// Place `i` of the ids of a draw.
pub(super) fn drawn_id(i: usize, draw: usize, setup: &Setup) -> u32 {
    ((i * i + 3 * i + 1 + draw * (5 * i + 7)) % setup.shape.vocab_size) as u32
}

/// The best conditioned of a few draws, or the first that is good.
pub(super) fn best_draw<T>(
    mut draw: impl FnMut(usize) -> Result<(T, oracle::Reference)>,
) -> Result<(T, oracle::Reference)> {
    let mut best = draw(0)?;
    for i in 1..MAX_DRAWS {
        if best.1.condition <= GOOD_CONDITION {
            break;
        }
        let next = draw(i)?;
        if next.1.condition < best.1.condition {
            best = next;
        }
    }
    Ok(best)
}

/// Both reports as one.
pub(super) fn worst(a: CheckReport, b: CheckReport) -> CheckReport {
    CheckReport {
        max_abs_err: a.max_abs_err.max(b.max_abs_err),
        max_rel_err: a.max_rel_err.max(b.max_rel_err),
        passed: a.passed && b.passed,
    }
}

/// Parameters as a dump names them.
pub(super) fn dumped(params: &Params) -> BTreeMap<String, Tensor> {
    params.tensors().iter().map(|(name, t)| (format!("param.{name}"), t.clone())).collect()
}

/// Largest errors, and whether every element is within `tolerance` × its condition × the largest reference value.
pub(super) fn compare(got: &[f64], want: &[f64], tolerance: f64, condition: impl Fn(usize) -> f64) -> CheckReport {
    let scale = want.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let mut report = CheckReport { max_abs_err: 0.0, max_rel_err: 0.0, passed: got.len() == want.len() };
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        // A NaN would get lost in a maximum.
        report.max_abs_err = report.max_abs_err.max(if error.is_finite() { error } else { f64::INFINITY });
        report.passed &= error <= tolerance * condition(i) * scale.max(1e-3);
    }
    report.max_rel_err = report.max_abs_err / scale.max(1e-3);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_and_a_nan_fail_the_check() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0], 1e-4, |_| 1.0).passed);
        let off = compare(&[1.0, 2.01], &[1.0, 2.0], 1e-4, |_| 1.0);
        assert!(!off.passed && (off.max_abs_err - 0.01).abs() < 1e-12 && (off.max_rel_err - 0.005).abs() < 1e-12);
        assert!(compare(&[1.0, 2.01], &[1.0, 2.0], 1e-4, |_| 100.0).passed);
        let nan = compare(&[f64::NAN], &[1.0], 1e-4, |_| 1.0);
        assert!(!nan.passed && nan.max_abs_err.is_infinite());
        assert!(!compare(&[], &[1.0], 1e-4, |_| 1.0).passed);
    }
}
