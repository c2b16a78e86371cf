//! `run`: opens what was asked for, measures and sums up.

use std::io::{self, IsTerminal};

use super::{
    Answer, Ending, Failure,
    args::{RunArgs, Talk},
    assembly::{self, Beginning, Front, Measured, Wishes},
    gate, launches, list, outputs, say, setup, stop,
};
use crate::{
    compare::{Options, Side},
    measure::ObserverCost,
    progress::{Manner, Progress},
    report::{Format, render_comparisons, render_summary},
    sweep::{Event, Outcome, Sink},
};

/// Measures.
pub(super) fn run(args: &RunArgs, talk: Talk) -> Answer<Ending> {
    if let Some(launches) = args.launches.filter(|n| *n > 1 && args.launch.is_none() && !args.dry_run) {
        return launches::run(args, launches, talk);
    }
    // A launch among others is held against nothing: all of them together are.
    let baseline = if args.launch.is_some() || args.dry_run { None } else { Baseline::load(args)? };
    meta_json(&args.meta)?;
    let setup = setup::prepare(&args.plan)?;
    if args.dry_run {
        return list::cells(&setup, Format::Table, &outputs::done(args)?, talk);
    }
    stop::listen()?;
    let outlook = (!talk.quiet).then(|| setup.outlook(&setup.bench(None)));
    let mut plain = Plain { progress: Progress::new(&setup.plan, manner(talk)), talk, outlook };
    let Measured { outcome, rows, warnings } =
        assembly::measure(&setup, args, false, &Wishes::until(stop::asked), &mut plain)?;
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
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

/// The front end of plain terminals and pipes.
struct Plain {
    progress: Progress,
    talk: Talk,
    /// Said once, when the files are open.
    outlook: Option<String>,
}

impl Front for Plain {
    fn redraw(&mut self) {
        self.progress.redraw();
    }

    fn begin(&mut self, _: &Beginning<'_>) {
        if let Some(outlook) = self.outlook.take() {
            say(&outlook);
        }
    }

    fn watched(&mut self, cost: &ObserverCost) {
        if self.talk.verbose {
            let interval = cost.interval.map_or_else(String::new, |(l, h)| format!(" [{l:.2}, {h:.2}]"));
            say(&format!("watching and drawing cost a block {:.2} %{interval}", cost.pct));
        }
    }
}

impl Sink for Plain {
    fn on_event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.progress.on_event(event)
    }
}

fn ending(outcome: Outcome, allow_failures: bool) -> Ending {
    match outcome {
        o if o.interrupted => Ending::Interrupted,
        o if o.cells_not_ok > 0 && !allow_failures => Ending::SomeNotOk,
        _ => Ending::Done,
    }
}

pub(super) fn manner(talk: Talk) -> Manner {
    match talk {
        Talk { quiet: true, .. } => Manner::Silent,
        Talk { verbose, .. } if io::stderr().is_terminal() => Manner::Bar { verbose },
        Talk { verbose, .. } => Manner::Lines { verbose },
    }
}

/// The user's pairs as the `meta` column holds them.
pub(super) fn meta_json(pairs: &[(String, String)]) -> Answer<String> {
    let mut map = serde_json::Map::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone().into()).is_some() {
            return Err(Failure::Usage(format!("--meta {key} is given twice")));
        }
    }
    Ok(if map.is_empty() { String::new() } else { serde_json::Value::Object(map).to_string() })
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
