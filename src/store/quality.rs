//! How far a row can be trusted: named warnings, and the word that sums them up. Knows thresholds, not columns.

use crate::{
    spec::{DeviceKind, Implementation},
    stats::{median, median_interval, relative_half_width},
    sweep::{CellRecord, MIN_ROUNDS, Visit, is_disturbed},
};

/// Code on the row of a cell that the memory budget forbade.
pub(super) const OVER_MEMORY_BUDGET: &str = "memory_budget";
/// Swap that came into use while a cell was measured, in bytes, beyond which the cell was swapping.
const SWAP_GROWTH_BYTES: u64 = 1 << 20;
/// A round at less than this share of the cell's highest CPU frequency was throttled.
const THROTTLED_BELOW: f64 = 0.8;
/// A cell whose interval's half-width is a larger share of its figure than this says nothing.
const USELESS_HALF_WIDTH: f64 = 0.10;

/// Quality and warning codes of a cell; both are blank for a cell that was not measured, save the memory budget's.
pub(super) fn judge(record: &CellRecord, has_speed: bool, ci_target: f64) -> (&'static str, String) {
    if !has_speed {
        let codes = if record.over_memory_budget { OVER_MEMORY_BUDGET } else { "" };
        return ("", codes.to_owned());
    }
    let rounds = record.rounds();
    let figures = record.figures();
    let width = median(&figures).and_then(|centre| relative_half_width(median_interval(&figures)?, centre));
    let disturbed = rounds.iter().filter(|v| is_disturbed(v)).count();
    let unfused = record.cell.device_kind != DeviceKind::Cpu && record.cell.implementation == Implementation::Reference;
    let warnings = [
        ("foreign_cpu", disturbed > 0),
        ("wide_interval", width.is_some_and(|w| w > ci_target)),
        ("few_rounds", rounds.len() < MIN_ROUNDS as usize),
        ("unverified_warmup", record.visits.first().is_some_and(|v| !v.measured.warmup_verified)),
        ("swap", swapped(&record.visits)),
        ("throttled", throttled(&rounds)),
        ("timed_out", record.visits.iter().any(|v| v.measured.timed_out)),
        ("unfused", unfused),
    ];
    let codes: Vec<&str> = warnings.iter().filter(|(_, on)| *on).map(|(code, _)| *code).collect();
    let is_bad = rounds.len() < MIN_ROUNDS as usize
        || width.is_some_and(|w| w > USELESS_HALF_WIDTH.max(ci_target))
        || 2 * disturbed > rounds.len();
    // A GPU row without kernels of our own is slow, not noisy.
    let is_noisy = codes.iter().any(|code| *code != "unfused");
    let quality = if is_bad {
        "bad"
    } else if is_noisy {
        "noisy"
    } else {
        "good"
    };
    (quality, codes.join(" "))
}

fn swapped(visits: &[Visit]) -> bool {
    let used = || visits.iter().filter_map(|v| v.conditions.swap_used_bytes);
    used().max().zip(used().min()).is_some_and(|(most, least)| most - least > SWAP_GROWTH_BYTES)
}

fn throttled(rounds: &[&Visit]) -> bool {
    let hz: Vec<f64> = rounds.iter().filter_map(|v| v.conditions.cpu_freq_hz).collect();
    let highest = hz.iter().copied().fold(0.0, f64::max);
    hz.iter().any(|f| *f < THROTTLED_BELOW * highest)
}
