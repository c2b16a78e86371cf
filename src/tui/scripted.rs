//! Dashboards for tests, in the states that people meet: scripted runs, no terminal, no clock.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    app::{App, Effect, Message},
    compare::Loaded,
    files::Opened,
    gauges::Gauges,
    host::{Choices, Ended, Facts, Outlook},
    live_run::Begun,
    theme::{Depth, Glyphs, Ground, Theme},
    training::{self, News},
};
use crate::{
    attention::variants,
    measure::{Build, Machine, ObserverCost},
    spec::{Cell, DeviceKind},
    store::{Row, RunInfo},
    sweep::{
        Event, Overrides, Plan, Prediction, Restored, RunFacts, VisitError,
        profile::{embedded, parse},
        scripted::{ScriptedExecutor, run, small},
    },
    train::{TrainEvent, TrainStarted, TrainStep, Validated},
};

pub(crate) const THEME: Theme = Theme { depth: Depth::True, ground: Ground::Dark, glyphs: Glyphs::Braille };

/// Three variants at four lengths and two batches.
pub(crate) const GRID: &str = "description = 'three variants'\n[measure]\nrounds = 7\n[defaults]\n\
    variants = ['softmax', 'elu', 't2r']\nseq_len = [64, 256, 1024, 4096]\nbatch = [1, 16]\nimplementation = 'reference'\n";

pub(crate) fn plan(text: &str) -> Arc<Plan> {
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 2, seed: 0 };
    Arc::new(Plan::new(&parse("grid", text).expect("a profile"), &Overrides::default(), &facts).expect("a plan"))
}

pub(crate) fn facts() -> Facts {
    let machine = Machine {
        cpu_info: "Example CPU 2 GHz".to_owned(),
        cpu_isa: "avx2+fma".to_owned(),
        cpu_cores_physical: Some(2),
        cpu_threads_logical: Some(2),
        ram_total_bytes: Some(24 << 30),
        os: Some("Linux 13 Example".to_owned()),
        kernel: Some("6.1".to_owned()),
        machine_id: "0123456789abcdef".to_owned(),
        machine_label: None,
        container: false,
        ci: false,
        cache_l1d_bytes: Some(32 << 10),
        cache_l2_bytes: Some(1 << 20),
        cache_l3_bytes: None,
    };
    let build = Build {
        build_version: "0.1.0".to_owned(),
        build_commit: Some("abcdef012345".to_owned()),
        build_dirty: Some(false),
        ..Build::current()
    };
    let build = Build { rustc_version: Some("rustc 1".to_owned()), candle_version: None, build_profile: None, ..build };
    Facts {
        machine,
        build,
        devices: vec![("cpu".to_owned(), "Example CPU 2 GHz".to_owned())],
        profiles: embedded().into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
        variants: variants().into_iter().map(|v| (v.name, v.summary)).collect(),
    }
}

/// What a cell keeps: softmax grows with the length.
fn prediction(cell: &Cell) -> Prediction {
    let per_sequence = if cell.variant.name == "softmax" { 4096 * cell.seq_len as u64 } else { 66_560 };
    Prediction { state_bytes: per_sequence * cell.batch_size as u64, ..small() }
}

pub(crate) fn outlook(plan: &Arc<Plan>) -> Outlook {
    Outlook {
        plan: Arc::clone(plan),
        description: "three variants".to_owned(),
        cells: plan.cells().map(|c| Ok(prediction(c))).collect(),
        time: Duration::from_secs(170),
        memory_budget: 19 << 30,
        device: "cpu, 2 threads".to_owned(),
    }
}

pub(crate) fn begun(plan: &Arc<Plan>) -> Begun {
    let template =
        Row { run_id: "20260131T120000Z-00000000-0000".to_owned(), tui_active: Some(true), ..Row::default() };
    Begun {
        plan: Arc::clone(plan),
        info: RunInfo { template, ci_target: 0.02 },
        predictions: plan.cells().map(|c| Some(prediction(c))).collect(),
        rows: Vec::new(),
        file: None,
        observer: Some(ObserverCost { pct: 0.3, interval: Some((0.1, 0.6)) }),
        now: || SystemTime::UNIX_EPOCH,
    }
}

/// Times like those of two cores: softmax grows with length and batch, the others do not grow with length.
fn figure(cell: &Cell, n: u32) -> f64 {
    let wobble = 1.0 + 0.004 * f64::from(n * 7 % 5);
    let batch = cell.batch_size as f64;
    let ns = match cell.variant.name.as_str() {
        "softmax" => 2_000.0 + 110.0 * cell.seq_len as f64 * batch,
        "elu" => 9_000.0 * batch,
        _ => 5_000.0 * batch,
    };
    (ns * wobble).round()
}

/// What a run of the plan says; `memory` of the longest elu runs out where `fails`.
pub(crate) fn events(plan: &Plan, fails: bool, foreign: fn(u32) -> f64) -> Vec<Event> {
    let mut executor = ScriptedExecutor::new(move |cell, n| match cell.variant.name.as_str() {
        "elu" if fails && cell.seq_len == 4096 => Err(VisitError::OutOfMemory("34 GiB".to_owned())),
        _ => Ok(figure(cell, n)),
    });
    run(plan, &mut executor, foreign, Restored::default(), None).0
}

