//! Event replay against the rows that the recorder makes of the same run.

use super::*;
use crate::{
    spec::DeviceKind,
    store::{Files, Recorder},
    sweep::{
        Overrides, Restored, RunFacts, VisitError,
        profile::parse,
        scripted::{ScriptedExecutor, run, small},
    },
};

fn plan(text: &str) -> Arc<Plan> {
    let profile = parse("test", &format!("description = 'x'\n{text}")).expect("a profile");
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 3 };
    Arc::new(Plan::new(&profile, &Overrides::default(), &facts).expect("a plan"))
}

fn begun(plan: &Arc<Plan>) -> Begun {
    Begun {
        plan: plan.clone(),
        info: RunInfo { template: Row { run_id: "r".to_owned(), ..Row::default() }, ci_target: 0.02 },
        predictions: plan.cells().map(|_| Some(small())).collect(),
        rows: Vec::new(),
        file: None,
        observer: None,
        now: || SystemTime::UNIX_EPOCH,
    }
}

const GRID: &str = "[measure]\nrounds=7\n[defaults]\nvariants=['softmax','elu','t2r']\nseq_len=[64,256]\nbatch=[1,2]";

fn events(plan: &Plan, stop_after: Option<u32>) -> Vec<Event> {
    let mut executor = ScriptedExecutor::new(|cell, n| match (cell.variant.name.as_str(), n) {
        ("elu", 3) if cell.seq_len == 256 => Err(VisitError::OutOfMemory("8 GiB".to_owned())),
        ("softmax", _) => Ok(cell.seq_len as f64 * (1.0 + f64::from(n) / 50.0)),
        _ => Ok(100.0 + f64::from(n)),
    });
    run(plan, &mut executor, |n| if n % 5 == 0 { 40.0 } else { 0.0 }, Restored::default(), stop_after).0
}

#[test]
fn a_replayed_run_ends_with_the_rows_of_the_file() {
    for stop_after in [None, Some(9)] {
        let plan = plan(GRID);
        let mut live = LiveRun::new(begun(&plan), Duration::ZERO);
        let info = begun(&plan).info;
        let mut recorder = Recorder::with_time(info, Files::default(), || SystemTime::UNIX_EPOCH);
        for event in events(&plan, stop_after) {
            live.on_event(&event);
            crate::sweep::Sink::on_event(&mut recorder, &event).expect("recorded");
        }
        assert_eq!(live.written(), recorder.rows());
        assert_eq!(live.outcome.map(|o| o.interrupted), Some(stop_after.is_some()));
    }
}

#[test]
fn rows_are_provisional_until_their_group_ends() {
    let plan = plan(GRID);
    let mut live = LiveRun::new(begun(&plan), Duration::ZERO);
    let events = events(&plan, None);
    let first_end = events.iter().position(|e| matches!(e, Event::GroupFinished(_))).expect("a group ends");
    for event in &events[..first_end] {
        live.on_event(event);
    }
    live.settle();
    assert!(live.states[..3].contains(&CellState::Provisional));
    assert!(live.states[3..].iter().all(|s| *s == CellState::Waiting));
    assert!(live.share_done() > 0.1 && live.share_done() < 0.26, "{}", live.share_done());
    assert!(live.rows[3].status.is_empty() && live.rows[3].state_bytes_pred == Some(1024));
    live.on_event(&events[first_end]);
    assert!(live.states[..3].iter().all(|s| *s == CellState::Final));
    assert!(!live.warnings.is_empty() && live.warnings[0].times > 1);
}

#[test]
fn the_time_left_is_at_the_pace_so_far_and_within_the_budget() {
    let plan = plan(&format!("{GRID}\n").replace("rounds=7", "rounds=7\ntime_budget='30s'"));
    let mut live = LiveRun::new(begun(&plan), Duration::from_secs(10));
    assert_eq!(live.time_left(Duration::from_secs(20)), None);
    live.groups_done = 1;
    let left = |live: &LiveRun, at| live.time_left(Duration::from_secs(at)).map(|d| d.as_secs());
    assert_eq!((left(&live, 15), left(&live, 30)), (Some(15), Some(10)));
}
