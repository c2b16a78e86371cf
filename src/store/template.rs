//! The columns that all rows of a run share: run, build, machine, device, user. Knows the records of `measure`, no cell.

use serde::{Deserialize, Serialize};

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

/// What measured a row: rows of two origins do not belong into one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    build_commit: String,
    build_dirty: Option<bool>,
    machine_id: String,
    device_name: String,
    device_index: Option<u64>,
}

impl Origin {
    /// The origin that a row names.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        Self {
            build_commit: row.build_commit.clone(),
            build_dirty: row.build_dirty,
            machine_id: row.machine_id.clone(),
            device_name: row.device_name.clone(),
            device_index: row.device_index,
        }
    }

    /// In what it differs from another one, and what to do. What a build does not know of itself differs from nothing.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<String> {
        let differ = |what: &str, was: &str, is: &str, with: &str| {
            Some(format!("{what} was '{was}' and is now '{is}'; resume with {with}, or give a new file with --csv"))
        };
        let (was, is) = (self, now);
        if !was.build_commit.is_empty() && !is.build_commit.is_empty() && was.build_commit != is.build_commit {
            return differ("build_commit", &was.build_commit, &is.build_commit, "the build that began it");
        }
        if let (Some(was), Some(is)) = (was.build_dirty, is.build_dirty)
            && was != is
        {
            return differ("build_dirty", &was.to_string(), &is.to_string(), "the build that began it");
        }
        if was.machine_id != is.machine_id {
            return differ("machine_id", &was.machine_id, &is.machine_id, "the machine that began it");
        }
        if was.device_name != is.device_name {
            return differ("device_name", &was.device_name, &is.device_name, "the device that began it");
        }
        if was.device_index != is.device_index {
            let text = |index: Option<u64>| index.map_or(String::new(), |i| i.to_string());
            let (was, is) = (text(was.device_index), text(is.device_index));
            return differ("device_index", &was, &is, "the device that began it");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_of_an_origin_counts_unless_it_is_unknown() {
        let a = Origin {
            build_commit: "c".to_owned(),
            build_dirty: Some(false),
            machine_id: "m".to_owned(),
            device_name: "gpu".to_owned(),
            device_index: Some(0),
        };
        assert_eq!(a.difference(&a), None);
        let others = [
            ("build_commit", Origin { build_commit: "d".to_owned(), ..a.clone() }),
            ("build_dirty", Origin { build_dirty: Some(true), ..a.clone() }),
            ("machine_id", Origin { machine_id: "n".to_owned(), ..a.clone() }),
            ("device_name", Origin { device_name: String::new(), ..a.clone() }),
            ("device_index", Origin { device_index: Some(1), ..a.clone() }),
        ];
        for (fact, other) in others {
            let text = a.difference(&other).expect("a difference");
            assert!(text.starts_with(fact) && text.contains("--csv"), "{text}");
        }
        let unknown = Origin { build_commit: String::new(), build_dirty: None, ..a.clone() };
        assert_eq!((a.difference(&unknown), unknown.difference(&a)), (None, None));
    }
}
