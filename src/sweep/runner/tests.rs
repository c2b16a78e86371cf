//! Orders, stopping, skipping, panics, repeats, interruption and resumption, on scripted twins.

use std::{collections::HashMap, time::Duration};

use super::*;
use crate::{
    measure::Conditions,
    spec::DeviceKind,
    sweep::{
        CheckReport, Instruments, Overrides, Peaks, Prediction, RunFacts, VisitError, VisitRequest,
        profile::parse,
        scripted::{Kept, ScriptedExecutor, ScriptedInstruments, run, small},
    },
};

fn plan(text: &str) -> Plan {
    let profile = parse("test", &format!("description = 'x'\n{text}")).unwrap_or_else(|e| panic!("{e}"));
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 3 };
    Plan::new(&profile, &Overrides::default(), &facts).unwrap_or_else(|e| panic!("{e}"))
}

fn records(events: &[Event]) -> Vec<CellRecord> {
    events.iter().filter_map(|e| if let Event::CellFinished(r) = e { Some((**r).clone()) } else { None }).collect()
}

fn of<'r>(records: &'r [CellRecord], variant: &str) -> &'r CellRecord {
    records.iter().find(|r| r.cell.variant.name == variant).expect("a record of that variant")
}

/// Figures that never agree: 100, 200, 300, …
fn restless(n: u32) -> f64 {
    100.0 * f64::from(n + 1)
}

#[test]
fn steady_cells_stop_at_six_and_softmax_goes_on_for_those_who_are_not() {
    let plan = plan("[measure]\nrounds=9\n[defaults]\nvariants=['softmax','elu','t2r']");
    let mut executor = ScriptedExecutor::new(|cell, n| Ok(if cell.variant.name == "t2r" { restless(n) } else { 50.0 }));
    let (events, outcome) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let records = records(&events);
    let seen = |v: &str| (of(&records, v).rounds().len(), of(&records, v).stop_reason);
    assert_eq!(seen("elu"), (6, Some(StopReason::Confidence)));
    assert_eq!(seen("t2r"), (9, Some(StopReason::Rounds)));
    assert_eq!(seen("softmax"), (9, Some(StopReason::Confidence)));
    assert_eq!(outcome, Outcome { cells_ok: 3, ..Outcome::default() });
}

#[test]
fn each_round_has_every_cell_once_in_its_own_order() {
    let plan = plan("[measure]\nrounds=4\n[defaults]\nvariants=['softmax','elu','t2r','rfa']");
    let orders = || {
        let mut executor = ScriptedExecutor::new(|_, _| Ok(1.0));
        run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
        executor.log.into_iter().map(|(v, _)| v).collect::<Vec<_>>()
    };
    let first = orders();
    assert_eq!(first, orders());
    assert_eq!(first.len(), 16);
    for round in first.chunks(4) {
        let mut sorted = round.to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 4);
    }
    assert!(first.chunks(4).any(|round| round != &first[..4]));
}

#[test]
fn the_first_visit_warms_up_and_later_ones_keep_its_block() {
    let plan = plan("[measure]\nrounds=2\nmin_block='7ms'\ncell_timeout='10s'\n[defaults]\nvariants='softmax'");
    let mut executor = ScriptedExecutor::new(|_, _| Ok(1.0));
    run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let request = |first, iters_per_sample, secs| VisitRequest {
        first,
        iters_per_sample,
        min_block: Duration::from_millis(7),
        samples_per_round: 3,
        cell_timeout: Duration::from_secs(secs),
    };
    let asked: Vec<VisitRequest> = executor.log.into_iter().map(|(_, r)| r).collect();
    assert_eq!(asked, [request(true, None, 10), request(false, Some(4), 9)]);
}

#[test]
fn what_cannot_run_is_skipped_before_it_is_tried() {
    let plan = plan("[measure]\nrounds=1\nmemory_budget='5000'\n[defaults]\nvariants=['softmax','elu','t2r']");
    let mut executor = ScriptedExecutor::new(|_, _| Ok(1.0));
    executor.predict = Box::new(|cell| match cell.variant.name.as_str() {
        "softmax" => Ok(crate::sweep::Prediction { memory_bytes: 5001, ..small() }),
        "elu" => Err("elu has no fused form".to_owned()),
        _ => Ok(small()),
    });
    let (events, outcome) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let records = records(&events);
    let softmax = of(&records, "softmax");
    assert_eq!((softmax.status, softmax.skipped_by_budget()), (Status::Skipped, true));
    assert!(softmax.detail.contains("5001 bytes"), "{}", softmax.detail);
    assert_eq!(of(&records, "elu").detail, "elu has no fused form");
    assert!(executor.log.iter().all(|(variant, _)| variant.starts_with("t2r")));
    assert_eq!(outcome, Outcome { cells_ok: 1, cells_not_ok: 1, skipped_by_budget: 1, interrupted: false });
}

