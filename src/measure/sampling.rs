//! The timed loop that every workload shares: warm up, size the block, take samples. Knows calls, not what they do.

use std::time::Duration;

use super::{
    Clock,
    warmup::{agree, grown},
};

/// Samples discarded at most, whether they agree or not.
const MAX_WARMUP: u32 = 20;
/// Warming up may take this part of the time limit.
const WARMUP_SHARE: u32 = 4;

/// Samples for which there is room before they are taken; more get it as they come.
const MOST_RESERVED: usize = 4096;

/// How many calls are timed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// This many, at least 1: known from an earlier visit, or 1 for calls that are samples of their own.
    Fixed(u64),
    /// As many as take this long, found while warming up.
    AtLeast(Duration),
}

/// What is asked of one visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The first visit discards samples until three agree; a later one discards one.
    pub first: bool,
    /// Calls in a sample.
    pub block: Block,
    /// Samples to keep.
    pub samples: usize,
    /// The visit ends with what it has when it has taken this long; warming up ends after a quarter of it.
    pub timeout: Duration,
}

/// Why a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has all its samples.
    Complete,
    /// Its time was up.
    TimedOut,
    /// It was told to stop.
    Stopped,
}

/// What one visit yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Samples kept, ns per call, in order; empty where the visit ended before the first.
    pub samples_ns: Vec<f64>,
    /// Calls in each sample.
    pub iters_per_sample: u64,
    /// Samples discarded.
    pub warmup_count: u32,
    /// Whether the last three discarded samples agreed within 5 %; a later visit trusts the first and says true.
    pub warmup_verified: bool,
    /// The very first sample, ns per call; `None` on a later visit, or where nothing ran.
    pub first_ns: Option<f64>,
    /// Why the visit ended.
    pub ended: Ended,
}

/// Calls one after another, each done when it returns: the block of a device that needs no synchronisation.
pub fn each<E>(mut call: impl FnMut() -> Result<(), E>) -> impl FnMut(u64) -> Result<(), E> {
    move |n| (0..n).try_for_each(|_| call())
}

/// Runs one visit. `call` makes as many calls as it is told and returns when all of them are done (see [`each`]; a
/// device that works on its own is waited for once, at the end). `stop` is asked between samples, outside of the timing, and ends the visit by answering true; it may
/// also look at memory there. A sample that has begun is always finished.
///
/// # Errors
/// The first error of `call`, at once; samples taken before are lost.
pub fn sample<E>(
    clock: &dyn Clock,
    schedule: &Schedule,
    stop: &mut dyn FnMut() -> bool,
    call: &mut dyn FnMut(u64) -> Result<(), E>,
) -> Result<Sampled, E> {
    let iters = match schedule.block {
        Block::Fixed(iters) => iters.max(1),
        Block::AtLeast(_) => 1,
    };
    let mut visit = Visit { clock, started: clock.now(), timeout: schedule.timeout, stop, call, iters };
    let warm = visit.warm_up(schedule)?;
    let mut samples_ns = Vec::with_capacity(schedule.samples.min(MOST_RESERVED));
    let mut ended = Ended::Complete;
    while samples_ns.len() < schedule.samples {
        if let Some(reason) = visit.over() {
            ended = reason;
            break;
        }
        samples_ns.push(visit.per_call_ns(visit.iters)?.1);
    }
    Ok(Sampled {
        samples_ns,
        iters_per_sample: visit.iters,
        warmup_count: warm.count,
        warmup_verified: warm.verified,
        first_ns: warm.first_ns.filter(|_| schedule.first),
        ended,
    })
}

struct Visit<'a, E> {
    clock: &'a dyn Clock,
    started: Duration,
    timeout: Duration,
    stop: &'a mut dyn FnMut() -> bool,
    call: &'a mut dyn FnMut(u64) -> Result<(), E>,
    iters: u64,
}

struct WarmUp {
    count: u32,
    verified: bool,
    first_ns: Option<f64>,
}

