//! What a run leaves in its files and on its streams.

use std::{fs, path::Path};

use t2r::store::{COLUMNS, read_cells};

use crate::{stderr, stdout, t2r, temp, tiny};

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn a_run_writes_a_header_and_a_row_per_cell_and_sums_up() {
    let dir = temp();
    let out = dir.path().join("out.csv");
    let args = ["--csv", "out.csv", "--samples-csv", "samples.csv", "--jsonl", "out.jsonl", "--meta", "cooling=fan"];
    let assert = t2r(dir.path(), &tiny(&args)).code(0);
    assert_eq!(stdout(&assert), "");
    let text = stderr(&assert);
    assert!(text.starts_with("2 cells, 1 group, about"), "{text}");
    assert!(
        text.contains("attention · batch 1") && text.contains("vs softmax") && text.contains("cells: 2 ok"),
        "{text}"
    );
    assert_eq!(read(&out).lines().next(), Some(COLUMNS.join(",").as_str()));
    assert!(!read(&out).contains('\r'));
    let rows = read_cells(&out).expect("a cells file").rows;
    assert_eq!(rows.iter().map(|r| r.variant.as_str()).collect::<Vec<_>>(), ["softmax", "t2r"]);
    for row in &rows {
        assert_eq!((row.status.as_str(), row.round_count, row.n_threads), ("ok", Some(2), 1));
        assert!(row.speedup_vs_softmax.is_some() && row.max_rel_err.is_some());
        assert_eq!(row.meta, r#"{"cooling":"fan"}"#);
    }
    assert_eq!(read(&dir.path().join("out.jsonl")).lines().count(), 2);
    assert!(read(&dir.path().join("samples.csv")).lines().count() > 2);
    // A run that ended leaves no journal.
    let journals = fs::read_dir(dir.path().join("home/.local/state/t2r/journal")).map_or(0, Iterator::count);
    assert_eq!(journals, 0);
}

#[test]
fn an_existing_file_is_refused_unless_forced() {
    let dir = temp();
    fs::write(dir.path().join("out.csv"), "mine\n").expect("written");
    let text = stderr(&t2r(dir.path(), &tiny(&["--csv", "out.csv"])).code(1));
    assert!(text.starts_with("error: ") && text.contains("--force") && !text.contains("cells: "), "{text}");
    assert_eq!(read(&dir.path().join("out.csv")), "mine\n");
    t2r(dir.path(), &tiny(&["--csv", "out.csv", "--force"])).code(0);
    assert_eq!(read(&dir.path().join("out.csv")).lines().count(), 3);
}

#[test]
fn an_unwritable_path_is_found_out_before_measuring() {
    let dir = temp();
    for flag in ["--csv", "--samples-csv", "--jsonl"] {
        let text = stderr(&t2r(dir.path(), &tiny(&[flag, "missing/out.csv"])).code(1));
        assert!(text.starts_with("error: cannot write missing/out.csv"), "{text}");
        assert!(!text.contains("cells"), "{text}");
    }
}

#[test]
fn force_overwrites_nothing_where_another_output_cannot_be_had() {
    let dir = temp();
    fs::write(dir.path().join("out.csv"), "mine\n").expect("written");
    t2r(dir.path(), &tiny(&["--csv", "out.csv", "--samples-csv", "new.csv", "--jsonl", "missing/x", "--force"]))
        .code(1);
    assert_eq!(read(&dir.path().join("out.csv")), "mine\n");
    assert!(!dir.path().join("new.csv").exists());
}

#[test]
fn resuming_leaves_a_file_of_another_kind_alone() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "out.csv"])).code(0);
    let before = read(&dir.path().join("out.csv"));
    fs::write(dir.path().join("mine.csv"), "a,b\n1,2\n").expect("written");
    for flag in ["--samples-csv", "--jsonl"] {
        let text = stderr(&t2r(dir.path(), &tiny(&["--resume", "out.csv", flag, "mine.csv"])).code(1));
        assert!(text.contains("mine.csv, line 1"), "{text}");
        assert_eq!(read(&dir.path().join("mine.csv")), "a,b\n1,2\n");
    }
    assert_eq!(read(&dir.path().join("out.csv")), before);
}

#[test]
fn data_alone_goes_to_stdout() {
    let dir = temp();
    let assert = t2r(dir.path(), &tiny(&["--csv", "-"])).code(0);
    let text = stdout(&assert);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().expect("a header").iter().collect::<Vec<_>>(), COLUMNS);
    assert_eq!(reader.records().filter(Result::is_ok).count(), 2);
    let quiet = t2r(dir.path(), &tiny(&["--csv", "-", "-q"])).code(0);
    assert_eq!(stderr(&quiet), "");
}

#[test]
fn what_cannot_fit_is_skipped_with_its_size_and_that_is_no_failure() {
    let dir = temp();
    let long = ["--workload", "attention", "--variants", "softmax", "--seq-len", "10000000", "--batch", "16"];
    let rest = ["--memory-budget", "1GiB", "--rounds", "2", "--csv", "out.csv"];
    let args: Vec<&str> = ["--profile", "smoke"].iter().chain(&long).chain(&rest).copied().collect();
    t2r(dir.path(), &args).code(0);
    for row in read_cells(&dir.path().join("out.csv")).expect("a cells file").rows {
        assert_eq!(row.status, "skipped");
        assert!(row.status_detail.contains("(40960000000 bytes)"), "{}", row.status_detail);
        assert!(row.state_bytes_pred.is_some_and(|b| b > 1 << 30) && row.p50_ns.is_none());
    }
}

#[test]
fn a_cut_off_file_is_taken_up_again_in_place() {
    let dir = temp();
    let out = dir.path().join("out.csv");
    let two = ["--seq-len", "16,32"];
    let base: Vec<&str> = tiny(&[]).into_iter().filter(|a| !["--seq-len", "16"].contains(a)).chain(two).collect();
    let with = |more: &[&'static str]| -> Vec<&str> { base.iter().chain(more).copied().collect() };
    t2r(dir.path(), &with(&["--csv", "out.csv", "--jsonl", "out.jsonl"])).code(0);
    let before = read(&out);
    let whole: Vec<&str> = before.split_inclusive('\n').collect();
    assert_eq!(whole.len(), 5);
    // The first group and one and a half rows of the second.
    let cut = whole[..4].concat() + &whole[4][..whole[4].len() / 2];
    fs::write(&out, cut).expect("written");
    t2r(dir.path(), &with(&["--resume", "out.csv", "--jsonl", "out.jsonl"])).code(0);
    let after = read(&out);
    let lines: Vec<&str> = after.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[..3], whole[..3], "what was complete is as it was");
    let rows = read_cells(&out).expect("a cells file").rows;
    assert!(rows.iter().all(|r| r.run_id == rows[0].run_id && r.status == "ok"));
    assert_eq!(read(&dir.path().join("out.jsonl")).lines().count(), 4);
}

#[test]
fn a_file_of_other_settings_is_not_taken_up() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "out.csv"])).code(0);
    let before = read(&dir.path().join("out.csv"));
    let other = tiny(&["--resume", "out.csv", "--samples-per-round", "5"]);
    let text = stderr(&t2r(dir.path(), &other).code(1));
    assert!(text.contains("cannot resume out.csv") && text.contains("same profile"), "{text}");
    assert_eq!(read(&dir.path().join("out.csv")), before);
}
