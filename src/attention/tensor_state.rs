//! What a layer remembers between calls of `extend`, as tensors on any device.

use candle_core::{DType, Device, Result, Tensor};

/// State of one layer for a whole batch.
#[derive(Debug, Clone)]
pub enum TensorState {
    /// Keys and values (b, h_kv, capacity, d), written in place; a rolling cache keeps the last `capacity` tokens.
    KvCache {
        /// Keys.
        keys: Tensor,
        /// Values.
        values: Tensor,
        /// Tokens seen so far.
        seen: usize,
        /// Whether the oldest token makes room for the newest.
        rolling: bool,
    },
    /// All keys (b, h_kv, M, d) and values of a source, for cross-attention.
    Source {
        /// Keys.
        keys: Tensor,
        /// Values.
        values: Tensor,
        /// Tokens of each source; the rest is padding. `None`: no padding.
        lengths: Option<Vec<usize>>,
    },
    /// S and z in one tensor (b, h_kv, m, d_v + 1), f32: the last column is z, since z = Σ φ(k)·1.
    Recurrent {
        /// The sums.
        sums: Tensor,
        /// For features with a scale: the running maximum of the keys' log scales (b, h_kv, 1), f32.
        level: Option<Tensor>,
        /// Tokens seen so far.
        position: usize,
    },
    /// The last w keys and values, oldest first, and sums over all before them.
    Hybrid {
        /// Keys (b, h_kv, ≤ w, d).
        keys: Tensor,
        /// Values (b, h_kv, ≤ w, d_v).
        values: Tensor,
        /// As in `Recurrent`.
        sums: Tensor,
        /// As in `Recurrent`.
        level: Option<Tensor>,
        /// Tokens seen so far.
        seen: usize,
        /// Tokens w that a query sees.
        window: usize,
    },
    /// Nothing.
    Empty,
}

impl TensorState {
    /// An empty cache.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn kv_cache(shape: (usize, usize, usize, usize), rolling: bool, dtype: DType, device: &Device) -> Result<Self> {
        let (keys, values) = (Tensor::zeros(shape, dtype, device)?, Tensor::zeros(shape, dtype, device)?);
        Ok(Self::KvCache { keys, values, seen: 0, rolling })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        match self {
            Self::KvCache { keys, values, seen, .. } => {
                let capacity = keys.dims()[2].max(1);
                let per_token = (keys.elem_count() + values.elem_count()) / capacity * keys.dtype().size_in_bytes();
                (per_token * (*seen).min(capacity)) as u64
            }
            Self::Source { keys, values, .. } => bytes(keys) + bytes(values),
            Self::Recurrent { sums, level, .. } => bytes(sums) + level.as_ref().map_or(0, bytes),
            Self::Hybrid { keys, values, sums, level, .. } => {
                bytes(keys) + bytes(values) + bytes(sums) + level.as_ref().map_or(0, bytes)
            }
            Self::Empty => 0,
        }
    }

    /// Puts the state at `depth` tokens of a made-up context whose numbers repeat `tile`.
    ///
    /// # Errors
    /// Where the device has no memory for them.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) -> Result<()> {
        let like = |t: &Tensor, len: usize| -> Result<Tensor> {
            let (batch, heads, _, width) = t.dims4()?;
            let shape = (batch, heads, len, width);
            let numbers: Vec<f32> = tile.iter().cycle().take(batch * heads * len * width).copied().collect();
            Tensor::from_vec(numbers, shape, t.device())?.to_dtype(t.dtype())
        };
        let filled_sums = |sums: &Tensor| like(sums, sums.dim(2)?)?.abs();
        let filled_level = |level: &Option<Tensor>| level.as_ref().map(Tensor::zeros_like).transpose();
        match self {
            Self::Empty | Self::Source { .. } => {}
            Self::KvCache { keys, values, seen, .. } => {
                let capacity = keys.dim(2)?;
                (*keys, *values, *seen) = (like(keys, capacity)?, like(values, capacity)?, depth);
            }
            Self::Recurrent { sums, level, position } => {
                (*sums, *level, *position) = (filled_sums(sums)?, filled_level(level)?, depth);
            }
            Self::Hybrid { keys, values, sums, level, seen, window } => {
                let held = depth.min(*window);
                (*keys, *values, *seen) = (like(keys, held)?, like(values, held)?, depth);
                (*sums, *level) = (filled_sums(sums)?, filled_level(level)?);
            }
        }
        Ok(())
    }

    /// Goes back to `depth`: caches forget what came after; sums and windows keep what they hold.
    pub fn rewind(&mut self, depth: usize) {
        match self {
            Self::KvCache { seen: at, .. } | Self::Recurrent { position: at, .. } | Self::Hybrid { seen: at, .. } => {
                *at = depth.min(*at);
            }
            Self::Empty | Self::Source { .. } => {}
        }
    }
}

fn bytes(t: &Tensor) -> u64 {
    (t.elem_count() * t.dtype().size_in_bytes()) as u64
}