#[test]
fn failures_and_panics_are_records_and_the_rest_goes_on() {
    let plan = plan("[measure]\nrounds=3\n[defaults]\nvariants=['softmax','elu','t2r','rfa','none']");
    let mut executor = ScriptedExecutor::new(|cell, n| match (cell.variant.name.as_str(), n) {
        ("elu", 1) => panic!("index out of bounds"),
        ("t2r", 0) => Err(VisitError::OutOfMemory("8 GiB".to_owned())),
        ("none", 2) => Ok(f64::NAN),
        _ => Ok(1.0),
    });
    executor.check = Box::new(|cell| {
        let passed = cell.variant.name != "rfa";
        Ok(CheckReport { max_abs_err: 0.5, max_rel_err: 0.25, passed })
    });
    let (events, outcome) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let records = records(&events);
    let status = |v: &str| (of(&records, v).status, of(&records, v).detail.as_str());
    assert_eq!(status("softmax"), (Status::Ok, ""));
    assert_eq!(status("elu"), (Status::Error, "panicked: index out of bounds"));
    assert_eq!(status("t2r"), (Status::Oom, "out of memory: 8 GiB"));
    assert_eq!(status("none").0, Status::Error);
    assert_eq!(status("rfa").0, Status::Incorrect);
    assert!(of(&records, "rfa").visits.is_empty());
    assert_eq!((outcome.cells_ok, outcome.cells_not_ok), (1, 4));
}

#[test]
fn disturbed_rounds_are_repeated_within_bounds_and_the_cleanest_attempt_counts() {
    let plan = plan("[measure]\nrounds=4\n[defaults]\nvariants='softmax'");
    let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
    // Visits: round 0 at 40 %, repeated at 20 %, repeated clean-less at 30 %; from then on always 50 %.
    let foreign = |n: u32| [40.0, 20.0, 30.0].get(n as usize).copied().unwrap_or(50.0);
    let (events, _) = run(&plan, &mut executor, foreign, Restored::default(), None);
    let records = records(&events);
    let record = of(&records, "softmax");
    let attempts: Vec<(u32, u32)> = record.visits.iter().map(|v| (v.round, v.attempt)).collect();
    assert_eq!(attempts, [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(record.figures(), [200.0, 400.0, 500.0, 600.0]);
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Warning(w) if w.code == "foreign_cpu")).count(), 6);
}

#[test]
fn a_cell_stops_at_its_time_and_says_so_only_if_it_has_nothing() {
    let plan = plan("[measure]\nrounds=20\ncell_timeout='3s'\n[defaults]\nvariants='softmax'");
    let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
    let (events, _) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let record = records(&events).remove(0);
    assert_eq!((record.visits.len(), record.status), (3, Status::Ok));
    assert_eq!(record.stop_reason, Some(StopReason::CellTime));
}

#[test]
fn when_the_run_is_out_of_time_the_rest_is_skipped() {
    let plan = plan("[measure]\nrounds=2\ntime_budget='3s'\n[defaults]\nvariants=['softmax','elu']\nbatch=[1,2]");
    let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
    let (events, outcome) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    let records = records(&events);
    let rounds: Vec<usize> = records.iter().map(|r| r.visits.len()).collect();
    assert_eq!(rounds.iter().sum::<usize>(), 3);
    assert!(records[..2].iter().all(|r| r.status == Status::Ok && r.stop_reason == Some(StopReason::TimeBudget)));
    assert!(records[2..].iter().all(|r| r.skipped_by_budget() && r.detail.contains("--time-budget")));
    assert_eq!(outcome, Outcome { cells_ok: 2, skipped_by_budget: 2, ..Outcome::default() });
}

#[test]
fn an_interrupted_group_is_told_with_what_there_is_and_later_ones_are_not_begun() {
    let plan = plan("[measure]\nrounds=5\n[defaults]\nvariants=['softmax','elu']\nbatch=[1,2]");
    let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
    let (events, outcome) = run(&plan, &mut executor, |_| 0.0, Restored::default(), Some(3));
    let records = records(&events);
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|r| r.status == Status::Interrupted && !r.visits.is_empty()));
    assert!(outcome.interrupted);
    assert!(matches!(events.last(), Some(Event::RunFinished(o)) if o.interrupted));
}

/// Scripted instruments that count how often peaks are asked for, and panic then.
struct Panicking(ScriptedInstruments, u32);

