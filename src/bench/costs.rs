//! What a cell costs before it is run: bytes of state, memory, floating-point operations, traffic. Pure arithmetic.

mod sequences;
mod translation;

use super::{
    fused::{computed_in, weights_in_bf16},
    heads, resolved,
};
use crate::{
    attention::{self, StateBytes, is_hybrid, is_merged, looks_back_only, map_of, max_len, window_of},
    measure::{Direction, last_level_cache_bytes},
    spec::{Activation, CacheMode, Cell, DType, ModelShape, Positions, Workload},
    sweep::Prediction,
};

/// Last-level cache assumed where the machine does not say.
const DEFAULT_CACHE: u64 = 32 << 20;

/// States in rotation are this many times the last-level cache.
const COLD_FACTOR: u64 = 4;

/// Queries of softmax whose scores are in memory together.
const QUERY_BLOCK: f64 = 256.0;

/// Copies of scores that are live at once.
const SCORES: f64 = 4.0;

/// Bytes of the last-level cache.
pub(super) fn last_level_cache() -> u64 {
    last_level_cache_bytes().unwrap_or(DEFAULT_CACHE)
}

/// Independent states of `bytes` each that a cold cell rotates over, a warm one keeps 1.
pub(super) fn rotation(cell: &Cell, bytes: u64, cache_bytes: u64) -> u64 {
    match cell.cache {
        Some(CacheMode::Cold) if bytes > 0 => (COLD_FACTOR * cache_bytes).div_ceil(bytes),
        _ => 1,
    }
}

/// Bytes of q, k, v of a whole sequence.
pub(super) fn input_bytes(cell: &Cell) -> u64 {
    let width = input_width(cell) as u64;
    let tokens = (cell.batch_size as u64).saturating_mul(cell.seq_len as u64);
    let per_token = (cell.n_heads + cell.n_kv_heads) as u64 * width + (cell.n_kv_heads * cell.head_dim) as u64;
    tokens.saturating_mul(per_token).saturating_mul(cell.dtype.size_bytes() as u64)
}

/// Width of queries and keys as the layer takes them.
fn input_width(cell: &Cell) -> usize {
    match cell.feature_dim {
        Some(m) if is_merged(&cell.variant) => m,
        _ => cell.head_dim,
    }
}

/// Whether the variant knows every position that the cell comes to.
///
/// # Errors
/// The reason why not.
pub(super) fn positions_known(cell: &Cell) -> Result<(), String> {
    let last = match cell.workload {
        Workload::Translate => cell.seq_len.max(cell.source_len()),
        _ => cell.seq_len.saturating_add(cell.n_prompt.unwrap_or(0)).saturating_add(cell.n_gen.unwrap_or(0)),
    };
    match max_len(&cell.variant) {
        Some(known) if last > known => {
            Err(format!("{} knows {known} positions and needs {last}; give it a larger max_len", cell.variant))
        }
        _ => Ok(()),
    }
}

/// Whether training can do what it should: gradients fit into the dtype and reach every parameter. Behind a window that no
/// token leaves, a map learns nothing.
///
/// # Errors
/// The reason why not.
pub(super) fn all_learns(cell: &Cell) -> Result<(), String> {
    if cell.workload == Workload::Train && cell.dtype == DType::F16 {
        return Err("gradients leave the range of f16, and losses are not scaled here; train in bf16 or f32".to_owned());
    }
    match window_of(&cell.variant) {
        Some(window) if cell.workload == Workload::Train && is_hybrid(&cell.variant) && window >= cell.seq_len => {
            let n = cell.seq_len;
            Err(format!(
                "{}: none of {n} tokens leaves the window, so its map would learn nothing; give a smaller w",
                cell.variant
            ))
        }
        _ => Ok(()),
    }
}

/// Whether the variant can look at a source, if the workload has one.
///
/// # Errors
/// The reason why not.
pub(super) fn has_cross_form(cell: &Cell) -> Result<(), String> {
    match cell.workload == Workload::Translate && looks_back_only(&cell.variant) {
        true => Err(format!("{} looks back only: it has no form as cross-attention", cell.variant.name)),
        false => Ok(()),
    }
}

