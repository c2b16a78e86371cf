//! What a layer remembers between decode steps, in CPU memory. Allocated once; a step writes in place.

mod reorder;

use candle_core::{CpuStorage, Result, Storage, Tensor};

use super::{StepError, TensorState};

/// State of one layer for a whole batch.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// All keys and values so far, or the last few.
    KvCache(KvCache),
    /// Sums over all keys and values so far.
    Recurrent(Recurrent),
    /// The last few keys and values, and sums over all before them.
    Hybrid {
        /// The last tokens.
        window: KvCache,
        /// All tokens before them.
        past: Recurrent,
    },
    /// Keys and values of a source, for cross-attention.
    Source(Source),
    /// Nothing.
    Empty,
}

/// Keys (b·h_kv, M, d) and values (b·h_kv, M, d_v) of sources of unlike lengths.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Keys.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
    /// Tokens of each sequence's source (b).
    pub lengths: Vec<usize>,
    /// Tokens M that all are padded to.
    pub padded: usize,
}

impl State {
    /// Bytes in use: cached tokens (not reserved ones), or the sums.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        match self {
            Self::KvCache(c) => c.used_bytes(),
            Self::Recurrent(r) => r.used_bytes(),
            Self::Hybrid { window, past } => window.used_bytes() + past.used_bytes(),
            Self::Source(s) => 4 * (s.keys.len() + s.values.len()) as u64,
            Self::Empty => 0,
        }
    }

    /// Bytes beside the numbers: the lengths of sources.
    #[must_use]
    pub fn bookkeeping_bytes(&self) -> u64 {
        match self {
            Self::Source(s) => (s.lengths.len() * size_of::<usize>()) as u64,
            _ => 0,
        }
    }

    /// What was absorbed of a source, on slices.
    ///
    /// # Errors
    /// For other tensors than f32 on the CPU, and for states that are no memory of a source.
    pub fn of_source(from: &TensorState) -> Result<Self> {
        match from {
            TensorState::Source { keys, values, lengths } => {
                let (batch, _, padded, _) = keys.dims4()?;
                let lengths = lengths.clone().unwrap_or_else(|| vec![padded; batch]);
                let numbers = |t: &Tensor| with_numbers(t, |x| Ok(x.to_vec()));
                Ok(Self::Source(Source { keys: numbers(keys)?, values: numbers(values)?, lengths, padded }))
            }
            TensorState::Recurrent { sums, .. } => {
                let (batch, heads, m, width) = sums.dims4()?;
                let mut state = Recurrent::new(batch * heads, m, width - 1, false);
                state.load(sums, None, 0)?;
                Ok(Self::Recurrent(state))
            }
            TensorState::Empty => Ok(Self::Empty),
            TensorState::KvCache { .. } | TensorState::Hybrid { .. } => Err(StepError::WrongState.into()),
        }
    }

    /// Puts the state at `depth` tokens of a made-up context whose numbers repeat `tile`: caches are filled, because
    /// they are read to that depth; sums cost the same whatever they hold.
    ///
    /// # Panics
    /// If `tile` is empty or a cache that does not roll has less room than `depth`.
    pub fn fill(&mut self, depth: usize, tile: &[f32]) {
        match self {
            Self::KvCache(c) => c.fill(depth, tile),
            Self::Recurrent(r) => r.fill(depth, tile),
            Self::Hybrid { window, past } => {
                window.fill(depth, tile);
                past.fill(depth, tile);
            }
            Self::Source(_) | Self::Empty => {}
        }
    }

    /// Goes back to `depth`, so that a step can be repeated there: caches forget what came after; sums keep what they
    /// hold.
    pub fn rewind(&mut self, depth: usize) {
        match self {
            Self::KvCache(c) => c.rewind(depth),
            Self::Recurrent(r) => r.position = depth,
            Self::Hybrid { window, past } => {
                window.rewind(depth);
                past.position = depth;
            }
            Self::Source(_) | Self::Empty => {}
        }
    }

    /// Tokens seen so far.
    #[must_use]
    pub fn position(&self) -> usize {
        match self {
            Self::KvCache(c) | Self::Hybrid { window: c, .. } => c.seen,
            Self::Recurrent(r) => r.position,
            Self::Source(_) | Self::Empty => 0,
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
            (Self::Recurrent(recurrent), TensorState::Recurrent { sums, level, position }) => {
                recurrent.load(sums, level.as_ref(), *position)
            }
            (Self::Hybrid { window, past }, TensorState::Hybrid { keys, values, sums, level, seen, .. }) => {
                window.load_last(keys, values, *seen)?;
                past.load(sums, level.as_ref(), *seen)
            }
            (Self::Empty, TensorState::Empty) => Ok(()),
            _ => Err(StepError::WrongState.into()),
        }
    }
}

