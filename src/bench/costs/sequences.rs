//! Costs of whole sequences through a whole model: a prompt, and a training step.

use super::{bytes, forward_flops, heads, resolved, weights};
use crate::{
    attention::{self, CHUNK, is_hybrid, is_merged, reads_inputs, window_of},
    measure::Direction,
    spec::{Activation, Cell, Implementation, ModelShape, Norm, Positions},
    sweep::Prediction,
};

/// Queries of softmax whose scores are in memory together.
const QUERY_BLOCK: usize = 256;

/// Logits that the fused loss has at hand together, and positions at least.
const LOGITS: f64 = (1 << 19) as f64;
const MIN_ROWS: f64 = 128.0;

/// Bytes of a number that attention and norms compute with.
const NUMBER: f64 = 4.0;

/// Operations of one AdamW update per parameter.
const UPDATE_FLOPS: f64 = 14.0;

/// Passes over all weights in a step: read forward and backward, gradient written and read, and of weight and two moments
/// each read and written by the update.
const WEIGHT_PASSES: f64 = 2.0 + 2.0 + 6.0;

/// A prompt from nothing to the logits of its last position.
pub(super) fn prefill(cell: &Cell, shape: &ModelShape) -> Option<Prediction> {
    let layers = shape.n_layers as u64;
    let of_layer =
        attention::state_bytes(&resolved(cell), heads(cell), cell.batch_size, cell.seq_len, cell.dtype)?.total()?;
    let held = of_layer.checked_mul(layers)?;
    let (all, multiplied) = weights(cell, shape);
    let size = cell.dtype.size_bytes() as f64;
    let (batch, vocab) = (cell.batch_size as f64, shape.vocab_size as f64);
    let output = vocab * shape.d_model as f64;
    let fixed = size * (all + positions(cell, shape)) + NUMBER * 2.0 * batch * vocab;
    Some(Prediction {
        state_bytes: held,
        // One layer's state is there twice while it moves to where steps go on.
        memory_bytes: bytes(fixed + held as f64 + of_layer as f64 + working_bytes(cell, shape, cell.seq_len))?,
        flops: batch * (2.0 * output + 2.0 * (multiplied - output) * cell.seq_len as f64)
            + batch * shape.n_layers as f64 * forward_flops(cell),
        bytes_moved: size * multiplied + held as f64,
        footprint_bytes: bytes(size * all + held as f64)?,
        direction: Direction::Read,
    })
}

/// A training step. It keeps no state: what it needs beside weights, gradients and moments is what backward reads again.
pub(super) fn train(cell: &Cell, shape: &ModelShape) -> Option<Prediction> {
    let (all, multiplied) = weights(cell, shape);
    let learned = match shape.positions {
        Positions::Learned => positions(cell, shape),
        _ => 0.0,
    };
    let (parameters, size) = (all + learned, cell.dtype.size_bytes() as f64);
    let tokens = cell.batch_size as f64 * cell.seq_len as f64;
    // Weights in the cell's type, both moments in f32.
    let of_parameters = parameters * (size + 2.0 * NUMBER);
    let Graph { forward: kept, aside, one_layer } = graph(cell, shape);
    // Backward begins with the logits: gradients of each of their steps, new and summed, and of the output matrix. By its end
    // it has a gradient for every parameter, and those aside.
    let vocab = shape.vocab_size as f64;
    let output = vocab * shape.d_model as f64;
    let begins = match cell.implementation {
        Implementation::Reference => NUMBER * (8.0 * tokens * vocab + 4.0 * output),
        // Logits come and go a few positions at a time, and leave the gradient of their matrix.
        Implementation::Fused => NUMBER * (LOGITS.max(MIN_ROWS * vocab).min(tokens * vocab) + 3.0 * output),
    };
    let ends = parameters * size + NUMBER * (aside + one_layer);
    let of_graph = NUMBER * kept;
    let memory = of_parameters + of_graph + begins.max(ends);
    let forward = 2.0 * multiplied * tokens + cell.batch_size as f64 * shape.n_layers as f64 * forward_flops(cell);
    Some(Prediction {
        state_bytes: 0,
        memory_bytes: bytes(memory)?,
        // Backward computes a product for each of the two sides of every product of forward.
        flops: 3.0 * forward + UPDATE_FLOPS * parameters,
        bytes_moved: WEIGHT_PASSES * size * parameters + 2.0 * of_graph,
        footprint_bytes: bytes(memory)?,
        direction: Direction::ReadWrite,
    })
}

