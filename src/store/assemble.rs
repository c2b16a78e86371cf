//! From a group's records to its rows: statistics, rates, ratios to softmax. Knows what each column means, not where
//! rows go.

use std::time::SystemTime;

use super::{
    quality::judge,
    row::{Row, SCHEMA_VERSION},
};
use crate::{
    spec::Cell,
    stats::{Interval, LatencyHistogram, Summary, median, median_interval, ratio_interval},
    sweep::{CellRecord, GroupRecord, MIN_ROUNDS, Status, Visit, is_disturbed, is_twin, nine_digits},
};

/// What all rows of a run share.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// A row that holds the columns of run, build, machine, timer, TUI and user, and nothing else.
    pub template: Row,
    /// Half-width of the interval that was asked for.
    pub ci_target: f64,
}

/// The rows of a group, one per cell, in order. `now` is what they give as `test_time`.
#[must_use]
pub fn assemble(group: &GroupRecord, info: &RunInfo, now: SystemTime) -> Vec<Row> {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let one = |record: &CellRecord| {
        let mut row = info.template.clone();
        row.schema_version = SCHEMA_VERSION;
        row.test_time.clone_from(&time);
        row.set_key(&record.cell);
        row.status = record.status.to_string();
        row.status_detail = one_line(&record.detail);
        row.stop_reason = record.stop_reason.map(|r| r.to_string()).unwrap_or_default();
        set_known_before(&mut row, record);
        if has_speed(record) {
            set_method(&mut row, record);
            set_latency(&mut row, record);
            set_rates(&mut row, record);
            set_memory(&mut row, record);
            set_conditions(&mut row, record);
            let twin = group.cells.iter().find(|c| is_twin(&c.cell, &record.cell) && has_speed(c));
            set_speedup(&mut row, record, twin);
        }
        let (quality, warnings) = judge(record, has_speed(record), info.ci_target);
        row.quality = quality.to_owned();
        row.warnings = warnings;
        row
    };
    group.cells.iter().map(one).collect()
}

/// Whether a cell's visits mean anything: of one that failed or is wrong they do not.
fn has_speed(record: &CellRecord) -> bool {
    matches!(record.status, Status::Ok | Status::Interrupted) && !record.visits.is_empty()
}

/// A text fit for one line of a file that people also read with line tools.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A number as rows hold it: short, and missing rather than infinite.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then(|| nine_digits(value))
}

fn set_known_before(row: &mut Row, record: &CellRecord) {
    if let Some(p) = &record.prediction {
        row.state_bytes_pred = Some(p.state_bytes);
        row.flops_est = number(p.flops);
        row.bytes_moved_est = number(p.bytes_moved);
    }
    if let Some(check) = &record.check {
        row.max_abs_err = number(check.max_abs_err);
        row.max_rel_err = number(check.max_rel_err);
    }
}

fn set_method(row: &mut Row, record: &CellRecord) {
    let visits = &record.visits;
    row.warmup_count = Some(visits.iter().map(|v| u64::from(v.measured.warmup_count)).sum());
    row.n_samples = Some(visits.iter().map(|v| v.measured.samples_ns.len() as u64).sum());
    row.iters_per_sample = visits.iter().map(|v| v.measured.iters_per_sample).max();
    row.order = "shuffled".to_owned();
    let figures = record.figures();
    row.round_count = Some(figures.len() as u64);
    let texts: Vec<String> = figures.iter().map(|f| nine_digits(*f).to_string()).collect();
    row.round_values = format!("[{}]", texts.join(","));
}

fn set_latency(row: &mut Row, record: &CellRecord) {
    let samples: Vec<f64> = record.visits.iter().flat_map(|v| v.measured.samples_ns.iter().copied()).collect();
    let Some(s) = Summary::of(&samples) else { return };
    let figures = record.figures();
    row.min_ns = number(s.min);
    row.avg_ns = number(s.mean);
    row.max_ns = number(s.max);
    row.stddev_ns = s.stddev.and_then(number);
    row.iqr_ns = number(s.iqr);
    row.mad_ns = number(s.mad);
    row.n_outliers = Some(s.n_outliers as u64);
    row.p50_ns = median(&figures).and_then(number);
    if row.iters_per_sample == Some(1) {
        row.p50_ns = number(s.median);
        row.p90_ns = s.p90.and_then(number);
        row.p95_ns = s.p95.and_then(number);
        row.p99_ns = s.p99.and_then(number);
        // Compressing in memory cannot fail; were it to, a blank column is the honest answer.
        row.histogram_v2 = LatencyHistogram::of(&samples).to_base64().unwrap_or_default();
    }
    if let Some((low, high)) = median_interval(&figures) {
        row.ci95_low_ns = number(low);
        row.ci95_high_ns = number(high);
    }
    row.first_ns = record.visits.first().and_then(|v| v.measured.first_ns).and_then(number);
    let whole: Vec<f64> = record.visits.iter().filter_map(|v| v.measured.e2e_ns).collect();
    row.e2e_p50_ns = median(&whole).and_then(number);
}

