//! What the machine can do at best, measured in this process: streams, multiply-adds, sgemm, the cost of a fork.
//! Knows no cell; whoever asks for a share of the machine names a footprint and a direction.

use std::{collections::HashMap, convert::Infallible, sync::Mutex, time::Duration};

use candle_core::{Device, Tensor, utils::barrier_pool};
use serde::Serialize;

use super::{
    Block, Direction, Machine, MonotonicClock, Schedule, each,
    isa::has_fma,
    memory_limit, sample,
    traffic::{CHAINS, STEPS, multiply_add, stream},
};

/// Length of one sample of a limit.
const BLOCK: Duration = Duration::from_millis(10);
/// Samples of which a limit is the median.
const SAMPLES: usize = 5;
/// A limit takes at most this long, however slow the machine.
const TIMEOUT: Duration = Duration::from_secs(2);
/// No stream is measured over more: beyond every cache, more says nothing new.
const LARGEST_STREAM: u64 = 1 << 30;
/// Less than this the loops' own starts would be measured.
const SMALLEST_STREAM: u64 = 1 << 12;
/// A stream may take this part of the memory that is left.
const MEMORY_SHARE: u64 = 4;
/// Times that the sgemm limit is measured over a run.
const SGEMM_TRIES: usize = 6;
/// Rows and columns of the matrices of the sgemm limit.
const GEMM_SIZE: usize = 512;

/// The limits that shares are taken of; `None` where one could not be measured.
pub trait Limits {
    /// Bandwidth in GB/s (10⁹ bytes, reads and writes both counted) of passes over `footprint_bytes`.
    fn stream(&mut self, footprint_bytes: u64, direction: Direction) -> Option<f64>;

    /// Speed of a square f32 matrix product in GFLOP/s.
    fn sgemm_gflops(&mut self) -> Option<f64>;
}

/// Measures a limit when it is first asked for and remembers it for the run. Footprints are rounded to powers of two.
#[derive(Debug)]
pub struct LimitsCache {
    threads: usize,
    streams: HashMap<(u64, Direction), Option<f64>>,
    sgemm: Option<f64>,
    sgemm_tries: usize,
}

impl LimitsCache {
    /// Limits for this many threads, at most those of the pool that the kernels run on.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads, streams: HashMap::new(), sgemm: None, sgemm_tries: 0 }
    }
}

impl Limits for LimitsCache {
    fn stream(&mut self, footprint_bytes: u64, direction: Direction) -> Option<f64> {
        let bytes = stream_bytes(footprint_bytes, memory_limit());
        *self.streams.entry((bytes, direction)).or_insert_with(|| {
            // One thread may be the faster for a small footprint, or while another program holds a core.
            let alone = stream_gb_per_s(bytes, direction, 1);
            let all = if self.threads > 1 { stream_gb_per_s(bytes, direction, self.threads) } else { None };
            alone.into_iter().chain(all).reduce(f64::max)
        })
    }

    fn sgemm_gflops(&mut self) -> Option<f64> {
        // A limit is the best there was: one measurement may fall into a moment when others hold the cores.
        if self.sgemm_tries < SGEMM_TRIES {
            self.sgemm_tries += 1;
            self.sgemm = self.sgemm.into_iter().chain(sgemm_gflops()).reduce(f64::max);
        }
        self.sgemm
    }
}

/// The power of two nearest in ratio to the footprint, within what a stream may take.
fn stream_bytes(footprint: u64, memory_left: Option<u64>) -> u64 {
    let most = memory_left.map_or(LARGEST_STREAM, |left| LARGEST_STREAM.min(left / MEMORY_SHARE)).max(SMALLEST_STREAM);
    let exponent = (footprint.max(1) as f64).log2().round() as u32;
    1 << exponent.clamp(SMALLEST_STREAM.ilog2(), most.ilog2())
}

/// Number of threads of the pool that kernels and streams run on, the caller's included.
fn pool_threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Runs a part per thread: on the caller alone where there is one.
fn fork(threads: usize, part: impl Fn(usize) + Sync) {
    if threads <= 1 {
        part(0);
    } else {
        barrier_pool().execute(|thread| {
            if thread < threads {
                part(thread);
            }
        });
    }
}

