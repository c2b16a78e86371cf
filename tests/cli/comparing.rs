//! Comparing, gates and merging, as people do it: on files.

use std::{fs, path::Path};

use t2r::store::{Row, cells_csv, read_cells};

use crate::{stderr, stdout, t2r, temp, tiny};

/// Two cells of one launch on a made-up machine; all times are `by` those of the first file.
fn launch(run: usize, by: f64, change: impl Fn(Row) -> Row) -> Vec<Row> {
    let jitter = [1.0, 1.01, 0.99][run % 3];
    let one = |(variant, ns): (&str, f64)| {
        let figures: Vec<String> =
            [0.995, 1.0, 1.005, 0.99, 1.01, 1.0].iter().map(|j| (ns * by * jitter * j).to_string()).collect();
        change(Row {
            schema_version: 1,
            run_id: format!("20260131T120000Z-0a0b0c0d-00{run:02}"),
            cell_id: format!("cell-of-{variant}"),
            status: "ok".to_owned(),
            workload: "attention".to_owned(),
            variant: variant.to_owned(),
            feature_dim: (variant == "t2r").then_some(32),
            implementation: "fused".to_owned(),
            batch_size: 16,
            seq_len: 1024,
            n_threads: 2,
            machine_id: "m1".to_owned(),
            build_commit: "c1".to_owned(),
            cpu_cores_physical: Some(2),
            state_bytes_measured: Some(1024),
            round_values: format!("[{}]", figures.join(",")),
            ..Row::default()
        })
    };
    [("softmax", 2000.0), ("t2r", 100.0)].into_iter().map(one).collect()
}

fn write(dir: &Path, name: &str, rows: &[Row]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, cells_csv(rows).expect("written")).expect("written");
}

/// Three launches a file; the second file is a quarter slower.
fn two_builds(dir: &Path) {
    let three = |first: usize, by: f64, commit: &str| -> Vec<Row> {
        let of = |run| launch(run, by, |r| Row { build_commit: commit.to_owned(), ..r });
        (first..first + 3).flat_map(of).collect()
    };
    write(dir, "base.csv", &three(1, 1.0, "c1"));
    write(dir, "slow.csv", &three(4, 1.25, "c2"));
    write(dir, "same.csv", &three(7, 1.0, "c3"));
}

