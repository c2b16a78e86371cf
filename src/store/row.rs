//! One row of the cells file: every column, flat, in order. Knows names and types, not how a value is come by.

use serde::{Deserialize, Serialize};

use super::field::Field;
use crate::{
    spec::Cell,
    sweep::{Status, StopReason},
};

/// Version of the meaning of the columns; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// Declares [`Row`] and the list of its columns from one table.
macro_rules! columns {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)+) => {
        /// A row of the cells file. A number that is missing is `None`, a text that is missing is empty.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Row { $($(#[$meta])* pub $name: $type,)+ }

        /// The columns, in the order of the file.
        pub const COLUMNS: &[&str] = &[$(stringify!($name),)+];

        impl Row {
            /// The value of a column as a number; `None` where it is missing, no number, or there is no such column.
            #[must_use]
            pub fn number(&self, column: &str) -> Option<f64> {
                match column {
                    $(stringify!($name) => self.$name.number(),)+
                    _ => None,
                }
            }

            /// Whether there is a column of that name whose values are numbers.
            #[must_use]
            pub fn has_number(column: &str) -> bool {
                match column {
                    $(stringify!($name) => <$type as Field>::IS_NUMBER,)+
                    _ => false,
                }
            }

            /// The value of a column as a file holds it; empty where it is missing or there is no such column.
            #[must_use]
            pub fn text(&self, column: &str) -> String {
                match column {
                    $(stringify!($name) => self.$name.text(),)+
                    _ => String::new(),
                }
            }
        }
    };
}

