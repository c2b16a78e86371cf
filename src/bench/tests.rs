//! Visits that are told to end, and rests within them, on small models.

use std::{cell::Cell as Slot, rc::Rc, time::Duration};

use super::*;
use crate::{
    measure::ScriptedClock,
    spec::DeviceKind,
    sweep::{Overrides, Plan, RunFacts, profile::parse},
};

/// An hour: more than all that these visits take by the scripted clock.
const HOUR: Duration = Duration::from_secs(3600);

struct Shared(Rc<ScriptedClock>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// Cells of one workload over a small model.
fn cells(workload: Workload) -> Vec<Cell> {
    cells_with(workload, "")
}

/// The same with more defaults.
fn cells_with(workload: Workload, more: &str) -> Vec<Cell> {
    let text = format!(
        "description = 'small'\n[defaults]\nworkload = '{workload}'\nvariants = 't2r'\nseq_len = [4, 8]\nbatch = 2\n\
         n_layers = 1\nd_model = 16\nn_heads = 2\nvocab_size = 32\nn_gen = 8\nn_prompt = 2\nfeature_dim = 4\n{more}"
    );
    let profile = parse("small", &text).unwrap_or_else(|e| panic!("{e}"));
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
    let plan = Plan::new(&profile, &Overrides::default(), &facts).unwrap_or_else(|e| panic!("{e}"));
    plan.cells().cloned().collect()
}

fn request() -> VisitRequest {
    VisitRequest {
        first: false,
        iters_per_sample: Some(1),
        min_block: Duration::from_millis(1),
        samples_per_round: 8,
        cell_timeout: HOUR * 1000,
    }
}

/// Visits what one visit of that workload measures; every read of the clock takes a microsecond.
fn visit(
    workload: Workload,
    rest: impl Fn(&ScriptedClock) + 'static,
    stop: impl Fn() -> bool + 'static,
) -> Result<Vec<Measured>, VisitError> {
    let clock = Rc::new(ScriptedClock::stepping(Duration::from_micros(1)));
    let of_rest = Rc::clone(&clock);
    let bench = Bench::new(Device::Cpu, None, Box::new(stop)).resting(Box::new(move || rest(&of_rest)));
    let mut bench = Bench { clock: Box::new(Shared(clock)), ..bench };
    let cells = cells(workload);
    let unit = if workload == Workload::Generate { cells.iter().collect() } else { vec![&cells[1]] };
    bench.visit(&unit, &request())
}

#[test]
fn a_visit_that_is_told_to_end_is_none_however_far_it_has_come() {
    for workload in Workload::ALL.iter().copied() {
        // Asked after warming up and before each of eight samples or tokens, and once more at the end.
        for told_after in [0, 1, 4, 7] {
            let asked = Slot::new(0);
            let stop = move || {
                asked.set(asked.get() + 1);
                asked.get() > told_after
            };
            let visited = visit(workload, |_| {}, stop);
            assert!(matches!(visited, Err(VisitError::Interrupted)), "{workload} after {told_after}: {visited:?}");
        }
        let visited = visit(workload, |_| {}, || false);
        assert!(visited.is_ok_and(|m| m.iter().all(|m| m.samples_ns.len() >= 4)), "{workload}");
    }
}

#[test]
fn a_rest_between_tokens_is_part_of_no_time() {
    for workload in [Workload::Decode, Workload::Generate, Workload::Translate] {
        let rests = Rc::new(Slot::new(0));
        let count = Rc::clone(&rests);
        let rest = move |clock: &ScriptedClock| {
            count.set(count.get() + 1);
            clock.advance(HOUR);
        };
        let measured = visit(workload, rest, || false).expect("measured");
        let times = measured.iter().flat_map(|m| m.samples_ns.iter().copied().chain(m.e2e_ns));
        assert!(times.clone().count() >= 8 && rests.get() >= 8, "{workload}: {} rests", rests.get());
        assert!(times.clone().all(|ns| ns > 0.0 && ns < 1e6), "{workload}: {:?}", times.collect::<Vec<_>>());
    }
}

#[test]
fn weights_in_bf16_are_for_tokens_of_whole_models_and_half_as_much_to_read() {
    let mut bench = Bench::new(Device::Cpu, None, Box::new(|| false));
    for workload in Workload::ALL.iter().copied() {
        let (exact, narrow) = (cells(workload)[1].clone(), cells_with(workload, "dtype = 'bf16'")[1].clone());
        let exact = bench.predict(&exact).expect("predicted");
        match (workload, bench.predict(&narrow)) {
            (Workload::Decode | Workload::Generate, Ok(predicted)) => {
                assert_eq!(predicted.state_bytes, exact.state_bytes, "{workload}: sums stay f32");
                assert!(predicted.bytes_moved < exact.bytes_moved, "{workload}");
                assert!(bench.check(&narrow).expect("checked").passed, "{workload}");
            }
            (_, Err(why)) => assert!(why.contains("for decode and generate"), "{workload}: {why}"),
            (_, Ok(_)) => panic!("{workload} has no form with weights in bf16"),
        }
    }
    let odd = cells_with(Workload::Decode, "dtype = 'bf16'\nffn_dim = 21")[1].clone();
    assert!(bench.predict(&odd).expect_err("odd rows").contains("rows of 21"));
    let half = cells_with(Workload::Decode, "dtype = 'f16'\nimplementation = 'fused'")[1].clone();
    assert!(bench.predict(&half).is_err());
}