/// Numbers of the position table.
fn positions(cell: &Cell, shape: &ModelShape) -> f64 {
    match shape.positions {
        Positions::Rotary => 0.0,
        _ => (cell.seq_len * shape.d_model) as f64,
    }
}

/// Numbers that a step keeps because of its graph, the whole batch together.
struct Graph {
    /// Intermediate results of forward: they live until backward is done.
    forward: f64,
    /// Gradients of masks and tables, which nobody asked for and which live as long: the product with one keeps four of its
    /// size (the gradient, its parts and what came in), a sum one.
    aside: f64,
    /// Gradients that come and go within the backward of one layer.
    one_layer: f64,
}

fn graph(cell: &Cell, shape: &ModelShape) -> Graph {
    match cell.implementation {
        Implementation::Reference => plain_graph(cell, shape),
        Implementation::Fused => fused_graph(cell, shape),
    }
}

/// Every operation keeps what it gives and no more; masks and tables are none of it.
fn fused_graph(cell: &Cell, shape: &ModelShape) -> Graph {
    let (width, ffn) = (shape.d_model as f64, shape.ffn_dim as f64);
    let (h, kv, d) = (cell.n_heads as f64, cell.n_kv_heads as f64, cell.head_dim as f64);
    let turned = if shape.positions == Positions::Rotary { (h + kv) * d } else { 0.0 };
    let mixed = match (cell.feature_dim, cell.variant.name.as_str()) {
        // What comes out of the window and of the sums apart, and what both weigh.
        (Some(m), _) if is_hybrid(&cell.variant) => (h + kv) * m as f64 + h * (3.0 * d + 8.0),
        (Some(m), _) => (h + kv) * m as f64 + h * d,
        (None, "none") => h * d,
        (None, _) => h * (d + 2.0),
    };
    // A norm, and projections before and after they are apart.
    let read = if reads_inputs(&cell.variant) { width + 2.0 * (h + 2.0 * kv) * d + 4.0 * turned } else { 0.0 };
    let hidden = if shape.activation == Activation::Swiglu { 3.0 * ffn } else { 2.0 * ffn };
    // Heads joined, projected and added; and a norm, the way back and the sum of the feed-forward block.
    let layer = read + mixed + h * d + 2.0 * width + hidden + 3.0 * width;
    let tokens = cell.batch_size as f64 * cell.seq_len as f64;
    let output = shape.vocab_size as f64 * width;
    Graph {
        forward: tokens * (shape.n_layers as f64 * layer + 4.0 * width) + output,
        aside: tokens * shape.n_layers as f64 * 8.0 * turned,
        one_layer: tokens * (hidden + 2.0 * width),
    }
}

fn plain_graph(cell: &Cell, shape: &ModelShape) -> Graph {
    let (width, ffn, vocab) = (shape.d_model as f64, shape.ffn_dim as f64, shape.vocab_size as f64);
    let (h, kv, d) = (cell.n_heads as f64, cell.n_kv_heads as f64, cell.head_dim as f64);
    let norm = match shape.norm {
        Norm::LayerNorm => 5.0 * width,
        Norm::RmsNorm => 3.0 * width,
    };
    let turned = if shape.positions == Positions::Rotary { (h + kv) * d } else { 0.0 };
    let projected = 3.0 * (h + 2.0 * kv) * d + 4.0 * turned;
    let hidden = if shape.activation == Activation::Swiglu { 4.0 * ffn } else { 3.0 * ffn };
    // Heads joined, projected with a bias and added; the same for what the feed-forward block gives.
    let back = h * d + 3.0 * width + 3.0 * width;
    let (mixed, masks) = mixed(cell);
    let read = if reads_inputs(&cell.variant) { norm + projected } else { 0.0 };
    let layer = norm + read + mixed + back + hidden;
    let tokens = cell.batch_size as f64 * cell.seq_len as f64;
    let layers = shape.n_layers as f64;
    Graph {
        forward: tokens * (layers * layer + 2.0 * width + norm + 3.0 * vocab),
        aside: tokens * (layers * (masks + 8.0 * turned) + vocab),
        one_layer: tokens * (0.5 * mixed + hidden),
    }
}

