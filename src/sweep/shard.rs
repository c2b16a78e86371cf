//! A part of a plan for one of several machines or jobs: whole groups, so that every shard takes about as long.

use std::{fmt, str::FromStr};

use super::{
    estimate::AssumedRates,
    executor::Prediction,
    plan::{Group, Plan},
};
use crate::spec::Cell;

/// One of several: `2/4`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which, from 1.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        match parsed {
            Some((index, count)) if 1 <= index && index <= count => Ok(Self { index, count }),
            Some((index, count)) => Err(format!("'{text}': there is no part {index} of {count}; expected 1/4 to 4/4")),
            None => Err(format!("'{text}': expected I/N, e.g. 1/4")),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Plan {
    /// The groups of one shard. Groups are dealt from the longest to the shortest, each to the shard that has least to
    /// do so far, at assumed rates: every shard deals alike, whatever machine it is on. The shard keeps the fingerprint of
    /// the whole plan, so that the files of all shards together are the file of that plan.
    #[must_use]
    pub fn shard(mut self, part: Part, predict: impl Fn(&Cell) -> Result<Prediction, String>) -> Self {
        let seconds: Vec<f64> = self.groups.iter().map(|g| self.group_seconds(g, &predict)).collect();
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by(|a, b| seconds[*b].total_cmp(&seconds[*a]));
        let mut load = vec![(0.0, 0_usize); part.count];
        let mut own = vec![false; self.groups.len()];
        for group in order {
            // Groups that take no time to speak of are dealt by number.
            let by = |a: &&mut (f64, usize), b: &&mut (f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            let least = load.iter_mut().enumerate().min_by(|(_, a), (_, b)| by(a, b));
            if let Some((shard, load)) = least {
                *load = (load.0 + seconds[group], load.1 + 1);
                own[group] = shard + 1 == part.index;
            }
        }
        self.whole = Some(self.fingerprint());
        let mut own = own.into_iter();
        self.groups.retain(|_| own.next().unwrap_or(false));
        self
    }

    fn group_seconds(&self, group: &Group, predict: &impl Fn(&Cell) -> Result<Prediction, String>) -> f64 {
        let rates = AssumedRates::default();
        let of_cell =
            |(i, cell): (usize, &Cell)| predict(cell).map_or(0.0, |p| self.cell_seconds(group, i, &p, &rates));
        group.cells.iter().enumerate().map(of_cell).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::Direction,
        spec::{CellId, DeviceKind},
        sweep::{Overrides, RunFacts, profile::parse},
    };

    fn plan() -> Plan {
        let text = "description='x'\n[measure]\nrounds=6\nsamples_per_round=3\nmin_block='1ms'\n\
                    [defaults]\nworkload='attention'\nbatch=[1,2,3,4,5,6,7]\nseq_len=[64,128]";
        let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
        Plan::new(&parse("t", text).expect("profile"), &Overrides::default(), &facts).expect("plan")
    }

    fn predict(cell: &Cell) -> Result<Prediction, String> {
        Ok(Prediction {
            state_bytes: 0,
            memory_bytes: 0,
            flops: 1e9 * cell.batch_size as f64,
            bytes_moved: 1.0,
            footprint_bytes: 0,
            direction: Direction::Read,
        })
    }

    #[test]
    fn shards_share_out_whole_groups_and_about_equal_time() {
        let plan = plan();
        let shards: Vec<Plan> = (1..=4).map(|index| plan.clone().shard(Part { index, count: 4 }, predict)).collect();
        let mut cells: Vec<CellId> = shards.iter().flat_map(|s| s.cells().map(Cell::id)).collect();
        assert!(shards.iter().all(|s| s.fingerprint() == plan.fingerprint()));
        let mut all: Vec<CellId> = plan.cells().map(Cell::id).collect();
        cells.sort();
        all.sort();
        assert_eq!(cells, all, "every cell once");
        // Batches 1 to 7, twice: 56 units of work over 4 shards, in groups of at most 7.
        let load = |s: &Plan| s.groups.iter().map(|g| g.cells[0].batch_size).sum::<usize>();
        let loads: Vec<usize> = shards.iter().map(load).collect();
        assert!(loads.iter().all(|l| (12..=16).contains(l)), "{loads:?}");
    }

    #[test]
    fn more_shards_than_groups_leave_some_with_nothing() {
        let plan = plan();
        let groups: usize =
            (1..=20).map(|index| plan.clone().shard(Part { index, count: 20 }, predict).groups.len()).sum();
        assert_eq!(groups, plan.groups.len());
        // What cannot be predicted is dealt all the same.
        let halves =
            [1, 2].map(|index| plan.clone().shard(Part { index, count: 2 }, |_| Err("no".to_owned())).groups.len());
        assert_eq!(halves, [7, 7]);
    }

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!("2/4".parse(), Ok(Part { index: 2, count: 4 }));
        for wrong in ["0/4", "5/4", "2", "a/b", "-1/2", "1/0"] {
            assert!(wrong.parse::<Part>().is_err_and(|e| e.contains(wrong)), "{wrong}");
        }
    }
}
