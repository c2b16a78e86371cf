//! A decode step of a hybrid on slices: what leaves the window goes into the sums, the window is read, and both are joined, over
//! all heads that a thread has.

use super::super::{
    Heads, KvCache, Recurrent, SoftmaxAttention, State, StepError, StepResult, Stepper, Token,
    feature_map::{At, Side, SliceMap},
    linear::raise,
    oracle::Weights,
};
use crate::kernels::{
    Kernels, for_each_run,
    fused::linear_steps::Tokens,
    hybrid::Joint,
    linear::{Denominators, Normalizer},
};

/// Steps of one layer.
pub(super) struct HybridStepper {
    pub(super) kernels: Kernels,
    pub(super) heads: Heads,
    pub(super) softmax: SoftmaxAttention,
    pub(super) window: usize,
    pub(super) feature_dim: usize,
    pub(super) normalizer: Normalizer,
    pub(super) max_len: Option<usize>,
    pub(super) scaled: bool,
    /// (h).
    pub(super) gamma: Vec<f32>,
    pub(super) map: Box<dyn SliceMap>,
}

/// Room for some key heads, each part theirs one after another.
struct Room<'a> {
    /// φ(k) of the key that leaves (heads, m), and φ(q) (heads, group, m).
    phi_k: &'a mut [f32],
    phi_q: &'a mut [f32],
    /// The value that leaves (heads, d).
    v: &'a mut [f32],
    /// Factors of the sums (heads), where they decay.
    decay: &'a mut [f32],
    /// Sums over what is far (heads, group, d) and their denominators (heads, group).
    far: &'a mut [f32],
    far_totals: &'a mut [f32],
    /// Totals of the window (heads, group).
    totals: &'a mut [f32],
    /// What both weigh (heads, group, 2).
    shares: &'a mut [f32],
}

impl HybridStepper {
    /// Numbers of room that a key head wants, part by part.
    fn widths(&self) -> [usize; 8] {
        let (group, m, d) = (self.heads.group(), self.feature_dim, self.heads.head_dim);
        [m, group * m, d, usize::from(self.scaled), group * d, group, group, 2 * group]
    }

    fn room<'a>(&self, heads: usize, mut scratch: &'a mut [f32]) -> Room<'a> {
        let [phi_k, phi_q, v, decay, far, far_totals, totals, shares] = self.widths().map(|width| {
            let (part, rest) = std::mem::take(&mut scratch).split_at_mut(heads * width);
            scratch = rest;
            part
        });
        Room { phi_k, phi_q, v, decay, far, far_totals, totals, shares }
    }

    /// Takes the keys and values that leave the window, in `slot` of each head's cache, into the sums, and reads those out for
    /// the queries of the token at `position`.
    fn leave(
        &self,
        first: usize,
        (position, slot): (usize, usize),
        q: &[f32],
        (keys, values): (&[f32], &[f32]),
        sums: &mut [f32],
        room: &mut Room<'_>,
    ) {
        let (group, m, d) = (self.heads.group(), self.feature_dim, self.heads.head_dim);
        let heads = room.phi_k.len() / m;
        let (of_cache, of_sums) = (keys.len() / heads, sums.len() / heads);
        for i in 0..heads {
            let head = (first + i) % self.heads.n_kv_heads;
            let at = |side, position| At { head, side, position };
            let leaving = i * of_cache + slot * d..i * of_cache + (slot + 1) * d;
            let phi_k = &mut room.phi_k[i * m..][..m];
            let log_scale = self.map.apply(&keys[leaving.clone()], at(Side::Key, position - self.window), phi_k);
            room.v[i * d..][..d].copy_from_slice(&values[leaving]);
            let mut level = 0.0;
            if let Some(decay) = room.decay.get_mut(i) {
                let of_head = &mut sums[(i + 1) * of_sums - 1];
                let gain;
                (*decay, gain) = raise(of_head, log_scale);
                phi_k.iter_mut().for_each(|phi| *phi *= gain);
                level = *of_head;
            }
            for g in i * group..(i + 1) * group {
                let phi_q = &mut room.phi_q[g * m..][..m];
                let log_scale = self.map.apply(&q[g * d..][..d], at(Side::Query, position), phi_q) + level;
                // What is beyond 1 is taken from the window instead.
                room.shares[2 * g] = (-log_scale.max(0.0)).exp();
                room.shares[2 * g + 1] = self.gamma[head * group + g % group] * log_scale.min(0.0).exp();
            }
        }
        let tokens = Tokens { phi_q: room.phi_q, phi_k: room.phi_k, v: room.v, decay: room.decay };
        let apart = Denominators::Apart(&mut *room.far_totals);
        self.kernels.linear_steps(heads, tokens, sums, apart, room.far);
    }
}

