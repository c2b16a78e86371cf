//! Runs that were cut off in every way and go on to the file they would have written.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    spec::DeviceKind,
    store::{
        CellsFile, Existing, Files, Journal, JournalHeader, JsonLinesFile, Output, Recorder, RunInfo, SamplesFile,
        read_cells,
    },
    sweep::{
        Overrides, Part, RunFacts,
        profile::parse,
        scripted::{ScriptedExecutor, run_into, small},
    },
};

const TWO_GROUPS: &str = "description='x'\n[measure]\nrounds=6\n\
                          [defaults]\nvariants=['softmax','elu','t2r']\nbatch=[1,2]";

fn plan(text: &str) -> Plan {
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 5 };
    Plan::new(&parse("t", text).expect("profile"), &Overrides::default(), &facts).expect("plan")
}

fn run_id(plan: &Plan) -> String {
    format!("20260131T120000Z-{}-beef", plan.fingerprint())
}

fn a_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800)
}

/// A scripted executor whose figures depend on cell and visit alone.
fn executor() -> ScriptedExecutor {
    ScriptedExecutor::new(|cell, n| Ok(100.0 + cell.batch_size as f64 + f64::from(n * n % 5) / 3.0))
}

struct Place {
    _dir: tempfile::TempDir,
    cells: PathBuf,
    samples: PathBuf,
    json_lines: PathBuf,
    journal: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        Self { cells: at("c.csv"), samples: at("s.csv"), json_lines: at("l.jsonl"), journal: at("j.jsonl"), _dir: dir }
    }

    /// One process of the run, ended by the user after some visits.
    fn process(&self, plan: &Plan, resumed: Resumed, executor: &mut ScriptedExecutor, stop_after: Option<u32>) {
        let run_id = resumed.run_id.unwrap_or_else(|| run_id(plan));
        let open = |path: &Path| Output::open(path.to_str().expect("utf-8"), Existing::Append).expect("opened");
        let header =
            JournalHeader { run_id: run_id.clone(), fingerprint: plan.fingerprint(), origin: Origin::default() };
        let files = Files {
            cells: Some(CellsFile::begin(open(&self.cells)).expect("begun")),
            samples: Some(SamplesFile::begin(open(&self.samples)).expect("begun")),
            json_lines: Some(JsonLinesFile::begin(open(&self.json_lines))),
            journal: Some(Journal::begin(&self.journal, &header, &resumed.restored.visits).expect("begun")),
        };
        let template = Row { run_id, ..Row::default() };
        let info = RunInfo { template, ci_target: 0.02 };
        let mut recorder = Recorder::with_time(info, files, a_time);
        run_into(plan, executor, |_| 0.0, resumed.restored, stop_after, &mut recorder).expect("runs");
        assert_eq!(recorder.journal_error(), None);
    }

    fn resume(&self, plan: &Plan) -> Resumed {
        let (resumed, pending) = self.check(plan, &Origin::default()).unwrap_or_else(|e| panic!("{e}"));
        pending.write().expect("rewritten");
        resumed
    }

    fn check(&self, plan: &Plan, now: &Origin) -> Result<(Resumed, Pending), ResumeError> {
        let (cells, journal) = (self.cells.as_path(), Some(self.journal.as_path()));
        let (samples, json_lines) = (Some(self.samples.as_path()), Some(self.json_lines.as_path()));
        resume(&Places { cells, samples, json_lines, journal }, plan, now, None)
    }

    fn refusal(&self, plan: &Plan) -> String {
        self.check(plan, &Origin::default()).map(|_| ()).expect_err("refused").to_string()
    }

    /// Its rows, without what only says that there were two processes, each with its own warm-up.
    fn rows(&self) -> Vec<Row> {
        let table = read_cells(&self.cells).unwrap_or_else(|e| panic!("{e}"));
        assert!(!table.is_truncated);
        table.rows.into_iter().map(|row| Row { warmup_count: None, ..row }).collect()
    }

    fn text(&self, path: &Path) -> String {
        fs::read_to_string(path).expect("readable")
    }
}

#[test]
fn a_run_ended_after_any_visit_goes_on_to_the_same_files() {
    let plan = plan(TWO_GROUPS);
    let whole = Place::new();
    let mut first = executor();
    whole.process(&plan, Resumed::default(), &mut first, None);
    assert_eq!(whole.rows().len(), 6);
    assert!(!whole.journal.exists(), "a complete run leaves no journal");
    let visits = first.log.len() as u32;
    for ended_after in 1..visits {
        let place = Place::new();
        let mut first = executor();
        place.process(&plan, Resumed::default(), &mut first, Some(ended_after));
        let resumed = place.resume(&plan);
        assert_eq!(resumed.run_id, Some(run_id(&plan)));
        let mut second = executor();
        second.counts = first.counts;
        place.process(&plan, resumed, &mut second, None);
        assert_eq!(second.log.len() as u32, visits - ended_after, "no visit is made twice");
        assert_eq!(place.rows(), whole.rows(), "ended after {ended_after}");
        assert_eq!(place.text(&place.samples), whole.text(&whole.samples));
        assert_eq!(place.text(&place.json_lines).lines().count(), 6);
        assert!(!place.journal.exists());
    }
}

