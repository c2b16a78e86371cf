//! The machine around a visit: who else used it, how fast it ran, how warm it got.

use std::{fs, time::Instant};

use serde::{Deserialize, Serialize};
use sysinfo::{Components, System};

use super::{
    energy::EnergyMeter,
    procfs::{CpuTicks, foreign_cpu_pct},
};

/// Conditions of one visit; `None` where the machine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// CPU time of other processes during the visit, in percent of one core; `None` also for visits below 200 ms.
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

/// Watches the machine while a visit runs.
pub trait Observer {
    /// A visit begins.
    fn begin(&mut self);

    /// The visit has ended; says what went on since [`Self::begin`]. Shares and energy are `None` without one.
    fn end(&mut self) -> Conditions;
}

/// Asks the operating system. Both calls read files: keep them outside of the timing.
#[derive(Debug)]
pub struct SystemObserver {
    system: Option<System>,
    sensors: Option<Components>,
    energy: EnergyMeter,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    ticks: Option<CpuTicks>,
    energy_uj: Vec<u64>,
}

impl Default for SystemObserver {
    fn default() -> Self {
        Self {
            system: System::new().ok(),
            sensors: Components::new_with_refreshed_list().ok(),
            energy: EnergyMeter::detect(),
            begun: None,
        }
    }
}

impl Observer for SystemObserver {
    fn begin(&mut self) {
        self.begun = Some(Begun { at: Instant::now(), ticks: cpu_ticks(), energy_uj: self.energy.read() });
    }

    fn end(&mut self) -> Conditions {
        let begun = self.begun.take();
        let (now, ticks, energy) = (Instant::now(), cpu_ticks(), self.energy.read());
        let foreign = begun.as_ref().and_then(|b| foreign_cpu_pct(b.ticks?, ticks?, now - b.at));
        Conditions {
            foreign_cpu_pct: foreign,
            load_avg_1m: System::load_average().ok().map(|load| load.one),
            cpu_freq_hz: self.cpu_freq_hz(),
            temp_c: self.temp_c(),
            energy_j: begun.and_then(|b| self.energy.joules(&b.energy_uj, &energy)),
            swap_used_bytes: self.swap_used_bytes(),
        }
    }
}

impl SystemObserver {
    fn cpu_freq_hz(&mut self) -> Option<f64> {
        let system = self.system.as_mut()?;
        system.refresh_cpu_frequency();
        // Virtual machines often have none, which sysinfo gives as 0.
        let mut mhz: Vec<u64> = system.cpus().iter().map(sysinfo::Cpu::frequency).filter(|f| *f > 0).collect();
        mhz.sort_unstable();
        mhz.get(mhz.len() / 2).map(|f| *f as f64 * 1e6)
    }

    fn temp_c(&mut self) -> Option<f64> {
        let sensors = self.sensors.as_mut()?;
        sensors.refresh(false);
        let readings = sensors.iter().filter_map(sysinfo::Component::temperature).filter(|t| t.is_finite());
        readings.map(f64::from).reduce(f64::max)
    }

    fn swap_used_bytes(&mut self) -> Option<u64> {
        let system = self.system.as_mut()?;
        system.refresh_memory();
        Some(system.used_swap())
    }
}

fn cpu_ticks() -> Option<CpuTicks> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    CpuTicks::parse(&fs::read_to_string("/proc/stat").ok()?, &fs::read_to_string("/proc/self/stat").ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observer_that_never_began_knows_no_share() {
        let conditions = SystemObserver::default().end();
        assert_eq!((conditions.foreign_cpu_pct, conditions.energy_j), (None, None));
    }

    #[test]
    fn a_visit_of_no_length_has_no_share_but_has_a_load() {
        let mut observer = SystemObserver::default();
        observer.begin();
        let conditions = observer.end();
        assert_eq!(conditions.load_avg_1m.is_some(), cfg!(unix));
        assert!(conditions.temp_c.is_none_or(|t| t > -60.0));
        assert!(conditions.cpu_freq_hz.is_none_or(|f| f > 1e8));
    }

    #[test]
    fn this_system_tells_its_ticks() {
        assert_eq!(cpu_ticks().is_some(), cfg!(target_os = "linux"));
    }
}
