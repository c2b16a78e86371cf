//! Numbers that must be right: every attention variant and the models built of them, against the f64 formulas.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod attention;
mod extremes;
mod gradients;
mod layers;
mod model;

#[global_allocator]
static ALLOCATOR: t2r::measure::CountingAllocator = t2r::measure::CountingAllocator::new();
