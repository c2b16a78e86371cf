//! What watching costs: a block of work with and without an observation just before it, in turn, in this process.

use super::Clock;
use crate::stats::{Interval, ratio_interval};

/// Pairs of blocks, enough that disturbed ones do not widen the interval.
const PAIRS: usize = 80;

/// How much longer a block takes when something looked, or drew, before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObserverCost {
    /// Median of the pairs, percent.
    pub pct: f64,
    /// Interval of that median, percent.
    pub interval: Option<Interval>,
}

/// Times `work` after `observe` and without it, the order within a pair changing from pair to pair. The observation
/// itself is outside of the timing, as it is in a run: what is found is what it leaves behind, such as an emptied cache.
/// `None` where the clock saw no time pass.
pub fn observer_cost(clock: &dyn Clock, observe: &mut dyn FnMut(), work: &mut dyn FnMut()) -> Option<ObserverCost> {
    let mut timed = |watched: bool| {
        if watched {
            observe();
        }
        let start = clock.now();
        work();
        clock.now().saturating_sub(start).as_secs_f64()
    };
    timed(true);
    let pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|pair| {
            let first = timed(pair % 2 == 0);
            let second = timed(pair % 2 == 1);
            if pair % 2 == 0 { (first, second) } else { (second, first) }
        })
        .collect();
    if pairs.iter().any(|(watched, alone)| *watched <= 0.0 || *alone <= 0.0) {
        return None;
    }
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    let ratio = ratio_interval(&pairs)?;
    Some(ObserverCost { pct: percent(ratio.ratio), interval: ratio.interval.map(|(l, h)| (percent(l), percent(h))) })
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;
    use crate::measure::ScriptedClock;

    fn cost(plain_us: u64, watched_us: u64) -> Option<ObserverCost> {
        let (clock, watched) = (ScriptedClock::default(), Cell::new(false));
        let mut observe = || watched.set(true);
        let mut work = || {
            let took = if watched.replace(false) { watched_us } else { plain_us };
            clock.advance(Duration::from_micros(took));
        };
        observer_cost(&clock, &mut observe, &mut work)
    }

    #[test]
    fn a_block_that_takes_longer_when_watched_shows_by_how_much() {
        let got = cost(1000, 1020).unwrap();
        let (low, high) = got.interval.unwrap();
        assert!((got.pct - 2.0).abs() < 1e-9 && (low - 2.0).abs() < 1e-9 && (high - 2.0).abs() < 1e-9);
        assert!(cost(1000, 1000).unwrap().pct.abs() < 1e-9);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        assert_eq!(cost(0, 0), None);
    }
}
