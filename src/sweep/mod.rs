//! Sweeping: profile → plan → rounds over cells → events. Knows what to run and when to stop, not how it is computed.

mod estimate;
mod executor;
mod fields;
mod grid;
mod plan;
pub mod profile;
mod quantity;
mod settings;

pub use estimate::AssumedRates;
pub use executor::{
    CheckReport, Direction, Executor, Measured, MemoryReading, Prediction, Visit, VisitError, VisitRequest,
};
pub use fields::{MeasureFields, RunFields, SweepFields};
pub use plan::{Group, Overrides, Plan, PlanError, RunFacts, fingerprint_of};
pub use profile::{DEFAULT_PROFILE, Profile, ProfileError};
pub use quantity::{Bytes, Share, Span};
pub use settings::{MIN_ROUNDS, MeasureSettings};
