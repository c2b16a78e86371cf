//! Geometric means over cells: how a variant as a whole compares, drift and noise of its cells taken together.

use std::collections::HashMap;

use super::{
    evidence::{Evidence, Sample},
    key::CellKey,
    matching::Pair,
    pairing::figures,
    side::{MeasuredCell, Side},
    spread::Spreads,
    types::VariantMean,
};
use crate::stats::{mean, median};

/// What the cells of a mean share.
const OF_A_MEAN: [&str; 6] =
    ["workload", "variant", "variant_params", "implementation", "feature_dim", "cross_feature_dim"];

/// A mean per workload, variant and implementation, in the order of the cells, over those that both sides measured.
pub(super) fn means(pairs: &[Pair<'_>], base: &Side, candidate: &Side, spreads: &Spreads) -> Vec<VariantMean> {
    let mut order: Vec<CellKey> = Vec::new();
    let mut groups: HashMap<CellKey, Vec<(&MeasuredCell, &MeasuredCell)>> = HashMap::new();
    for (b, c) in pairs.iter().filter_map(|(b, c)| Some(((*b)?, (*c)?))) {
        if figures(b).is_empty() || figures(c).is_empty() {
            continue;
        }
        let key = b.key.only(&OF_A_MEAN);
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push((b, c));
    }
    let machines = (base.machine(), candidate.machine());
    let one = |key: CellKey| {
        let cells = groups.get(&key)?;
        let base_cells: Vec<Vec<Vec<f64>>> = cells.iter().map(|(b, _)| owned(b)).collect();
        let candidate_cells: Vec<Vec<Vec<f64>>> = cells.iter().map(|(_, c)| owned(c)).collect();
        let left = sample(&base_cells, &machines.0, spreads);
        let right = sample(&candidate_cells, &machines.1, spreads);
        let ratio = Evidence::of(&left, &right).map(|e| e.ratio());
        Some(VariantMean { cells: cells.len(), ratio: ratio?, key })
    };
    order.into_iter().filter_map(one).collect()
}

fn owned(cell: &MeasuredCell) -> Vec<Vec<f64>> {
    figures(cell).into_iter().map(<[f64]>::to_vec).collect()
}

/// The mean over cells, launch by launch and round by round; launches and rounds that a cell lacks are left out.
fn sample<'a>(cells: &[Vec<Vec<f64>>], machine: &'a str, spreads: &Spreads) -> Sample<'a> {
    let launches = cells.iter().map(Vec::len).min().unwrap_or(0);
    let over_cells = |of: &dyn Fn(&Vec<Vec<f64>>) -> Option<f64>| {
        let logs: Option<Vec<f64>> = cells.iter().map(|cell| of(cell).map(f64::ln)).collect();
        mean(&logs?)
    };
    let medians = (0..launches).filter_map(|l| over_cells(&|cell| median(&cell[l]))).collect();
    let rounds = (0..launches).flat_map(|l| {
        let rounds = cells.iter().map(|cell| cell[l].len()).min().unwrap_or(0);
        (0..rounds).filter_map(move |r| over_cells_at(cells, l, r))
    });
    Sample { medians, rounds: rounds.collect(), machine, spread: spreads.of_cell(machine, None) }
}

fn over_cells_at(cells: &[Vec<Vec<f64>>], launch: usize, round: usize) -> Option<f64> {
    let logs: Vec<f64> = cells.iter().map(|cell| cell[launch][round].ln()).collect();
    mean(&logs)
}