/// Numbers that attention makes of one token, and those of its masks.
fn mixed(cell: &Cell) -> (f64, f64) {
    let parts = match (cell.feature_dim, cell.variant.name.as_str()) {
        (Some(m), _) if is_hybrid(&cell.variant) => vec![mixed_by_sums(cell, m), mixed_by_scores(cell)],
        (Some(m), _) => vec![mixed_by_sums(cell, m)],
        (None, "none") => vec![((cell.n_heads * cell.head_dim) as f64, 0.0)],
        (None, _) => vec![mixed_by_scores(cell)],
    };
    parts.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
}

fn mixed_by_sums(cell: &Cell, m: usize) -> (f64, f64) {
    let (h, kv, d) = (cell.n_heads as f64, cell.n_kv_heads as f64, cell.head_dim as f64);
    let (n, m) = (cell.seq_len, m as f64);
    let chunk = n.min(CHUNK) as f64;
    let copies = if n > CHUNK { (h + kv) * m + kv * (d + 1.0) } else { 0.0 };
    let sums = 2.0 * kv * m * (d + 1.0) / chunk;
    let outs = (3.0 + if n > CHUNK { 1.0 } else { 0.0 }) * h * (d + 1.0) + h * d;
    (map_numbers(cell, m) + copies + kv * (d + 1.0) + 2.0 * chunk * h + sums + outs, 4.0 * chunk * h)
}

/// Scores, scaled, masked in two steps, without their maximum, as exponentials, masked again, divided; aside two products
/// with the mask and two sums.
fn mixed_by_scores(cell: &Cell) -> (f64, f64) {
    let (h, d) = (cell.n_heads as f64, cell.head_dim as f64);
    let scores = h * block_keys(cell, cell.seq_len);
    (8.0 * scores + 2.0 * h * d, 10.0 * scores)
}

/// Numbers that φ makes of one token's queries and keys.
fn map_numbers(cell: &Cell, m: f64) -> f64 {
    let vectors = (cell.n_heads + cell.n_kv_heads) as f64;
    if is_merged(&cell.variant) { vectors * m } else { vectors * (cell.head_dim as f64 + 4.0 * m) }
}

/// Keys that a block of softmax queries is multiplied with, on average.
fn block_keys(cell: &Cell, n: usize) -> f64 {
    let block = n.min(QUERY_BLOCK);
    let all = (n + block) as f64 / 2.0;
    window_of(&cell.variant).map_or(all, |w| all.min(w.saturating_add(block) as f64))
}

/// Bytes that come and go while `n` tokens pass through one layer without being remembered for backward.
pub(super) fn working_bytes(cell: &Cell, shape: &ModelShape, n: usize) -> f64 {
    let (width, ffn) = (shape.d_model as f64, shape.ffn_dim as f64);
    let (h, kv, d) = (cell.n_heads as f64, cell.n_kv_heads as f64, cell.head_dim as f64);
    let fused = cell.implementation == Implementation::Fused;
    // A block of queries times the keys it sees, in four copies; a window's keys are copied to stand in one piece.
    let keys = window_of(&cell.variant).map_or(n, |w| n.min(w.saturating_add(QUERY_BLOCK)));
    let scores = 4.0 * h * n.min(QUERY_BLOCK) as f64 * keys as f64 / n.max(1) as f64;
    let in_window = if window_of(&cell.variant).is_some() { scores + 2.0 * kv * d } else { 0.0 };
    let attending = match (cell.feature_dim, cell.variant.name.as_str()) {
        (Some(m), _) if fused && is_hybrid(&cell.variant) => (h + kv) * m as f64 + 2.0 * (h + kv) * d + 8.0 * h,
        (Some(m), _) if fused => (h + kv) * m as f64 + h * d,
        (None, _) if fused => h * d,
        (Some(m), _) => map_numbers(cell, m as f64) + 3.0 * h * (d + 1.0) + in_window,
        (None, "none") => h * d,
        (None, "window") => in_window + h * d,
        (None, _) => scores + h * d,
    };
    let in_attention = 2.0 * width + 2.0 * (h + 2.0 * kv) * d + attending;
    let in_feed_forward = 3.0 * width + 3.0 * ffn;
    NUMBER * cell.batch_size as f64 * n as f64 * in_attention.max(in_feed_forward)
}