columns! {
    /// [`SCHEMA_VERSION`] of the writer.
    schema_version: u32,
    /// Name of the run.
    run_id: String,
    /// Short stable hash of the key.
    cell_id: String,
    /// End of the cell's group, RFC 3339 UTC.
    test_time: String,
    /// What became of the cell.
    status: String,
    /// Why, where `status` is not `ok`.
    status_detail: String,
    /// Why it got no more rounds.
    stop_reason: String,
    /// Key: what one call is.
    workload: String,
    /// Key: attention variant.
    variant: String,
    /// Key: its parameters, defaults filled in.
    variant_params: String,
    /// Key: which code computes it.
    implementation: String,
    /// Key: whether position t sees only positions up to t.
    causal: bool,
    /// Key: element type.
    dtype: String,
    /// Key: kind of device.
    device_kind: String,
    /// Key: what the numeric columns do not say of a model.
    model: String,
    /// Key: sequences processed together.
    batch_size: u64,
    /// Key: context depth or sequence length.
    seq_len: u64,
    /// Key: tokens of the prompt.
    n_prompt: Option<u64>,
    /// Key: tokens generated in one visit.
    n_gen: Option<u64>,
    /// Key: transformer blocks.
    n_layers: Option<u64>,
    /// Key: width of the residual stream.
    d_model: Option<u64>,
    /// Key: query heads.
    n_heads: u64,
    /// Key: key and value heads.
    n_kv_heads: u64,
    /// Key: width of one head.
    head_dim: u64,
    /// Key: hidden width of the feed-forward block.
    ffn_dim: Option<u64>,
    /// Key: entries of the vocabulary.
    vocab_size: Option<u64>,
    /// Key: length of φ.
    feature_dim: Option<u64>,
    /// Key: length of φ in cross-attention.
    cross_feature_dim: Option<u64>,
    /// Key: cache state of layer workloads.
    cache: String,
    /// Key: threads of the run.
    n_threads: u64,
    /// Key: seed of weights, inputs and order.
    seed: u64,
    /// Version of t2r.
    build_version: String,
    /// Commit it was built from.
    build_commit: String,
    /// Whether the tree was changed since that commit.
    build_dirty: Option<bool>,
    /// Cargo profile.
    build_profile: String,
    /// Cargo features.
    build_features: String,
    /// Compiler.
    rustc_version: String,
    /// Version of candle.
    candle_version: String,
    /// Name of the device.
    device_name: String,
    /// Its ordinal.
    device_index: Option<u64>,
    /// Its memory.
    device_mem_total_bytes: Option<u64>,
    /// Its driver.
    driver_version: String,
    /// Processor.
    cpu_info: String,
    /// Instruction set extensions in use.
    cpu_isa: String,
    /// Physical cores.
    cpu_cores_physical: Option<u64>,
    /// Logical processors.
    cpu_threads_logical: Option<u64>,
    /// Main memory.
    ram_total_bytes: Option<u64>,
    /// Operating system.
    os: String,
    /// Kernel.
    kernel: String,
    /// Hash of stable facts of the machine.
    machine_id: String,
    /// The user's name for it.
    machine_label: String,
    /// Whether it is a container.
    container: Option<bool>,
    /// Whether it is continuous integration.
    ci: Option<bool>,
    /// Clock.
    timer: String,
    /// Samples discarded, over all visits.
    warmup_count: Option<u64>,
    /// Samples kept, over all visits.
    n_samples: Option<u64>,
    /// Calls timed together.
    iters_per_sample: Option<u64>,
    /// Order of visits within a round.
    order: String,
    /// Rounds that have a figure.
    round_count: Option<u64>,
    /// Smallest sample, ns per call.
    min_ns: Option<f64>,
    /// Median of single calls; of the rounds' figures where calls are timed together.
    p50_ns: Option<f64>,
    /// Mean of the samples.
    avg_ns: Option<f64>,
    /// 90th percentile of single calls.
    p90_ns: Option<f64>,
    /// 95th percentile of single calls.
    p95_ns: Option<f64>,
    /// 99th percentile of single calls.
    p99_ns: Option<f64>,
    /// Largest sample.
    max_ns: Option<f64>,
    /// Standard deviation of the samples.
    stddev_ns: Option<f64>,
    /// Interquartile range of the samples.
    iqr_ns: Option<f64>,
    /// Median absolute deviation of the samples.
    mad_ns: Option<f64>,
    /// Interval of the median round figure, low end.
    ci95_low_ns: Option<f64>,
    /// Interval of the median round figure, high end.
    ci95_high_ns: Option<f64>,
    /// Samples that the MAD rule calls outliers; none is dropped.
    n_outliers: Option<u64>,
    /// Very first sample.
    first_ns: Option<f64>,
    /// Median over visits of the whole timed work.
    e2e_p50_ns: Option<f64>,
    /// Tokens per second, all sequences of the batch together.
    tokens_per_s: Option<f64>,
    /// Its interval, low end.
    tokens_per_s_ci95_low: Option<f64>,
    /// Its interval, high end.
    tokens_per_s_ci95_high: Option<f64>,
    /// Floating-point operations of one call.
    flops_est: Option<f64>,
    /// Bytes that one call must move.
    bytes_moved_est: Option<f64>,
    /// Floating-point rate.
    achieved_gflops: Option<f64>,
    /// Memory rate.
    achieved_gb_per_s: Option<f64>,
    /// Share of the in-run sgemm.
    pct_of_peak_flops: Option<f64>,
    /// Share of the in-run stream of the same footprint and direction.
    pct_of_peak_bandwidth: Option<f64>,
    /// Times faster than the softmax twin, paired by round.
    speedup_vs_softmax: Option<f64>,
    /// Its interval, low end.
    speedup_ci95_low: Option<f64>,
    /// Its interval, high end.
    speedup_ci95_high: Option<f64>,
    /// Bytes of KV cache or recurrent state, predicted.
    state_bytes_pred: Option<u64>,
    /// The same, as allocated.
    state_bytes_measured: Option<u64>,
    /// Peak of live allocated bytes.
    alloc_peak_bytes: Option<u64>,
    /// Peak resident set.
    rss_peak_bytes: Option<u64>,
    /// Peak device memory.
    device_peak_bytes: Option<u64>,
    /// Which methods the measured memory columns come from, joined by `+`.
    memory_method: String,
    /// Largest absolute difference from the f64 reference.
    max_abs_err: Option<f64>,
    /// Largest difference relative to the largest reference value.
    max_rel_err: Option<f64>,
    /// The rounds' figures in ns, a JSON array.
    round_values: String,
    /// Latencies of single calls: HdrHistogram, V2 deflate, base64.
    histogram_v2: String,
    /// CPU time of other processes in percent of one core, the worst round that counts.
    foreign_cpu_pct: Option<f64>,
    /// Load average, median over rounds.
    load_avg_1m: Option<f64>,
    /// CPU frequency, median over rounds.
    cpu_freq_hz_median: Option<f64>,
    /// Highest temperature.
    temp_c_max: Option<f64>,
    /// Energy of the CPU packages, all visits together.
    energy_j: Option<f64>,
    /// Most swap in use.
    swap_used_bytes: Option<u64>,
    /// Whether a TUI was on.
    tui_active: Option<bool>,
    /// Cost of the observer.
    observer_overhead_pct: Option<f64>,
    /// `good`, `noisy` or `bad`.
    quality: String,
    /// Codes of warnings, separated by spaces.
    warnings: String,
    /// The user's own pairs, a JSON object.
    meta: String,
}

