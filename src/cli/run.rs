//! `run`: opens what was asked for, measures and sums up.

use std::{
    hint::black_box,
    io::{self, IsTerminal},
};

use super::{
    Answer, Ending, Failure,
    args::{RunArgs, Talk},
    gate, launches, list,
    outputs::{self, Opened},
    say, setup, stop,
};
use crate::{
    compare::{Options, Side},
    measure::{Build, LimitsCache, MonotonicClock, Observer, SystemObserver, observer_cost, rss_bytes},
    progress::{Manner, Progress},
    report::{Format, render_comparisons, render_summary},
    spec::DeviceKind,
    store::{Recorder, Row, RunInfo},
    sweep::{Event, Outcome, Runner, Sink, World, nine_digits},
};

/// Measures.
pub(super) fn run(args: &RunArgs, talk: Talk) -> Answer<Ending> {
    if let Some(launches) = args.launches.filter(|n| *n > 1 && args.launch.is_none() && !args.dry_run) {
        return launches::run(args, launches, talk);
    }
    // A launch among others is held against nothing: all of them together are.
    let baseline = if args.launch.is_some() || args.dry_run { None } else { Baseline::load(args)? };
    let meta = meta_json(&args.meta)?;
    let setup = setup::prepare(&args.plan)?;
    if args.dry_run {
        return list::cells(&setup, Format::Table, &outputs::done(args)?, talk);
    }
    let mut template = Row::template("", &Build::current(), &setup::machine(), &setup.device_facts(), &meta);
    let Opened { files, run_id, resumed } = outputs::open(args, &setup.plan, &template)?;
    template.run_id.clone_from(&run_id);
    stop::listen()?;
    let mut bench = setup.bench(args.dump.clone());
    if !talk.quiet {
        say(&setup.outlook(&bench));
    }
    let mut progress = Progress::new(&setup.plan, manner(talk));
    template.observer_overhead_pct = watching_costs(&progress, talk);
    let mut recorder = Recorder::new(RunInfo { template, ci_target: setup.plan.settings.ci_target }, files);
    let limits = (setup.device.spec.kind == DeviceKind::Cpu).then(|| LimitsCache::new(setup.n_threads));
    let mut instruments = (MonotonicClock::default(), SystemObserver::default(), limits);
    let runner = Runner {
        plan: &setup.plan,
        run_id,
        memory_default: setup.memory_default,
        restored: resumed.restored,
        world: World {
            executor: &mut bench,
            instruments: &mut instruments,
            sink: &mut Both(&mut recorder, &mut progress),
            stop: &stop::asked,
        },
    };
    let outcome = runner.run()?;
    if let Some(why) = recorder.journal_error() {
        outputs::no_journal(why);
    }
    let rows: Vec<Row> = resumed.rows.iter().chain(recorder.rows()).cloned().collect();
    let writes = [&args.csv, &args.resume, &args.samples_csv, &args.jsonl].iter().any(|o| o.is_some());
    if !(talk.quiet && writes) {
        say(render_summary(&rows).trim_end());
    }
    let ended = ending(outcome, args.allow_failures);
    let Some(baseline) = baseline.filter(|_| ended != Ending::Interrupted) else { return Ok(ended) };
    let name = args.csv.as_deref().or(args.resume.as_deref()).filter(|f| *f != "-").unwrap_or("this run");
    let sides = gate::of_rows(name, &gate::metrics(&args.gate.fail_on), &rows)?;
    baseline.hold_against(&sides, args, ended)
}

/// What a run is to be held against, read before anything is measured.
pub(super) struct Baseline(Side);

impl Baseline {
    /// Reads it, if there is one.
    pub(super) fn load(args: &RunArgs) -> Answer<Option<Self>> {
        let Some(name) = &args.baseline else {
            return if args.gate.fail_on.is_empty() {
                Ok(None)
            } else {
                Err(Failure::Usage("--fail-on needs something to hold the run against: --baseline FILE".into()))
            };
        };
        let mut sides = gate::load(name, &gate::metrics(&args.gate.fail_on), &[])?;
        if sides.len() > 1 {
            let why = format!("{name} is of several builds or machines; give the file of one");
            return Err(Failure::CouldNotRun(anyhow::Error::msg(why)));
        }
        Ok(Some(Self(sides.remove(0))))
    }

