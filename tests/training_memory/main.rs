//! Whole sequences through a model take about the memory that is predicted, counted by the allocator. A binary of its own, with
//! one test: the counters see the whole process.

use std::time::Duration;

use candle_core::Device;
use t2r::{
    bench::Bench,
    measure::CountingAllocator,
    spec::DeviceKind,
    sweep::{Executor, Overrides, Plan, RunFacts, VisitRequest, profile},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Sizes at which attention, the feed-forward block or the vocabulary takes most.
const SWEEPS: &str = "description='x'
[defaults]
workload=['prefill','train']
implementation=['reference','fused']
variants=['softmax','elu','t2r','window:16','none']
batch=2
n_layers=3
n_heads=4
[[sweep]]
seq_len=256
d_model=32
ffn_dim=32
vocab_size=64
[[sweep]]
seq_len=48
d_model=64
ffn_dim=512
vocab_size=128
[[sweep]]
seq_len=40
d_model=64
ffn_dim=128
vocab_size=4096
[[sweep]]
variants='window+t2r:16'
seq_len=256
d_model=32
ffn_dim=32
vocab_size=64
";

#[test]
fn memory_is_about_what_is_predicted() {
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
    let plan = Plan::new(&profile::parse("t", SWEEPS).unwrap(), &Overrides::default(), &facts).unwrap();
    let mut bench = Bench::new(Device::Cpu, None, Box::new(|| false));
    let request = VisitRequest {
        first: false,
        iters_per_sample: None,
        min_block: Duration::from_millis(1),
        samples_per_round: 1,
        cell_timeout: Duration::from_secs(60),
    };
    let mut wrong = Vec::new();
    for cell in plan.cells() {
        let predicted = bench.predict(cell).unwrap().memory_bytes as f64;
        let measured = bench.visit(&[cell], &request).unwrap();
        let peak = measured[0].memory.alloc_peak_bytes.expect("the counting allocator is installed") as f64;
        if !(0.7..1.6).contains(&(predicted / peak)) {
            wrong.push(format!("{}: predicted {predicted}, took {peak}", cell.label()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
