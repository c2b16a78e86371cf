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
    /// S and z in one tensor (b, h_kv, m, d_v + 1), f32: the last column is z, since z = Σ φ(k)·1.
    Recurrent {
        /// The sums.
        sums: Tensor,
        /// Tokens seen so far.
        position: usize,
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
            Self::Recurrent { sums, .. } => (sums.elem_count() * sums.dtype().size_in_bytes()) as u64,
            Self::Empty => 0,
        }
    }
}
