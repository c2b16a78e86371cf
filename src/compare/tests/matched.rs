//! What is compared with what, what is refused, and what is said around it.

use super::*;

fn refused(base: &Side, candidate: &Side, options: &Options) -> String {
    compare(base, candidate, options, &Spreads::default()).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn three_launches_a_side_show_a_fifth_and_its_interval_holds_it() {
    let base = side("base", &launches(&["1", "2", "3"], 1.0));
    let candidate = side("cand", &launches(&["4", "5", "6"], 1.25));
    let c = compared(&base, &candidate);
    assert_eq!(c.cells.iter().map(|c| c.verdict.clone()).collect::<Vec<_>>(), vec![Verdict::Slower; 2]);
    let ratio = c.cells[0].ratio.expect("a ratio");
    let (low, high) = ratio.interval.expect("an interval");
    assert!((ratio.ratio - 0.8).abs() < 1e-9 && low < 0.8 && 0.8 < high && high < 0.85, "{ratio:?}");
    // Back to front it is 1.25 times faster.
    let back = compared(&candidate, &base);
    assert_eq!(back.cells[0].verdict, Verdict::Faster);
    assert!((back.cells[0].ratio.expect("a ratio").ratio - 1.25).abs() < 1e-9);
    assert_eq!(c.means.iter().map(|m| m.key.variant(true)).collect::<Vec<_>>(), ["softmax", "t2r m=32"]);
    assert!((c.means[0].ratio.ratio - 0.8).abs() < 1e-9);
    assert_eq!(c.spreads.len(), 1);
    // The jitter is 0, +1, −1 %: a standard deviation of 1 %.
    assert!((c.spreads[0].log_sd - 0.01).abs() < 1e-4, "{:?}", c.spreads);
}

#[test]
fn one_launch_a_side_claims_only_what_no_machine_does_to_itself() {
    let one = |run: &str, by: f64| side("s", &launches(&[run], by));
    let verdicts = |by: f64| compared(&one("1", 1.0), &one("2", by)).cells[0].verdict.clone();
    assert_eq!(verdicts(1.3), Verdict::Unclear(Needs::Launches(2)));
    assert_eq!(verdicts(3.0), Verdict::Slower);
    assert!(compared(&one("1", 1.0), &one("2", 3.0)).fairness.objections.iter().any(|o| o.contains("one launch")));
}

#[test]
fn a_spread_that_was_measured_lets_one_launch_a_side_say_more() {
    let (base, candidate) = (side("b", &launches(&["1"], 1.0)), side("c", &launches(&["2"], 1.4)));
    let same = side("same", &launches(&["3", "4", "5", "6", "7"], 1.0));
    let spreads = Spreads::of([&base, &candidate, &same]);
    let c = compare(&base, &candidate, &Options::default(), &spreads).expect("compared");
    // sd 0.79 % on 4 degrees: ln 1.4 is 30 standard errors of √2 · 0.79 %.
    assert_eq!(c.cells[0].verdict, Verdict::Slower);
    let elsewhere = Row { machine_id: "m2".to_owned(), ..row("3", "softmax", 1024, 2000.0) };
    let other = Spreads::of([&side("o", &[elsewhere])]);
    let c = compare(&base, &candidate, &Options::default(), &other).expect("compared");
    assert!(matches!(c.cells[0].verdict, Verdict::Unclear(_)));
}

#[test]
fn what_one_side_lacks_is_missing_and_what_failed_is_incomparable() {
    let mut rows = launches(&["1"], 1.0);
    rows.push(row("1", "elu", 1024, 50.0));
    let base = side("base", &rows);
    let failed = Row { status: "oom".to_owned(), round_values: String::new(), ..row("2", "t2r", 1024, 0.0) };
    let candidate = side("cand", &[row("2", "softmax", 1024, 2000.0), failed, row("2", "rfa", 1024, 60.0)]);
    let words: Vec<String> =
        compared(&base, &candidate).cells.iter().map(|c| format!("{} {:?}", c.key.get("variant"), c.verdict)).collect();
    assert!(words[0].starts_with("softmax Unclear"));
    assert_eq!(
        words[1..],
        ["t2r Incomparable(\"oom in cand\")", "elu Missing(\"candidate\")", "rfa Missing(\"base\")"]
    );
}

#[test]
fn columns_may_differ_where_that_is_said_and_between_machines() {
    let base = side("base", &launches(&["1"], 1.0));
    let threads = |n| launches(&["2"], 1.0).into_iter().map(move |r| Row { n_threads: n, ..r }).collect::<Vec<_>>();
    let text = refused(&base, &side("cand", &threads(8)), &Options::default());
    assert!(text.contains("no cell in common") && text.contains("n_threads '2' and '8'") && text.contains("--across"));
    let across = |c: &str| Options { across: vec![c.to_owned()], ..Options::default() };
    let c = compare(&base, &side("cand", &threads(8)), &across("n_threads"), &Spreads::default()).expect("compared");
    assert_eq!(c.cells.len(), 2);
    assert!(c.fairness.objections.iter().any(|o| o.starts_with("2 threads against 8")));
    let elsewhere: Vec<Row> =
        threads(8).into_iter().map(|r| Row { machine_id: "m2".to_owned(), cpu_cores_physical: Some(8), ..r }).collect();
    let c = compared(&base, &side("other machine", &elsewhere));
    assert_eq!((c.cells.len(), c.count("missing")), (2, 0));
    // As fast on four times as many cores: a quarter per core; both reach 10 GB/s.
    let n = c.cells[0].normalised;
    assert!((n.per_core.expect("cores") - 0.25).abs() < 1e-9 && (n.per_gb_per_s.expect("limit") - 1.0).abs() < 1e-9);
    assert_eq!(n.per_gflops, None);
    assert!(c.environment.iter().any(|d| d.column == "cpu_cores_physical" && d.base == "2" && d.candidate == "8"));
    // Two that could be meant.
    let both: Vec<Row> = threads(8).into_iter().chain(threads(4)).collect();
    let text = refused(&base, &side("cand", &both), &across("n_threads"));
    assert!(text.contains("n_threads=8 or n_threads=4") && text.contains("--where"), "{text}");
}

#[test]
fn unknown_columns_and_senseless_ones_are_refused() {
    let base = side("base", &launches(&["1"], 1.0));
    let across = |c: &str| Options { across: vec![c.to_owned()], ..Options::default() };
    assert!(refused(&base, &base, &across("n_thread")).contains("did you mean 'n_threads'?"));
    assert!(refused(&base, &base, &across("cache")).contains("not compared"));
}

#[test]
fn a_row_twice_counts_once_and_one_that_contradicts_is_refused() {
    let rows = launches(&["1"], 1.0);
    let twice: Vec<Row> = rows.iter().chain(&rows).cloned().collect();
    assert_eq!(side("s", &twice).cells[0].launches.len(), 1);
    let mut sides = Sides::new("s", &[]);
    sides.add(&row("1", "t2r", 64, 10.0)).expect("first");
    let error = sides.add(&row("1", "t2r", 64, 11.0)).expect_err("contradicts");
    assert!(error.to_string().contains("twice, with other values"), "{error}");
}

#[test]
fn settings_do_not_mix_within_a_side_and_origins_are_sides_of_their_own() {
    let mut sides = Sides::new("dir", &[]);
    sides.add(&row("1", "t2r", 64, 10.0)).expect("first");
    let other = Row { run_id: "20260131T120000Z-ffffffff-0002".to_owned(), ..row("2", "t2r", 64, 10.0) };
    let error = sides.add(&other).expect_err("other settings");
    assert!(error.to_string().contains("other settings"), "{error}");
    let elsewhere =
        Row { machine_id: "m2".to_owned(), machine_label: "laptop".to_owned(), ..row("3", "t2r", 64, 10.0) };
    sides.add(&elsewhere).expect("another machine");
    let names: Vec<String> = sides.finish().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["dir (m1)", "dir (laptop)"]);
}

