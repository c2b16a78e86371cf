//! The machine that a row was measured on: its stable facts and an id made of them alone.

use std::{env, fs, path::Path};

use serde::Serialize;
use sysinfo::{CpuRefreshKind, System};
use xxhash_rust::xxh3::xxh3_64;

use super::{isa::isa, memory::total_memory};

const GIB: u64 = 1 << 30;
/// Words in the path of a control group that only container managers write.
const CONTAINER_MARKS: [&str; 6] = ["docker", "kubepods", "containerd", "libpod", "lxc", "crio-"];

/// Where Linux describes the caches of the first processor.
const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";

/// The machine columns of every row, and the cache sizes; `None` where the system does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model of the CPU.
    pub cpu_info: String,
    /// Widest vector instructions that the kernels use here.
    pub cpu_isa: String,
    /// Physical cores.
    pub cpu_cores_physical: Option<usize>,
    /// Logical threads that this process may use.
    pub cpu_threads_logical: Option<usize>,
    /// RAM of the machine.
    pub ram_total_bytes: Option<u64>,
    /// Operating system and its version.
    pub os: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    /// Hash of CPU model, instructions, core count, RAM in GiB and devices: the same for machines that are alike.
    pub machine_id: String,
    /// What the user calls the machine (`T2R_MACHINE_LABEL`).
    pub machine_label: Option<String>,
    /// Whether this runs in a container, as far as containers can be told.
    pub container: bool,
    /// Whether this runs in continuous integration (`CI` set and not false).
    pub ci: bool,
    /// First-level data cache of one core.
    pub cache_l1d_bytes: Option<u64>,
    /// Second-level cache of one core.
    pub cache_l2_bytes: Option<u64>,
    /// Third-level cache that the first core sees.
    pub cache_l3_bytes: Option<u64>,
}

impl Machine {
    /// Asks the operating system. `devices` are the names of the GPUs, in order; they are part of the id.
    #[must_use]
    pub fn detect(devices: &[String]) -> Self {
        let cache = |level, kind| cache_size(Path::new(CACHES), level, kind);
        let mut machine = Self {
            cpu_info: cpu_model(),
            cpu_isa: isa().to_owned(),
            cpu_cores_physical: System::physical_core_count().ok(),
            cpu_threads_logical: std::thread::available_parallelism().ok().map(usize::from),
            ram_total_bytes: total_memory(),
            os: System::long_os_version().ok(),
            kernel: System::kernel_version().ok(),
            machine_id: String::new(),
            machine_label: env::var("T2R_MACHINE_LABEL").ok().filter(|label| !label.is_empty()),
            container: in_container(),
            ci: is_set(env::var("CI").ok().as_deref()),
            cache_l1d_bytes: cache(1, "Data"),
            cache_l2_bytes: cache(2, "Unified"),
            cache_l3_bytes: last_level_cache_bytes(),
        };
        machine.machine_id = machine.id(devices);
        machine
    }

    /// Sixteen hex digits over facts that neither a reboot, a renaming nor an update of the system changes.
    fn id(&self, devices: &[String]) -> String {
        let gib = self.ram_total_bytes.map(|bytes| (bytes + GIB / 2) / GIB);
        let facts = (&self.cpu_info, &self.cpu_isa, self.cpu_cores_physical, gib, devices);
        // JSON keeps the facts apart, so that no two lists of them read the same.
        let text = serde_json::to_string(&facts).unwrap_or_default();
        format!("{:016x}", xxh3_64(text.as_bytes()))
    }
}

fn cpu_model() -> String {
    let brand = System::new().ok().and_then(|mut system| {
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system.cpus().first().map(|cpu| cpu.brand().trim().to_owned())
    });
    brand.filter(|brand| !brand.is_empty()).unwrap_or_else(System::cpu_arch)
}

fn is_set(value: Option<&str>) -> bool {
    value.is_some_and(|v| !v.is_empty() && v != "0" && !v.eq_ignore_ascii_case("false"))
}

fn in_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    marked || is_set(env::var("container").ok().as_deref()) || is_container_group(&groups)
}

fn is_container_group(groups: &str) -> bool {
    CONTAINER_MARKS.iter().any(|mark| groups.contains(mark))
}

/// Bytes of the last-level cache, where the system says.
#[must_use]
pub fn last_level_cache_bytes() -> Option<u64> {
    cache_size(Path::new(CACHES), 3, "Unified")
}

/// Size of a cache as Linux describes it: one folder per cache, with the files `level`, `type` and `size` (`32K`).
fn cache_size(folder: &Path, level: u32, kind: &str) -> Option<u64> {
    let read = |path: &Path, name| Some(fs::read_to_string(path.join(name)).ok()?.trim().to_owned());
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let is_it = read(&path, "level")?.parse() == Ok(level) && read(&path, "type")? == kind;
        if is_it { kibibytes(&read(&path, "size")?) } else { None }
    })
}

fn kibibytes(text: &str) -> Option<u64> {
    Some(text.strip_suffix('K')?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_hashes_stable_facts_only() {
        let machine = Machine::detect(&[]);
        assert_eq!(machine.machine_id.len(), 16);
        assert!(machine.machine_id.chars().all(|c| c.is_ascii_hexdigit()));
        let mut later = machine.clone();
        later.kernel = Some("another".to_owned());
        later.machine_label = Some("renamed".to_owned());
        // A few MiB more or less are reserved by firmware and kernel from boot to boot.
        later.ram_total_bytes = Some(64 * GIB - GIB / 8);
        let mut exact = machine.clone();
        exact.ram_total_bytes = Some(64 * GIB);
        assert_eq!(later.id(&[]), exact.id(&[]));
        let gpu = ["NVIDIA H100".to_owned()];
        assert_ne!(exact.id(&gpu), exact.id(&[]));
        assert_ne!(exact.id(&gpu), exact.id(&[gpu[0].clone(), gpu[0].clone()]));
    }

    #[test]
    fn containers_are_told_by_their_groups() {
        assert!(is_container_group("0::/system.slice/docker-0123.scope\n"));
        assert!(is_container_group("11:memory:/kubepods/burstable/pod1/0123\n"));
        assert!(!is_container_group("0::/user.slice/user-1000.slice/session-2.scope\n"));
    }

    #[test]
    fn a_variable_is_set_unless_it_says_no() {
        assert!(is_set(Some("true")) && is_set(Some("1")));
        assert!(!is_set(None) && !is_set(Some("")) && !is_set(Some("False")) && !is_set(Some("0")));
    }

    #[test]
    fn caches_are_found_by_level_and_kind() {
        let root = tempfile::tempdir().unwrap();
        let caches = [
            ("index0", "1", "Data", "32K"),
            ("index1", "1", "Instruction", "64K"),
            ("index2", "2", "Unified", "1024K"),
        ];
        for (name, level, kind, size) in caches {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            for (file, text) in [("level", level), ("type", kind), ("size", size)] {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
            }
        }
        fs::write(root.path().join("uevent"), "").unwrap();
        assert_eq!(cache_size(root.path(), 1, "Data"), Some(32 << 10));
        assert_eq!(cache_size(root.path(), 2, "Unified"), Some(1 << 20));
        assert_eq!(cache_size(root.path(), 3, "Unified"), None);
    }
}
