//! Decoding speed and memory of models at some depths. Both depend on what a model is made of and not on what its weights have
//! learned, so that they are measured when all models are there: in rounds over all of them, so that drift of the machine
//! falls on all alike. Knows no training and no file.

use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor};
use rand::seq::SliceRandom;

use super::profile::DecodeSizes;
use crate::{
    kernels::{Kernels, Simd},
    measure::{Block, Clock, Observer, Schedule, each, sample},
    model::{Decoder, Session, Setup, Translator},
    params::{Init, Params, draw, named_rng},
    stats::{Interval, median, median_interval},
};

/// Visits to every model: as few as give an interval.
const ROUNDS: usize = 6;

/// Tokens before those that are timed, at the most.
const WARM_UP: usize = 21;

/// Numbers that a made-up context repeats.
const TILE: usize = 4096;

/// One model at one depth has no more than this in a round.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is around a measurement.
pub struct Bench<'a> {
    /// Depths, sequences at once, and tokens of a visit.
    pub decode: &'a DecodeSizes,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The machine.
    pub observer: &'a mut dyn Observer,
    /// Whether the user has asked to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// A model at one depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Tokens of context.
    pub len: usize,
    /// Over all sequences: of the median round; `None` where no round had a sample.
    pub tokens_per_s: Option<f64>,
    /// Its 95 % interval over the rounds.
    pub interval: Option<Interval>,
    /// Rounds.
    pub rounds: usize,
    /// State of one sequence; with an encoder, what it keeps of the source too.
    pub state_bytes: u64,
    /// CPU time of other processes, in percent of one core: of the median round.
    pub foreign_cpu_pct: Option<f64>,
}

/// What all rounds gave at one depth.
#[derive(Default)]
struct Seen {
    token_ns: Vec<f64>,
    foreign_cpu_pct: Vec<f64>,
    state_bytes: u64,
}

