//! From options to a plan on an opened device: everything that is decided before anything is opened or measured.

use std::{env, num::NonZero, thread};

use super::{Answer, Failure, args::PlanArgs, layers};
use crate::{
    bench::{Bench, OpenDevice, devices, facts, open},
    measure::{Machine, memory_limit},
    spec::{Cell, DeviceKind, DeviceSpec},
    store::DeviceFacts,
    sweep::{AssumedRates, Bytes, Executor, Plan, RunFacts, Span, profile},
};

/// Share of the free memory that a cell may take where nobody says otherwise.
const MEMORY_SHARE: f64 = 0.8;

/// A plan and where it runs.
pub(super) struct Setup {
    /// What to run.
    pub(super) plan: Plan,
    /// Where.
    pub(super) device: OpenDevice,
    /// On how many threads.
    pub(super) n_threads: usize,
    /// Bytes that a cell may take.
    pub(super) memory_default: u64,
}

/// Resolves the options, fixes the number of threads and opens the device.
pub(super) fn prepare(args: &PlanArgs) -> Answer<Setup> {
    let (name, overrides) = layers::resolve(args)?;
    let profile = profile::load(&name).map_err(|e| Failure::Usage(e.to_string()))?;
    let run = overrides.run.over(&profile.run);
    let n_threads = match run.threads {
        Some(0) => return Err(Failure::Usage("--threads 0: nothing can run on no thread; give at least 1".into())),
        Some(n) if n > most_threads() => {
            let most = most_threads();
            return Err(Failure::Usage(format!(
                "--threads {n}: far beyond what this machine has; give at most {most}"
            )));
        }
        Some(n) => n,
        None => available_threads(),
    };
    let spec = run.device.unwrap_or(DeviceSpec { kind: DeviceKind::Cpu, index: 0 });
    let run_facts = RunFacts { device_kind: spec.kind, n_threads, seed: run.seed.unwrap_or(0) };
    let plan = Plan::new(&profile, &overrides, &run_facts).map_err(|e| Failure::Usage(e.to_string()))?;
    set_threads(n_threads);
    let device = open(spec).map_err(anyhow::Error::msg)?;
    let plan = match args.shard {
        Some(part) => {
            let bench = Bench::new(device.device.clone(), None, Box::new(super::stop::asked));
            plan.shard(part, |cell| bench.predict(cell))
        }
        None => plan,
    };
    let free = facts(&device.device).memory_bytes.or_else(memory_limit);
    let memory_default = free.map_or(u64::MAX, |bytes| (bytes as f64 * MEMORY_SHARE) as u64);
    Ok(Setup { plan, device, n_threads, memory_default })
}

/// Threads that this process may use at once.
pub(super) fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// More threads than this can only be a slip of the pen.
fn most_threads() -> usize {
    available_threads().saturating_mul(4).max(64)
}

/// Tells the pools of threads their size, before there are any.
pub(super) fn set_threads(n_threads: usize) {
    for pool in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: this is called while options are being resolved: no thread but this one exists yet, so that nobody
        // reads the environment meanwhile.
        unsafe { env::set_var(pool, n_threads.to_string()) };
    }
}

/// The machine with its GPUs.
pub(super) fn machine() -> Machine {
    let gpus = devices("").into_iter().filter(|d| d.spec.kind != DeviceKind::Cpu).map(|d| d.name);
    Machine::detect(&gpus.collect::<Vec<_>>())
}

impl Setup {
    /// Runs cells of the plan; `stop` and `dump` as the executor wants them.
    pub(super) fn bench(&self, dump: Option<std::path::PathBuf>) -> Bench {
        Bench::new(self.device.device.clone(), dump, Box::new(super::stop::asked))
    }

    /// The columns of the accelerator; the processor has columns of its own.
    pub(super) fn device_facts(&self) -> DeviceFacts {
        let spec = self.device.spec;
        let gpu = facts(&self.device.device);
        match spec.kind {
            DeviceKind::Cpu => DeviceFacts::default(),
            _ => DeviceFacts {
                name: gpu.name.unwrap_or_else(|| spec.to_string()),
                index: Some(spec.index),
                mem_total_bytes: gpu.memory_bytes,
                ..DeviceFacts::default()
            },
        }
    }

    /// Bytes that a cell may take.
    pub(super) fn memory_budget(&self) -> u64 {
        self.plan.settings.memory_budget.unwrap_or(self.memory_default)
    }

    /// Cells, groups, time and memory in one line.
    pub(super) fn outlook(&self, bench: &Bench) -> String {
        let budget = self.memory_budget();
        let fits = |cell: &Cell| {
            bench.predict(cell).and_then(|p| if p.memory_bytes <= budget { Ok(p) } else { Err(String::new()) })
        };
        let time = self.plan.estimate(fits, &AssumedRates::default());
        let needs: Vec<u64> = self.plan.cells().filter_map(|c| fits(c).ok()).map(|p| p.memory_bytes).collect();
        let (cells, groups) = (self.plan.cells().count(), self.plan.groups.len());
        let skipped = cells - needs.len();
        let memory = needs.into_iter().max().map_or(String::new(), |m| format!(", at most {} of memory", Bytes(m)));
        let skips = if skipped > 0 { format!(", {skipped} of them to be skipped") } else { String::new() };
        let time = Span(std::time::Duration::from_secs(time.as_secs().max(1)));
        format!("{}{skips}, {}, about {time}{memory}", count(cells, "cell"), count(groups, "group"))
    }
}

/// `1 cell`, `2 cells`.
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
