//! `run`: opens what was asked for, measures and sums up.

use std::io::{self, IsTerminal};

use super::{
    Answer, Ending, Failure,
    args::{RunArgs, Talk},
    assembly::{self, Beginning, Front, Measured, Wishes},
    list, say, setup, stop,
};
use crate::{
    measure::ObserverCost,
    progress::{Manner, Progress},
    report::{Format, render_summary},
    sweep::{Event, Outcome, Sink},
};

/// Measures.
pub(super) fn run(args: &RunArgs, talk: Talk) -> Answer<Ending> {
    meta_json(&args.meta)?;
    let setup = setup::prepare(&args.plan)?;
    if args.dry_run {
        return list::cells(&setup, Format::Table, talk);
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
    Ok(ending(outcome, args.allow_failures))
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

fn manner(talk: Talk) -> Manner {
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
