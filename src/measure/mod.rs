//! Measuring instruments: clock, allocator, conditions, the machine and its limits. Knows no cell.

mod alloc;
mod build;
mod clock;
mod conditions;
mod energy;
mod isa;
mod limits;
mod machine;
mod memory;
mod observer_cost;
mod procfs;
mod sampling;
mod traffic;
mod warmup;

pub use alloc::{
    CountingAllocator, allocation_count, give_back_freed_memory, keep_freed_memory, live_bytes, peak_bytes, reset_peak,
    without_peak,
};
pub use build::Build;
pub use clock::{Clock, MonotonicClock, ScriptedClock, timer_resolution};
pub use conditions::{Conditions, Observer, SystemObserver};
pub use isa::isa;
pub use limits::{
    Limits, LimitsCache, MeasuredLimits, StreamLimit, fma_gflops, fork_join_us, sgemm_gflops, stream_gb_per_s,
};
pub use machine::{Machine, last_level_cache_bytes};
pub use memory::{memory_limit, rss_bytes, total_memory};
pub use observer_cost::{ObserverCost, observer_cost};
pub use sampling::{Block, Ended, Sampled, Schedule, each, sample};
pub use traffic::Direction;
