//! Measuring instruments: clock, allocator, conditions, the machine and its limits. Knows no cell.

mod alloc;
mod build;
mod clock;
mod conditions;
mod energy;
mod isa;
mod machine;
mod memory;
mod procfs;
mod sampling;
mod warmup;

pub use alloc::{CountingAllocator, allocation_count, live_bytes, peak_bytes, reset_peak};
pub use build::Build;
pub use clock::{Clock, MonotonicClock, ScriptedClock, timer_resolution};
pub use conditions::{Conditions, Observer, SystemObserver};
pub use isa::isa;
pub use machine::Machine;
pub use memory::{memory_limit, rss_bytes, total_memory};
pub use sampling::{Block, Ended, Sampled, Schedule, sample};