/// A dashboard that has just opened.
pub(crate) fn opened() -> App {
    let mut app = App::new(THEME, facts(), Choices { profile: "quick".to_owned(), ..Choices::default() });
    let gauges = Gauges {
        cpu_pct: vec![100.0, 42.0],
        memory: Some((6 << 30, 24 << 30)),
        rss_bytes: Some(300 << 20),
        freq_hz: Some(2.0e9),
        temp_c: Some(61.0),
        gpu_memory: None,
    };
    app.update(Message::Tick(Duration::from_secs(1), Some(gauges)));
    app.update(Message::Planned(Box::new(Ok(outlook(&plan(GRID))))));
    app
}

/// The same, with a run that has said the first `share` of its events.
pub(crate) fn running(share: f64, fails: bool, foreign: fn(u32) -> f64) -> App {
    let mut app = opened();
    press_all(&mut app, "s");
    let plan = plan(GRID);
    app.update(Message::Begun(Box::new(begun(&plan))));
    let mut events = events(&plan, fails, foreign);
    events.truncate((events.len() as f64 * share).round() as usize);
    app.update(Message::Events(events));
    app.update(Message::Tick(Duration::from_secs(61), None));
    app
}

/// The same at its end.
pub(crate) fn finished(fails: bool) -> App {
    let mut app = running(1.0, fails, |_| 0.0);
    let outcome = app.run.as_ref().and_then(|r| r.outcome).expect("an outcome");
    app.update(Message::Ended(Ok(Ended { outcome, warnings: Vec::new() })));
    app
}

/// Rows of a finished run.
pub(crate) fn rows() -> Vec<Row> {
    finished(false).rows_to_write()
}

/// A dashboard that shows files.
pub(crate) fn viewing(files: usize) -> App {
    let mut app = opened();
    let load = |i: usize| {
        let mut rows = rows();
        for row in &mut rows {
            row.cpu_info = format!("CPU of file {i}");
            row.run_id = format!("20260131T12000{i}Z-00000000-0000");
            // Twice the rounds, so that two launches can be told apart.
            let mut rounds: Vec<f64> = row.figures().iter().flat_map(|f| [*f, f * 1.001]).collect();
            row.round_values = serde_json::to_string(&rounds).expect("numbers");
            if i > 0 {
                rounds.iter_mut().for_each(|f| *f *= 3.0);
                row.round_values = serde_json::to_string(&rounds).expect("numbers");
                row.ci95_low_ns = row.ci95_low_ns.map(|v| v * 3.0);
                row.ci95_high_ns = row.ci95_high_ns.map(|v| v * 3.0);
                row.tokens_per_s = row.tokens_per_s.map(|v| v / 3.0);
            }
        }
        Ok(Opened::Cells(Loaded { name: format!("file{i}.csv"), rows, note: String::new() }))
    };
    app.update(Message::Opened((0..files).map(load).collect()));
    app
}

/// A training of 200 updates in 120 seconds that has made a share of them, looking at what is held out every 20.
pub(crate) fn training(share: f64) -> App {
    let mut app = opened();
    app.begin_training();
    let begun = training::Begun { name: "finetune model".to_owned(), is_perplexity: true, rows: Vec::new() };
    let event = |event| News::Event(event);
    let look = |step: u64| {
        let loss = 2.0 + 3.0 / (1.0 + step as f64 / 20.0);
        event(TrainEvent::Validated(Validated { step, loss, accuracy: Some(0.5), improved: true }))
    };
    let mut news = vec![News::Line("40,000 tokens to learn, 2,000 held out".to_owned()), News::Begun(begun)];
    news.push(event(TrainEvent::Started(TrainStarted { done: 0, steps: 200, parameters: 12_345 })));
    news.push(look(0));
    for step in 1..=(200.0 * share) as u64 {
        news.push(event(TrainEvent::Step(TrainStep {
            step,
            steps: 200,
            tokens: step * 256,
            loss: 1.9 + 3.0 / (1.0 + step as f64 / 20.0) + 0.1 * (step % 3) as f64,
            learning_rate: 1e-3 * (step as f64 / 20.0).min(1.0),
            grad_norm: 0.7,
            tokens_per_s: 427.0 + (step % 5) as f64,
            memory_bytes: Some(80 << 20),
        })));
        if step % 20 == 0 {
            news.push(look(step));
        }
    }
    app.update(Message::News(news));
    app.update(Message::Tick(Duration::from_secs(1) + Duration::from_secs(120).mul_f64(share), None));
    app
}

pub(crate) fn press(app: &mut App, code: KeyCode) -> Option<Effect> {
    app.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// Presses the keys of a text one after another; the effect is that of the last.
pub(crate) fn press_all(app: &mut App, keys: &str) -> Option<Effect> {
    keys.chars().fold(None, |_, c| press(app, if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) }))
}
