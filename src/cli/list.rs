//! `list` and `env`: what there is, as text for people or programs.

use std::collections::HashSet;

use super::{
    Answer, Ending, answer,
    args::{ListWhat, Talk},
    say,
    setup::{self, Setup},
};
use crate::{
    attention::variants,
    bench::{Bench, devices},
    measure::{Build, Machine, MeasuredLimits},
    report::{Format, Listing, render_env},
    spec::Cell,
    sweep::{AssumedRates, Bytes, Executor, profile},
};

/// Answers `list`.
pub(super) fn list(what: &ListWhat, talk: Talk) -> Answer<Ending> {
    match what {
        ListWhat::Profiles(form) => show(&profiles(), form.format),
        ListWhat::Variants(form) => show(&variant_list(), form.format),
        ListWhat::Devices(form) => show(&device_list(), form.format),
        ListWhat::Cells { plan, form } => cells(&setup::prepare(plan)?, form.format, &HashSet::new(), talk),
    }
}

/// Answers `env`.
pub(super) fn env(measure: bool, format: Format) -> Answer<Ending> {
    let threads = setup::available_threads();
    setup::set_threads(threads);
    let machine = setup::machine();
    let limits = measure.then(|| MeasuredLimits::measure(threads, &machine));
    answer(&render_env(&machine, &Build::current(), limits.as_ref(), format)?)?;
    Ok(Ending::Done)
}

/// Answers `list cells` and `--dry-run`: the cells on stdout, what they come to on stderr. `done` are the ids of cells
/// that a file has already.
pub(super) fn cells(setup: &Setup, format: Format, done: &HashSet<String>, talk: Talk) -> Answer<Ending> {
    let bench = setup.bench(None);
    show(&cell_list(setup, &bench, done), format)?;
    if !talk.quiet {
        say(&setup.outlook(&bench));
        if !done.is_empty() {
            let all = setup.plan.cells().count();
            let missing = setup.plan.cells().filter(|c| !done.contains(&c.id().0)).count();
            say(&format!("{missing} of {all} cells are missing in the file"));
        }
    }
    Ok(Ending::Done)
}

fn show(listing: &Listing, format: Format) -> Answer<Ending> {
    answer(&listing.render(format)?)?;
    Ok(Ending::Done)
}

fn profiles() -> Listing {
    let mut list = Listing::new(&["profile", "description"]);
    profile::embedded().into_iter().for_each(|(name, text)| list.push(vec![name.into(), text.into()]));
    list
}

fn variant_list() -> Listing {
    let mut list = Listing::new(&["variant", "params", "description"]);
    for info in variants() {
        let params: Vec<String> =
            info.params.iter().map(|(key, values)| format!("{key}={}", values.join("|"))).collect();
        list.push(vec![info.name.into(), params.join(":").into(), info.summary.into()]);
    }
    list
}

fn device_list() -> Listing {
    let mut list = Listing::new(&["device", "name"]);
    for device in devices(&Machine::detect(&[]).cpu_info) {
        list.push(vec![device.spec.to_string().into(), device.name.into()]);
    }
    list
}

fn cell_list(setup: &Setup, bench: &Bench, done: &HashSet<String>) -> Listing {
    let mut list = Listing::new(&[
        "group",
        "cell_id",
        "workload",
        "variant",
        "implementation",
        "dtype",
        "cache",
        "batch_size",
        "seq_len",
        "feature_dim",
        "state_bytes_pred",
        "memory_bytes_pred",
        "est_s",
        "note",
    ]);
    for (index, group) in setup.plan.groups.iter().enumerate() {
        for (i, cell) in group.cells.iter().enumerate() {
            let mut row = key(index, cell);
            row.extend(match bench.predict(cell) {
                Ok(p) => {
                    let budget = setup.memory_budget();
                    let over = p.memory_bytes > budget;
                    let note = if done.contains(&cell.id().0) {
                        "done".to_owned()
                    } else if over {
                        format!("skipped: over the memory budget of {}", Bytes(budget))
                    } else {
                        String::new()
                    };
                    let rates = AssumedRates::default();
                    let seconds = (!over).then(|| setup.plan.cell_seconds(group, i, &p, &rates));
                    let seconds = seconds.map(|s| (s * 100.0).round() / 100.0);
                    [p.state_bytes.into(), p.memory_bytes.into(), seconds.into(), note.into()]
                }
                Err(why) => [().into(), ().into(), ().into(), format!("skipped: {why}").into()],
            });
            list.push(row);
        }
    }
    list
}

fn key(group: usize, cell: &Cell) -> Vec<serde_json::Value> {
    vec![
        group.into(),
        cell.id().0.into(),
        cell.workload.as_str().into(),
        cell.variant.to_string().into(),
        cell.implementation.as_str().into(),
        cell.dtype.as_str().into(),
        cell.cache.map(|c| c.as_str()).into(),
        cell.batch_size.into(),
        cell.seq_len.into(),
        cell.feature_dim.into(),
    ]
}