/// Bandwidth in GB/s of passes over `bytes` of memory, split statically over the threads.
#[must_use]
pub fn stream_gb_per_s(bytes: u64, direction: Direction, threads: usize) -> Option<f64> {
    let threads = threads.clamp(1, pool_threads());
    let mut buffer = vec![0.0_f32; usize::try_from(bytes / 4).ok()?];
    let part = buffer.len().div_ceil(threads).max(1);
    // A lock per part and pass lets the pool's threads share the buffer; it costs nanoseconds.
    let parts: Vec<Mutex<&mut [f32]>> = buffer.chunks_mut(part).map(Mutex::new).collect();
    let pass = |direction| {
        fork(threads, |thread| {
            if let Some(mut part) = parts.get(thread).and_then(|p| p.lock().ok()) {
                stream(&mut part, direction);
            }
        });
    };
    // Untouched pages are not memory yet; each thread writes its own, so that they lie near it.
    pass(Direction::ReadWrite);
    let ns = median_ns(|| pass(direction))?;
    Some((bytes * direction.bytes_per_byte()) as f64 / ns)
}

/// Peak of multiply-adds in f32 registers, GFLOP/s, over the threads.
#[must_use]
pub fn fma_gflops(threads: usize) -> Option<f64> {
    let threads = threads.clamp(1, pool_threads());
    let loops: [fn(); 2] = if has_fma() {
        [multiply_add::<{ CHAINS[0] }, true>, multiply_add::<{ CHAINS[1] }, true>]
    } else {
        [multiply_add::<{ CHAINS[0] }, false>, multiply_add::<{ CHAINS[1] }, false>]
    };
    let gflops = |(run, chains): (fn(), usize)| {
        let operations = (2 * chains * STEPS * threads) as f64;
        Some(operations / median_ns(|| fork(threads, |_| run()))?)
    };
    loops.into_iter().zip(CHAINS).filter_map(gflops).reduce(f64::max)
}

/// Speed of candle's f32 matrix product of 512 × 512 matrices, GFLOP/s, with the threads of its own pool.
#[must_use]
pub fn sgemm_gflops() -> Option<f64> {
    let matrix = || Tensor::full(0.5_f32, (GEMM_SIZE, GEMM_SIZE), &Device::Cpu)?.contiguous();
    let (left, right) = (matrix().ok()?, matrix().ok()?);
    left.matmul(&right).ok()?;
    let ns = median_ns(|| {
        // It has just worked, and nothing about it changes.
        _ = std::hint::black_box(left.matmul(&right));
    })?;
    Some(2.0 * (GEMM_SIZE as f64).powi(3) / ns)
}

/// Time to hand nothing to every thread of the pool and to wait for it, in µs.
#[must_use]
pub fn fork_join_us() -> Option<f64> {
    Some(median_ns(|| fork(pool_threads(), |_| {}))? / 1000.0)
}

/// Median of samples of at least [`BLOCK`], ns per call, after warming up; `None` where not even one fits the time.
fn median_ns(mut call: impl FnMut()) -> Option<f64> {
    let schedule = Schedule { first: true, block: Block::AtLeast(BLOCK), samples: SAMPLES, timeout: TIMEOUT };
    let mut call = each(|| {
        call();
        Ok::<(), Infallible>(())
    });
    let Ok(sampled) = sample(&MonotonicClock::default(), &schedule, &mut || false, &mut call);
    crate::stats::median(&sampled.samples_ns)
}

/// Everything that is measured of a machine at once; it takes a few seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredLimits {
    /// Threads of the multi-threaded figures.
    pub n_threads: usize,
    /// Smallest step of the clock, in ns.
    pub timer_resolution_ns: Option<f64>,
    /// Multiply-add peak on one thread, GFLOP/s.
    pub fma_gflops_1t: Option<f64>,
    /// Multiply-add peak on all threads, GFLOP/s.
    pub fma_gflops: Option<f64>,
    /// Matrix product on all threads, GFLOP/s.
    pub sgemm_gflops: Option<f64>,
    /// Fork and join of the pool, µs.
    pub fork_join_us: Option<f64>,
    /// Streams by footprint and direction.
    pub streams: Vec<StreamLimit>,
}

/// Levels of memory and how much to go over to stay in each. Typical sizes stand for unknown ones, but for the first
/// level's, which differs too much and without which nothing is lost.
fn levels(machine: &Machine) -> Vec<(&'static str, u64)> {
    let (l2, l3) = (machine.cache_l2_bytes.unwrap_or(1 << 20), machine.cache_l3_bytes.unwrap_or(32 << 20));
    // Half of a cache fits with certainty; four times the last one does not.
    let l1 = machine.cache_l1d_bytes.map(|l1d| ("L1", l1d / 2));
    let others = [("L2", l2 / 2), ("L3", (l3 / 2).max(l2 * 2)), ("DRAM", l3.max(l2) * 4)];
    l1.into_iter().chain(others).collect()
}

