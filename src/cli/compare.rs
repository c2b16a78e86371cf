//! `compare`: runs beside each other, and a gate over them.

use super::{
    Answer, Ending, Failure, answer,
    args::{CompareArgs, Talk},
    gate, say,
};
use crate::{
    compare::{Options, Side},
    report::{Format, render_comparisons, render_gate},
};

/// Answers `compare`.
pub(super) fn compare(args: &CompareArgs, talk: Talk) -> Answer<Ending> {
    let rules = &args.gate.fail_on;
    let metrics = gate::metrics(rules);
    let load = |name: &String| gate::load(name, &metrics, &args.only);
    let (base, candidates) = sides(&args.sides, &load)?;
    let others: Vec<Side> = args.spread.iter().map(load).collect::<Answer<Vec<_>>>()?.concat();
    let options = Options { across: args.across.clone(), same_within: args.same_within.0 };
    let all = gate::compared(&base, &candidates, &others, &options, rules)?;
    answer(&render_comparisons(&all, args.form.format)?)?;
    if args.form.format == Format::Csv && !talk.quiet {
        // A flat list has no place for it.
        for lines in all.iter().filter_map(|c| c.gate.as_ref()) {
            say(render_gate(lines, Format::Table)?.trim_end());
        }
    }
    gate::summarise(&all)?;
    Ok(gate::ending(&all, &args.gate))
}

/// The base and its candidates.
fn sides(names: &[String], load: &dyn Fn(&String) -> Answer<Vec<Side>>) -> Answer<(Side, Vec<Side>)> {
    let (first, rest) = names.split_first().ok_or_else(|| Failure::Usage("compare needs a base".to_owned()))?;
    let mut base = load(first)?;
    let called = |sides: &[Side]| sides.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
    if rest.is_empty() {
        let base_side = base.remove(0);
        if base.is_empty() {
            let why = format!("{first} is of one build on one machine; give something to hold against it");
            return Err(Failure::CouldNotRun(anyhow::Error::msg(why)));
        }
        return Ok((base_side, base));
    }
    if base.len() > 1 {
        let why = format!("the base is of several builds or machines: {}; give the file of one", called(&base));
        return Err(Failure::CouldNotRun(anyhow::Error::msg(why)));
    }
    let candidates: Vec<Side> = rest.iter().map(load).collect::<Answer<Vec<_>>>()?.concat();
    Ok((base.remove(0), candidates))
}
