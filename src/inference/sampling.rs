//! The choice of the next token from its logits: the likeliest, or a draw.

use candle_core::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{kernels::dense, params::named_rng};

/// How a token is chosen. Each rule is applied to what the one before left: temperature, top-k, top-p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only so many of the likeliest.
    pub top_k: Option<usize>,
    /// Only the likeliest whose probabilities first sum to this.
    pub top_p: Option<f64>,
    /// Of the draws.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

/// Below this probability relative to the likeliest, a token is never drawn: it would not be in a lifetime.
const NEVER: f64 = 1e-12;

/// Draws tokens one after the other.
pub struct Sampler {
    settings: Sampling,
    rng: ChaCha8Rng,
    /// Tokens that may be drawn, with their weights.
    candidates: Vec<(u32, f64)>,
}

impl Sampler {
    /// Begins with the seed of the settings.
    #[must_use]
    pub fn new(settings: Sampling) -> Self {
        Self { settings, rng: named_rng(settings.seed, "sampling"), candidates: Vec::new() }
    }

    /// The next token from the logits (vocab) of its position.
    ///
    /// # Errors
    /// Where a logit is NaN, or all are infinite.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        let Some(likeliest) = dense::argmax(logits).filter(|i| logits[*i].is_finite()) else {
            candle_core::bail!("no token can be chosen: the logits are not finite");
        };
        if logits.iter().any(|x| x.is_nan()) {
            candle_core::bail!("no token can be chosen: a logit is NaN");
        }
        let Sampling { temperature, top_k, top_p, .. } = self.settings;
        if temperature == 0.0 {
            return Ok(likeliest as u32);
        }
        let largest = f64::from(logits[likeliest]);
        let weight = |x: &f32| ((f64::from(*x) - largest) / temperature).exp();
        self.candidates.clear();
        let weighed = logits.iter().enumerate().map(|(i, x)| (i as u32, weight(x)));
        self.candidates.extend(weighed.filter(|(_, w)| *w >= NEVER));
        // Equal weights keep the order of their ids, so that a draw does not depend on the sort.
        self.candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.candidates.truncate(top_k.unwrap_or(usize::MAX).max(1));
        if let Some(top_p) = top_p {
            let total: f64 = self.candidates.iter().map(|(_, w)| w).sum();
            let mut sum = 0.0;
            let beyond = self.candidates.iter().position(|(_, w)| {
                sum += w / total;
                sum >= top_p
            });
            self.candidates.truncate(beyond.map_or(usize::MAX, |i| i + 1));
        }
        let total: f64 = self.candidates.iter().map(|(_, w)| w).sum();
        let mut left = self.rng.random::<f64>() * total;
        for (id, weight) in &self.candidates {
            left -= weight;
            if left < 0.0 {
                return Ok(*id);
            }
        }
        Ok(self.candidates.last().map_or(likeliest as u32, |(id, _)| *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(settings: Sampling, logits: &[f32], n: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(settings);
        let mut counts = vec![0; logits.len()];
        (0..n).for_each(|_| counts[sampler.next(logits).unwrap() as usize] += 1);
        counts
    }

    #[test]
    fn draws_follow_the_probabilities_of_the_tempered_softmax() {
        // exp(2·ln p / 2) = p: logits 2·ln(0.6, 0.3, 0.1) at temperature 2 are those probabilities.
        let logits = [0.6f32, 0.3, 0.1].map(|p| 2.0 * p.ln());
        let settings = Sampling { temperature: 2.0, ..Sampling::greedy() };
        let counts = drawn(settings, &logits, 20_000);
        for (count, p) in counts.iter().zip([0.6, 0.3, 0.1]) {
            // Five standard deviations of a binomial.
            let deviation = f64::sqrt(20_000.0 * p * (1.0 - p));
            assert!((*count as f64 - 20_000.0 * p).abs() < 5.0 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_leave_only_the_likeliest() {
        let logits = [0.1f32, 0.5, 0.15, 0.25].map(f32::ln);
        let only = |top_k, top_p| {
            let counts = drawn(Sampling { temperature: 1.0, top_k, top_p, seed: 3 }, &logits, 2000);
            (0..4).filter(|i| counts[*i] > 0).collect::<Vec<_>>()
        };
        assert_eq!(only(None, None), [0, 1, 2, 3]);
        assert_eq!(only(Some(2), None), [1, 3]);
        assert_eq!(only(None, Some(0.4)), [1]);
        assert_eq!(only(None, Some(0.8)), [1, 2, 3], "0.5 + 0.25 is short of 0.8");
        // Of the two that top-k leaves, the first has two thirds.
        assert_eq!(only(Some(2), Some(0.6)), [1]);
    }

    #[test]
    fn equal_seeds_draw_alike_and_greedy_draws_nothing() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |seed| {
            let mut sampler = Sampler::new(Sampling { temperature: 1.0, top_k: None, top_p: None, seed });
            (0..20).map(|_| sampler.next(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(Sampler::new(Sampling::greedy()).next(&[0.0, 2.0, 1.0]).unwrap(), 1);
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        for bad in [vec![], vec![f32::NAN, 1.0], vec![f32::INFINITY, 0.0], vec![f32::NEG_INFINITY; 3]] {
            assert!(Sampler::new(Sampling::greedy()).next(&bad).is_err(), "{bad:?}");
        }
    }
}
