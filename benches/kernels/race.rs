//! Contenders on the same work, timed in turn, so that drift of the machine falls on all of them alike.

use std::{convert::Infallible, time::Duration};

use t2r::{
    measure::{Block, MonotonicClock, Schedule, each, sample},
    stats::median,
};

/// Length of one sample: long enough that a cache is filled anew after the contender before.
const BLOCK: Duration = Duration::from_millis(25);
/// Samples of every contender.
const ROUNDS: usize = 9;

/// Somebody on the track: ns per call, measured anew each time.
pub(crate) struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut() -> Option<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// A call that is timed.
    pub(crate) fn call(name: impl Into<String>, mut call: impl FnMut() + 'a) -> Self {
        let mut first = true;
        let run = move || {
            let block = Block::AtLeast(BLOCK);
            let schedule = Schedule { first, block, samples: 1, timeout: Duration::from_secs(8) };
            first = false;
            let mut call = each(|| {
                call();
                Ok::<(), Infallible>(())
            });
            let Ok(sampled) = sample(&MonotonicClock::default(), &schedule, &mut || false, &mut call);
            sampled.samples_ns.first().copied()
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// A limit of the machine: a speed in units per ns, and the units of the same work.
    pub(crate) fn limit(name: impl Into<String>, units: f64, mut speed: impl FnMut() -> Option<f64> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(move || Some(units / speed()?)) }
    }
}

/// Runs all in turn and prints, for each, the median time and how many times longer it takes than the first one, with
/// the quartiles of the ratios by round. A limit's ratio is the share of it that the first one reaches.
pub(crate) fn race(case: &str, mut contenders: Vec<Contender<'_>>) {
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        let round: Option<Vec<f64>> = contenders.iter_mut().map(|c| (c.run)()).collect();
        for (times, ns) in times.iter_mut().zip(round.into_iter().flatten()) {
            times.push(ns);
        }
    }
    println!("{case}");
    for (contender, own) in contenders.iter().zip(&times) {
        let mut ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, first)| own / first).collect();
        ratios.sort_by(f64::total_cmp);
        let (Some(ns), Some(ratio)) = (median(own), median(&ratios)) else {
            println!("  {:<28} not measured", contender.name);
            continue;
        };
        let best = own.iter().copied().fold(f64::INFINITY, f64::min);
        let (low, high) = (ratios[ratios.len() / 4], ratios[ratios.len() * 3 / 4]);
        println!(
            "  {:<28} {:>11.2} us, best {:>11.2} us, ratio {ratio:.2} [{low:.2}, {high:.2}]",
            contender.name,
            ns / 1e3,
            best / 1e3
        );
    }
}