/// Everything, or `None` where a size overflows.
pub(super) fn predict(cell: &Cell, cache_bytes: u64) -> Option<Prediction> {
    let parts =
        |len: usize| attention::state_bytes(&resolved(cell), heads(cell), cell.batch_size, len, computed_in(cell));
    let state = |len: usize| parts(len)?.total();
    let size = cell.dtype.size_bytes() as f64;
    let batch = cell.batch_size as f64;
    match (cell.workload, cell.model) {
        (Workload::Attention, _) => {
            let one = state(cell.seq_len)?;
            let all = one.checked_mul(rotation(cell, one, cache_bytes))?;
            let (direction, moved) = state_traffic(parts(cell.seq_len)?);
            Some(Prediction {
                state_bytes: one,
                memory_bytes: all,
                flops: batch * step_flops(cell),
                bytes_moved: moved,
                footprint_bytes: all.max(1),
                direction,
            })
        }
        (Workload::Forward, _) => {
            let inputs = input_bytes(cell);
            let all = inputs.checked_mul(rotation(cell, inputs, cache_bytes))?;
            let n = cell.seq_len as f64;
            let of_map = cell.feature_dim.map_or(0.0, |m| 4.0 * n * (2 * cell.n_heads * m.max(cell.head_dim)) as f64);
            let keys = window_of(&cell.variant).map_or(n, |w| n.min(w as f64 + QUERY_BLOCK));
            let of_scores = match (cell.variant.name.as_str(), window_of(&cell.variant)) {
                ("softmax", _) | (_, Some(_)) => {
                    cell.n_heads as f64 * (SCORES * QUERY_BLOCK * keys + n * cell.head_dim as f64)
                }
                _ => 0.0,
            };
            let working = 4.0 * batch * (of_map + of_scores);
            Some(Prediction {
                state_bytes: state(cell.seq_len)?,
                memory_bytes: bytes(all as f64 + working)?,
                flops: batch * forward_flops(cell),
                // The control that attends to nothing reads nothing.
                bytes_moved: match cell.variant.name.as_str() {
                    "none" => 0.0,
                    _ => inputs as f64 + size * batch * n * (cell.n_heads * cell.head_dim) as f64,
                },
                footprint_bytes: all.max(1),
                direction: Direction::Read,
            })
        }
        (Workload::Prefill, Some(shape)) => sequences::prefill(cell, &shape),
        (Workload::Train, Some(shape)) => sequences::train(cell, &shape),
        (Workload::Translate, Some(shape)) => translation::token(cell, &shape),
        (_, Some(shape)) => {
            let last = cell.seq_len.checked_add(cell.n_prompt.unwrap_or(0))?;
            let layers = shape.n_layers as u64;
            let held = state(last)?.checked_mul(layers)?;
            let reserved = state(last.checked_add(cell.n_gen.unwrap_or(0))?)?.checked_mul(layers)?;
            let (_, moved) = state_traffic(parts(depth(cell))?);
            let (weights, multiplied) = weights(cell, &shape);
            let weight_bytes = size * weights;
            let logits = 4.0 * batch * shape.vocab_size as f64;
            let positions = match shape.positions {
                Positions::Rotary => 0.0,
                _ => computed_in(cell).size_bytes() as f64 * last as f64 * shape.d_model as f64,
            };
            // Weights are narrowed one matrix after the other when all of them are there, and widened one by one for a prompt.
            let (while_made, widened) = match weights_in_bf16(cell) {
                true => (4.0 * weights, 4.0 * shape.vocab_size as f64 * shape.d_model as f64),
                false => (weight_bytes, 0.0),
            };
            let widened = if cell.n_prompt.is_some() { widened } else { 0.0 };
            // A prompt goes through at once, before the first token.
            let prompt = sequences::working_bytes(cell, &shape, cell.n_prompt.unwrap_or(0));
            Some(Prediction {
                state_bytes: held,
                memory_bytes: bytes(
                    positions + while_made.max(weight_bytes + widened + reserved as f64 + 4.0 * logits + prompt),
                )?,
                flops: batch * (2.0 * multiplied + shape.n_layers as f64 * step_flops(cell)),
                bytes_moved: size * multiplied + shape.n_layers as f64 * moved,
                footprint_bytes: bytes(weight_bytes + held as f64)?,
                direction: Direction::Read,
            })
        }
        (_, None) => None,
    }
}

