//! A decode step of linear attention on slices: features, then sums that take the token in and are read, in one pass over
//! the heads that a thread has.

use super::super::{
    Heads, Recurrent, State, StepError, StepResult, Stepper, Token,
    feature_map::{At, Side, SliceMap},
    oracle::Weights,
};
use crate::kernels::{self, Kernels, for_each_part, for_each_run, fused::linear_steps::Tokens, linear::Normalizer};

/// Steps of one layer.
pub(super) struct LinearStepper {
    pub(super) kernels: Kernels,
    pub(super) heads: Heads,
    pub(super) input_dim: usize,
    pub(super) feature_dim: usize,
    pub(super) normalizer: Normalizer,
    pub(super) max_len: Option<usize>,
    pub(super) gated: bool,
    pub(super) scaled: bool,
    pub(super) map: Box<dyn SliceMap>,
}

/// What a key's weight and its past are multiplied by when features come with a scale: the running maximum moves to
/// `level`.
pub(in crate::attention) fn raise(level: &mut f32, log_scale: f32) -> (f32, f32) {
    let before = *level;
    *level = before.max(log_scale);
    ((before - *level).exp(), (log_scale - *level).exp())
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl LinearStepper {
    /// Whether sums take a factor before a token.
    fn decays(&self) -> bool {
        self.gated || self.scaled
    }

    /// Features of one token of the heads from `first` on, keys with their gate's share or their scale in them, and, where
    /// sums decay, the factors that they take; running maxima in `sums` move on.
    fn features(
        &self,
        first: usize,
        position: usize,
        (q, k, gate): (&[f32], &[f32], &[f32]),
        (phi_q, phi_k): (&mut [f32], &mut [f32]),
        sums: &mut [f32],
        decay: &mut [f32],
    ) {
        let (input, m) = (self.input_dim, self.feature_dim);
        if self.map.is_by_number() && !self.decays() {
            let at = |side| At { head: 0, side, position };
            self.map.apply(k, at(Side::Key), phi_k);
            self.map.apply(q, at(Side::Query), phi_q);
            return;
        }
        let heads = phi_k.len() / m;
        let (group, width) = (self.heads.group(), sums.len() / heads);
        for i in 0..heads {
            let at = |side| At { head: (first + i) % self.heads.n_kv_heads, side, position };
            let phi_k = &mut phi_k[i * m..][..m];
            let log_scale = self.map.apply(&k[i * input..][..input], at(Side::Key), phi_k);
            let queries = q[i * group * input..][..group * input].chunks_exact(input);
            for (q, phi) in queries.zip(phi_q[i * group * m..].chunks_exact_mut(m)) {
                // The scale of a query cancels.
                self.map.apply(q, at(Side::Query), phi);
            }
            let gain;
            match decay.get_mut(i) {
                None => continue,
                Some(decay) if self.gated => (*decay, gain) = (sigmoid(gate[i]), sigmoid(-gate[i])),
                Some(decay) => (*decay, gain) = raise(&mut sums[(i + 1) * width - 1], log_scale),
            }
            phi_k.iter_mut().for_each(|phi| *phi *= gain);
        }
    }
}

impl Stepper for LinearStepper {
    fn state(&self, batch: usize, _capacity: usize) -> State {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        State::Recurrent(Recurrent::new(batch * n_kv_heads, self.feature_dim, head_dim, self.scaled))
    }

    fn scratch_len(&self, batch: usize) -> usize {
        batch * self.heads.n_kv_heads * ((self.heads.group() + 1) * self.feature_dim + usize::from(self.decays()))
    }

    fn step(&self, token: Token<'_>, state: &mut State, scratch: &mut [f32], out: &mut [f32]) -> StepResult {
        let State::Recurrent(recurrent) = state else { return Err(StepError::WrongState) };
        let (group, input, m, d) = (self.heads.group(), self.input_dim, self.feature_dim, self.heads.head_dim);
        let position = recurrent.position;
        if let Some(max_len) = self.max_len.filter(|max_len| position >= *max_len) {
            return Err(StepError::BeyondMaxLen { position, max_len });
        }
        recurrent.position += 1;
        let parts = recurrent.parts();
        let sums = recurrent.sums();
        let work = sums.len() * (1 + group);
        for_each_run(parts, work, [sums, scratch, out], |run, [sums, scratch, out]| {
            let (heads, first) = (run.len(), run.start);
            let (phi_k, rest) = scratch.split_at_mut(heads * m);
            let (phi_q, decay) = rest.split_at_mut(heads * group * m);
            let of_run = |width: usize| first * width..(first + heads) * width;
            let (q, k) = (&token.q[of_run(group * input)], &token.k[of_run(input)]);
            let gate: &[f32] = if self.gated { &token.gate[of_run(1)] } else { &[] };
            self.features(first, position, (q, k, gate), (&mut *phi_q, &mut *phi_k), sums, decay);
            let tokens = Tokens { phi_q, phi_k, v: &token.v[of_run(d)], decay };
            self.kernels.linear_steps(heads, tokens, sums, self.normalizer.into(), out);
        });
        Ok(())
    }

    fn read_source(
        &self,
        q: &[f32],
        position: usize,
        memory: &State,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> StepResult {
        let State::Recurrent(sums) = memory else { return Err(StepError::WrongState) };
        let (group, input, m, d) = (self.heads.group(), self.input_dim, self.feature_dim, self.heads.head_dim);
        if let Some(max_len) = self.max_len.filter(|max_len| position >= *max_len) {
            return Err(StepError::BeyondMaxLen { position, max_len });
        }
        let parts = sums.parts();
        let work = parts * m * (d + 1) * (1 + group);
        for_each_part(parts, work, [scratch, out], |i, [phi, out]| {
            let (s, z) = sums.part(i).split_at(m * d);
            let at = At { head: i % self.heads.n_kv_heads, side: Side::Query, position };
            let queries = q[i * group * input..][..group * input].chunks_exact(input);
            for (q, out) in queries.zip(out.chunks_exact_mut(d)) {
                self.map.apply(q, at, &mut phi[..m]);
                let scale = 1.0 / self.normalizer.apply(kernels::linear::read_sums(&phi[..m], s, &z[..m], out));
                out.iter_mut().for_each(|o| *o *= scale);
            }
        });
        Ok(())
    }

    fn input_dim(&self) -> usize {
        self.input_dim
    }

    fn gated(&self) -> bool {
        self.gated
    }

    fn weights(&self) -> Weights<'_> {
        Weights::Linear { map: self.map.as_ref(), normalizer: self.normalizer, gated: self.gated }
    }
}
