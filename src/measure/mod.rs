//! Measuring instruments: clock, allocator, conditions, the machine and its limits. Knows no cell and no tensor.

mod conditions;

pub use conditions::Conditions;
