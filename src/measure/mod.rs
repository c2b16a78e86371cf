//! Measuring instruments: clock, allocator, conditions, the machine and its limits. Knows no cell.

mod alloc;
mod clock;
mod conditions;
mod sampling;
mod warmup;

pub use alloc::{CountingAllocator, allocation_count, live_bytes, peak_bytes, reset_peak};
pub use clock::{Clock, MonotonicClock, ScriptedClock, timer_resolution};
pub use conditions::Conditions;
pub use sampling::{Block, Ended, Sampled, Schedule, sample};
