//! The seam between sweeping and computing: what a sweep asks of whoever runs its cells, and what it gets back.
//! Knows nothing of tensors; a scripted twin makes every test of the runner exact.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    measure::{Conditions, Direction},
    spec::Cell,
};

/// What a cell will need, known before it is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Exact bytes of KV cache or recurrent state in use at the cell's depth, all layers, the whole batch.
    pub state_bytes: u64,
    /// Bytes that must be live to run the cell: weights, states in rotation, activations.
    pub memory_bytes: u64,
    /// Floating-point operations of one call.
    pub flops: f64,
    /// Bytes one call must move at the least.
    pub bytes_moved: f64,
    /// Bytes that the calls cycle through: decides which cache level feeds them.
    pub footprint_bytes: u64,
    /// Direction of that traffic.
    pub direction: Direction,
}

/// The result of comparing a cell's code with the slow f64 reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Largest absolute difference.
    pub max_abs_err: f64,
    /// Largest absolute difference over the largest absolute reference value.
    pub max_rel_err: f64,
    /// Whether the difference is within the tolerance of the dtype and the conditioning of the problem.
    pub passed: bool,
}

/// How a visit is to be timed.
#[derive(Debug, Clone, PartialEq)]
pub struct VisitRequest {
    /// The first visit warms up until samples agree; a later one discards one sample.
    pub first: bool,
    /// Calls timed together, as the first visit of this cell chose; `None` until then. A first visit of a resumed run
    /// has both `first` and this.
    pub iters_per_sample: Option<u64>,
    /// The least length of a sample of a layer workload.
    pub min_block: Duration,
    /// Samples of a visit, for workloads that do not say themselves (`decode`: one per token).
    pub samples_per_round: usize,
    /// The visit ends early, with what it has, once it has taken this long.
    pub cell_timeout: Duration,
}

/// Memory by four methods that are never mixed; `None` where a method does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryReading {
    /// Bytes that the allocator handed out for the state at the cell's depth.
    pub state_bytes: Option<u64>,
    /// Peak of live allocated bytes during the visit, above what was live before it.
    pub alloc_peak_bytes: Option<u64>,
    /// Peak resident set of the process, sampled between samples of the cell's first visit.
    pub rss_peak_bytes: Option<u64>,
    /// Peak device memory in use.
    pub device_peak_bytes: Option<u64>,
}

/// What one visit measured of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The round's figure, ns per call: the median of its samples; `generate`: elapsed / tokens.
    pub figure_ns: f64,
    /// Every sample, ns per call, in order. `generate`: every token up to the cell's length.
    pub samples_ns: Vec<f64>,
    /// Calls timed together in one sample.
    pub iters_per_sample: u64,
    /// Samples discarded before.
    pub warmup_count: u32,
    /// Whether the last discarded samples agreed with each other.
    pub warmup_verified: bool,
    /// The very first sample of the cell, ns per call; `None` on later visits.
    pub first_ns: Option<f64>,
    /// Whole visit's timed work from start to end in ns, for workloads that have one (`generate`).
    pub e2e_ns: Option<f64>,
    /// Memory of the visit.
    pub memory: MemoryReading,
    /// Whether the visit ended by its time limit rather than by having all its samples.
    pub timed_out: bool,
}

/// A finished visit to one cell: what is journalled, and all that the statistics are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// Round within the group, from 0.
    pub round: u32,
    /// 0 for the first try of the round, counted up when a round is repeated because others used the CPU.
    pub attempt: u32,
    /// What was measured.
    pub measured: Measured,
    /// The machine around it.
    pub conditions: Conditions,
    /// Time of the whole visit, preparation included, in ns; what the cell's time limit is counted in.
    pub elapsed_ns: u64,
}

/// Why a visit gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The user asked to stop, or to go on without these cells; what earlier visits measured stays.
    #[error("interrupted")]
    Interrupted,
    /// Memory ran out while trying.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Runs cells. Implemented over tensors by `bench`, and by a scripted twin in tests.
pub trait Executor {
    /// What the cell will need; pure and cheap.
    ///
    /// # Errors
    /// A reason for people why the cell cannot be run at all (it becomes `skipped`).
    fn predict(&self, cell: &Cell) -> Result<Prediction, String>;

    /// Compares the cell's code with the slow f64 reference at a small size.
    ///
    /// # Errors
    /// [`VisitError::Failed`] when the check itself could not be run.
    fn check(&mut self, cell: &Cell) -> Result<CheckReport, VisitError>;

    /// Prepares, warms up, measures and drops one unit: one cell, or the cells of one generation from the shortest
    /// to the longest. Returns one [`Measured`] per cell, in the order given.
    ///
    /// # Errors
    /// See [`VisitError`].
    fn visit(&mut self, unit: &[&Cell], request: &VisitRequest) -> Result<Vec<Measured>, VisitError>;
}
