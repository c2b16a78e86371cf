//! From options to a plan on an opened device: everything that is decided before anything is opened or measured.

use std::{
    env,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{Answer, Failure, args::PlanArgs, layers};
use crate::{
    attention::{has_fused_form, written},
    bench::{Bench, OpenDevice, devices, facts, open},
    checkpoint::Checkpoint,
    measure::{Machine, memory_limit},
    model,
    spec::{AS_IS, Cell, DeviceKind, DeviceSpec, Implementation, VariantSpec},
    store::DeviceFacts,
    sweep::{AssumedRates, Bytes, Executor, Overrides, Plan, Profile, RunFacts, Span, SweepFields, profile},
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
    /// What the models of cells are loaded from.
    checkpoint: Option<Arc<Checkpoint>>,
}

/// A plan, and where it is to run, before any device is opened.
pub(super) struct Planned {
    /// What to run.
    pub(super) plan: Plan,
    /// What the profile is for.
    pub(super) description: String,
    /// Where.
    pub(super) device: DeviceSpec,
    /// On how many threads.
    pub(super) n_threads: usize,
    /// What the models of cells are loaded from.
    pub(super) checkpoint: Option<Arc<Checkpoint>>,
}

/// Resolves the options, fixes the number of threads and opens the device.
pub(super) fn prepare(args: &PlanArgs) -> Answer<Setup> {
    let (name, overrides) = layers::resolve(args)?;
    let setup = plan(&name, &overrides)?.open()?;
    let Some(part) = args.shard else { return Ok(setup) };
    let bench = setup.bench(None);
    Ok(Setup { plan: setup.plan.shard(part, |cell| bench.predict(cell)), ..setup })
}

/// The plan of a profile and what covers it.
pub(super) fn plan(name: &str, overrides: &Overrides) -> Answer<Planned> {
    let profile = profile::load(name).map_err(|e| Failure::Usage(e.to_string()))?;
    let mut overrides = overrides.clone();
    let checkpoint = checkpoint(&profile, &mut overrides.sweep)?.map(Arc::new);
    let run = overrides.run.over(&profile.run);
    let n_threads = threads(run.threads)?;
    let device = run.device.unwrap_or(DeviceSpec { kind: DeviceKind::Cpu, index: 0 });
    let run_facts = RunFacts { device_kind: device.kind, n_threads, seed: run.seed.unwrap_or(0) };
    let plan = Plan::new(&profile, &overrides, &run_facts).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(Planned { plan, description: profile.description, device, n_threads, checkpoint })
}

impl Planned {
    /// Fixes the number of threads and opens the device.
    pub(super) fn open(self) -> Answer<Setup> {
        let Self { plan, device, n_threads, checkpoint, .. } = self;
        set_threads(n_threads);
        let device = open(device).map_err(anyhow::Error::msg)?;
        let memory_default = memory_default(&device);
        Ok(Setup { plan, device, n_threads, memory_default, checkpoint })
    }
}

/// Bytes that a cell may take on a device where nobody says otherwise.
pub(super) fn memory_default(device: &OpenDevice) -> u64 {
    let free = facts(&device.device).memory_bytes.or_else(memory_limit);
    free.map_or(u64::MAX, |bytes| (bytes as f64 * MEMORY_SHARE) as u64)
}

/// Opens the checkpoint that a run names, and puts its name and shape over those of the profile.
fn checkpoint(profile: &Profile, flags: &mut SweepFields) -> Answer<Option<Checkpoint>> {
    if profile.sweep.iter().any(|sweep| sweep.model.is_some()) {
        return Err(Failure::Usage(format!("profile {}: model belongs under [defaults]: a run has one", profile.name)));
    }
    let Some(path) = flags.model.clone().or_else(|| profile.defaults.model.clone()) else { return Ok(None) };
    if let Some(field) = flags.shape_given() {
        let flag = field.replace('_', "-");
        return Err(Failure::Usage(format!("--{flag}: a checkpoint decides its shape; leave it out beside --model")));
    }
    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let setup = checkpoint.setup();
    flags.take_shape(&setup.shape, (setup.heads.n_heads, setup.heads.n_kv_heads, setup.heads.head_dim));
    if flags.model.is_some() && flags.variants.is_none() {
        // Whoever names a model and no variant asks for the model.
        flags.variants = Some(vec![VariantSpec::new(AS_IS)]);
    }
    name_as_is(setup, flags);
    flags.model = Some(checkpoint.key()?);
    Ok(Some(checkpoint))
}

/// Calls what a checkpoint has by its name where all layers have the same, so that it is the variant that others measure.
fn name_as_is(setup: &model::Setup, flags: &mut SweepFields) {
    let Some(variants) = flags.variants.as_mut().filter(|all| all.iter().any(VariantSpec::is_as_is)) else { return };
    let alike = setup.layers.iter().all(|layer| *layer == setup.layers[0]);
    let own = setup.layers.first().map(|layer| &layer.own).filter(|_| alike && !setup.has_encoder());
    if let Some(own) = own {
        let spec = written(own);
        variants.iter_mut().filter(|variant| variant.is_as_is()).for_each(|variant| *variant = spec.clone());
    } else if flags.implementation.is_none() && !setup.layers.iter().all(|layer| has_fused_form(&layer.own.spec)) {
        flags.implementation = Some(vec![Implementation::Reference]);
    }
}

/// The threads of a run: as many as asked for, or as there are.
pub(super) fn threads(asked: Option<usize>) -> Answer<usize> {
    match asked {
        Some(0) => Err(Failure::Usage("--threads 0: nothing can run on no thread; give at least 1".into())),
        Some(n) if n > most_threads() => {
            let most = most_threads();
            Err(Failure::Usage(format!("--threads {n}: far beyond what this machine has; give at most {most}")))
        }
        Some(n) => Ok(n),
        None => Ok(available_threads()),
    }
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
        // SAFETY: nobody else reads the environment meanwhile. Without a dashboard no other thread exists yet; with one
        // there are the thread of keys and that of signals, which wait for theirs, and the screen's, which waits for this
        // one to measure.
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
    pub(super) fn bench(&self, dump: Option<PathBuf>) -> Bench {
        self.bench_until(dump, Box::new(super::stop::asked))
    }

    /// The same with another wish to stop.
    pub(super) fn bench_until(&self, dump: Option<PathBuf>, stop: Box<dyn Fn() -> bool>) -> Bench {
        Bench::new(self.device.device.clone(), dump, stop).with_checkpoint(self.checkpoint.clone())
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
