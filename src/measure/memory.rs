//! Memory of this process and what the machine would still give it. Knows nothing of who uses it.

use sysinfo::{MemoryRefreshKind, Process, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// Resident set of this process now, in bytes; `None` where the system does not say.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    with_process(Process::memory)
}

/// Bytes that this process could still get without swapping: the available RAM, or what its control group (and every
/// group around it) leaves, whichever is less. `None` where the system does not say.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let available = system.available_memory();
    // A process's own group is what binds; the root group is the fallback where its path cannot be resolved, as in
    // containers that hide it.
    let group = with_process(Process::cgroup_limits).flatten().or_else(|| system.cgroup_limits());
    let left = group.map_or(available, |group| available.min(group.free_memory));
    (left > 0).then_some(left)
}

/// RAM of the machine in bytes, whatever a control group leaves of it; `None` where the system does not say.
#[must_use]
pub fn total_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Some(system.total_memory()).filter(|total| *total > 0)
}

fn with_process<T>(read: impl Fn(&Process) -> T) -> Option<T> {
    let pid = get_current_pid().ok()?;
    let mut system = System::new().ok()?;
    let only_memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, only_memory);
    system.process(pid).map(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_fits_into_the_machine() {
        let (rss, left, total) = (rss_bytes().unwrap(), memory_limit().unwrap(), total_memory().unwrap());
        assert!(rss > 100_000, "a running test has pages: {rss}");
        assert!(rss < total && left <= total, "{rss} {left} {total}");
    }
}
