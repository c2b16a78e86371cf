//! Monotonic time behind a trait, with a scripted twin that makes tests exact. Knows nothing of what is timed.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Reads of the clock after which a clock that never moves is given up.
const RESOLUTION_READS: u32 = 1_000_000;
/// Steps of the clock among which the smallest is its resolution.
const RESOLUTION_STEPS: u32 = 100;

/// Time since an arbitrary origin; never runs backwards.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Duration;
}

/// The operating system's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    origin: Instant,
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock for tests: stands still but for what it is told.
#[derive(Debug, Default)]
pub struct ScriptedClock {
    now: Cell<Duration>,
    per_read: Duration,
}

impl ScriptedClock {
    /// A clock that also moves by `per_read` after every read.
    #[must_use]
    pub fn stepping(per_read: Duration) -> Self {
        Self { now: Cell::default(), per_read }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now.set(self.now.get() + by);
    }
}

impl Clock for ScriptedClock {
    fn now(&self) -> Duration {
        let now = self.now.get();
        self.advance(self.per_read);
        now
    }
}

/// The smallest step by which the clock is seen to move, reading it included; `None` for a clock that stands still.
#[must_use]
pub fn timer_resolution(clock: &dyn Clock) -> Option<Duration> {
    let mut smallest = None;
    let (mut last, mut steps) = (clock.now(), 0);
    for _ in 0..RESOLUTION_READS {
        let now = clock.now();
        let step = now.saturating_sub(last);
        last = now;
        if !step.is_zero() {
            smallest = Some(smallest.map_or(step, |s: Duration| s.min(step)));
            steps += 1;
        }
        if steps == RESOLUTION_STEPS {
            break;
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripted_clock_moves_only_as_told() {
        let clock = ScriptedClock::default();
        clock.advance(Duration::from_nanos(5));
        assert_eq!((clock.now(), clock.now()), (Duration::from_nanos(5), Duration::from_nanos(5)));
        let clock = ScriptedClock::stepping(Duration::from_nanos(3));
        assert_eq!((clock.now(), clock.now()), (Duration::ZERO, Duration::from_nanos(3)));
    }

    #[test]
    fn the_resolution_is_the_smallest_step() {
        assert_eq!(
            timer_resolution(&ScriptedClock::stepping(Duration::from_nanos(41))),
            Some(Duration::from_nanos(41))
        );
        assert_eq!(timer_resolution(&ScriptedClock::default()), None);
    }

    #[test]
    fn the_monotonic_clock_never_runs_backwards() {
        let clock = MonotonicClock::default();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
