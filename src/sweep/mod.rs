//! Sweeping: profile → plan → rounds over cells → events. Knows what to run and when to stop, not how it is computed.

mod admission;
mod estimate;
pub mod event;
mod executor;
mod fields;
mod grid;
mod group_run;
mod plan;
pub mod profile;
mod quantity;
mod record;
mod runner;
#[cfg(test)]
pub(crate) mod scripted;
mod settings;
mod shard;
mod stopping;
mod visiting;
mod world;

pub use crate::measure::Direction;
pub use estimate::AssumedRates;
pub use event::{Event, Sink};
pub use executor::{CheckReport, Executor, Measured, MemoryReading, Prediction, Visit, VisitError, VisitRequest};
pub use fields::{MeasureFields, RunFields, SweepFields};
pub use plan::{Group, Overrides, Plan, PlanError, RunFacts, fingerprint_of, is_twin};
pub use profile::{DEFAULT_PROFILE, Profile, ProfileError};
pub use quantity::{Bytes, Share, Span};
pub use record::{CellRecord, FOREIGN_CPU_LIMIT_PCT, GroupRecord, Outcome, Peaks, Status, StopReason, is_disturbed};
pub use runner::Runner;
pub use settings::{MIN_ROUNDS, MeasureSettings};
pub use shard::Part;
pub(crate) use visiting::panic_message;
pub use world::{Instruments, Restored, World, nine_digits};