impl Instruments for Panicking {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn begin(&mut self) {}

    fn end(&mut self) -> Conditions {
        self.0.end()
    }

    fn peaks(&mut self, _: &Prediction) -> Peaks {
        self.1 += 1;
        panic!("no peak");
    }
}

#[test]
fn peaks_that_panic_are_missing_and_an_interrupted_group_does_not_wait_for_them() {
    let plan = plan("[measure]\nrounds=3\n[defaults]\nvariants=['softmax','elu']");
    for (stop_after, asked, status) in [(None, 2, Status::Ok), (Some(3), 0, Status::Interrupted)] {
        let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
        let clock = executor.clock.clone();
        let scripted = ScriptedInstruments { clock: clock.clone(), foreign_cpu_pct: Box::new(|_| 0.0), visits: 0 };
        let mut instruments = Panicking(scripted, 0);
        let kept = Kept::default();
        let stop = move || stop_after.is_some_and(|n| clock.get() >= Duration::from_secs(n));
        let (run_id, restored) = ("r".to_owned(), Restored::default());
        let world = World {
            executor: &mut executor,
            instruments: &mut instruments,
            sink: &mut &kept,
            stop: &stop,
            skip: &|_| false,
        };
        Runner { plan: &plan, run_id, memory_default: 1 << 30, restored, world }.run().expect("runs");
        assert_eq!(instruments.1, asked);
        let records = records(&kept.0.into_inner());
        assert!(records.iter().all(|r| r.status == status && r.peaks.gflops.is_none()));
    }
}

#[test]
fn a_generation_is_one_visit_with_a_record_per_length() {
    let plan = plan("[measure]\nrounds=2\n[defaults]\nworkload='generate'\nvariants='softmax'\nseq_len=[4,2]");
    let mut executor = ScriptedExecutor::new(|cell, _| Ok(cell.seq_len as f64));
    let (events, _) = run(&plan, &mut executor, |_| 0.0, Restored::default(), None);
    assert_eq!(executor.log.len(), 2);
    let figures: Vec<Vec<f64>> = records(&events).iter().map(CellRecord::figures).collect();
    assert_eq!(figures, [[4.0, 4.0], [2.0, 2.0]]);
    let energy = |r: &CellRecord| r.visits.iter().map(|v| v.conditions.energy_j).collect::<Vec<_>>();
    let energies: Vec<_> = records(&events).iter().map(energy).collect();
    assert_eq!(energies, [[Some(2.0); 2], [None; 2]], "the energy of a visit is counted once, at the longest length");
}

#[test]
fn a_run_killed_at_any_visit_resumes_to_the_same_records() {
    let plan = plan("[measure]\nrounds=7\n[defaults]\nvariants=['softmax','elu','t2r']");
    let figures = |cell: &Cell, n: u32| Ok(cell.head_dim as f64 + f64::from(n * n % 7) / 3.0);
    let foreign = |n: u32| if n % 5 == 2 { 40.0 } else { 1.0 };
    let mut whole = ScriptedExecutor::new(figures);
    let expected = records(&run(&plan, &mut whole, foreign, Restored::default(), None).0);
    for killed_at in 0..whole.log.len() as u32 {
        let mut executor = ScriptedExecutor::new(figures);
        let (events, _) = run(&plan, &mut executor, foreign, Restored::default(), Some(killed_at));
        let mut visits: HashMap<_, Vec<_>> = HashMap::new();
        for event in &events {
            if let Event::VisitFinished(v) = event {
                visits.entry(v.cell_id.clone()).or_default().push(v.visit.clone());
            }
        }
        let mut resumed = ScriptedExecutor::new(figures);
        resumed.counts = executor.counts;
        let restored = Restored { visits, ..Restored::default() };
        let (events, _) = run(&plan, &mut resumed, move |n| foreign(n + killed_at), restored, None);
        let mut got = records(&events);
        // A resumed process warms up anew: that differs, and is all that may.
        for (got, expected) in got.iter_mut().zip(&expected) {
            for (v, e) in got.visits.iter_mut().zip(&expected.visits) {
                v.measured.warmup_count = e.measured.warmup_count;
                v.measured.first_ns = e.measured.first_ns;
            }
        }
        assert_eq!(got, expected, "killed at visit {killed_at}");
    }
}

