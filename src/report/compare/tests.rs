//! Comparisons and gates in every form.

use serde_json::Value;

use super::*;
use crate::{
    compare::{Options, Rule, Side, Sides, Spreads, compare, gate},
    store::Row,
};

fn row(run: u32, variant: &str, ns: f64) -> Row {
    Row {
        run_id: format!("20260131T120000Z-0a0b0c0d-000{run}"),
        status: "ok".to_owned(),
        workload: "attention".to_owned(),
        variant: variant.to_owned(),
        batch_size: 16,
        seq_len: 1024,
        state_bytes_measured: Some(1024),
        round_values: format!("[{0},{0},{0},{0},{0},{0}]", ns * (1.0 + 0.001 * f64::from(run % 3))),
        ..Row::default()
    }
}

fn side(name: &str, first_run: u32, ns: f64) -> Side {
    let mut sides = Sides::new(name, &["p50_ns".to_owned()]);
    for run in first_run..first_run + 3 {
        sides.add(&row(run, "t2r", ns)).expect("taken in");
    }
    sides.finish().remove(0)
}

fn compared() -> Vec<Compared> {
    let (base, candidate) = (side("a.csv", 1, 1000.0), side("b.csv", 4, 1500.0));
    let (options, spreads) = (Options::default(), Spreads::of([&base, &candidate]));
    let rules: Vec<Rule> = vec!["p50_ns:+10%".parse().expect("a rule")];
    let metrics = ["p50_ns".to_owned()];
    let lines = gate(&base, &candidate, (&rules, &metrics), &options, &spreads).expect("gated");
    vec![Compared { comparison: compare(&base, &candidate, &options, &spreads).expect("compared"), gate: Some(lines) }]
}

#[test]
fn people_read_verdict_interval_and_gate() {
    for (format, part) in [(Format::Table, "t2r"), (Format::Md, "| t2r |")] {
        let text = render_comparisons(&compared(), format).expect("rendered");
        for part in [part, "b.csv against a.csv", "0.667× [", "slower", "1.00 µs", "FAILED: 1 failed", "50.0 % ["] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn programs_read_the_same_numbers_under_the_names_of_the_columns() {
    let json: Value =
        serde_json::from_str(&render_comparisons(&compared(), Format::Json).expect("rendered")).expect("JSON");
    let cell = &json[0]["cells"][0];
    assert_eq!((&cell["variant"], &cell["seq_len"], &cell["verdict"]), (&"t2r".into(), &1024.into(), &"slower".into()));
    assert!(cell["ratio"].as_f64().is_some_and(|r| (r - 1.0 / 1.5).abs() < 1e-9));
    assert_eq!(json[0]["gate"][0]["outcome"], "failed");
    assert!(json[0]["gate"][0]["change_pct"].as_f64().is_some_and(|c| (c - 50.0).abs() < 1e-6));
    let csv = render_comparisons(&compared(), Format::Csv).expect("rendered");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let record = reader.records().next().expect("a record").expect("readable");
    let at = |column: &str| &record[header.iter().position(|h| h == column).expect("a column")];
    assert_eq!((at("candidate"), at("verdict"), at("base_launches")), ("b.csv", "slower", "3"));
    assert!(at("ratio").parse::<f64>().is_ok_and(|r| (r - 1.0 / 1.5).abs() < 1e-9));
}