#[test]
fn trends_say_where_t2r_passes_softmax() {
    // softmax takes 2 ns a token, t2r 600 ns whatever the depth: equal at 300.
    let lengths = [64, 256, 1024];
    let rows: Vec<Row> = lengths
        .iter()
        .flat_map(|len| [row("1", "softmax", *len, 2.0 * *len as f64), row("1", "t2r", *len, 600.0)])
        .collect();
    let c = compared(&side("a", &rows), &side("b", &rows));
    let t2r = c.base_trends.iter().find(|t| t.key.get("variant") == "t2r").expect("a trend");
    assert!(
        matches!(t2r.crossover, Some(crate::stats::Crossover::At { length, .. }) if (length - 300.0).abs() < 1e-6),
        "{t2r:?}"
    );
    assert!(t2r.scaling.is_some_and(|s| s.exponent.abs() < 1e-9) && t2r.lengths == (64, 1024));
    assert!(c.base_trends[0].scaling.is_some_and(|s| (s.exponent - 1.0).abs() < 1e-9));
    assert_eq!(c.base_trends[0].crossover, None);
}

#[test]
fn what_differs_around_is_said() {
    let base = side("base", &launches(&["1", "2"], 1.0));
    let changed = |r: Row| Row {
        build_commit: "c2".to_owned(),
        machine_id: "m2".to_owned(),
        build_profile: "debug".to_owned(),
        build_dirty: Some(true),
        warnings: "swap wide_interval".to_owned(),
        ..r
    };
    let other: Vec<Row> = launches(&["3", "4"], 1.0).into_iter().map(changed).collect();
    let c = compared(&base, &side("cand", &other));
    for part in ["machine and build both differ", "without optimisation", "changed tree", "swapping in 4 of 4 rows"] {
        assert!(c.fairness.objections.iter().any(|o| o.contains(part)), "{part}: {:?}", c.fairness.objections);
    }
    assert!(!c.fairness.objections.iter().any(|o| o.contains("one launch")));
}
