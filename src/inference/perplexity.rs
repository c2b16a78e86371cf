//! Perplexity of a text: the exponential of the mean negative log-likelihood of its tokens, each predicted from those
//! before it in a window.

use candle_core::{DType, Device, Result, Tensor};

use crate::{
    kernels::{Kernels, for_each_part},
    model::Decoder,
    ops::with_slices,
};

/// How a text is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window; the last may be shorter.
    pub len: usize,
    /// Tokens from the start of one to the start of the next, at most `len`. As long as the window: none overlap, and the
    /// first token of each is not scored. Shorter: each token after the first window is scored once, with at least
    /// `len − stride` tokens before it.
    pub stride: usize,
    /// Windows at the most, from the start of the text.
    pub max: Option<usize>,
}

/// One window: tokens `start..end`, of which those from `scored` on are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First token.
    pub start: usize,
    /// First token that is scored; it has at least one before it.
    pub scored: usize,
    /// One beyond the last.
    pub end: usize,
}

impl Windows {
    /// The windows of a text of `n` tokens that score anything.
    pub fn over(self, n: usize) -> impl Iterator<Item = Window> {
        let (len, stride) = (self.len.max(2), self.stride.clamp(1, self.len.max(2)));
        let mut before = 0;
        let all = (0..n).step_by(stride).map_while(move |start| {
            let end = (start + len).min(n);
            let window = Window { start, scored: before.max(start + 1), end };
            before = end;
            (window.scored < end).then_some(window)
        });
        all.take(self.max.unwrap_or(usize::MAX))
    }
}

/// What was scored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Sum of the negative log-likelihoods, in nats.
    pub nll_sum: f64,
    /// Tokens scored.
    pub tokens: usize,
    /// Windows.
    pub windows: usize,
    /// Tokens from the start of the text to the end of the last window.
    pub covered: usize,
}

impl Score {
    /// Mean negative log-likelihood of a token in nats; `None` where none was scored.
    #[must_use]
    pub fn nll(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.nll_sum / self.tokens as f64)
    }

    /// Its exponential.
    #[must_use]
    pub fn perplexity(&self) -> Option<f64> {
        self.nll().map(f64::exp)
    }

    /// Bits that the model needs for a byte of the text, of which the windows cover `bytes`: the mean of a token over the
    /// mean length of one.
    #[must_use]
    pub fn bits_per_byte(&self, bytes: usize) -> Option<f64> {
        let nll = self.nll().filter(|_| bytes > 0)?;
        Some(nll / std::f64::consts::LN_2 * self.covered as f64 / bytes as f64)
    }
}

/// Scores the tokens of a text. `after_window` hears of each window, and says whether to go on.
///
/// # Errors
/// On an id beyond the vocabulary or a window beyond the model's positions, and where a likelihood is not a number.
pub fn perplexity(
    model: &Decoder,
    ids: &[u32],
    windows: Windows,
    kernels: Kernels,
    after_window: &mut dyn FnMut(&Score) -> bool,
) -> Result<Score> {
    let mut score = Score::default();
    for Window { start, scored, end } in windows.over(ids.len()) {
        let inputs = Tensor::from_slice(&ids[start..end - 1], (1, end - 1 - start), model.device())?;
        let logits = model.forward_by(&inputs, None, kernels)?;
        let first = scored - 1 - start;
        let logits = logits.narrow(1, first, end - scored)?.squeeze(0)?;
        let nll: f64 = negative_log_likelihoods(&logits, &ids[scored..end])?.iter().map(|x| f64::from(*x)).sum();
        if !nll.is_finite() {
            candle_core::bail!("the likelihood of tokens {scored}..{end} is not a number");
        }
        score.nll_sum += nll;
        score.tokens += end - scored;
        score.windows += 1;
        score.covered = end;
        if !after_window(&score) {
            break;
        }
    }
    Ok(score)
}

/// `ln Σ_v exp(x_v) − x_target` of each row: logits (n, vocab), n targets.
fn negative_log_likelihoods(logits: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
    let (n, vocab) = logits.dims2()?;
    if let Some(id) = targets.iter().find(|id| **id as usize >= vocab) {
        candle_core::bail!("token {id} is beyond the vocabulary of {vocab}");
    }
    let logits = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    let mut out = vec![0.0; n];
    with_slices([&logits], |[logits]| {
        for_each_part(n, n * vocab, [&mut out], |i, [out]| {
            let row = &logits[i * vocab..][..vocab];
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|x| f64::from((x - largest).exp())).sum();
            out[0] = (sum.ln() + f64::from(largest - row[targets[i] as usize])) as f32;
        });
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(len: usize, stride: usize, n: usize) -> Vec<(usize, usize, usize)> {
        Windows { len, stride, max: None }.over(n).map(|w| (w.start, w.scored, w.end)).collect()
    }

    #[test]
    fn windows_by_hand() {
        assert_eq!(windows(4, 4, 10), [(0, 1, 4), (4, 5, 8), (8, 9, 10)]);
        assert_eq!(windows(4, 4, 9), [(0, 1, 4), (4, 5, 8)], "a single token has none before it");
        assert_eq!(windows(4, 2, 9), [(0, 1, 4), (2, 4, 6), (4, 6, 8), (6, 8, 9)]);
        assert_eq!(windows(4, 4, 1), []);
        assert_eq!(Windows { len: 4, stride: 4, max: Some(2) }.over(100).count(), 2);
    }

    proptest! {
        #[test]
        fn with_a_shorter_stride_every_token_but_the_first_is_scored_once(len in 2usize..9, back in 1usize..8, n in 0usize..60) {
            let stride = len.saturating_sub(back).max(1);
            prop_assume!(stride < len);
            let scored: Vec<usize> =
                Windows { len, stride, max: None }.over(n).flat_map(|w| w.scored..w.end).collect();
            prop_assert_eq!(scored, (1..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn likelihoods_are_those_of_the_formula() {
        let rows = [[1.0f32, 2.0, 3.0], [1000.0, 999.0, -1000.0]];
        let got = negative_log_likelihoods(&Tensor::new(&rows, &Device::Cpu).unwrap(), &[0, 1]).unwrap();
        let want = [(1f64.exp() + 2f64.exp() + 3f64.exp()).ln() - 1.0, 1.0 + (-1f64).exp().ln_1p()];
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} against {want}");
        }
    }

    #[test]
    fn bits_per_byte_by_hand() {
        // 3 tokens of ln 4 nats are 2 bits each; 4 tokens cover 8 bytes: half a token a byte.
        let score = Score { nll_sum: 3.0 * 4f64.ln(), tokens: 3, windows: 1, covered: 4 };
        assert!((score.bits_per_byte(8).unwrap() - 1.0).abs() < 1e-12);
        assert!((score.perplexity().unwrap() - 4.0).abs() < 1e-12);
        assert_eq!((Score::default().nll(), score.bits_per_byte(0)), (None, None));
    }
}
