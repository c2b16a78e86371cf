//! What the machine does now: load of each core, memory, frequency, temperature. Read only while nothing is being timed.

use sysinfo::{Components, CpuRefreshKind, MemoryRefreshKind, System};

use crate::measure::rss_bytes;

/// One reading; `None` where the machine does not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Gauges {
    /// Load of each logical processor since the last reading, percent.
    pub(crate) cpu_pct: Vec<f64>,
    /// Memory in use, and all of it, of the machine or of its control group.
    pub(crate) memory: Option<(u64, u64)>,
    /// Resident set of this process.
    pub(crate) rss_bytes: Option<u64>,
    /// Median frequency.
    pub(crate) freq_hz: Option<f64>,
    /// Highest temperature.
    pub(crate) temp_c: Option<f64>,
    /// Memory of the accelerator that this process uses, and all of it.
    pub(crate) gpu_memory: Option<(u64, u64)>,
}

/// Reads gauges.
pub(crate) struct SystemGauges {
    system: Option<System>,
    sensors: Option<Components>,
}

impl Default for SystemGauges {
    fn default() -> Self {
        Self { system: System::new().ok(), sensors: Components::new_with_refreshed_list().ok() }
    }
}

impl SystemGauges {
    /// Reads all of them: about a millisecond.
    pub(crate) fn read(&mut self) -> Gauges {
        let mut gauges = Gauges { rss_bytes: rss_bytes(), ..Gauges::default() };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_specifics(CpuRefreshKind::everything());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            gauges.cpu_pct = system.cpus().iter().map(|c| f64::from(c.usage())).collect();
            let mut mhz: Vec<u64> = system.cpus().iter().map(sysinfo::Cpu::frequency).filter(|f| *f > 0).collect();
            mhz.sort_unstable();
            gauges.freq_hz = mhz.get(mhz.len() / 2).map(|f| *f as f64 * 1e6);
            let of_machine = (system.used_memory(), system.total_memory());
            gauges.memory = Some(match system.cgroup_limits() {
                Some(group) if group.total_memory < of_machine.1 => {
                    (group.total_memory.saturating_sub(group.free_memory), group.total_memory)
                }
                _ => of_machine,
            })
            .filter(|(_, total)| *total > 0);
        }
        if let Some(sensors) = &mut self.sensors {
            sensors.refresh(false);
            let readings = sensors.iter().filter_map(sysinfo::Component::temperature).filter(|t| t.is_finite());
            gauges.temp_c = readings.map(f64::from).reduce(f64::max);
        }
        gauges
    }
}