impl Row {
    /// Writes a cell's key into the row.
    pub fn set_key(&mut self, cell: &Cell) {
        let wide = |v: Option<usize>| v.map(|v| v as u64);
        let m = cell.model;
        self.cell_id = cell.id().0;
        self.workload = cell.workload.to_string();
        self.variant = cell.variant.name.clone();
        self.variant_params = cell.variant.params_text();
        self.implementation = cell.implementation.to_string();
        self.causal = cell.causal;
        self.dtype = cell.dtype.to_string();
        self.device_kind = cell.device_kind.to_string();
        self.model = m.map(|m| m.name()).unwrap_or_default();
        self.batch_size = cell.batch_size as u64;
        self.seq_len = cell.seq_len as u64;
        self.n_prompt = wide(cell.n_prompt);
        self.n_gen = wide(cell.n_gen);
        self.n_layers = wide(m.map(|m| m.n_layers));
        self.d_model = wide(m.map(|m| m.d_model));
        self.n_heads = cell.n_heads as u64;
        self.n_kv_heads = cell.n_kv_heads as u64;
        self.head_dim = cell.head_dim as u64;
        self.ffn_dim = wide(m.map(|m| m.ffn_dim));
        self.vocab_size = wide(m.map(|m| m.vocab_size));
        self.feature_dim = wide(cell.feature_dim);
        self.cross_feature_dim = wide(cell.cross_feature_dim);
        self.cache = cell.cache.map(|c| c.to_string()).unwrap_or_default();
        self.n_threads = cell.n_threads as u64;
        self.seed = cell.seed;
    }

    /// The rounds' figures in ns; empty where the column is blank or no array of numbers.
    #[must_use]
    pub fn figures(&self) -> Vec<f64> {
        serde_json::from_str(&self.round_values).unwrap_or_default()
    }

    /// Whether nothing more is to be measured of the cell: it was neither interrupted nor stopped by the run's time.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status != Status::Interrupted.as_str() && self.stop_reason != StopReason::TimeBudget.as_str()
    }

    /// Whether one of the budgets skipped the cell, which is no failure.
    #[must_use]
    pub fn skipped_by_budget(&self) -> bool {
        self.status == Status::Skipped.as_str()
            && (self.stop_reason == StopReason::TimeBudget.as_str()
                || self.warnings.split(' ').any(|w| w == super::quality::OVER_MEMORY_BUDGET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::{DeviceKind, KEY_COLUMNS},
        sweep::{Overrides, Plan, RunFacts, profile::load},
    };

    #[test]
    fn the_header_is_pinned() {
        insta::assert_snapshot!("header", COLUMNS.join(","));
    }

    #[test]
    fn the_key_columns_are_those_of_the_cell() {
        assert_eq!(COLUMNS[7..7 + KEY_COLUMNS.len()], KEY_COLUMNS);
        assert_eq!(COLUMNS[31], "build_version");
    }

    #[test]
    fn the_key_is_written_as_the_cell_writes_it() {
        let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 2, seed: 1 };
        let profile = load("smoke").expect("embedded");
        let plan = Plan::new(&profile, &Overrides::default(), &facts).expect("plan");
        for cell in plan.cells() {
            let mut row = Row::default();
            row.set_key(cell);
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
            writer.serialize(&row).expect("written");
            let bytes = writer.into_inner().expect("flushed");
            let record = csv::ReaderBuilder::new().has_headers(false).from_reader(&*bytes).records().next();
            let record = record.expect("one record").expect("readable");
            let key: Vec<&str> = record.iter().skip(7).take(KEY_COLUMNS.len()).collect();
            assert_eq!(key, cell.key());
        }
    }
}
