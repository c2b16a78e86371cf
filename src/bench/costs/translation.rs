//! Costs of an encoder-decoder: one token over a source that was encoded before.

use super::{
    attention_weights, bytes, depth, heads, input_width, linear_flops, resolved, sequences, state_traffic, step_flops,
    weights,
};
use crate::{
    attention,
    measure::Direction,
    spec::{Cell, ModelShape, Positions, VariantSpec, Workload},
    sweep::Prediction,
};

/// A token of the average depth. Memory holds the encoder's work too.
pub(super) fn token(cell: &Cell, shape: &ModelShape) -> Option<Prediction> {
    let (encoder, cross) = (encoder(cell), cross(cell));
    let (layers, size, batch) = (shape.n_layers as f64, cell.dtype.size_bytes() as f64, cell.batch_size as f64);
    let of_target = |len: usize| attention::state_bytes(&resolved(cell), heads(cell), cell.batch_size, len, cell.dtype);
    let source =
        attention::memory_bytes(&resolved(&cross), heads(cell), cell.batch_size, cell.source_len(), cell.dtype)?;
    let of_layer = of_target(cell.seq_len)?.total()?.checked_add(source.total()?)?;
    let held = of_layer.checked_mul(shape.n_layers as u64)?;

    let d_model = shape.d_model as f64;
    let vocabulary = shape.vocab_size as f64 * d_model;
    let (of_decoder, per_token) = weights(cell, shape);
    let (_, of_encoder) = weights(&encoder, shape);
    let all = of_decoder + of_encoder - vocabulary + layers * attention_weights(&cross, d_model);
    // Keys and values of the source are made with the encoder's work, queries and outputs with each token.
    let across = d_model * cell.n_heads as f64 * (input_width(&cross) + cell.head_dim) as f64;
    let multiplied = per_token + layers * across;

    let (_, moved) = state_traffic(of_target(depth(cell))?);
    let positions = match shape.positions {
        Positions::Rotary => 0.0,
        _ => size * cell.seq_len.max(cell.source_len()) as f64 * d_model,
    };
    let working = sequences::working_bytes(&encoder, shape, cell.source_len());
    let logits = 16.0 * batch * shape.vocab_size as f64;
    Some(Prediction {
        state_bytes: held,
        memory_bytes: bytes(size * all + positions + 2.0 * held as f64 + working + logits)?,
        flops: batch * (2.0 * multiplied + layers * (step_flops(cell) + read_flops(&cross))),
        bytes_moved: size * multiplied + layers * (moved + source.total()? as f64),
        footprint_bytes: bytes(size * multiplied + held as f64)?,
        direction: Direction::Read,
    })
}

/// The source's side as a cell: softmax, both ways.
fn encoder(cell: &Cell) -> Cell {
    let (variant, seq_len) = (VariantSpec::new("softmax"), cell.source_len());
    Cell { variant, feature_dim: None, causal: false, seq_len, workload: Workload::Prefill, ..cell.clone() }
}

/// Cross-attention as a cell: the variant with the length of φ that it has there.
fn cross(cell: &Cell) -> Cell {
    Cell { feature_dim: cell.cross_feature_dim, seq_len: cell.source_len(), ..cell.clone() }
}

/// Reading a source for one token of one sequence: 4·d per query head and key, or 2·m·d per query head and φ.
fn read_flops(cross: &Cell) -> f64 {
    match cross.variant.name.as_str() {
        "softmax" => 4.0 * (cross.n_heads * cross.seq_len * cross.head_dim) as f64,
        // Half of a step's products per query head: the other half updates the sums.
        _ => linear_flops(cross) * cross.n_heads as f64 / (cross.n_heads + cross.n_kv_heads) as f64,
    }
}