#[test]
fn a_file_cut_off_at_any_byte_goes_on_to_the_same_rows() {
    let plan = plan(TWO_GROUPS);
    let whole = Place::new();
    whole.process(&plan, Resumed::default(), &mut executor(), None);
    let bytes = fs::read(&whole.cells).expect("readable");
    for end in (0..bytes.len()).step_by(97) {
        let place = Place::new();
        fs::write(&place.cells, &bytes[..end]).expect("written");
        let resumed = place.resume(&plan);
        assert!(resumed.rows.len().is_multiple_of(3), "whole groups of three");
        let ran = Resumed { run_id: Some(run_id(&plan)), ..resumed };
        place.process(&plan, ran, &mut executor(), None);
        assert_eq!(place.rows(), whole.rows(), "cut off at {end}");
    }
}

#[test]
fn the_file_of_another_plan_is_refused_untouched_and_says_why() {
    let plan_a = plan(TWO_GROUPS);
    let place = Place::new();
    place.process(&plan_a, Resumed::default(), &mut executor(), None);
    let before = place.text(&place.cells);
    let refusal = |text: &str| place.refusal(&plan(text));
    let message = refusal(&TWO_GROUPS.replace("rounds=6", "rounds=7"));
    assert!(message.contains("other settings"), "{message}");
    let message = refusal(&TWO_GROUPS.replace("'elu',", ""));
    assert!(message.contains("elu attention, batch 1") && message.contains("not in this plan"), "{message}");
    assert_eq!(place.text(&place.cells), before);
    fs::write(&place.cells, "notes").expect("written");
    assert!(matches!(place.check(&plan_a, &Origin::default()), Err(ResumeError::Read(_))));
}

#[test]
fn what_the_time_budget_cut_short_is_taken_up_again() {
    let short = plan(&TWO_GROUPS.replace("rounds=6", "rounds=6\ntime_budget='4s'"));
    let place = Place::new();
    let mut first = executor();
    place.process(&short, Resumed::default(), &mut first, None);
    assert!(place.rows().iter().all(|r| r.stop_reason == "time_budget"));
    let long = plan(TWO_GROUPS);
    let resumed = place.resume(&long);
    assert!(resumed.rows.is_empty());
    let mut second = executor();
    second.counts = first.counts;
    place.process(&long, resumed, &mut second, None);
    let whole = Place::new();
    whole.process(&long, Resumed::default(), &mut executor(), None);
    assert_eq!(place.rows(), whole.rows());
}

#[test]
fn files_beside_that_are_not_of_the_run_are_refused_and_nothing_is_touched() {
    let plan = plan(TWO_GROUPS);
    let place = Place::new();
    place.process(&plan, Resumed::default(), &mut executor(), Some(25));
    let cells = place.text(&place.cells);
    let (samples, json) = (place.text(&place.samples), place.text(&place.json_lines));
    assert!(samples.lines().count() > 2 && json.lines().count() > 2);
    let other_run = |text: &str| text.replace(&run_id(&plan), "20250101T000000Z-01234567-0000");
    let header = samples.lines().next().expect("a header");
    for text in ["name,cell,note\nx,y,z\n", "a\n", "notes", &format!("{header},more\n"), &other_run(&samples)] {
        fs::write(&place.samples, text).expect("written");
        let message = place.refusal(&plan);
        assert!(message.contains("s.csv, line"), "{message}");
        assert_eq!((place.text(&place.samples).as_str(), &place.text(&place.cells)), (text, &cells));
    }
    fs::write(&place.samples, &samples).expect("written");
    for text in
        ["run_id,cell_id,x\n1,2,3\n", "{\"a\":1}\n", "[1]\n", "notes", "{\"cell_id\":\"x\"}\n", &other_run(&json)]
    {
        fs::write(&place.json_lines, text).expect("written");
        let message = place.refusal(&plan);
        assert!(message.contains("l.jsonl, line"), "{message}");
        assert_eq!((place.text(&place.json_lines).as_str(), &place.text(&place.samples)), (text, &samples));
        assert_eq!(place.text(&place.cells), cells);
    }
    // What was cut off within a line of the run is no harm.
    fs::write(&place.json_lines, &json[..json.len() - 9]).expect("written");
    fs::write(&place.samples, &samples[..samples.len() - 5]).expect("written");
    place.resume(&plan);
    let whole = place.text(&place.json_lines);
    let tail = b"{\"schema_version\":1,\"meta\":\"\xc3";
    fs::write(&place.json_lines, [whole.as_bytes(), tail].concat()).expect("written");
    place.resume(&plan);
    assert_eq!(place.text(&place.json_lines), whole);
    fs::write(&place.json_lines, b"\xff\n").expect("written");
    assert!(place.refusal(&plan).contains("not UTF-8"));
}

