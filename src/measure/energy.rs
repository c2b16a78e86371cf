//! Energy of the CPU packages by RAPL counters, where Linux lets us read them. Knows no other meter.

use std::{
    fs,
    path::{Path, PathBuf},
};

const POWERCAP: &str = "/sys/class/powercap";

/// The readable counters of this machine's packages.
#[derive(Debug, Default)]
pub(super) struct EnergyMeter {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// The counter starts again from zero after this many µJ.
    range_uj: u64,
}

impl EnergyMeter {
    /// Finds the packages, whose directories are named `intel-rapl:N` (also on AMD); parts of them have a second colon.
    pub(super) fn detect() -> Self {
        Self::under(Path::new(POWERCAP))
    }

    fn under(root: &Path) -> Self {
        let Ok(entries) = fs::read_dir(root) else { return Self::default() };
        let package = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("intel-rapl:")?.parse::<u32>().ok()?;
            let counter = path.join("energy_uj");
            read_number(&counter)?;
            Some(Package { counter, range_uj: read_number(&path.join("max_energy_range_uj"))? })
        };
        Self { packages: entries.flatten().filter_map(|entry| package(entry.path())).collect() }
    }

    /// The counters now, in µJ; empty where there are none or one cannot be read.
    pub(super) fn read(&self) -> Vec<u64> {
        self.packages.iter().map(|p| read_number(&p.counter)).collect::<Option<_>>().unwrap_or_default()
    }

    /// Joules between two readings; `None` where either has no counters. Each counter may have wrapped once.
    pub(super) fn joules(&self, before: &[u64], after: &[u64]) -> Option<f64> {
        if before.is_empty() || before.len() != after.len() {
            return None;
        }
        let used =
            |((b, a), p): ((&u64, &u64), &Package)| if a >= b { a - b } else { (p.range_uj + a).saturating_sub(*b) };
        let total: u64 = before.iter().zip(after).zip(&self.packages).map(used).sum();
        Some(total as f64 * 1e-6)
    }
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_summed_and_may_wrap() {
        let root = tempfile::tempdir().unwrap();
        for (name, counter) in
            [("intel-rapl:0", "900"), ("intel-rapl:1", "100"), ("intel-rapl:0:0", "5"), ("dtpm", "1")]
        {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("energy_uj"), counter).unwrap();
            fs::write(dir.join("max_energy_range_uj"), "1000\n").unwrap();
        }
        let meter = EnergyMeter::under(root.path());
        let mut reading = meter.read();
        reading.sort_unstable();
        assert_eq!(reading, [100, 900]);
        // 900 → 50 wraps at 1000: 150; 100 → 400: 300; together 450 µJ.
        assert!((meter.joules(&[900, 100], &[50, 400]).unwrap() - 450e-6).abs() < 1e-12);
    }

    #[test]
    fn no_counters_no_energy() {
        let meter = EnergyMeter::under(Path::new("/nonexistent"));
        assert_eq!(meter.joules(&meter.read(), &meter.read()), None);
    }
}