/// Runs a plan while the user goes on without some cells.
fn run_without(
    plan: &Plan,
    executor: &mut ScriptedExecutor,
    skip: &dyn Fn(&crate::spec::CellId) -> bool,
) -> (Vec<CellRecord>, Outcome) {
    let clock = executor.clock.clone();
    let scripted = ScriptedInstruments { clock, foreign_cpu_pct: Box::new(|_| 0.0), visits: 0 };
    let mut instruments = Panicking(scripted, 0);
    let kept = Kept::default();
    let world = World { executor, instruments: &mut instruments, sink: &mut &kept, stop: &|| false, skip };
    let (run_id, restored) = ("r".to_owned(), Restored::default());
    let outcome = Runner { plan, run_id, memory_default: 1 << 30, restored, world }.run().expect("runs");
    (records(&kept.0.into_inner()), outcome)
}

#[test]
fn a_cell_that_the_user_goes_on_without_keeps_its_rounds_or_is_skipped() {
    let plan = plan("[measure]\nrounds=4\n[defaults]\nvariants=['softmax','elu','t2r']");
    let ids: Vec<_> = plan.cells().map(crate::spec::Cell::id).collect();
    let mut executor = ScriptedExecutor::new(|_, n| Ok(restless(n)));
    let clock = executor.clock.clone();
    // T2R never gets a turn, ELU has those of two rounds of two cells.
    let skip = |id: &crate::spec::CellId| *id == ids[2] || (*id == ids[1] && clock.get() >= Duration::from_secs(4));
    let (records, outcome) = run_without(&plan, &mut executor, &skip);
    let of = |v: &str| (of(&records, v).status, of(&records, v).visits.len(), of(&records, v).stop_reason);
    assert_eq!(of("softmax"), (Status::Ok, 4, Some(StopReason::Rounds)));
    assert_eq!(of("elu"), (Status::Ok, 2, Some(StopReason::Skipped)));
    assert_eq!(of("t2r"), (Status::Skipped, 0, Some(StopReason::Skipped)));
    assert_eq!((outcome.cells_ok, outcome.cells_not_ok), (2, 1));
}

#[test]
fn a_visit_that_is_cut_short_to_go_on_without_its_cell_is_none_and_the_run_goes_on() {
    let plan = plan("[measure]\nrounds=4\n[defaults]\nvariants=['softmax','elu','t2r']");
    let ids: Vec<_> = plan.cells().map(crate::spec::Cell::id).collect();
    let skipped: std::rc::Rc<std::cell::RefCell<Vec<_>>> = std::rc::Rc::default();
    let of_script = std::rc::Rc::clone(&skipped);
    // T2R is told so in its first visit, ELU in its third.
    let mut executor = ScriptedExecutor::new(move |cell, n| match (cell.variant.name.as_str(), n) {
        ("t2r", 0) | ("elu", 2) => {
            of_script.borrow_mut().push(cell.id());
            Err(VisitError::Interrupted)
        }
        _ => Ok(restless(n)),
    });
    let (records, outcome) = run_without(&plan, &mut executor, &|id| skipped.borrow().contains(id));
    let of = |v: &str| (of(&records, v).status, of(&records, v).visits.len(), of(&records, v).stop_reason);
    assert_eq!(of("softmax"), (Status::Ok, 4, Some(StopReason::Rounds)));
    assert_eq!(of("elu"), (Status::Ok, 2, Some(StopReason::Skipped)));
    assert_eq!(of("t2r"), (Status::Skipped, 0, Some(StopReason::Skipped)));
    assert_eq!(outcome, Outcome { cells_ok: 2, cells_not_ok: 1, ..Outcome::default() });
    assert_eq!(ids.len(), records.len());
}

#[test]
fn a_twin_that_is_done_may_be_left_out_too() {
    let plan = plan("[measure]\nrounds=9\n[defaults]\nvariants=['softmax','elu']");
    let skipped: std::rc::Rc<std::cell::RefCell<Vec<_>>> = std::rc::Rc::default();
    let of_script = std::rc::Rc::clone(&skipped);
    // Softmax is sure after six rounds and goes on for ELU's sake, until it is told so in its eighth.
    let mut executor = ScriptedExecutor::new(move |cell, n| match (cell.variant.name.as_str(), n) {
        ("softmax", 7) => {
            of_script.borrow_mut().push(cell.id());
            Err(VisitError::Interrupted)
        }
        ("softmax", _) => Ok(50.0),
        _ => Ok(restless(n)),
    });
    let (records, outcome) = run_without(&plan, &mut executor, &|id| skipped.borrow().contains(id));
    let of = |v: &str| (of(&records, v).status, of(&records, v).visits.len(), of(&records, v).stop_reason);
    assert_eq!(of("softmax"), (Status::Ok, 7, Some(StopReason::Confidence)));
    assert_eq!(of("elu"), (Status::Ok, 9, Some(StopReason::Rounds)));
    assert_eq!(outcome, Outcome { cells_ok: 2, ..Outcome::default() });
}
