//! The columns that all rows of a run share: run, build, machine, device, user. Knows the records of `measure`, no cell.

use super::row::Row;
use crate::measure::{Build, Machine};

/// The accelerator of a run, where it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Name, as the driver gives it.
    pub name: String,
    /// Ordinal among the devices of its kind.
    pub index: Option<usize>,
    /// Its memory.
    pub mem_total_bytes: Option<u64>,
    /// Version of the driver.
    pub driver_version: String,
}

impl Row {
    /// A row that holds what all rows of a run share and nothing else. `meta` is the JSON object of `--meta k=v`, or
    /// empty.
    #[must_use]
    pub fn template(run_id: &str, build: &Build, machine: &Machine, device: &DeviceFacts, meta: &str) -> Self {
        let wide = |v: Option<usize>| v.map(|v| v as u64);
        let text = |v: &Option<String>| v.clone().unwrap_or_default();
        Self {
            run_id: run_id.to_owned(),
            build_version: build.build_version.clone(),
            build_commit: text(&build.build_commit),
            build_dirty: build.build_dirty,
            build_profile: text(&build.build_profile),
            build_features: build.build_features.clone(),
            rustc_version: text(&build.rustc_version),
            candle_version: text(&build.candle_version),
            device_name: device.name.clone(),
            device_index: wide(device.index),
            device_mem_total_bytes: device.mem_total_bytes,
            driver_version: device.driver_version.clone(),
            cpu_info: machine.cpu_info.clone(),
            cpu_isa: machine.cpu_isa.clone(),
            cpu_cores_physical: wide(machine.cpu_cores_physical),
            cpu_threads_logical: wide(machine.cpu_threads_logical),
            ram_total_bytes: machine.ram_total_bytes,
            os: text(&machine.os),
            kernel: text(&machine.kernel),
            machine_id: machine.machine_id.clone(),
            machine_label: text(&machine.machine_label),
            container: Some(machine.container),
            ci: Some(machine.ci),
            timer: "monotonic".to_owned(),
            tui_active: Some(false),
            meta: meta.to_owned(),
            ..Self::default()
        }
    }
}