/// Tokens of all sequences that one call puts through.
fn tokens_per_call(cell: &Cell) -> f64 {
    cell.batch_size as f64 * cell.workload.tokens_per_call(cell.seq_len) as f64
}

fn set_rates(row: &mut Row, record: &CellRecord) {
    let figures = record.figures();
    let Some(figure) = median(&figures) else { return };
    let rate = |ns: f64| number(tokens_per_call(&record.cell) * 1e9 / ns);
    row.tokens_per_s = rate(figure);
    if let Some((low, high)) = median_interval(&figures) {
        row.tokens_per_s_ci95_low = rate(high);
        row.tokens_per_s_ci95_high = rate(low);
    }
    let Some(p) = &record.prediction else { return };
    // Operations per ns are 10⁹ operations per s. A cell that computes or moves nothing has no rate to speak of.
    let per_ns = |amount: f64| (amount > 0.0).then(|| amount / figure).and_then(number);
    row.achieved_gflops = per_ns(p.flops);
    row.achieved_gb_per_s = per_ns(p.bytes_moved);
    let share = |achieved: Option<f64>, peak: Option<f64>| number(100.0 * achieved? / peak?);
    row.pct_of_peak_flops = share(row.achieved_gflops, record.peaks.gflops);
    row.pct_of_peak_bandwidth = share(row.achieved_gb_per_s, record.peaks.gb_per_s);
}

fn set_speedup(row: &mut Row, record: &CellRecord, twin: Option<&CellRecord>) {
    let Some(twin) = twin else { return };
    let twins = twin.rounds();
    let of_round = |v: &&Visit| twins.iter().find(|t| t.round == v.round).copied();
    let pairs: Vec<(&Visit, &Visit)> = record.rounds().iter().filter_map(|v| Some((of_round(v)?, *v))).collect();
    let clean: Vec<_> = pairs.iter().copied().filter(|(t, v)| !is_disturbed(t) && !is_disturbed(v)).collect();
    let used = if clean.len() >= MIN_ROUNDS as usize { clean } else { pairs };
    let figures: Vec<(f64, f64)> = used.iter().map(|(t, v)| (t.measured.figure_ns, v.measured.figure_ns)).collect();
    let Some(ratio) = ratio_interval(&figures) else { return };
    row.speedup_vs_softmax = number(ratio.ratio);
    if let Some((low, high)) = ratio.interval {
        row.speedup_ci95_low = number(low);
        row.speedup_ci95_high = number(high);
    }
}

fn set_memory(row: &mut Row, record: &CellRecord) {
    let memory = || record.visits.iter().map(|v| v.measured.memory);
    row.state_bytes_measured = memory().filter_map(|m| m.state_bytes).max();
    row.alloc_peak_bytes = memory().filter_map(|m| m.alloc_peak_bytes).max();
    row.rss_peak_bytes = memory().filter_map(|m| m.rss_peak_bytes).max();
    row.device_peak_bytes = memory().filter_map(|m| m.device_peak_bytes).max();
    let methods = [
        ("allocator", row.alloc_peak_bytes.or(row.state_bytes_measured).is_some()),
        ("rss", row.rss_peak_bytes.is_some()),
        ("device", row.device_peak_bytes.is_some()),
    ];
    row.memory_method = methods.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>().join("+");
}

fn set_conditions(row: &mut Row, record: &CellRecord) {
    let rounds = record.rounds();
    let over_rounds = |of: fn(&Visit) -> Option<f64>| -> Vec<f64> { rounds.iter().filter_map(|v| of(v)).collect() };
    let highest = |values: Vec<f64>| values.into_iter().reduce(f64::max).and_then(number);
    row.foreign_cpu_pct = highest(over_rounds(|v| v.conditions.foreign_cpu_pct));
    row.load_avg_1m = median(&over_rounds(|v| v.conditions.load_avg_1m)).and_then(number);
    row.cpu_freq_hz_median = median(&over_rounds(|v| v.conditions.cpu_freq_hz)).and_then(number);
    row.temp_c_max = highest(over_rounds(|v| v.conditions.temp_c));
    let energy: Vec<f64> = record.visits.iter().filter_map(|v| v.conditions.energy_j).collect();
    row.energy_j = if energy.is_empty() { None } else { number(energy.iter().sum()) };
    row.swap_used_bytes = record.visits.iter().filter_map(|v| v.conditions.swap_used_bytes).max();
}

/// The interval of a row's median round figure, where it has one.
#[must_use]
pub fn interval_of(row: &Row) -> Option<Interval> {
    row.ci95_low_ns.zip(row.ci95_high_ns)
}

#[cfg(test)]
mod tests;
