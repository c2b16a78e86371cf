//! A training that was interrupted and goes on is the one that was not, to the last bit.

use std::{cell::Cell, collections::BTreeMap, fs, path::Path, time::Duration};

use candle_core::Device;
use proptest::prelude::*;
use t2r::{
    measure::ScriptedClock,
    model::Decoder,
    text::Blocks,
    train::{Ended, Listener, Reading, Recipe, SAVE_AFTER, Surroundings, Task, TrainEvent, TrainLog, Trainer},
};

use crate::{params, recipe, setup};

fn reading() -> Reading {
    let tokens = (0..200u32).map(|i| (i * i + 3 * i) % 23).collect();
    Reading { blocks: Blocks::new("t", tokens, 12, 9).unwrap(), batch: 3, device: Device::Cpu }
}

/// A training in a folder: goes on where there is a state, stops after `stop_after` updates; the weights it then has.
fn session(
    folder: &Path,
    recipe: Recipe,
    identity: &str,
    stop_after: Option<u64>,
) -> anyhow::Result<(Ended, BTreeMap<String, Vec<f32>>)> {
    let (lessons, mut params) = (reading(), params(4));
    let model = Decoder::new(&setup("t2r:6", None, 23), &mut params)?;
    let held_out = t2r::train::Lessons::batches(&lessons, 100, 1)?;
    let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &held_out, identity };
    let mut trainer = Trainer::new(task, recipe)?;
    let (state, log) = (folder.join("state.safetensors"), folder.join("log.csv"));
    let log = if state.exists() {
        trainer.resume(&state)?;
        TrainLog::resume(&log, trainer.progress().step)?
    } else {
        TrainLog::begin(&log)?
    };
    let updates = Cell::new(0);
    let mut listener = Counting { log, updates: &updates };
    let clock = ScriptedClock::default();
    let stop = || stop_after == Some(updates.get());
    let snapshots = Some((state.as_path(), 4));
    let mut around = Surroundings { clock: &clock, stop: &stop, listener: &mut listener, snapshots };
    let ended = trainer.run(&mut around)?;
    let flat = |var: &candle_core::Var| var.as_tensor().flatten_all().unwrap().to_vec1().unwrap();
    Ok((ended, params.vars().iter().map(|(name, var)| (name.clone(), flat(var))).collect()))
}

struct Counting<'a> {
    log: TrainLog,
    updates: &'a Cell<u64>,
}

impl Listener for Counting<'_> {
    fn on_event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if matches!(event, TrainEvent::Step(_)) {
            self.updates.set(self.updates.get() + 1);
        }
        self.log.on_event(event)
    }
}

/// The columns of a log that do not depend on the machine.
fn log_of(folder: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(folder.join("log.csv")).unwrap();
    let fields = [0, 1, 2, 3, 4, 7, 8];
    reader.records().map(|r| r.unwrap()).map(|r| fields.iter().map(|i| r[*i].to_owned()).collect()).collect()
}

#[test]
fn k_steps_and_k_more_are_2k_steps() {
    let (once, twice) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = Recipe { accumulate: 2, ..recipe(14) };
    let (ended, whole) = session(once.path(), recipe.clone(), "run", None).unwrap();
    assert_eq!(ended, Ended::Done);
    let (ended, half) = session(twice.path(), recipe.clone(), "run", Some(7)).unwrap();
    assert_eq!(ended, Ended::Stopped);
    assert_ne!(half, whole);
    let (ended, resumed) = session(twice.path(), recipe.clone(), "run", None).unwrap();
    assert_eq!(ended, Ended::Done);
    assert_eq!(resumed, whole);
    assert_eq!(log_of(twice.path()), log_of(once.path()));
    // One row an update and one for the look before the first.
    assert_eq!(log_of(once.path()).len(), 15);
    // A training that is done stays as it is.
    let (ended, again) = session(once.path(), recipe, "run", None).unwrap();
    assert_eq!((ended, again), (Ended::Done, whole));
}

#[test]
fn the_state_is_written_by_the_clock_where_updates_are_slow() {
    let dir = tempfile::tempdir().unwrap();
    let saved = |per_read: Duration| {
        let (lessons, mut params) = (reading(), params(4));
        let model = Decoder::new(&setup("elu", None, 23), &mut params).unwrap();
        let task = Task { network: &model, vars: params.vars(), lessons: &lessons, held_out: &[], identity: "t" };
        let mut steps = Vec::new();
        let mut hear = |event: &TrainEvent| {
            if let TrainEvent::Saved { step } = event {
                steps.push(*step);
            }
            Ok(())
        };
        let (path, clock) = (dir.path().join("state.safetensors"), ScriptedClock::stepping(per_read));
        let snapshots = Some((path.as_path(), 100));
        let mut around = Surroundings { clock: &clock, stop: &|| false, listener: &mut hear, snapshots };
        Trainer::new(task, recipe(5)).unwrap().run(&mut around).unwrap();
        steps
    };
    assert_eq!(saved(Duration::from_millis(1)), [5]);
    assert_eq!(saved(SAVE_AFTER), [1, 2, 3, 4, 5]);
}

#[test]
fn a_killed_training_goes_on_from_its_last_snapshot() {
    let (once, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, whole) = session(once.path(), recipe(10), "run", None).unwrap();
    // Snapshots after 4 and 8 updates; the log is further than the snapshot that is left.
    session(killed.path(), recipe(10), "run", Some(4)).unwrap();
    let snapshot = fs::read(killed.path().join("state.safetensors")).unwrap();
    session(killed.path(), recipe(10), "run", Some(3)).unwrap();
    fs::write(killed.path().join("state.safetensors"), snapshot).unwrap();
    let (_, resumed) = session(killed.path(), recipe(10), "run", None).unwrap();
    assert_eq!(resumed, whole);
    assert_eq!(log_of(killed.path()), log_of(once.path()));
}

#[test]
fn another_training_is_refused_by_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), recipe(10), "run", Some(4)).unwrap();
    let error = |recipe: Recipe, identity: &str| session(dir.path(), recipe, identity, None).unwrap_err().to_string();
    let other = error(Recipe { label_smoothing: 0.2, ..recipe(10) }, "run");
    assert!(other.contains("label_smoothing was 0.1, now 0.2"), "{other}");
    assert!(error(recipe(11), "run").contains("schedule.steps was 10, now 11"));
    assert!(error(recipe(10), "walk").contains("task was \"run\", now \"walk\""));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_state_is_an_error_and_no_panic(cut in 0usize..3000, flip in 0usize..600, to: u8) {
        let dir = tempfile::tempdir().unwrap();
        session(dir.path(), recipe(2), "run", None).unwrap();
        let path = dir.path().join("state.safetensors");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..cut.min(whole.len() - 1)]).unwrap();
        prop_assert!(session(dir.path(), recipe(2), "run", None).is_err());
        let mut other = whole;
        // In the header: names, sizes, settings.
        other[flip] = to;
        fs::write(&path, other).unwrap();
        let _ = session(dir.path(), recipe(2), "run", None);
    }
}
