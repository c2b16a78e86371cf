//! Sweeping: profile → plan → rounds over cells → events. Knows what to run and when to stop, not how it is computed.

mod executor;
mod fields;
pub mod profile;
mod quantity;

pub use executor::{
    CheckReport, Direction, Executor, Measured, MemoryReading, Prediction, Visit, VisitError, VisitRequest,
};
pub use fields::{MeasureFields, RunFields, SweepFields};
pub use profile::{DEFAULT_PROFILE, Profile, ProfileError};
pub use quantity::{Bytes, Share, Span};
