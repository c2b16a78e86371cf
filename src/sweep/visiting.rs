//! One visit to a unit: around the executor's call, the clock, the conditions and the net that catches panics. Knows
//! one unit at a time, not rounds.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    executor::{Executor, Measured, Visit, VisitError, VisitRequest},
    world::{Instruments, shorten},
};
use crate::{
    measure::Conditions,
    spec::{Cell, Workload},
};

/// What came of a visit.
pub(super) struct Visited {
    /// One per cell of the unit; `None` where that cell has nothing to show.
    pub(super) visits: Vec<Option<Visit>>,
    /// Whether it ended by its time limit.
    pub(super) timed_out: bool,
    /// Time of the whole visit.
    pub(super) elapsed: Duration,
}

/// Calls the executor and returns what it measured, with conditions, each number shortened.
pub(super) fn visit(
    executor: &mut dyn Executor,
    instruments: &mut dyn Instruments,
    unit: &[&Cell],
    request: &VisitRequest,
    (round, attempt): (u32, u32),
) -> Result<Visited, VisitError> {
    instruments.begin();
    let start = instruments.now();
    let result = caught(|| executor.visit(unit, request));
    let elapsed = instruments.now().saturating_sub(start);
    let conditions = instruments.end();
    let measured = result?;
    if measured.len() != unit.len() {
        let (got, expected) = (measured.len(), unit.len());
        return Err(VisitError::Failed(format!("the executor returned {got} results for {expected} cells")));
    }
    let timed_out = measured.iter().any(|m| m.timed_out);
    let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    let visits = unit
        .iter()
        .zip(measured)
        .enumerate()
        .map(|(i, (cell, measured))| {
            if !is_usable(cell, &measured)? {
                return Ok(None);
            }
            // The energy of a generation is that of its longest length; a shorter one took an unknown part of it.
            let energy_j = conditions.energy_j.filter(|_| i + 1 == unit.len());
            let conditions = Conditions { energy_j, ..conditions };
            let mut visit = Visit { round, attempt, measured, conditions, elapsed_ns };
            shorten(&mut visit);
            Ok(Some(visit))
        })
        .collect::<Result<Vec<_>, VisitError>>()?;
    Ok(Visited { visits, timed_out, elapsed })
}

/// Runs what may panic; a panic becomes [`VisitError::Failed`] with its message.
pub(super) fn caught<T>(call: impl FnOnce() -> Result<T, VisitError>) -> Result<T, VisitError> {
    // The executor drops all data of a visit with the visit, so nothing half-made is looked at afterwards.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(VisitError::Failed(format!("panicked: {}", panic_message(panic.as_ref())))))
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// Whether there is a figure that stands for the cell: a generation that ended early has none for lengths that it did
/// not reach.
fn is_usable(cell: &Cell, m: &Measured) -> Result<bool, VisitError> {
    let generates = matches!(cell.workload, Workload::Generate | Workload::Translate);
    let complete = !generates || !m.timed_out || m.samples_ns.len() >= cell.seq_len;
    if m.samples_ns.is_empty() || !complete {
        return Ok(false);
    }
    let bad = std::iter::once(&m.figure_ns).chain(&m.samples_ns).find(|v| !v.is_finite() || **v < 0.0);
    match bad {
        Some(value) => Err(VisitError::Failed(format!("a time of {value} ns was measured, which cannot be"))),
        None if m.figure_ns == 0.0 => {
            Err(VisitError::Failed("a round's figure is 0 ns: the clock is too coarse for this cell".to_owned()))
        }
        None => Ok(true),
    }
}