    /// Compares, tells, and says how the command ends that would otherwise have ended like this.
    pub(super) fn hold_against(&self, sides: &[Side], args: &RunArgs, ended: Ending) -> Answer<Ending> {
        let all = gate::compared(&self.0, sides, &[], &Options::default(), &args.gate.fail_on)?;
        say(&format!("\n{}", render_comparisons(&all, Format::Table)?.trim_end()));
        gate::summarise(&all)?;
        Ok(match gate::ending(&all, &args.gate) {
            Ending::GateFailed => Ending::GateFailed,
            _ => ended,
        })
    }
}

/// Numbers that a block of work passes over while the cost of watching is measured: a cache level's worth.
const WATCHED_NUMBERS: usize = 64 * 1024;

/// Passes of a block: about two milliseconds, shorter than any sample of a run, which makes the cost look larger.
const WATCHED_PASSES: usize = 100;

/// What looking and drawing before a block costs the block, in percent.
fn watching_costs(progress: &Progress, talk: Talk) -> Option<f64> {
    let mut observer = SystemObserver::default();
    let mut numbers = vec![1.0_f32; WATCHED_NUMBERS];
    let mut observe = || {
        observer.begin();
        black_box(rss_bytes());
        progress.redraw();
        observer.end();
    };
    let mut work = || {
        for _ in 0..WATCHED_PASSES {
            numbers.iter_mut().for_each(|x| *x = 0.5 * *x + 0.5);
            black_box(&mut numbers);
        }
    };
    let cost = observer_cost(&MonotonicClock::default(), &mut observe, &mut work)?;
    if talk.verbose {
        let interval = cost.interval.map_or_else(String::new, |(l, h)| format!(" [{l:.2}, {h:.2}]"));
        say(&format!("watching and drawing cost a block {:.2} %{interval}", cost.pct));
    }
    Some(nine_digits(cost.pct))
}

fn ending(outcome: Outcome, allow_failures: bool) -> Ending {
    match outcome {
        o if o.interrupted => Ending::Interrupted,
        o if o.cells_not_ok > 0 && !allow_failures => Ending::SomeNotOk,
        _ => Ending::Done,
    }
}

fn manner(talk: Talk) -> Manner {
    match talk {
        Talk { quiet: true, .. } => Manner::Silent,
        Talk { verbose, .. } if io::stderr().is_terminal() => Manner::Bar { verbose },
        Talk { verbose, .. } => Manner::Lines { verbose },
    }
}

/// The user's pairs as the `meta` column holds them.
fn meta_json(pairs: &[(String, String)]) -> Answer<String> {
    let mut map = serde_json::Map::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone().into()).is_some() {
            return Err(Failure::Usage(format!("--meta {key} is given twice")));
        }
    }
    Ok(if map.is_empty() { String::new() } else { serde_json::Value::Object(map).to_string() })
}

/// The recorder hears everything first: what is on disk matters more than what is on screen.
struct Both<'a>(&'a mut Recorder, &'a mut Progress);

impl Sink for Both<'_> {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.0.on_event(event)?;
        self.1.on_event(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruption_outranks_failure_and_failure_can_be_waived() {
        let failed = Outcome { cells_not_ok: 1, ..Outcome::default() };
        assert_eq!(ending(failed, false), Ending::SomeNotOk);
        assert_eq!(ending(failed, true), Ending::Done);
        assert_eq!(ending(Outcome { interrupted: true, ..failed }, true), Ending::Interrupted);
        let skipped = Outcome { skipped_by_budget: 3, ..Outcome::default() };
        assert_eq!(ending(skipped, false), Ending::Done);
    }

    #[test]
    fn meta_is_one_object() {
        let pairs = [("b", "2"), ("a", "x\"y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(meta_json(&pairs).unwrap(), r#"{"a":"x\"y","b":"2"}"#);
        assert_eq!(meta_json(&[]).unwrap(), "");
        assert!(meta_json(&[pairs[0].clone(), pairs[0].clone()]).is_err());
    }
}