#[test]
fn a_slower_build_fails_the_gate_with_3_and_the_same_passes() {
    let dir = temp();
    two_builds(dir.path());
    let gate = ["--fail-on", "p50_ns:+10%", "--fail-on", "state_bytes_measured:+0%"];
    let run = |files: &[&'static str]| -> Vec<&'static str> {
        ["compare"].iter().chain(files).chain(&gate).copied().collect()
    };
    let slow = t2r(dir.path(), &run(&["base.csv", "slow.csv"])).code(3);
    let text = stdout(&slow);
    for part in
        ["slow.csv against base.csv", "2 slower", "0.800× [", "FAILED: 2 failed, 0 unclear, 2 passed", "build_commit"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    t2r(dir.path(), &run(&["base.csv", "same.csv"])).code(0);
    t2r(dir.path(), &["compare", "base.csv", "slow.csv"]).code(0);
    // Both candidates at once, and the sides by pattern.
    let both = t2r(dir.path(), &run(&["base.csv", "s*.csv"])).code(3);
    assert!(stdout(&both).contains("s*.csv (c2) against base.csv"), "{}", stdout(&both));
}

#[test]
fn one_launch_a_side_never_fails_unless_the_unclear_does() {
    let dir = temp();
    write(dir.path(), "a.csv", &launch(1, 1.0, |r| r));
    write(dir.path(), "b.csv", &launch(2, 5.0, |r| r));
    let gate = ["compare", "a.csv", "b.csv", "--fail-on", "p50_ns:+10%"];
    let text = stdout(&t2r(dir.path(), &gate).code(0));
    assert!(text.contains("2 unclear") && text.contains("3 launches a side"), "{text}");
    t2r(dir.path(), &[&gate[..], &["--fail-unclear"]].concat()).code(3);
    t2r(dir.path(), &["compare", "a.csv", "b.csv", "--fail-unclear"]).code(2);
}

#[test]
fn every_form_is_an_answer_on_stdout_alone_and_a_job_gets_its_summary() {
    let dir = temp();
    two_builds(dir.path());
    for (format, part) in [
        ("table", "faster"),
        ("md", "| t2r m=32 |"),
        ("csv", "base,candidate,workload"),
        ("json", "\"verdict\": \"slower\""),
    ] {
        let assert = t2r(dir.path(), &["compare", "base.csv", "slow.csv", "--format", format]).code(0);
        assert!(stdout(&assert).contains(part), "{format}: {}", stdout(&assert));
        assert_eq!(stderr(&assert), "");
    }
    let summary = dir.path().join("summary.md");
    fs::write(&summary, "before\n").expect("written");
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_t2r"));
    command.current_dir(dir.path()).env("GITHUB_STEP_SUMMARY", &summary);
    command.args(["compare", "base.csv", "slow.csv", "--fail-on", "p50_ns:+10%"]).assert().code(3);
    let text = fs::read_to_string(&summary).expect("readable");
    assert!(text.starts_with("before\n## slow.csv against base.csv") && text.contains("### Gate"), "{text}");
}

#[test]
fn machines_in_a_directory_are_held_against_the_first() {
    let dir = temp();
    let on = |id: &'static str, cores: u64| {
        move |r: Row| Row {
            machine_id: id.to_owned(),
            machine_label: format!("box {id}"),
            cpu_cores_physical: Some(cores),
            n_threads: cores,
            ..r
        }
    };
    write(dir.path(), "lab/a.csv", &launch(1, 1.0, on("ma", 2)));
    write(dir.path(), "lab/b.csv", &launch(2, 0.2, on("mb", 8)));
    write(dir.path(), "lab/notes.csv", &[]);
    fs::write(dir.path().join("lab/other.csv"), "command,mean\nx,1\n").expect("written");
    let assert = t2r(dir.path(), &["compare", "lab"]).code(0);
    let text = stdout(&assert);
    for part in ["lab (box mb) against lab (box ma)", "2 faster", "1.28×", "2 threads against 8"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stderr(&assert).contains("passed over lab/other.csv, line 1"), "{}", stderr(&assert));
}

#[test]
fn what_cannot_be_compared_is_refused_with_file_line_and_column() {
    let dir = temp();
    two_builds(dir.path());
    let good = fs::read_to_string(dir.path().join("base.csv")).expect("readable");
    fs::write(dir.path().join("nan.csv"), good.replacen(",16,1024,", ",NaN,1024,", 1)).expect("written");
    fs::write(dir.path().join("other.csv"), "command,mean\nx,1\n").expect("written");
    fs::write(dir.path().join("empty.csv"), "").expect("written");
    let cases: [(&[&str], i32, &str); 9] = [
        (&["base.csv", "nan.csv"], 1, "nan.csv, line 2, column batch_size"),
        (&["base.csv", "other.csv"], 1, "other.csv, line 1, column schema_version: missing"),
        (&["base.csv", "empty.csv"], 1, "empty.csv, line 1: the file is empty"),
        (&["base.csv", "none*.csv"], 1, "none*.csv: no such file"),
        (&["base.csv"], 1, "give something to hold against it"),
        (&["base.csv", "slow.csv", "--across", "n_thread"], 1, "did you mean 'n_threads'?"),
        (&["base.csv", "slow.csv", "--fail-on", "p50:+10%"], 2, "no numeric column"),
        (&["base.csv", "slow.csv", "--where", "variants=t2r"], 2, "did you mean 'variant'?"),
        (&["base.csv", "slow.csv", "--where", "variant=rfa"], 1, "no rows that --where lets through"),
    ];
    for (args, code, part) in cases {
        let args: Vec<&str> = ["compare"].iter().chain(args).copied().collect();
        let text = stderr(&t2r(dir.path(), &args).code(code));
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn merging_loses_nothing_and_refuses_what_contradicts() {
    let dir = temp();
    let rows: Vec<Row> = (1..4).flat_map(|run| launch(run, 1.0, |r| r)).collect();
    write(dir.path(), "a.csv", &rows[..3]);
    write(dir.path(), "b.csv", &rows[2..]);
    let assert = t2r(dir.path(), &["merge", "a.csv", "b.csv", "-o", "all.csv"]).code(0);
    assert!(stderr(&assert).contains("2 files, 3 runs, 2 cells: 6 rows; 1 row there twice"), "{}", stderr(&assert));
    assert_eq!(read_cells(&dir.path().join("all.csv")).expect("a cells file").rows, rows);
    // To stdout, and pooled: a row per cell.
    let pooled = stdout(&t2r(dir.path(), &["merge", "all.csv", "--pool", "-q"]).code(0));
    assert_eq!(pooled.lines().count(), 3);
    assert!(stderr(&t2r(dir.path(), &["merge", "a.csv", "-o", "all.csv"]).code(1)).contains("--force"));
    let other = Row { p50_ns: Some(7.0), ..rows[0].clone() };
    write(dir.path(), "c.csv", &[other]);
    let text = stderr(&t2r(dir.path(), &["merge", "a.csv", "c.csv"]).code(1));
    assert!(text.contains("c.csv, line 2") && text.contains("a.csv too") && text.contains("p50_ns"), "{text}");
}

#[test]
fn launches_are_processes_of_their_own_in_one_file_and_are_gone_on_with() {
    let dir = temp();
    let outputs = ["--csv", "out.csv", "--samples-csv", "s.csv", "--jsonl", "l.jsonl", "--launches", "2", "-q"];
    t2r(dir.path(), &tiny(&outputs)).code(0);
    let out = dir.path().join("out.csv");
    let rows = read_cells(&out).expect("a cells file").rows;
    let runs = |rows: &[Row]| {
        let mut runs: Vec<String> = rows.iter().map(|r| r.run_id.clone()).collect();
        runs.dedup();
        runs
    };
    assert_eq!((rows.len(), runs(&rows).len()), (4, 2));
    assert_eq!(fs::read_to_string(dir.path().join("l.jsonl")).expect("readable").lines().count(), 4);
    let samples = fs::read_to_string(dir.path().join("s.csv")).expect("readable");
    assert_eq!(samples.matches("run_id,").count(), 1);
    // The second launch lost a row: it is measured again, the first is as it was, and a third is added.
    let text = fs::read_to_string(&out).expect("readable");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&out, lines[..4].concat()).expect("written");
    t2r(dir.path(), &tiny(&["--resume", "out.csv", "--launches", "3", "-q"])).code(0);
    let after = read_cells(&out).expect("a cells file").rows;
    assert_eq!((after.len(), runs(&after).len()), (6, 3));
    assert_eq!((&after[..2], &after[2].run_id), (&rows[..2], &rows[2].run_id));
    let piped = stdout(&t2r(dir.path(), &tiny(&["--csv", "-", "--launches", "2", "-q"])).code(0));
    assert_eq!((piped.lines().count(), piped.matches("schema_version").count()), (5, 1));
}

#[test]
fn a_run_is_held_against_its_baseline() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "base.csv", "-q"])).code(0);
    let now = ["--baseline", "base.csv", "--fail-on", "state_bytes_measured:+0%", "-q"];
    let assert = t2r(dir.path(), &tiny(&now)).code(0);
    assert!(
        stderr(&assert).contains("against base.csv") && stderr(&assert).contains("passed: 0 failed"),
        "{}",
        stderr(&assert)
    );
    // A baseline whose state was half as large: what is counted has grown, and one launch knows it.
    let mut rows = read_cells(&dir.path().join("base.csv")).expect("a cells file").rows;
    rows.iter_mut().for_each(|r| r.state_bytes_measured = r.state_bytes_measured.map(|b| b / 2));
    write(dir.path(), "base.csv", &rows);
    t2r(dir.path(), &tiny(&now)).code(3);
    for wrong in [&["--fail-on", "p50_ns:+1%"][..], &["--baseline", "base.csv", "--launches", "2"]] {
        t2r(dir.path(), &tiny(wrong)).code(2);
    }
    let text = stderr(&t2r(dir.path(), &tiny(&["--baseline", "none.csv"])).code(1));
    assert!(text.contains("none.csv") && !text.contains("cells,"), "found out before measuring: {text}");
}

