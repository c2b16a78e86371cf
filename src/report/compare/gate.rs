//! A gate's lines: all of them for programs, those that did not pass for people.

use super::{
    super::{Format, Listing, numbers::three},
    wording::Names,
};
use crate::compare::{GateLine, Outcome};

/// Every line.
pub(super) fn listing(lines: &[GateLine]) -> Listing {
    let columns = [
        "workload",
        "variant",
        "implementation",
        "batch_size",
        "seq_len",
        "rule",
        "change_pct",
        "change_ci95_low_pct",
        "change_ci95_high_pct",
        "p_holm",
        "outcome",
        "detail",
    ];
    let mut list = Listing::new(&columns);
    for line in lines {
        let (word, detail) = outcome(line);
        let pct = |share: Option<f64>| share.map(|s| 100.0 * s);
        list.push(vec![
            line.key.get("workload").into(),
            line.key.variant(true).into(),
            line.key.get("implementation").into(),
            line.key.number("batch_size").into(),
            line.key.number("seq_len").into(),
            line.rule.as_ref().map(ToString::to_string).into(),
            pct(line.change).into(),
            pct(line.interval.map(|i| i.0)).into(),
            pct(line.interval.map(|i| i.1)).into(),
            line.p_holm.into(),
            word.into(),
            detail.into(),
        ]);
    }
    list
}

fn outcome(line: &GateLine) -> (&'static str, Option<&str>) {
    match &line.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed(why) => ("failed", Some(why)),
        Outcome::Unclear(why) => ("unclear", Some(why)),
    }
}

/// What it comes to, and the lines that did not pass, failures first.
pub(super) fn render(lines: &[GateLine], format: Format) -> anyhow::Result<String> {
    if matches!(format, Format::Json | Format::Csv) {
        return listing(lines).render(format);
    }
    let of = |word: &str| lines.iter().filter(|l| outcome(l).0 == word).count();
    let verdict = if of("failed") > 0 { "FAILED" } else { "passed" };
    let mut out = format!("{verdict}: {} failed, {} unclear, {} passed\n", of("failed"), of("unclear"), of("passed"));
    let columns = ["outcome", "workload", "variant", "batch_size", "seq_len", "change", "why"];
    let mut list = Listing::new(&columns);
    let names = Names::among(lines.iter().map(|l| &l.key));
    for word in ["failed", "unclear"] {
        for line in lines.iter().filter(|l| outcome(l).0 == word) {
            let (_, why) = outcome(line);
            let rule = line.rule.as_ref().map_or_else(String::new, |r| format!("{r}: "));
            let change = line.change.map(|change| {
                let interval = line
                    .interval
                    .map_or_else(String::new, |(l, h)| format!(" [{}, {}]", three(100.0 * l), three(100.0 * h)));
                format!("{} %{interval}", three(100.0 * change))
            });
            list.push(vec![
                word.into(),
                line.key.get("workload").into(),
                names.variant(&line.key).into(),
                line.key.number("batch_size").into(),
                line.key.number("seq_len").into(),
                change.into(),
                format!("{rule}{}", why.unwrap_or_default()).into(),
            ]);
        }
    }
    if !list.is_empty() {
        out.push('\n');
        out.push_str(&list.render(format)?);
    }
    Ok(out)
}
