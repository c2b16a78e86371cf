//! A plan: the cells of a run in the groups whose rounds interleave, and how they are measured. Knows what is to be
//! run and in which company, not how a round goes.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    fields::{MeasureFields, RunFields, SweepFields},
    grid::expand,
    profile::Profile,
    settings::MeasureSettings,
};
use crate::spec::{Cell, CellId, DeviceKind, Workload};

/// More cells than this are a slip of the pen, not a sweep.
pub(super) const MAX_CELLS: usize = 100_000;

/// What the machine and the command line say of a run, decided before planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFacts {
    /// Kind of device that was opened.
    pub device_kind: DeviceKind,
    /// Threads of the run, at least 1.
    pub n_threads: usize,
    /// Seed of weights, inputs and order.
    pub seed: u64,
}

/// What the command line says over a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// What to run.
    pub sweep: SweepFields,
    /// How to measure.
    pub measure: MeasureFields,
    /// Where to run; read by whoever opens the device, before planning.
    pub run: RunFields,
}

/// Fields alone, for reading one of them exactly as flags are read.
#[derive(Debug, clap::Parser)]
#[command(name = "field", no_binary_name = true)]
struct FieldsLine {
    #[command(flatten)]
    sweep: SweepFields,
    #[command(flatten)]
    measure: MeasureFields,
    #[command(flatten)]
    run: RunFields,
}

impl Overrides {
    /// Every field as a profile spells it.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SweepFields::NAMES.iter().chain(MeasureFields::NAMES).chain(RunFields::NAMES).copied()
    }

    /// One field from its text, read as its flag would be.
    ///
    /// # Errors
    /// What was read and what was expected, in one line.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let flag = format!("--{}={text}", name.replace('_', "-"));
        let line = <FieldsLine as clap::Parser>::try_parse_from([flag]).map_err(|e| {
            let message = e.to_string();
            message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        Ok(Self { sweep: line.sweep, measure: line.measure, run: line.run })
    }

    /// These fields, and those of `under` where these say nothing.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        Self {
            sweep: self.sweep.over(&under.sweep),
            measure: self.measure.over(&under.measure),
            run: self.run.over(&under.run),
        }
    }

    /// What the field of that name says, as a flag would.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.sweep.text(name).or_else(|| self.measure.text(name)).or_else(|| self.run.text(name))
    }

    /// Makes the field of that name say nothing.
    pub fn clear(&mut self, name: &str) {
        self.sweep.clear(name);
        self.measure.clear(name);
        self.run.clear(name);
    }
}

/// Why there is no plan. All of them are mistakes of usage, with text for people.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A shape that cannot be.
    #[error("{0}")]
    Shape(String),
    /// An unknown variant or a bad parameter.
    #[error("{0}")]
    Variant(String),
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// More cells than anyone would wait for.
    #[error("the sweep has more than {MAX_CELLS} cells; shorten a list")]
    TooManyCells,
    /// No cell at all.
    #[error("the sweep is empty: nothing to measure; give at least one workload, variant, batch and seq_len")]
    Empty,
}

/// Cells whose rounds interleave: they differ only in variant, implementation and feature size (`generate`: also in
/// length).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Cells, in the order of the profile.
    pub cells: Vec<Cell>,
    /// Indices into `cells` of what one visit measures: one cell, or one generation's cells from short to long.
    pub units: Vec<Vec<usize>>,
}

impl Group {
    /// Index of a cell's softmax twin: variant `softmax`, same implementation, same length. Softmax is its own.
    #[must_use]
    pub fn twin_of(&self, cell: usize) -> Option<usize> {
        let of = self.cells.get(cell)?;
        self.cells.iter().position(|c| is_twin(c, of))
    }
}

/// Whether `candidate` is the softmax twin of a cell of the same group.
#[must_use]
pub fn is_twin(candidate: &Cell, of: &Cell) -> bool {
    candidate.variant.name == "softmax"
        && candidate.implementation == of.implementation
        && candidate.seq_len == of.seq_len
}

/// What a run measures, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Groups, in the order in which they run.
    pub groups: Vec<Group>,
    /// How each cell is measured.
    pub settings: MeasureSettings,
    /// Seed of the order of visits.
    pub seed: u64,
    /// Fingerprint of the plan that this one is a shard of.
    pub(super) whole: Option<String>,
}