#[test]
fn another_build_or_machine_does_not_go_on_with_a_run() {
    let plan = plan(TWO_GROUPS);
    let place = Place::new();
    place.process(&plan, Resumed::default(), &mut executor(), Some(25));
    let elsewhere = Origin::of(&Row { machine_id: "another".to_owned(), ..Row::default() });
    let message = place.check(&plan, &elsewhere).map(|_| ()).expect_err("refused").to_string();
    assert!(
        message.contains("cannot resume") && message.contains("machine_id was '' and is now 'another'"),
        "{message}"
    );
    // No row is final yet: the visits in the journal are not taken over.
    let place = Place::new();
    place.process(&plan, Resumed::default(), &mut executor(), Some(3));
    let visits = |now: &Origin| {
        fs::remove_file(&place.samples).ok();
        fs::remove_file(&place.json_lines).ok();
        place.check(&plan, now).expect("taken up").0.restored.visits
    };
    assert!(!visits(&Origin::default()).is_empty());
    assert!(visits(&elsewhere).is_empty());
}

#[test]
fn a_name_without_a_fingerprint_is_another_plan() {
    let plan = plan(TWO_GROUPS);
    let place = Place::new();
    place.process(&plan, Resumed::default(), &mut executor(), None);
    let renamed = place.text(&place.cells).replace(&run_id(&plan), "mine");
    fs::write(&place.cells, &renamed).expect("written");
    assert!(place.refusal(&plan).contains("run_id 'mine'"));
    assert_eq!(place.text(&place.cells), renamed);
}

#[test]
fn a_lost_shard_is_filled_in() {
    let plan = plan(TWO_GROUPS);
    let shard = |index| plan.clone().shard(Part { index, count: 2 }, |_| Ok(small()));
    let place = Place::new();
    place.process(&shard(1), Resumed::default(), &mut executor(), None);
    assert_eq!(place.rows().len(), 3);
    let resumed = place.resume(&plan);
    assert_eq!(resumed.restored.groups_done.len(), 1);
    place.process(&plan, resumed, &mut executor(), None);
    let whole = Place::new();
    whole.process(&plan, Resumed::default(), &mut executor(), None);
    let by_cell = |place: &Place| {
        let mut rows = place.rows();
        rows.sort_by(|a, b| a.cell_id.cmp(&b.cell_id));
        rows
    };
    assert_eq!(by_cell(&place), by_cell(&whole));
    // Shards that ran apart bear names of their own, and are one run all the same.
    let other = Place::new();
    other.process(&shard(2), Resumed::default(), &mut executor(), None);
    let renamed = other.text(&other.cells).replace("-beef", "-cafe");
    fs::write(&place.cells, renamed + &own_rows(&whole, &shard(1))).expect("written");
    for beside in [&place.samples, &place.json_lines] {
        fs::remove_file(beside).expect("removed");
    }
    assert_eq!(place.resume(&plan).rows.len(), 6);
}

/// The lines of a file that belong to a plan, without the header.
fn own_rows(place: &Place, plan: &Plan) -> String {
    let ids: Vec<String> = plan.cells().map(|c| c.id().0).collect();
    let text = place.text(&place.cells);
    text.split_inclusive('\n').filter(|line| ids.iter().any(|id| line.contains(id.as_str()))).collect()
}

#[test]
fn a_launch_goes_on_and_leaves_the_others_alone() {
    let plan = plan(TWO_GROUPS);
    let place = Place::new();
    place.process(&plan, Resumed::default(), &mut executor(), None);
    let second = Resumed { run_id: Some(run_id(&plan).replace("-beef", "-cafe")), ..Resumed::default() };
    // One group of the second launch, and a part of the other.
    place.process(&plan, second, &mut executor(), Some(25));
    let before = place.text(&place.cells);
    assert!(place.refusal(&plan).contains("--launches N"));
    let launch = |number: usize| {
        let (cells, journal) = (place.cells.as_path(), Some(place.journal.as_path()));
        let (samples, json_lines) = (Some(place.samples.as_path()), Some(place.json_lines.as_path()));
        let places = Places { cells, samples, json_lines, journal };
        let (resumed, pending) =
            resume(&places, &plan, &Origin::default(), Some(number)).unwrap_or_else(|e| panic!("{e}"));
        pending.write().expect("rewritten");
        resumed
    };
    let first = launch(1);
    assert_eq!((first.restored.groups_done.len(), first.run_id), (2, Some(run_id(&plan))));
    assert_eq!(place.text(&place.cells), before, "the second launch is as it was");
    let second = launch(2);
    assert_eq!(second.restored.groups_done.len(), 1);
    assert!(second.run_id.as_ref().is_some_and(|id| id.ends_with("-cafe")));
    place.process(&plan, second, &mut executor(), None);
    let rows = place.rows();
    let of = |end: &str| rows.iter().filter(|r| r.run_id.ends_with(end)).count();
    assert_eq!((of("-beef"), of("-cafe")), (6, 6));
    let third = launch(3);
    assert_eq!((third.run_id, third.rows.len(), place.rows().len()), (None, 0, 12));
}
