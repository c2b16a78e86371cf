//! Numbers that must be right: every attention variant and the models built of them, against the f64 formulas.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod attention;
mod extremes;
mod gradients;
mod hybrid_operation;
mod layers;
mod model;
mod operations;
mod prefill;
mod training;
mod translation;

#[global_allocator]
static ALLOCATOR: t2r::measure::CountingAllocator = t2r::measure::CountingAllocator::new();
