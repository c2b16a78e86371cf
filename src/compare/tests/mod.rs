//! Rows with known ratios, matched, judged and held against gates.

mod gates;
mod matched;
mod simulation;

use super::*;
use crate::store::Row;

/// A row of one launch of a cell: six rounds around `ns`.
fn row(run: &str, variant: &str, seq_len: u64, ns: f64) -> Row {
    let figures: Vec<String> = [0.995, 1.0, 1.005, 0.99, 1.01, 1.0].iter().map(|by| (ns * by).to_string()).collect();
    Row {
        schema_version: 1,
        run_id: format!("20260131T12000{run}Z-0a0b0c0d-000{run}"),
        cell_id: format!("{variant}-{seq_len}"),
        status: "ok".to_owned(),
        workload: "attention".to_owned(),
        variant: variant.to_owned(),
        feature_dim: (variant != "softmax").then_some(32),
        implementation: "fused".to_owned(),
        device_kind: "cpu".to_owned(),
        dtype: "f32".to_owned(),
        cache: "cold".to_owned(),
        batch_size: 16,
        seq_len,
        n_threads: 2,
        machine_id: "m1".to_owned(),
        build_commit: "c1".to_owned(),
        build_profile: "release".to_owned(),
        cpu_cores_physical: Some(2),
        p50_ns: Some(ns),
        state_bytes_measured: Some(1024),
        alloc_peak_bytes: Some(4096),
        achieved_gb_per_s: Some(5.0),
        pct_of_peak_bandwidth: Some(50.0),
        round_values: format!("[{}]", figures.join(",")),
        ..Row::default()
    }
}

/// Launches of softmax and t2r whose times differ among themselves by ± 1 %, all times `by`.
fn launches(runs: &[&str], by: f64) -> Vec<Row> {
    let jitter = [1.0, 1.01, 0.99, 1.005, 0.995];
    let of_run = |(i, run): (usize, &&str)| {
        let ns = by * jitter[i % jitter.len()];
        [row(run, "softmax", 1024, 2000.0 * ns), row(run, "t2r", 1024, 100.0 * ns)]
    };
    runs.iter().enumerate().flat_map(of_run).collect()
}

fn side_with(name: &str, rows: &[Row], metrics: &[&str]) -> Side {
    let metrics: Vec<String> = metrics.iter().map(|m| (*m).to_owned()).collect();
    let mut sides = Sides::new(name, &metrics);
    rows.iter().for_each(|row| sides.add(row).expect("taken in"));
    sides.finish().into_iter().next().expect("a side")
}

fn side(name: &str, rows: &[Row]) -> Side {
    side_with(name, rows, &[])
}

fn compared(base: &Side, candidate: &Side) -> Comparison {
    compare(base, candidate, &Options::default(), &Spreads::of([base, candidate])).expect("compared")
}