/// Which way most of a state's traffic goes, and the bytes of it: sums are read and written back, caches only read.
fn state_traffic(state: StateBytes) -> (Direction, f64) {
    let written_back = 2.0 * state.sums as f64;
    let direction = if written_back > state.cache as f64 { Direction::ReadWrite } else { Direction::Read };
    (direction, written_back + state.cache as f64)
}

/// Depth of one call: the cell's own, or for `generate`, whose call is the average token, the mean over its tokens.
fn depth(cell: &Cell) -> usize {
    match cell.workload {
        Workload::Generate => cell.n_prompt.unwrap_or(0).saturating_add(cell.seq_len.div_ceil(2)),
        Workload::Translate => cell.seq_len.div_ceil(2),
        _ => cell.seq_len,
    }
}

/// Tokens a softmax query sees at that depth.
fn seen(cell: &Cell) -> f64 {
    match (cell.variant.name.as_str(), window_of(&cell.variant)) {
        ("softmax", _) => depth(cell) as f64,
        (_, Some(window)) => depth(cell).min(window) as f64,
        _ => 0.0,
    }
}

/// One step of one layer for one sequence: 4·d per query head and cached token; 2·m·d to update a key head's sums and
/// 2·m·d to read them per query head, and φ.
fn step_flops(cell: &Cell) -> f64 {
    4.0 * cell.n_heads as f64 * seen(cell) * cell.head_dim as f64 + linear_flops(cell)
}

/// The part of a step that does not depend on the position: sums and φ.
fn linear_flops(cell: &Cell) -> f64 {
    let (rows, d) = ((cell.n_heads + cell.n_kv_heads) as f64, cell.head_dim);
    match (cell.feature_dim, map_of(&cell.variant.name)) {
        (Some(m), Some(map)) => {
            let of_map = if is_merged(&cell.variant) { m } else { (map.flops)(m, d) };
            rows * (2.0 * m as f64 * d as f64 + of_map as f64)
        }
        _ => 0.0,
    }
}

/// A whole sequence of one layer: causal softmax 4·d per visible pair, linear 4·m·d per token and head, and φ.
fn forward_flops(cell: &Cell) -> f64 {
    let (n, h, d) = (cell.seq_len as f64, cell.n_heads as f64, cell.head_dim as f64);
    let w = seen(cell).min(n);
    let pairs = if cell.causal { w * (w + 1.0) / 2.0 + (n - w) * w } else { n * w };
    4.0 * h * d * pairs + n * linear_flops(cell)
}

/// Numbers in all weights, and those that one token is multiplied with.
fn weights(cell: &Cell, shape: &ModelShape) -> (f64, f64) {
    let (d, ffn, vocab) = (shape.d_model as f64, shape.ffn_dim as f64, shape.vocab_size as f64);
    let attention = attention_weights(cell, d);
    let matrices = if shape.activation == Activation::Swiglu { 3.0 } else { 2.0 };
    let multiplied = shape.n_layers as f64 * (attention + matrices * d * ffn) + vocab * d;
    let embedding = if shape.tied_output { 0.0 } else { vocab * d };
    (multiplied + embedding, multiplied)
}

/// Numbers in the projections of one attention layer.
fn attention_weights(cell: &Cell, d_model: f64) -> f64 {
    let rows = (cell.n_heads + cell.n_kv_heads) as f64;
    d_model * rows * (input_width(cell) + cell.head_dim) as f64
}

fn bytes(value: f64) -> Option<u64> {
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}
