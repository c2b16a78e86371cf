//! Sweeping: profile → plan → rounds over cells → events. Knows what to run and when to stop, not how it is computed.

mod executor;

pub use executor::{
    CheckReport, Direction, Executor, Measured, MemoryReading, Prediction, Visit, VisitError, VisitRequest,
};