impl<E> Visit<'_, E> {
    /// Discards samples. A sample shorter than the least block makes the block longer, and agreement starts anew.
    fn warm_up(&mut self, schedule: &Schedule) -> Result<WarmUp, E> {
        let budget = schedule.timeout / WARMUP_SHARE;
        let mut warm = WarmUp { count: 0, verified: !schedule.first, first_ns: None };
        let mut discarded = Vec::new();
        while warm.count < MAX_WARMUP && self.over().is_none() {
            let (elapsed, per_call) = self.per_call_ns(self.iters)?;
            warm.count += 1;
            warm.first_ns = warm.first_ns.or(Some(per_call));
            match schedule.block {
                Block::AtLeast(least) if elapsed < least => {
                    self.iters = grown(self.iters, elapsed, least);
                    discarded.clear();
                }
                _ => discarded.push(per_call),
            }
            let sized = !discarded.is_empty();
            if schedule.first {
                warm.verified = agree(&discarded);
            }
            if (sized && warm.verified) || self.elapsed() >= budget {
                break;
            }
        }
        Ok(warm)
    }

    /// Times one block: its length, and ns per call.
    fn per_call_ns(&mut self, iters: u64) -> Result<(Duration, f64), E> {
        let start = self.clock.now();
        (self.call)(iters)?;
        let elapsed = self.clock.now().saturating_sub(start);
        Ok((elapsed, elapsed.as_nanos() as f64 / iters as f64))
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.started)
    }

    fn over(&mut self) -> Option<Ended> {
        if (self.stop)() {
            return Some(Ended::Stopped);
        }
        (self.elapsed() >= self.timeout).then_some(Ended::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::{super::ScriptedClock, *};

    const MS: Duration = Duration::from_millis(1);

    fn schedule(block: Block) -> Schedule {
        Schedule { first: true, block, samples: 4, timeout: Duration::from_secs(10) }
    }

    /// Runs a visit of calls that take `cost(index)` each; returns also how many ran.
    fn run(schedule: &Schedule, cost: impl Fn(u64) -> Duration) -> (Sampled, u64) {
        let (clock, mut calls) = (ScriptedClock::default(), 0);
        let mut call = each(|| {
            clock.advance(cost(calls));
            calls += 1;
            Ok::<(), Infallible>(())
        });
        let sampled = sample(&clock, schedule, &mut || false, &mut call);
        drop(call);
        (sampled.unwrap(), calls)
    }

    #[test]
    fn steady_calls_need_three_discarded_samples() {
        let (got, calls) = run(&schedule(Block::Fixed(1)), |_| MS);
        assert_eq!(got.samples_ns, [1e6; 4]);
        assert_eq!((got.warmup_count, got.warmup_verified, got.first_ns), (3, true, Some(1e6)));
        assert_eq!((got.ended, calls), (Ended::Complete, 7));
    }

    #[test]
    fn warming_up_waits_for_agreement() {
        // 8 4 2 1 1 1 ms: the last three of six agree.
        let (got, _) = run(&schedule(Block::Fixed(1)), |i| MS * (8_u32 >> i.min(3)));
        assert_eq!((got.warmup_count, got.warmup_verified, got.first_ns), (6, true, Some(8e6)));
        assert_eq!(got.samples_ns, [1e6; 4]);
    }

    #[test]
    fn samples_that_never_agree_end_after_twenty() {
        let (got, calls) = run(&schedule(Block::Fixed(1)), |i| MS * (1 + i as u32 % 2));
        assert_eq!((got.warmup_count, got.warmup_verified, calls), (20, false, 24));
    }

    #[test]
    fn warming_up_ends_with_a_quarter_of_the_time() {
        let limited = Schedule { timeout: MS * 40, ..schedule(Block::Fixed(1)) };
        // 1 2 3 4 ms are together the 10 ms that warming up may take; 5 6 7 8 ms are kept, 36 ms in all.
        let (got, _) = run(&limited, |i| MS * (i as u32 + 1));
        assert_eq!((got.warmup_count, got.warmup_verified), (4, false));
        assert_eq!((got.samples_ns.as_slice(), got.ended), ([5e6, 6e6, 7e6, 8e6].as_slice(), Ended::Complete));
    }

    #[test]
    fn a_block_grows_until_it_is_long_enough() {
        // 1 µs a call, 1 ms wanted: 1, 16, 256 calls fall short; 256 µs → 256 · 1.2 · 1000/256 = 1200 calls.
        let (got, calls) = run(&schedule(Block::AtLeast(MS)), |_| Duration::from_micros(1));
        assert_eq!((got.iters_per_sample, got.warmup_count, got.warmup_verified), (1200, 6, true));
        assert_eq!((got.first_ns, got.samples_ns.as_slice()), (Some(1e3), [1e3; 4].as_slice()));
        assert_eq!(calls, 1 + 16 + 256 + 7 * 1200);
    }

    #[test]
    fn a_block_sized_on_cold_calls_grows_again() {
        // The first 16 calls take 100 µs, later ones 1 µs: 12 calls seem enough for 1 ms until they are warm.
        let cost = |i| Duration::from_micros(if i < 16 { 100 } else { 1 });
        let (got, _) = run(&schedule(Block::AtLeast(MS)), cost);
        assert!(got.iters_per_sample >= 1000, "{got:?}");
        assert!(got.warmup_verified);
    }

    #[test]
    fn a_call_longer_than_the_block_stands_alone() {
        let (got, _) = run(&schedule(Block::AtLeast(MS)), |_| MS * 3);
        assert_eq!((got.iters_per_sample, got.samples_ns.as_slice()), (1, [3e6; 4].as_slice()));
    }

    #[test]
    fn a_later_visit_discards_one_sample() {
        let later = Schedule { first: false, ..schedule(Block::Fixed(10)) };
        let (got, calls) = run(&later, |_| MS);
        assert_eq!((got.warmup_count, got.warmup_verified, got.first_ns), (1, true, None));
        assert_eq!((got.iters_per_sample, calls), (10, 50));
    }

    #[test]
    fn a_later_visit_that_was_not_sized_yet_is() {
        let later = Schedule { first: false, ..schedule(Block::AtLeast(MS)) };
        let (got, _) = run(&later, |_| Duration::from_micros(1));
        assert_eq!((got.iters_per_sample, got.warmup_count), (1200, 4));
    }

    #[test]
    fn calls_that_take_no_time_end_too() {
        let none = Schedule { samples: 0, ..schedule(Block::AtLeast(MS)) };
        let (clock, mut calls) = (ScriptedClock::stepping(Duration::from_nanos(1)), 0_u64);
        let mut call = each(|| {
            calls += 1;
            Ok::<(), Infallible>(())
        });
        let got = sample(&clock, &Schedule { timeout: Duration::from_nanos(60), ..none }, &mut || false, &mut call);
        drop(call);
        assert!(!got.unwrap().warmup_verified);
        assert!(calls < 1 << 24);
    }

    #[test]
    fn the_time_limit_keeps_what_there_is() {
        let limited = Schedule { timeout: MS * 50, ..schedule(Block::Fixed(1)) };
        // Three discarded at 12 ms pass a quarter of 50 after two; samples end at 36, 48 and 60 ms.
        let (got, _) = run(&limited, |_| MS * 12);
        assert_eq!((got.warmup_count, got.samples_ns.len(), got.ended), (2, 3, Ended::TimedOut));
        let (got, calls) = run(&limited, |_| MS * 50);
        assert_eq!((got.first_ns, got.samples_ns.len(), got.ended, calls), (Some(5e7), 0, Ended::TimedOut, 1));
    }

    #[test]
    fn more_samples_than_memory_holds_are_asked_for_in_vain() {
        let endless = Schedule { samples: usize::MAX, timeout: MS * 50, ..schedule(Block::Fixed(1)) };
        let (got, _) = run(&endless, |_| MS * 12);
        assert_eq!((got.samples_ns.len(), got.ended), (3, Ended::TimedOut));
    }

    #[test]
    fn a_stop_is_heard_between_samples() {
        let (clock, mut asked) = (ScriptedClock::default(), 0);
        let mut stop = || {
            asked += 1;
            asked > 5
        };
        let mut call = each(|| {
            clock.advance(MS);
            Ok::<(), Infallible>(())
        });
        let got = sample(&clock, &schedule(Block::Fixed(1)), &mut stop, &mut call).unwrap();
        assert_eq!((got.warmup_count, got.samples_ns.len(), got.ended), (3, 2, Ended::Stopped));
        let got = sample(&clock, &schedule(Block::Fixed(1)), &mut || true, &mut call).unwrap();
        assert_eq!((got.warmup_count, got.first_ns, got.ended), (0, None, Ended::Stopped));
    }

    #[test]
    fn an_error_of_a_call_comes_through() {
        let clock = ScriptedClock::default();
        let got = sample(&clock, &schedule(Block::Fixed(1)), &mut || false, &mut each(|| Err("broken")));
        assert_eq!(got, Err("broken"));
    }
}
