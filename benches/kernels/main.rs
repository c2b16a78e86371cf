//! Fused kernels beside their plain twins, candle's operations and the limits of the machine, on the same work:
//! `cargo bench`, or `cargo bench -- WORD` for the cases whose name holds it; `RAYON_NUM_THREADS` sets the threads.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench talks to people and may panic")]

mod backward;
mod decode;
mod forward;
mod race;

use t2r::measure::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// The shape of all cases: a layer of 8 heads of 64.
const HEADS: usize = 8;
const D_HEAD: usize = 64;

/// Numbers in -1..1 that repeat every 8191: what a kernel computes with does not change how fast it is.
fn numbers(n: usize) -> Vec<f32> {
    let tile: Vec<f32> =
        (0..8191_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect();
    tile.iter().copied().cycle().take(n).collect()
}

/// The same, none below zero, as features are.
fn features(n: usize) -> Vec<f32> {
    numbers(n).iter().map(|x| x.max(0.0)).collect()
}

fn main() {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: the first thing that is done, before there is another thread.
        unsafe { std::env::set_var(variable, threads.to_string()) };
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |case: &str| wanted.is_empty() || wanted.iter().any(|w| case.contains(w.as_str()));
    println!("{threads} threads; ratios are to the first line of each case");
    decode::run(&runs, threads);
    forward::run(&runs);
    backward::run(&runs);
}