/// Lends the numbers of an f32 tensor on the CPU.
fn with_numbers<T>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => body(&data[start..end]),
        _ => candle_core::bail!("a state on slices takes f32 tensors on the CPU"),
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

    /// Bytes of the tokens in the cache, not of those there is room for.
    fn used_bytes(&self) -> u64 {
        4 * (self.parts * self.len() * (self.key_dim + self.value_dim)) as u64
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

    /// The last tokens of `seen`, oldest first, each into the slot of its position.
    fn load_last(&mut self, keys: &Tensor, values: &Tensor, seen: usize) -> Result<()> {
        let (batch, heads, held, key_dim) = keys.dims4()?;
        if (batch * heads, key_dim, values.dim(3)?) != (self.parts, self.key_dim, self.value_dim) {
            return Err(StepError::WrongState.into());
        }
        if held > self.capacity {
            return Err(StepError::CacheFull { capacity: self.capacity }.into());
        }
        let (capacity, first) = (self.capacity, seen - held);
        for (tensor, buffer, dim) in [(keys, &mut self.keys, self.key_dim), (values, &mut self.values, self.value_dim)]
        {
            with_numbers(tensor, |from| {
                for (to, from) in buffer.chunks_mut(capacity * dim).zip(from.chunks(held * dim)) {
                    for (t, row) in from.chunks(dim).enumerate() {
                        to[(first + t) % capacity * dim..][..dim].copy_from_slice(row);
                    }
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

/// S (b·h_kv, m, d_v), z (b·h_kv, m) and, for features with a scale, the running maximum of the keys' log scales
/// (b·h_kv), packed as (b·h_kv, m·d_v + m + 1): what belongs to one head lies together.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    sums: Vec<f32>,
    parts: usize,
    /// Tokens seen so far.
    pub position: usize,
}

impl Recurrent {
    /// The state before the first token.
    #[must_use]
    pub fn new(parts: usize, feature_dim: usize, value_dim: usize, scaled: bool) -> Self {
        let width = feature_dim * (value_dim + 1) + usize::from(scaled);
        let mut sums = vec![0.0; parts * width];
        if scaled {
            // No key has been seen: the first one's scale is the maximum, and the empty sums shrink to nothing.
            sums.iter_mut().skip(width - 1).step_by(width).for_each(|level| *level = f32::NEG_INFINITY);
        }
        Self { sums, parts, position: 0 }
    }

    /// Sums (b, h_kv, m, d_v + 1) whose last column is z.
    fn load(&mut self, sums: &Tensor, level: Option<&Tensor>, position: usize) -> Result<()> {
        let (batch, heads, m, width) = sums.dims4()?;
        let part = m * width + usize::from(level.is_some());
        if batch * heads != self.parts || self.parts * part != self.sums.len() {
            return Err(StepError::WrongState.into());
        }
        if let Some(level) = level {
            with_numbers(level, |from| {
                self.sums.iter_mut().skip(m * width).step_by(part).zip(from).for_each(|(to, from)| *to = *from);
                Ok(())
            })?;
        }
        with_numbers(sums, |from| {
            for (to, from) in self.sums.chunks_mut(part).zip(from.chunks(m * width)) {
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

    /// The sums of one part, to read from.
    #[must_use]
    pub fn part(&self, i: usize) -> &[f32] {
        let width = self.sums.len() / self.parts;
        &self.sums[i * width..][..width]
    }

    /// The sums, for kernels.
    pub fn sums(&mut self) -> &mut [f32] {
        &mut self.sums
    }

    /// Parts (batch × key heads) that the sums consist of.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    fn used_bytes(&self) -> u64 {
        4 * self.sums.len() as u64
    }

    fn fill(&mut self, depth: usize, tile: &[f32]) {
        self.sums.iter_mut().zip(tile.iter().cycle()).for_each(|(sum, x)| *sum = x.abs());
        self.position = depth;
    }
}
