//! A text continued token by token: a prompt, then steps on the decode engine, whose memory does not grow for linear
//! variants.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};

use super::{Sampler, Sampling};
use crate::{
    kernels::Kernels,
    model::{Decoder, Session},
    ops::with_slices,
};

/// What is to be generated.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Ids that come before, at least one.
    pub prompt: &'a [u32],
    /// Tokens at the most.
    pub max_tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens that end the text; they are not part of it.
    pub ends: &'a [u32],
}

/// Why a generation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has all its tokens.
    Full,
    /// The model ended the text.
    EndOfText,
    /// Whoever listens wanted no more.
    Stopped,
}

/// What a generation took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Generated {
    /// Tokens after the prompt.
    pub tokens: usize,
    /// Time of the prompt, to the first token.
    pub prompt_time: Duration,
    /// Time of all steps after it.
    pub time: Duration,
    /// Bytes of all layers' states at the end.
    pub state_bytes: u64,
    /// Why it is over.
    pub ended: Ended,
}

impl Generated {
    /// Tokens a second, the prompt aside; `None` of a single token.
    #[must_use]
    pub fn tokens_per_s(&self) -> Option<f64> {
        // The first token came with the prompt.
        let (steps, seconds) = (self.tokens.saturating_sub(1), self.time.as_secs_f64());
        (steps > 0 && seconds > 0.0).then(|| steps as f64 / seconds)
    }
}

/// Generates. `on_token` hears of each token as it is chosen, and says whether to go on.
///
/// # Errors
/// Where the prompt is empty, the model does not know so many positions, memory runs out, or logits are not finite.
pub fn generate(
    model: &Decoder,
    request: Request<'_>,
    kernels: Kernels,
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Generated> {
    let Request { prompt, max_tokens, sampling, ends } = request;
    let begun = Instant::now();
    // The last token is chosen and not stepped on.
    let capacity = prompt.len() + max_tokens.saturating_sub(1);
    let mut session = Session::by(model, 1, capacity, kernels)?;
    let mut sampler = Sampler::new(sampling);
    let mut next = choose(&mut sampler, &session.prefill(prompt)?)?;
    let prompted = Instant::now();
    let mut tokens = 0;
    let ended = loop {
        if tokens == max_tokens {
            break Ended::Full;
        }
        if ends.contains(&next) {
            break Ended::EndOfText;
        }
        tokens += 1;
        if !on_token(next) {
            break Ended::Stopped;
        }
        if tokens < max_tokens {
            next = choose(&mut sampler, &session.step(&[next])?)?;
        }
    };
    let time = prompted.elapsed();
    Ok(Generated { tokens, prompt_time: prompted - begun, time, state_bytes: session.state_bytes(), ended })
}

/// The next token from logits (1, vocab).
fn choose(sampler: &mut Sampler, logits: &Tensor) -> Result<u32> {
    let logits = logits.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    with_slices([&logits], |[logits]| sampler.next(logits))
}
