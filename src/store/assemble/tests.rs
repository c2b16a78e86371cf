//! Rows of scripted records, held against values worked out by hand.

use std::time::Duration;

use super::*;
use crate::{
    measure::Conditions,
    spec::DeviceKind,
    sweep::{
        CheckReport, Direction, Measured, MemoryReading, Overrides, Peaks, Plan, Prediction, RunFacts, StopReason,
        profile::parse,
    },
};

fn records(sweep: &str) -> GroupRecord {
    let profile = parse("test", &format!("description = 'x'\n[defaults]\n{sweep}")).expect("profile");
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
    let plan = Plan::new(&profile, &Overrides::default(), &facts).expect("plan");
    GroupRecord { group: 0, cells: plan.groups[0].cells.iter().cloned().map(CellRecord::new).collect() }
}

fn visit(round: u32, figure_ns: f64, samples_ns: &[f64], iters_per_sample: u64) -> Visit {
    let measured = Measured {
        figure_ns,
        samples_ns: samples_ns.to_vec(),
        iters_per_sample,
        warmup_count: 2,
        warmup_verified: true,
        first_ns: (round == 0).then_some(9000.0),
        e2e_ns: None,
        memory: MemoryReading { alloc_peak_bytes: Some(100 + u64::from(round)), ..MemoryReading::default() },
        timed_out: false,
    };
    let conditions = Conditions { foreign_cpu_pct: Some(1.0), ..Conditions::default() };
    Visit { round, attempt: 0, measured, conditions, elapsed_ns: 1 }
}

fn info() -> RunInfo {
    let template = Row { run_id: "run".to_owned(), timer: "monotonic".to_owned(), ..Row::default() };
    RunInfo { template, ci_target: 0.02 }
}

fn rows(group: &GroupRecord) -> Vec<Row> {
    assemble(group, &info(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800))
}

#[test]
fn a_block_timed_layer_has_rates_and_ratios_but_no_percentiles() {
    let mut group = records("variants=['softmax','elu']\nbatch=4");
    // Softmax takes 4000 ns, elu 1000, 2000 or 4000: paired by round, 4, 2 and 1 times faster.
    for round in 0..6 {
        let own = [1000.0, 2000.0, 4000.0][round as usize % 3];
        group.cells[0].visits.push(visit(round, 4000.0, &[4000.0; 20], 10));
        group.cells[1].visits.push(visit(round, own, &[own; 20], 10));
    }
    group.cells[1].prediction = Some(Prediction {
        state_bytes: 77,
        memory_bytes: 1000,
        flops: 4000.0,
        bytes_moved: 0.0,
        footprint_bytes: 1000,
        direction: Direction::ReadWrite,
    });
    group.cells[1].peaks = Peaks { gflops: Some(8.0), gb_per_s: None };
    group.cells[1].stop_reason = Some(StopReason::Rounds);
    let rows = rows(&group);
    let row = &rows[1];
    assert_eq!((row.p50_ns, row.ci95_low_ns, row.ci95_high_ns), (Some(2000.0), Some(1000.0), Some(4000.0)));
    assert_eq!((row.p90_ns, row.p95_ns, row.p99_ns, row.histogram_v2.as_str()), (None, None, None, ""));
    assert_eq!((row.n_samples, row.iters_per_sample, row.round_count), (Some(120), Some(10), Some(6)));
    assert_eq!(row.round_values, "[1000,2000,4000,1000,2000,4000]");
    // Four sequences, one token each, in 2 µs.
    assert_eq!(row.tokens_per_s, Some(2e6));
    assert_eq!((row.tokens_per_s_ci95_low, row.tokens_per_s_ci95_high), (Some(1e6), Some(4e6)));
    assert_eq!((row.achieved_gflops, row.pct_of_peak_flops), (Some(2.0), Some(25.0)));
    assert_eq!((row.achieved_gb_per_s, row.pct_of_peak_bandwidth), (None, None));
    let speedup = (row.speedup_vs_softmax, row.speedup_ci95_low, row.speedup_ci95_high);
    assert_eq!(speedup, (Some(2.0), Some(1.0), Some(4.0)));
    assert_eq!(rows[0].speedup_vs_softmax, Some(1.0));
    assert_eq!((row.quality.as_str(), row.warnings.as_str()), ("bad", "wide_interval"));
    assert_eq!((rows[0].quality.as_str(), rows[0].warnings.as_str()), ("good", ""));
    assert_eq!((row.alloc_peak_bytes, row.memory_method.as_str()), (Some(105), "allocator"));
    assert_eq!((row.first_ns, row.warmup_count), (Some(9000.0), Some(12)));
    assert_eq!(row.test_time, "2026-01-31T12:00:00Z");
}

#[test]
fn percentiles_come_with_enough_single_calls() {
    let mut group = records("workload='decode'\nvariants='softmax'\nbatch=1");
    let calls: Vec<f64> = (1..=50).map(f64::from).collect();
    group.cells[0].visits.push(visit(0, 25.5, &calls, 1));
    let row = rows(&group).remove(0);
    // 0.9 · 49 = 44.1 steps above 1.
    assert_eq!((row.p50_ns, row.p90_ns, row.p95_ns), (Some(25.5), Some(45.1), None));
    let histogram = LatencyHistogram::from_base64(&row.histogram_v2).expect("readable");
    assert_eq!(histogram.count(), 50);
    // One round has no interval, and a speed that cannot be trusted.
    assert_eq!((row.ci95_low_ns, row.speedup_ci95_low, row.quality.as_str()), (None, None, "bad"));
    assert_eq!(row.warnings, "few_rounds");
}

#[test]
fn disturbed_rounds_stay_out_of_ratios_while_six_clean_ones_remain() {
    let mut group = records("variants=['softmax','elu']");
    for round in 0..7 {
        group.cells[0].visits.push(visit(round, 300.0, &[300.0], 10));
        let mut own = visit(round, if round == 0 { 1.0 } else { 100.0 }, &[100.0], 10);
        own.conditions.foreign_cpu_pct = Some(if round == 0 { 80.0 } else { 0.0 });
        group.cells[1].visits.push(own);
    }
    let row = rows(&group).remove(1);
    assert_eq!((row.speedup_ci95_low, row.speedup_ci95_high), (Some(3.0), Some(3.0)));
    assert_eq!(row.foreign_cpu_pct, Some(80.0));
    assert!(row.warnings.contains("foreign_cpu"));
    group.cells[1].visits.pop();
    let row = rows(&group).remove(1);
    assert_eq!(row.speedup_ci95_high, Some(300.0));
}

#[test]
fn a_cell_that_is_wrong_or_failed_has_no_speed() {
    let mut group = records("variants=['softmax','elu']");
    group.cells[0].status = Status::Incorrect;
    group.cells[0].check = Some(CheckReport { max_abs_err: 0.5, max_rel_err: f64::INFINITY, passed: false });
    group.cells[1].status = Status::Error;
    group.cells[1].detail = "panicked: one\n  two".to_owned();
    group.cells[1].visits.push(visit(0, 1.0, &[1.0], 1));
    let rows = rows(&group);
    assert_eq!((rows[0].max_abs_err, rows[0].max_rel_err), (Some(0.5), None));
    assert_eq!((rows[1].status.as_str(), rows[1].status_detail.as_str()), ("error", "panicked: one; two"));
    for row in rows {
        assert_eq!((row.p50_ns, row.tokens_per_s, row.speedup_vs_softmax, row.n_samples), (None, None, None, None));
        assert_eq!((row.quality.as_str(), row.round_values.as_str()), ("", ""));
    }
}