impl Plan {
    /// The plan of a profile under the command line's overrides.
    ///
    /// `--workload` picks among the sweeps of a profile rather than turning each into another: of a sweep only the
    /// workloads asked for remain, and one that no sweep has is run with the profile's defaults.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(profile: &Profile, overrides: &Overrides, facts: &RunFacts) -> Result<Self, PlanError> {
        let measure = overrides.measure.over(&profile.measure);
        let settings = MeasureSettings::resolve(&measure).map_err(PlanError::Setting)?;
        let mut cells = Vec::new();
        for fields in sweeps(profile, &overrides.sweep) {
            cells.extend(expand(&fields, facts)?);
        }
        let mut seen = HashSet::new();
        cells.retain(|cell| seen.insert(cell.id()));
        match cells.len() {
            0 => Err(PlanError::Empty),
            n if n > MAX_CELLS => Err(PlanError::TooManyCells),
            _ => Ok(Self { groups: grouped(cells), settings, seed: facts.seed, whole: None }),
        }
    }

    /// The part of the plan that measures these cells, and the softmax twins that their ratios need.
    #[must_use]
    pub fn only(&self, wanted: &[CellId]) -> Self {
        let part = |group: &Group| {
            let is_wanted: Vec<bool> = group.cells.iter().map(|c| wanted.contains(&c.id())).collect();
            let needs = |i: usize| (0..is_wanted.len()).any(|k| is_wanted[k] && group.twin_of(k) == Some(i));
            let kept = (0..group.cells.len()).filter(|i| is_wanted[*i] || needs(*i));
            let cells: Vec<Cell> = kept.map(|i| group.cells[i].clone()).collect();
            Group { units: units(&cells), cells }
        };
        let groups = self.groups.iter().map(part).filter(|g| !g.cells.is_empty()).collect();
        Self { groups, settings: self.settings.clone(), seed: self.seed, whole: None }
    }

    /// Places among all cells of those that one visit measures together with the cell at that place, from short to long.
    #[must_use]
    pub fn visited_with(&self, cell: usize) -> Vec<usize> {
        let mut first = 0;
        for group in &self.groups {
            let unit = group.units.iter().find(|unit| unit.iter().any(|i| first + i == cell));
            if let Some(unit) = unit {
                return unit.iter().map(|i| first + i).collect();
            }
            first += group.cells.len();
        }
        Vec::new()
    }

    /// Every cell, group by group.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.groups.iter().flat_map(|g| &g.cells)
    }

    /// Short stable hash of all that gives the numbers of the run their meaning: its cells and how they are measured. A
    /// shard has that of the whole.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let ids: Vec<String> = self.cells().map(|c| c.id().0).collect();
        let hash = xxh3_64(format!("{}\n{}", self.settings.meaning(), ids.join("\n")).as_bytes());
        format!("{:08x}", hash >> 32)
    }

    /// Name of one run of this plan: `20260131T120000Z-<fingerprint>-<4 digits of chance>`.
    #[must_use]
    pub fn run_id(&self, now: SystemTime, process: u32) -> String {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time: String = compact_time(now);
        let chance = xxh3_64(format!("{process} {}", since.as_nanos()).as_bytes()) & 0xffff;
        format!("{time}-{}-{chance:04x}", self.fingerprint())
    }
}

/// The fingerprint within a run's name, if it is one.
#[must_use]
pub fn fingerprint_of(run_id: &str) -> Option<&str> {
    let (_, fingerprint) = run_id.rsplit_once('-')?.0.rsplit_once('-')?;
    (fingerprint.len() == 8).then_some(fingerprint)
}

/// `2026-01-31T12:00:00Z` without dashes and colons. A clock outside the representable years reads as 1970.
fn compact_time(now: SystemTime) -> String {
    let last = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    let now = if now < SystemTime::UNIX_EPOCH || now > last { SystemTime::UNIX_EPOCH } else { now };
    humantime::format_rfc3339_seconds(now).to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The profile's sweeps under the flags.
fn sweeps(profile: &Profile, flags: &SweepFields) -> Vec<SweepFields> {
    let own = if profile.sweep.is_empty() { vec![SweepFields::default()] } else { profile.sweep.clone() };
    let own = own.iter().map(|sweep| sweep.over(&profile.defaults));
    let Some(wanted) = &flags.workload else {
        return own.map(|sweep| flags.over(&sweep)).collect();
    };
    let mut missing = wanted.clone();
    let mut out = Vec::new();
    for sweep in own {
        let has = sweep.workload.clone().unwrap_or_else(|| vec![Workload::Attention]);
        let kept: Vec<Workload> = has.into_iter().filter(|w| wanted.contains(w)).collect();
        missing.retain(|w| !kept.contains(w));
        if !kept.is_empty() {
            out.push(SweepFields { workload: Some(kept), ..flags.over(&sweep) });
        }
    }
    if !missing.is_empty() {
        out.push(SweepFields { workload: Some(missing), ..flags.over(&profile.defaults) });
    }
    out
}

/// Groups in the order in which their first cells appear.
fn grouped(cells: Vec<Cell>) -> Vec<Group> {
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for cell in cells {
        let at = *index.entry(cell.group_key()).or_insert_with(|| {
            groups.push(Group { cells: Vec::new(), units: Vec::new() });
            groups.len() - 1
        });
        groups[at].cells.push(cell);
    }
    for group in &mut groups {
        group.units = units(&group.cells);
    }
    groups
}

fn units(cells: &[Cell]) -> Vec<Vec<usize>> {
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut units: Vec<Vec<usize>> = Vec::new();
    for (i, cell) in cells.iter().enumerate() {
        let at = *index.entry(cell.unit_key()).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[at].push(i);
    }
    for unit in &mut units {
        unit.sort_by_key(|i| cells[*i].seq_len);
    }
    units
}

#[cfg(test)]
mod tests;