impl Bench<'_> {
    /// Greedy tokens of every model at every depth, by fused kernels, with feature maps merged where that is exact; `None` where
    /// the user asked to stop. `begun` hears of every round, from 1, and of how many there are.
    ///
    /// # Errors
    /// As steps fail.
    pub fn speeds(&mut self, setups: &[Setup], begun: &mut dyn FnMut(usize, usize)) -> Result<Option<Vec<Vec<Speed>>>> {
        let lengths = self.decode.lengths.clone();
        let mut seen: Vec<Vec<Seen>> =
            setups.iter().map(|_| lengths.iter().map(|_| Seen::default()).collect()).collect();
        let mut order: Vec<usize> = (0..setups.len()).collect();
        for round in 0..ROUNDS {
            begun(round + 1, ROUNDS);
            order.shuffle(&mut named_rng(round as u64, "order of the models"));
            for i in &order {
                self.visit(&setups[*i], round == 0, &mut seen[*i])?;
                if (self.stop)() {
                    return Ok(None);
                }
            }
        }
        let of = |seen: &[Seen]| lengths.iter().zip(seen).map(|(len, seen)| self.speed(*len, seen)).collect();
        Ok(Some(seen.iter().map(|seen| of(seen)).collect()))
    }

    /// One model is made, timed at every depth, and dropped.
    fn visit(&mut self, setup: &Setup, first: bool, seen: &mut [Seen]) -> Result<()> {
        let DecodeSizes { batch, lengths, tokens } = self.decode;
        let spare = WARM_UP + tokens;
        let room = lengths.iter().copied().max().unwrap_or(0) + spare;
        let merged = Setup { max_len: setup.max_len.max(room), ..setup.merged() };
        let mut params = Params::frozen(&Device::Cpu, DType::F32, 0);
        let kernels = Kernels::Fused(Simd::detect());
        if !merged.has_encoder() {
            let model = Decoder::new(&merged, &mut params)?;
            for (len, seen) in lengths.iter().zip(seen) {
                self.time(Session::by(&model, *batch, len + spare, kernels)?, *len, first, seen)?;
            }
            return Ok(());
        }
        let model = Translator::new(&merged, &mut params)?;
        for (len, seen) in lengths.iter().zip(seen) {
            let encoded = model.encode_by(&Tensor::zeros((*batch, *len), DType::U32, &Device::Cpu)?, None, kernels)?;
            self.time(Session::translating(&model, len + spare, &encoded, kernels)?, *len, first, seen)?;
        }
        Ok(())
    }

    /// Tokens from `len` on.
    fn time(&mut self, mut session: Session<'_>, len: usize, first: bool, seen: &mut Seen) -> Result<()> {
        let DecodeSizes { batch, tokens, .. } = self.decode;
        session.fill(len, &draw(&mut named_rng(0, "context"), TILE, Init::Normal(1.0)))?;
        seen.state_bytes = session.state_bytes() / *batch as u64;
        let mut ids = vec![0; *batch];
        let mut stop = || (self.stop)();
        let schedule = |first, samples| Schedule { first, block: Block::Fixed(1), samples, timeout: TIMEOUT };
        self.observer.begin();
        if first {
            sample(self.clock, &schedule(true, 0), &mut stop, &mut each(|| session.advance(&mut ids)))?;
        }
        // The discarded token stands just before the depth.
        session.rewind(len - 1);
        let sampled =
            sample(self.clock, &schedule(false, *tokens), &mut stop, &mut each(|| session.advance(&mut ids)))?;
        let conditions = self.observer.end();
        seen.token_ns.extend(median(&sampled.samples_ns));
        seen.foreign_cpu_pct.extend(conditions.foreign_cpu_pct);
        Ok(())
    }

    fn speed(&self, len: usize, seen: &Seen) -> Speed {
        let per_s = |ns: f64| self.decode.batch as f64 * 1e9 / ns.max(f64::MIN_POSITIVE);
        Speed {
            len,
            tokens_per_s: median(&seen.token_ns).map(per_s),
            interval: median_interval(&seen.token_ns).map(|(low, high)| (per_s(high), per_s(low))),
            rounds: seen.token_ns.len(),
            state_bytes: seen.state_bytes,
            foreign_cpu_pct: median(&seen.foreign_cpu_pct),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        measure::{Conditions, ScriptedClock},
        tradeoff::{load, models::softmax_setup},
    };

    /// Other processes take 1, 2, 3 … percent of a core.
    #[derive(Default)]
    struct Others(f64);

    impl Observer for Others {
        fn begin(&mut self) {
            self.0 += 1.0;
        }

        fn end(&mut self) -> Conditions {
            Conditions { foreign_cpu_pct: Some(self.0), ..Conditions::default() }
        }
    }

    #[test]
    fn a_speed_is_that_of_the_median_round_and_a_wish_to_stop_ends_all() {
        let profile = load("tradeoff-smoke").unwrap();
        let softmax = softmax_setup(profile.model.unwrap(), 20, 8, false);
        let decode = DecodeSizes { batch: 3, lengths: vec![2, 30], tokens: 2 };
        let (clock, stopped) = (ScriptedClock::stepping(Duration::from_millis(1)), Cell::new(false));
        let mut bench =
            Bench { decode: &decode, clock: &clock, observer: &mut Others::default(), stop: &|| stopped.get() };
        let mut rounds = Vec::new();
        let speeds =
            bench.speeds(std::slice::from_ref(&softmax), &mut |round, of| rounds.push((round, of))).unwrap().unwrap();
        assert_eq!(rounds, (1..=6).map(|round| (round, 6)).collect::<Vec<_>>());
        let [of_model] = &speeds[..] else { panic!("{speeds:?}") };
        for (speed, len) in of_model.iter().zip([2, 30]) {
            // A token lasts from one read of the clock to the next: 3 tokens in 1 ms.
            assert_eq!((speed.len, speed.tokens_per_s, speed.interval), (len, Some(3000.0), Some((3000.0, 3000.0))));
            // Keys and values of 2 layers, 2 heads of 32, f32.
            assert_eq!((speed.rounds, speed.state_bytes), (6, 2 * 2 * 64 * 4 * len as u64));
        }
        // Of visits 1, 3, … 11 and 2, 4, … 12.
        assert_eq!([of_model[0].foreign_cpu_pct, of_model[1].foreign_cpu_pct], [Some(6.0), Some(7.0)]);
        stopped.set(true);
        assert_eq!(bench.speeds(&[softmax], &mut |_, _| {}).unwrap(), None);
    }
}
