//! The crossing of sweeping and computing: turns a cell into timed calls on tensors and slices.

mod as_is;
mod check;
mod costs;
mod device;
mod dump;
mod fused;
mod gpu;
mod layer;
mod memory;
mod prefill;
mod train;
mod translate;
mod whole_model;

use std::{path::PathBuf, sync::Arc};

use candle_core::Device;

pub use device::{DeviceInfo, OpenDevice, devices, open};
pub use gpu::{GpuFacts, facts, memory_in_use};

use crate::{
    attention::{Heads, Resolved},
    checkpoint::Checkpoint,
    kernels::gemm,
    measure::{Clock, Ended, MonotonicClock, Sampled},
    spec::{Cell, Workload, without_backtrace},
    stats,
    sweep::{CheckReport, Executor, Measured, MemoryReading, Prediction, VisitError, VisitRequest},
};

/// Runs cells on one device.
pub struct Bench {
    device: Device,
    checkpoint: Option<Arc<Checkpoint>>,
    dump: Option<PathBuf>,
    stop: Box<dyn Fn() -> bool>,
    rest: Box<dyn Fn()>,
    clock: Box<dyn Clock>,
    cache_bytes: u64,
    /// Whether the product library's room has been made, which starts the pool of threads: not before something is measured.
    has_room: bool,
}

impl Bench {
    /// On an opened device; `dump` is a folder that receives what the checks saw, `stop` says when the visit in hand is
    /// to end, whatever it lacks.
    #[must_use]
    pub fn new(device: Device, dump: Option<PathBuf>, stop: Box<dyn Fn() -> bool>) -> Self {
        let (clock, cache_bytes) = (Box::new(MonotonicClock::default()), costs::last_level_cache());
        Self { device, checkpoint: None, dump, stop, rest: Box::new(|| {}), clock, cache_bytes, has_room: false }
    }

    /// With the weights of this checkpoint under cells that name one.
    #[must_use]
    pub fn with_checkpoint(self, checkpoint: Option<Arc<Checkpoint>>) -> Self {
        Self { checkpoint, ..self }
    }

    /// The checkpoint of a cell, if it is of one.
    fn checkpoint_of(&self, cell: &Cell) -> Option<&Checkpoint> {
        self.checkpoint.as_deref().filter(|_| cell.checkpoint.is_some())
    }

    /// With something to do between samples, where nothing is being timed: a screen that was asked for can be drawn there.
    #[must_use]
    pub fn resting(self, rest: Box<dyn Fn()>) -> Self {
        Self { rest, ..self }
    }
}

impl Executor for Bench {
    fn predict(&self, cell: &Cell) -> Result<Prediction, String> {
        device::computes_in(cell.device_kind, fused::computed_in(cell))?;
        whole_model::suits(cell, self.checkpoint_of(cell))?;
        as_is::suits(cell, self.checkpoint_of(cell))?;
        let kinds = as_is::kinds(cell, self.checkpoint_of(cell));
        for (cell, _) in &kinds {
            costs::positions_known(cell)?;
            costs::all_learns(cell)?;
            costs::has_cross_form(cell)?;
            fused::has_form(cell)?;
        }
        as_is::predict(&kinds, self.cache_bytes).ok_or_else(|| "too large: its size in bytes overflows".to_owned())
    }

    fn check(&mut self, cell: &Cell) -> Result<CheckReport, VisitError> {
        let checked = check::check(cell, self.checkpoint_of(cell), &self.device).map_err(|e| failed(&e))?;
        if let Some(folder) = &self.dump {
            let written = dump::write(folder, cell, &checked);
            written.map_err(|e| VisitError::Failed(format!("--dump {}: {e}", folder.display())))?;
        }
        Ok(checked.report)
    }

    fn visit(&mut self, unit: &[&Cell], request: &VisitRequest) -> Result<Vec<Measured>, VisitError> {
        let Some(cell) = unit.first() else { return Ok(Vec::new()) };
        if !std::mem::replace(&mut self.has_room, true) {
            gemm::make_room();
        }
        let visit = Visiting {
            device: &self.device,
            checkpoint: self.checkpoint_of(cell),
            clock: self.clock.as_ref(),
            stop: self.stop.as_ref(),
            rest: self.rest.as_ref(),
            request,
        };
        let measured = match cell.workload {
            Workload::Attention => layer::attention(cell, self.cache_bytes, &visit).map(|m| vec![m]),
            Workload::Forward => layer::forward(cell, self.cache_bytes, &visit).map(|m| vec![m]),
            Workload::Prefill => prefill::prefill(cell, &visit).map(|m| vec![m]),
            Workload::Train => train::train(cell, &visit).map(|m| vec![m]),
            Workload::Decode => whole_model::decode(cell, &visit).map(|m| vec![m]),
            Workload::Generate => whole_model::generate(unit, &visit),
            Workload::Translate => translate::translate(cell, &visit).map(|m| vec![m]),
        };
        let measured = measured.map_err(|e| failed(&e))?;
        if (self.stop)() && measured.iter().any(|m| m.samples_ns.is_empty()) {
            return Err(VisitError::Interrupted);
        }
        Ok(measured)
    }
}

/// What every workload needs to make a visit.
struct Visiting<'a> {
    device: &'a Device,
    checkpoint: Option<&'a Checkpoint>,
    clock: &'a dyn Clock,
    stop: &'a dyn Fn() -> bool,
    /// To be called between samples and nowhere else.
    rest: &'a dyn Fn(),
    request: &'a VisitRequest,
}

/// What samples and memory come to; the figure is their median. A visit that was told to stop is none: its samples are
/// those of the first positions alone, and would count as a whole round.
fn measured(sampled: Sampled, memory: MemoryReading) -> Measured {
    let samples_ns = if sampled.ended == Ended::Stopped { Vec::new() } else { sampled.samples_ns };
    Measured {
        figure_ns: stats::median(&samples_ns).unwrap_or_default(),
        samples_ns,
        iters_per_sample: sampled.iters_per_sample,
        warmup_count: sampled.warmup_count,
        warmup_verified: sampled.warmup_verified,
        first_ns: sampled.first_ns,
        e2e_ns: None,
        memory,
        timed_out: sampled.ended == Ended::TimedOut,
    }
}

fn failed(e: &candle_core::Error) -> VisitError {
    let text = without_backtrace(&e.to_string()).to_owned();
    match text.to_lowercase().contains("out of memory") {
        true => VisitError::OutOfMemory(text),
        false => VisitError::Failed(text),
    }
}

fn heads(cell: &Cell) -> Heads {
    Heads { n_heads: cell.n_heads, n_kv_heads: cell.n_kv_heads, head_dim: cell.head_dim }
}

/// The variant of a cell's cross-attention, where it has any.
fn cross(cell: &Cell) -> Option<Resolved> {
    let of_source = || Resolved { spec: cell.variant.clone(), feature_dim: cell.cross_feature_dim };
    (cell.workload == Workload::Translate).then(of_source)
}

/// A cell's variant is resolved already: the planner did it.
fn resolved(cell: &Cell) -> Resolved {
    Resolved { spec: cell.variant.clone(), feature_dim: cell.feature_dim }
}

#[cfg(test)]
mod tests;
