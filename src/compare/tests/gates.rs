//! Gates: what fails, what passes, what is neither.

use super::*;

fn gated(base: &[Row], candidate: &[Row], rules: &[&str]) -> Vec<GateLine> {
    let rules: Vec<Rule> = rules.iter().map(|r| r.parse().expect("a rule")).collect();
    let metrics: Vec<String> = rules.iter().map(|r| r.column.clone()).collect();
    let columns: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let (base, candidate) = (side_with("base", base, &columns), side_with("cand", candidate, &columns));
    let spreads = Spreads::of([&base, &candidate]);
    gate(&base, &candidate, (&rules, &metrics), &Options::default(), &spreads).expect("gated")
}

fn outcomes(base: &[Row], candidate: &[Row], rules: &[&str]) -> Vec<&'static str> {
    let word = |l: &GateLine| match l.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Unclear(_) => "unclear",
    };
    gated(base, candidate, rules).iter().map(word).collect()
}

#[test]
fn a_slowdown_fails_where_its_interval_clears_the_threshold() {
    let three = |by| launches(&["1", "2", "3"], by);
    let later = |by| launches(&["4", "5", "6"], by);
    assert_eq!(outcomes(&three(1.0), &later(1.25), &["p50_ns:+10%"]), ["failed", "failed"]);
    assert_eq!(outcomes(&three(1.0), &later(1.25), &["tokens_per_s:-10%"]), ["failed", "failed"]);
    assert_eq!(outcomes(&three(1.0), &later(1.0), &["p50_ns:+10%"]), ["passed", "passed"]);
    // Faster is no regression; at the threshold itself nothing is known.
    assert_eq!(outcomes(&three(1.0), &later(0.5), &["p50_ns:+10%"]), ["passed", "passed"]);
    assert_eq!(outcomes(&three(1.0), &later(1.1), &["p50_ns:+10%"]), ["unclear", "unclear"]);
    let line = &gated(&three(1.0), &later(1.25), &["p50_ns:+10%"])[0];
    let (low, high) = line.interval.expect("an interval");
    assert!((line.change.expect("a change") - 0.25).abs() < 1e-9 && 0.1 < low && low < 0.25 && 0.25 < high);
}

#[test]
fn below_three_launches_a_side_no_time_fails() {
    let rules = ["p50_ns:+10%"];
    assert_eq!(outcomes(&launches(&["1"], 1.0), &launches(&["2"], 5.0), &rules), ["unclear"; 2]);
    assert_eq!(outcomes(&launches(&["1", "2"], 1.0), &launches(&["3", "4"], 5.0), &rules), ["unclear"; 2]);
    let three = launches(&["1", "2", "3"], 1.0);
    assert_eq!(outcomes(&three, &launches(&["4", "5"], 5.0), &rules), ["unclear"; 2]);
}

#[test]
fn what_is_counted_is_known_at_once() {
    let grown: Vec<Row> =
        launches(&["2"], 1.0).into_iter().map(|r| Row { state_bytes_measured: Some(1025), ..r }).collect();
    let rules = ["state_bytes_measured:+0%"];
    assert_eq!(outcomes(&launches(&["1"], 1.0), &grown, &rules), ["failed"; 2]);
    assert_eq!(outcomes(&launches(&["1"], 1.0), &launches(&["2"], 1.0), &rules), ["passed"; 2]);
    assert_eq!(outcomes(&grown, &launches(&["1"], 1.0), &rules), ["passed"; 2]);
    // What the allocator saw is measured, and has one value a launch.
    assert_eq!(outcomes(&launches(&["1"], 1.0), &grown, &["alloc_peak_bytes:+0%"]), ["unclear"; 2]);
    let blank: Vec<Row> = launches(&["2"], 1.0).into_iter().map(|r| Row { state_bytes_measured: None, ..r }).collect();
    assert_eq!(outcomes(&launches(&["1"], 1.0), &blank, &rules), ["unclear"; 2]);
}

#[test]
fn a_cell_that_broke_fails_and_one_that_is_gone_is_unclear() {
    let mut broken = launches(&["4", "5", "6"], 1.0);
    for row in broken.iter_mut().filter(|r| r.variant == "t2r") {
        (row.status, row.round_values) = ("incorrect".to_owned(), String::new());
    }
    let base = launches(&["1", "2", "3"], 1.0);
    assert_eq!(outcomes(&base, &broken, &["p50_ns:+10%"]), ["passed", "failed"]);
    broken.retain(|r| r.variant != "t2r");
    assert_eq!(outcomes(&base, &broken, &["p50_ns:+10%"]), ["passed", "unclear"]);
}

#[test]
fn rules_are_read_with_their_sign_and_refused_with_a_reason() {
    let rule: Rule = "p50_ns:+10%".parse().expect("a rule");
    assert!(rule.percent == 10.0 && rule.more_is_worse);
    assert_eq!(rule.to_string(), "p50_ns:+10%");
    assert_eq!("tokens_per_s:-0%".parse::<Rule>().expect("a rule").to_string(), "tokens_per_s:-0%");
    let wrong = [
        ("p50_n:+10%", "did you mean 'p50_ns'?"),
        ("seq_len:+10%", "no numeric column"),
        ("status:+10%", "no numeric column"),
        ("p50_ns", "expected COLUMN"),
        ("p50_ns:10%", "neither + nor -"),
        ("p50_ns:+ten%", "no percentage"),
        ("p50_ns:+10", "no percentage"),
        ("p50_ns:-100%", "no percentage"),
        ("p50_ns:+é", "no percentage"),
    ];
    for (text, part) in wrong {
        let error = text.parse::<Rule>().expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}
