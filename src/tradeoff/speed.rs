//! Decoding speed and memory of a trained model at some depths: a look beside its quality, not a benchmark. `t2r run` measures.

use candle_core::{DType, Device, Result, Tensor};

use super::models::{Known, Values};
use crate::{
    kernels::{Kernels, Simd},
    measure::Clock,
    model::{Decoder, Session, Setup, Translator},
    params::{Init, Params, draw, named_rng},
    stats::median,
};

/// Tokens before those that are timed.
const WARM_UP: usize = 4;

/// Numbers that a made-up context repeats.
const TILE: usize = 4096;

/// At one depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Tokens of context.
    pub len: usize,
    /// Over all sequences.
    pub tokens_per_s: f64,
    /// State of one sequence; with an encoder, what it keeps of the source too.
    pub state_bytes: u64,
}

/// Greedy tokens of `batch` sequences at each depth, by fused kernels, with feature maps merged where that is exact.
///
/// # Errors
/// As steps fail.
pub fn speeds(
    setup: &Setup,
    values: &Values,
    lengths: &[usize],
    (batch, tokens): (usize, usize),
    clock: &dyn Clock,
) -> Result<Vec<Speed>> {
    let room = lengths.iter().copied().max().unwrap_or(0) + WARM_UP + tokens;
    let merged = Setup { max_len: setup.max_len.max(room), ..setup.merged() };
    let mut values = values.clone();
    if merged.max_len != setup.max_len {
        // A learned table has no rows for these depths: what they would hold decides no time, so that it is drawn.
        values.remove("positions");
    }
    let mut params = Params::frozen(&Device::Cpu, DType::F32, 0).from_source(Box::new(Known(values)));
    let kernels = Kernels::Fused(Simd::detect());
    if !merged.has_encoder() {
        let model = Decoder::new(&merged, &mut params)?;
        let session = |len: usize| Session::by(&model, batch, len + WARM_UP + tokens, kernels);
        return lengths.iter().map(|len| speed(session(*len)?, *len, (batch, tokens), clock)).collect();
    }
    let model = Translator::new(&merged, &mut params)?;
    let at = |len: usize| {
        let source = Tensor::zeros((batch, len), DType::U32, &Device::Cpu)?;
        let encoded = model.encode_by(&source, None, kernels)?;
        speed(Session::translating(&model, len + WARM_UP + tokens, &encoded, kernels)?, len, (batch, tokens), clock)
    };
    lengths.iter().map(|len| at(*len)).collect()
}

fn speed(mut session: Session<'_>, len: usize, (batch, tokens): (usize, usize), clock: &dyn Clock) -> Result<Speed> {
    session.fill(len, &draw(&mut named_rng(0, "context"), TILE, Init::Normal(1.0)))?;
    let state_bytes = session.state_bytes() / batch as u64;
    let mut ids = vec![0; batch];
    let mut times = Vec::with_capacity(tokens);
    for i in 0..WARM_UP + tokens {
        let begun = clock.now();
        ids = session.step_greedy(&ids)?;
        if i >= WARM_UP {
            times.push((clock.now() - begun).as_secs_f64());
        }
    }
    let tokens_per_s = median(&times).map_or(0.0, |time| batch as f64 / time.max(f64::MIN_POSITIVE));
    Ok(Speed { len, tokens_per_s, state_bytes })
}