/// One measured stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamLimit {
    /// What the footprint stands for: `L1`, `L2`, `L3` or `DRAM`.
    pub level: &'static str,
    /// Bytes gone over, all threads together.
    pub footprint_bytes: u64,
    /// Which way.
    pub direction: Direction,
    /// Bandwidth on one thread, GB/s.
    pub gb_per_s_1t: Option<f64>,
    /// Bandwidth on all threads, GB/s.
    pub gb_per_s: Option<f64>,
}

impl MeasuredLimits {
    /// Measures on one thread and on `threads`, for the caches of this machine.
    #[must_use]
    pub fn measure(threads: usize, machine: &Machine) -> Self {
        let threads = threads.clamp(1, pool_threads());
        let memory = memory_limit();
        let streams = levels(machine).into_iter().flat_map(|(level, bytes)| {
            let footprint_bytes = stream_bytes(bytes, memory);
            [Direction::Read, Direction::ReadWrite].map(|direction| StreamLimit {
                level,
                footprint_bytes,
                direction,
                gb_per_s_1t: stream_gb_per_s(footprint_bytes, direction, 1),
                gb_per_s: stream_gb_per_s(footprint_bytes, direction, threads),
            })
        });
        Self {
            n_threads: threads,
            timer_resolution_ns: super::timer_resolution(&MonotonicClock::default()).map(|r| r.as_nanos() as f64),
            fma_gflops_1t: fma_gflops(1),
            fma_gflops: fma_gflops(threads),
            sgemm_gflops: sgemm_gflops(),
            fork_join_us: fork_join_us(),
            streams: streams.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprints_round_to_powers_of_two_within_bounds() {
        let gib = 1_u64 << 30;
        assert_eq!(stream_bytes(3_000_000, None), 1 << 22, "3.0 MB is nearer to 4 MiB than to 2 MiB in ratio");
        assert_eq!(stream_bytes(2_500_000, None), 1 << 21);
        assert_eq!(stream_bytes(0, None), SMALLEST_STREAM);
        assert_eq!(stream_bytes(u64::MAX, None), gib);
        // A quarter of 3 GiB is 768 MiB; the power of two within is 512 MiB.
        assert_eq!(stream_bytes(4 * gib, Some(3 * gib)), gib / 2);
        assert_eq!(stream_bytes(4 * gib, Some(0)), SMALLEST_STREAM);
    }

    #[test]
    fn every_part_of_a_fork_runs_once() {
        for threads in 1..=pool_threads() {
            let seen: Vec<_> = (0..threads).map(|_| Mutex::new(0)).collect();
            fork(threads, |part| *seen[part].lock().unwrap() += 1);
            assert!(seen.into_iter().all(|count| count.into_inner().unwrap() == 1), "{threads}");
        }
    }

    #[test]
    fn the_first_level_is_gone_over_where_its_size_is_known() {
        let machine = Machine {
            cache_l1d_bytes: Some(48 << 10),
            cache_l2_bytes: Some(2 << 20),
            cache_l3_bytes: Some(32 << 20),
            ..Machine::detect(&[])
        };
        let known = [("L1", 24 << 10), ("L2", 1 << 20), ("L3", 16 << 20), ("DRAM", 128 << 20)];
        assert_eq!(levels(&machine), known);
        assert_eq!(levels(&Machine { cache_l1d_bytes: None, ..machine }), known[1..]);
    }

    #[test]
    fn a_limit_is_measured_once() {
        let mut limits = LimitsCache::new(1);
        let first = limits.stream(5000, Direction::Read);
        assert!(first.unwrap() > 0.0);
        // Another measurement would hardly give the same number; 4500 rounds to the same footprint.
        assert_eq!(limits.stream(4500, Direction::Read), first);
        assert_eq!(limits.streams.len(), 1);
    }

    /// Prints this machine's limits: `cargo test --release --lib limits -- --ignored --nocapture`.
    #[test]
    #[ignore = "takes seconds, and its numbers are for people"]
    fn show_the_limits() {
        let machine = crate::measure::Machine::detect(&[]);
        let limits = MeasuredLimits::measure(pool_threads(), &machine);
        println!("{limits:#?}");
    }
}
