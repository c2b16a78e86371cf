//! What a layer remembers between decode steps, in CPU memory. Allocated once; a step writes in place.

use candle_core::{CpuStorage, Result, Storage, Tensor};

use super::{StepError, TensorState};

/// State of one layer for a whole batch.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// All keys and values so far, or the last few.
    KvCache(KvCache),
    /// Sums over all keys and values so far.
    Recurrent(Recurrent),
    /// Nothing.
    Empty,
}

impl State {
    /// Bytes in use: cached tokens (not reserved ones), or the sums.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        match self {
            Self::KvCache(c) => 4 * (c.parts * c.len() * (c.key_dim + c.value_dim)) as u64,
            Self::Recurrent(r) => 4 * r.sums.len() as u64,
            Self::Empty => 0,
        }
    }

    /// Tokens seen so far.
    #[must_use]
    pub fn position(&self) -> usize {
        match self {
            Self::KvCache(c) => c.seen,
            Self::Recurrent(r) => r.position,
            Self::Empty => 0,
        }
    }

    /// Takes over what a tensor state of the same variant and batch (f32, on the CPU) holds, in place; what was here
    /// before is forgotten.
    ///
    /// # Errors
    /// [`StepError::WrongState`] for a state of another variant or shape, [`StepError::CacheFull`] where it holds more
    /// tokens than there is room for.
    pub fn load(&mut self, from: &TensorState) -> Result<()> {
        match (self, from) {
            (Self::KvCache(cache), TensorState::KvCache { keys, values, seen, rolling }) => {
                cache.load(keys, values, *seen, *rolling)
            }
            (Self::Recurrent(recurrent), TensorState::Recurrent { sums, position }) => recurrent.load(sums, *position),
            (Self::Empty, TensorState::Empty) => Ok(()),
            _ => Err(StepError::WrongState.into()),
        }
    }
}

/// Lends the numbers of a contiguous f32 tensor on the CPU.
fn with_numbers<T>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => body(&data[start..end]),
        _ => candle_core::bail!("a state on slices takes contiguous f32 tensors on the CPU"),
    }
}

/// Keys (b·h_kv, capacity, d) and values (b·h_kv, capacity, d_v) of the tokens seen; a rolling cache keeps the last
/// `capacity` of them, in any order (a softmax over a set does not ask for one).
#[derive(Debug, Clone, PartialEq)]
pub struct KvCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    parts: usize,
    key_dim: usize,
    value_dim: usize,
    capacity: usize,
    rolling: bool,
    seen: usize,
}

impl KvCache {
    /// An empty cache with room for `capacity` tokens of `parts` = batch × key heads.
    #[must_use]
    pub fn new(parts: usize, capacity: usize, key_dim: usize, value_dim: usize, rolling: bool) -> Self {
        let (keys, values) = (vec![0.0; parts * capacity * key_dim], vec![0.0; parts * capacity * value_dim]);
        Self { keys, values, parts, key_dim, value_dim, capacity, rolling, seen: 0 }
    }

    /// Tokens in the cache.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.min(self.capacity)
    }

    /// Whether no token was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Tokens there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The slot of the next token, or `None` where the cache is full.
    #[must_use]
    pub fn next_slot(&self) -> Option<usize> {
        match self.rolling {
            true if self.capacity > 0 => Some(self.seen % self.capacity),
            _ => (self.seen < self.capacity).then_some(self.seen),
        }
    }

    /// Counts one more token; its slot was written through [`KvCache::buffers`].
    pub fn advance(&mut self) {
        self.seen += 1;
    }

    /// Forgets all tokens after the first `depth`, so that a step can be repeated at one depth. A rolling cache that
    /// has overflowed keeps its tokens and overwrites the same slot again.
    pub fn rewind(&mut self, depth: usize) {
        self.seen = self.seen.min(depth);
    }

    /// Both buffers, for kernels that read all tokens and write the next slot.
    pub fn buffers(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.keys, &mut self.values)
    }

    /// Keys and values (b, h_kv, room, d) of `seen` tokens, in slots as [`KvCache::next_slot`] deals them.
    fn load(&mut self, keys: &Tensor, values: &Tensor, seen: usize, rolling: bool) -> Result<()> {
        let (batch, heads, room, key_dim) = keys.dims4()?;
        if (batch * heads, key_dim, values.dim(3)?) != (self.parts, self.key_dim, self.value_dim) {
            return Err(StepError::WrongState.into());
        }
        // Where tokens have been overwritten, both must have the same slots.
        let same_slots = seen <= room || (rolling && self.rolling && room == self.capacity);
        let held = seen.min(room);
        if !same_slots || held > self.capacity {
            return Err(StepError::CacheFull { capacity: self.capacity }.into());
        }
        let capacity = self.capacity;
        for (tensor, buffer, dim) in [(keys, &mut self.keys, self.key_dim), (values, &mut self.values, self.value_dim)]
        {
            with_numbers(tensor, |from| {
                for (to, from) in buffer.chunks_mut(capacity * dim).zip(from.chunks(room * dim)) {
                    to[..held * dim].copy_from_slice(&from[..held * dim]);
                }
                Ok(())
            })?;
        }
        self.seen = seen;
        Ok(())
    }

    /// Makes the cache hold `depth` tokens whose numbers repeat `tile`.
    ///
    /// # Panics
    /// If `tile` is empty or a cache that does not roll has less room than `depth`.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) {
        assert!(self.rolling || depth <= self.capacity, "{depth} tokens do not fit into {}", self.capacity);
        for buffer in [&mut self.keys, &mut self.values] {
            for part in buffer.chunks_mut(tile.len()) {
                part.copy_from_slice(&tile[..part.len()]);
            }
        }
        self.seen = depth;
    }
}

/// S (b·h_kv, m, d_v) and z (b·h_kv, m), packed as (b·h_kv, m·d_v + m): both of one head lie together.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    sums: Vec<f32>,
    /// Tokens seen so far.
    pub position: usize,
}

impl Recurrent {
    /// The state before the first token.
    #[must_use]
    pub fn new(parts: usize, feature_dim: usize, value_dim: usize) -> Self {
        Self { sums: vec![0.0; parts * feature_dim * (value_dim + 1)], position: 0 }
    }

    /// Sums (b, h_kv, m, d_v + 1) whose last column is z.
    fn load(&mut self, sums: &Tensor, position: usize) -> Result<()> {
        let (_, _, m, width) = sums.dims4()?;
        if sums.elem_count() != self.sums.len() {
            return Err(StepError::WrongState.into());
        }
        with_numbers(sums, |from| {
            for (to, from) in self.sums.chunks_mut(m * width).zip(from.chunks(m * width)) {
                let (s, z) = to.split_at_mut(m * (width - 1));
                for ((row, s), z) in from.chunks(width).zip(s.chunks_mut(width - 1)).zip(z) {
                    s.copy_from_slice(&row[..width - 1]);
                    *z = row[width - 1];
                }
            }
            Ok(())
        })?;
        self.position = position;
        Ok(())
    }

    /// The sums, for kernels.
    pub fn sums(&mut self) -> &mut [f32] {
        &mut self.sums
    }
}
