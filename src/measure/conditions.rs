//! The machine around a visit: who else used it, how fast it ran, how warm it got.

use serde::{Deserialize, Serialize};

/// Conditions of one visit; `None` where the machine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// CPU time of other processes during the visit, in percent of one core.
    pub foreign_cpu_pct: Option<f64>,
    /// Load average over one minute.
    pub load_avg_1m: Option<f64>,
    /// Median over the cores of the CPU frequency.
    pub cpu_freq_hz: Option<f64>,
    /// Highest temperature of any sensor.
    pub temp_c: Option<f64>,
    /// Energy of the CPU packages during the visit.
    pub energy_j: Option<f64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
}
