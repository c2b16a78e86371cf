//! What a side's own cells say over length: where each linear variant passes softmax, and how steeply time grows.

use std::collections::HashMap;

use super::{
    key::CellKey,
    pairing::figures,
    side::{MeasuredCell, Side},
    types::Trend,
};
use crate::{
    spec::Workload,
    stats::{self, crossover, scaling_exponent},
};

/// Columns in which a variant may differ from the softmax that it is held against.
const OF_A_VARIANT: [&str; 4] = ["variant", "variant_params", "feature_dim", "cross_feature_dim"];

/// Time per token over length, in each round.
struct Curve {
    key: CellKey,
    times: stats::Curve,
}

/// A trend per variant, implementation and batch, where there are two lengths or more; in the order of the cells.
pub(super) fn trends(side: &Side) -> Vec<Trend> {
    let curves = curves(side);
    let softmax: HashMap<CellKey, &Curve> = curves
        .iter()
        .filter(|c| c.key.get("variant") == "softmax")
        .map(|c| (c.key.without(&OF_A_VARIANT), c))
        .collect();
    let one = |curve: &Curve| {
        let is_linear = !curve.key.get("feature_dim").is_empty();
        let base = softmax.get(&curve.key.without(&OF_A_VARIANT)).filter(|_| is_linear);
        let (shortest, longest) = curve.times.range().unwrap_or_default();
        Trend {
            key: curve.key.clone(),
            crossover: base.and_then(|base| crossover(&base.times, &curve.times)),
            scaling: scaling_exponent(&curve.times),
            lengths: (shortest as u64, longest as u64),
        }
    };
    curves.iter().filter(|c| c.times.has_extent()).map(one).collect()
}

fn curves(side: &Side) -> Vec<Curve> {
    let mut index: HashMap<CellKey, usize> = HashMap::new();
    let mut curves: Vec<Curve> = Vec::new();
    for cell in &side.cells {
        let Some(seq_len) = cell.key.number("seq_len").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else {
            continue;
        };
        let rounds = per_token(cell, seq_len);
        if rounds.is_empty() {
            continue;
        }
        let key = cell.key.without(&["seq_len"]);
        let at = *index.entry(key.clone()).or_insert_with(|| {
            curves.push(Curve { key, times: stats::Curve::default() });
            curves.len() - 1
        });
        curves[at].times.add(seq_len, rounds);
    }
    curves
}

/// The rounds' times per token of one sequence, launch after launch. A launch in which the cell stopped early is filled
/// up, so that the rounds of the next fall together over all lengths.
fn per_token(cell: &MeasuredCell, seq_len: usize) -> Vec<Option<f64>> {
    /// Rounds that a launch takes in a series; no profile has more, and later ones are left out.
    const PER_LAUNCH: usize = 64;
    let tokens = cell.key.get("workload").parse::<Workload>().map_or(1, |w| w.tokens_per_call(seq_len)) as f64;
    let launches = figures(cell);
    let width = if launches.len() > 1 { PER_LAUNCH } else { launches.first().map_or(0, |f| f.len()) };
    let of_launch =
        |figures: &&[f64]| -> Vec<Option<f64>> { (0..width).map(|r| figures.get(r).map(|ns| ns / tokens)).collect() };
    launches.iter().flat_map(of_launch).collect()
}