impl Stepper for HybridStepper {
    fn state(&self, batch: usize, capacity: usize) -> State {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let (capacity, rolling) = self.softmax.room(capacity);
        State::Hybrid {
            window: KvCache::new(batch * n_kv_heads, capacity, head_dim, head_dim, rolling),
            past: Recurrent::new(batch * n_kv_heads, self.feature_dim, head_dim, self.scaled),
        }
    }

    fn scratch_len(&self, batch: usize) -> usize {
        batch * self.heads.n_kv_heads * self.widths().iter().sum::<usize>()
    }

    fn step(&self, token: Token<'_>, state: &mut State, scratch: &mut [f32], out: &mut [f32]) -> StepResult {
        let State::Hybrid { window, past } = state else { return Err(StepError::WrongState) };
        let (group, m, d) = (self.heads.group(), self.feature_dim, self.heads.head_dim);
        let (capacity, position) = (window.capacity(), past.position);
        if let Some(max_len) = self.max_len.filter(|max_len| position >= *max_len) {
            return Err(StepError::BeyondMaxLen { position, max_len });
        }
        let slot = window.next_slot().ok_or(StepError::CacheFull { capacity })?;
        window.advance();
        past.position += 1;
        let (held, parts) = (window.len(), past.parts());
        let (keys, values) = window.buffers();
        let work = 2 * parts * (group * held * d + (1 + group) * m * d);
        let buffers = [keys, values, past.sums(), scratch, out];
        for_each_run(parts, work, buffers, |run, [keys, values, sums, scratch, out]| {
            let (heads, first) = (run.len(), run.start);
            let mut room = self.room(heads, scratch);
            let q = &token.q[first * group * d..][..heads * group * d];
            let leaves = position >= self.window;
            if leaves {
                self.leave(first, (position, slot), q, (keys, values), sums, &mut room);
            }
            for i in 0..heads {
                let of_queries = i * group * d..(i + 1) * group * d;
                let keys = &mut keys[i * capacity * d..][..capacity * d];
                let values = &mut values[i * capacity * d..][..capacity * d];
                keys[slot * d..][..d].copy_from_slice(&token.k[(first + i) * d..][..d]);
                values[slot * d..][..d].copy_from_slice(&token.v[(first + i) * d..][..d]);
                let (totals, out) = (&mut room.totals[i * group..][..group], &mut out[of_queries.clone()]);
                self.kernels.softmax_step(group, &q[of_queries], &keys[..held * d], &values[..held * d], totals, out);
            }
            if leaves {
                let Room { totals, far, far_totals, shares, .. } = room;
                self.kernels.join(Joint { totals, far, far_totals, shares, normalizer: self.normalizer }, out);
            }
        });
        Ok(())
    }

    fn input_dim(&self) -> usize {
        self.heads.head_dim
    }

    fn weights(&self) -> Weights<'_> {
        Weights::Hybrid { window: self.window, map: self.map.as_ref(), normalizer: self.normalizer, gamma: &self.gamma }
    }
}
