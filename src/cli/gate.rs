//! Sides read from files, compared, and held against a gate: what `compare` and `run --baseline` share.

use std::{fs, io::Write as _};

use super::{Answer, Ending, Failure, args::GateArgs, say, say_cut};
use crate::{
    compare::{GateLine, Options, Outcome, Rule, Side, Sides, Spreads, compare, gate},
    report::{Compared, Format, render_comparisons},
    spec::KEY_COLUMNS,
    store::{Found, ReadError, Reading, Row, each_row, gather},
};

/// Which rows count.
pub(super) type Only = [(String, String)];

/// The columns that a gate asks for, each once.
pub(super) fn metrics(rules: &[Rule]) -> Vec<String> {
    let mut metrics: Vec<String> = Vec::new();
    for rule in rules {
        if !metrics.contains(&rule.column) {
            metrics.push(rule.column.clone());
        }
    }
    metrics
}

/// Reads the sides that a name means.
pub(super) fn load(name: &str, metrics: &[String], only: &Only) -> Answer<Vec<Side>> {
    if let Some((column, _)) = only.iter().find(|(column, _)| !KEY_COLUMNS.contains(&column.as_str())) {
        let near = crate::spec::nearest(column, KEY_COLUMNS);
        return Err(Failure::Usage(format!("--where: '{column}' is no key column{near}")));
    }
    let mut sides = Sides::new(name, metrics);
    for found in gather(name)? {
        read(&found, &mut |row| {
            let counts = only.iter().all(|(column, value)| row.text(column) == *value);
            if counts { sides.add(&row).map_err(|e| e.to_string()) } else { Ok(()) }
        })?;
    }
    let sides = sides.finish();
    if sides.is_empty() {
        let of = if only.is_empty() { "" } else { " that --where lets through" };
        return Err(Failure::CouldNotRun(anyhow::anyhow!("{name}: no rows{of}")));
    }
    Ok(sides)
}

/// Reads a file. One that was found in a directory and is no cells file is passed over, and said to be.
pub(super) fn read(found: &Found, take: &mut crate::store::Take<'_>) -> Answer<Reading> {
    match each_row(&found.path, take) {
        Ok(reading) => {
            say_cut(&found.path.display().to_string(), reading.is_truncated);
            Ok(reading)
        }
        Err(e @ ReadError::Invalid { line: 1, .. }) if found.by_directory => {
            say(&format!("warning: passed over {e}"));
            Ok(Reading::default())
        }
        Err(e) => Err(e.into()),
    }
}

/// The sides of rows that are at hand.
pub(super) fn of_rows(name: &str, metrics: &[String], rows: &[Row]) -> Answer<Vec<Side>> {
    let mut sides = Sides::new(name, metrics);
    rows.iter().try_for_each(|row| sides.add(row)).map_err(anyhow::Error::new)?;
    Ok(sides.finish())
}

/// Compares every candidate with the base. `others` tell of the machines alone.
pub(super) fn compared(
    base: &Side,
    candidates: &[Side],
    others: &[Side],
    options: &Options,
    rules: &[Rule],
) -> Answer<Vec<Compared>> {
    let spreads = Spreads::of(std::iter::once(base).chain(candidates).chain(others));
    let metrics = metrics(rules);
    let one = |candidate: &Side| {
        let comparison = compare(base, candidate, options, &spreads)?;
        let gate =
            if rules.is_empty() { None } else { Some(gate(base, candidate, (rules, &metrics), options, &spreads)?) };
        Ok(Compared { comparison, gate })
    };
    let all: Result<Vec<Compared>, crate::compare::Refused> = candidates.iter().map(one).collect();
    Ok(all.map_err(anyhow::Error::new)?)
}

/// How a comparison ends.
pub(super) fn ending(all: &[Compared], args: &GateArgs) -> Ending {
    let fails = |line: &GateLine| match line.outcome {
        Outcome::Failed(_) => true,
        Outcome::Unclear(_) => args.fail_unclear,
        Outcome::Passed => false,
    };
    let failed = all.iter().filter_map(|c| c.gate.as_ref()).flatten().any(fails);
    if failed { Ending::GateFailed } else { Ending::Done }
}

/// Appends the comparison to the summary of a GitHub job, where there is one.
pub(super) fn summarise(all: &[Compared]) -> Answer<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) else { return Ok(()) };
    let text = render_comparisons(all, Format::Md)?;
    let file = fs::OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{text}"));
    Ok(written.map_err(|e| {
        anyhow::Error::new(e).context(format!("cannot write GITHUB_STEP_SUMMARY ({})", path.to_string_lossy()))
    })?)
}