#[test]
fn shards_together_are_the_run_and_a_lost_one_is_seen_and_filled_in() {
    let dir = temp();
    let four = |more: &[&'static str]| -> Vec<&'static str> {
        let base = ["--profile", "smoke", "--workload", "attention", "--variants", "softmax,t2r", "--cache", "warm"];
        let rest =
            ["--seq-len", "16,32", "--batch", "1,2", "--rounds", "2", "--min-block", "1ms", "--threads", "1", "-q"];
        base.iter().chain(&rest).chain(more).copied().collect()
    };
    for (shard, file) in [("1/3", "1.csv"), ("2/3", "2.csv"), ("3/3", "3.csv")] {
        t2r(dir.path(), &four(&["--shard", shard, "--csv", file])).code(0);
    }
    let rows = |file: &str| read_cells(&dir.path().join(file)).expect("a cells file").rows;
    let counts = [rows("1.csv").len(), rows("2.csv").len(), rows("3.csv").len()];
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().all(|n| [2, 4].contains(n))), (8, true), "{counts:?}");
    t2r(dir.path(), &["merge", "1.csv", "3.csv", "-o", "merged.csv", "-q"]).code(0);
    let mut dry: Vec<&str> = four(&["--resume", "merged.csv", "--dry-run"]);
    dry.retain(|a| *a != "-q");
    let assert = t2r(dir.path(), &dry).code(0);
    assert!(stderr(&assert).contains(&format!("{} of 8 cells are missing", counts[1])), "{}", stderr(&assert));
    t2r(dir.path(), &four(&["--resume", "merged.csv"])).code(0);
    let after = rows("merged.csv");
    assert_eq!(after.len(), 8);
    assert_eq!(after[..counts[0] + counts[2]], [rows("1.csv"), rows("3.csv")].concat());
    t2r(dir.path(), &four(&["--shard", "4/3"])).code(2);
}
