//! `report`, `completions`, `man` and `--version`.

use std::{fs, path::Path};

use crate::{stderr, stdout, t2r, temp, tiny};

fn results(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name).display().to_string()
}

#[test]
fn a_run_becomes_a_page_and_figures() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "out.csv"])).code(0);
    let assert = t2r(dir.path(), &["report", "out.csv", "-o", "report.html", "--figures", "figures"]).code(0);
    assert_eq!(stdout(&assert), "");
    assert_eq!(stderr(&assert), "report.html, 3 figures in figures: 2 cells of 1 file\n");
    let page = fs::read_to_string(dir.path().join("report.html")).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("as fast as softmax") || page.contains("No "));
    let mut names: Vec<String> = fs::read_dir(dir.path().join("figures"))
        .expect("figures")
        .map(|e| e.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["attention-batch-1-memory.svg", "attention-batch-1-speed.svg", "attention-batch-1-times-faster.svg"]
    );
}

#[test]
fn a_page_to_stdout_is_the_page_alone_and_the_same_twice() {
    let dir = temp();
    let file = results("quick-epyc-2vcpu-2026-11-24-fused.csv");
    let once = t2r(dir.path(), &["report", &file, "-o", "-"]).code(0);
    assert!(stdout(&once).starts_with("<!DOCTYPE html>") && stdout(&once).ends_with("</html>\n"));
    assert_eq!(stderr(&once), "");
    assert_eq!(stdout(&once), stdout(&t2r(dir.path(), &["report", &file, "-o", "-"]).code(0)));
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is written unasked");
}

#[test]
fn what_exists_is_kept_unless_forced() {
    let dir = temp();
    let file = results("paper-mt-base-epyc-2vcpu-2026-11-24-fused.csv");
    fs::write(dir.path().join("report.html"), "mine").expect("written");
    let text = stderr(&t2r(dir.path(), &["report", &file, "-o", "report.html"]).code(1));
    assert_eq!(text, "error: report.html exists; give another name, or --force to overwrite it\n");
    assert_eq!(fs::read_to_string(dir.path().join("report.html")).expect("kept"), "mine");
    t2r(dir.path(), &["report", &file, "-o", "report.html", "--force", "-q"]).code(0);
    assert!(fs::read_to_string(dir.path().join("report.html")).expect("written").len() > 10_000);
}

#[test]
fn wrong_files_are_named_with_what_was_expected() {
    let dir = temp();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("empty.csv", "");
    write("other.csv", "a,b\n1,2\n");
    write("cut.csv", "step,loss\n1,x\n");
    let cases = [
        ("missing.csv", "missing.csv: no such file, directory or pattern that matches one"),
        ("empty.csv", "empty.csv, line 1: the file is empty"),
        ("other.csv", "other.csv, line 1: columns a, b: neither cells (cell_id)"),
        ("cut.csv", "cut.csv, line 2, column loss: 'x'"),
    ];
    for (file, message) in cases {
        let text = stderr(&t2r(dir.path(), &["report", file, "-o", "x.html"]).code(1));
        assert!(text.starts_with(&format!("error: {message}")), "{text}");
        assert!(!dir.path().join("x.html").exists());
    }
    t2r(dir.path(), &["report", "other.csv"]).code(2);
    t2r(dir.path(), &["report", "-o", "x.html"]).code(2);
    let text = stderr(&t2r(dir.path(), &["report", "other.csv", "./other.csv", "-o", "x.html"]).code(2));
    assert!(text.contains("given twice"), "{text}");
}

#[test]
fn patterns_directories_and_json_lines_are_read_and_what_is_there_twice_counts_once() {
    let dir = temp();
    fs::create_dir(dir.path().join("all")).expect("made");
    t2r(dir.path(), &tiny(&["--csv", "all/a.csv", "--jsonl", "all/a.jsonl", "-q"])).code(0);
    t2r(dir.path(), &tiny(&["--csv", "all/b.csv", "-q"])).code(0);
    fs::write(dir.path().join("all/log.csv"), "step,loss\n1,2.5\n2,2.4\n").expect("written");
    fs::write(dir.path().join("all/other.csv"), "command,mean\nx,1\n").expect("written");
    let assert = t2r(dir.path(), &["report", "all", "-o", "all.html"]).code(0);
    let said = stderr(&assert);
    for part in [
        "passed over all/other.csv, line 1: columns command, mean",
        "all/a.jsonl: 2 rows of it read already and left out",
        "all.html: 4 cells of 4 files",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let assert = t2r(dir.path(), &["report", "all/[ab].csv", "-o", "ab.html"]).code(0);
    assert_eq!(stderr(&assert), "ab.html: 4 cells of 2 files\n");
    let of_lines = stdout(&t2r(dir.path(), &["report", "all/a.jsonl", "-o", "-"]).code(0));
    let of_table = stdout(&t2r(dir.path(), &["report", "all/a.csv", "-o", "-"]).code(0));
    assert_eq!(of_lines, of_table);
    let text = stderr(&t2r(dir.path(), &["report", "all/*.csv", "-o", "x.html"]).code(1));
    assert!(text.contains("all/other.csv, line 1"), "a pattern names its files: {text}");
}

#[test]
fn a_last_line_that_was_cut_off_is_left_out_and_said_to_be() {
    let dir = temp();
    t2r(dir.path(), &tiny(&["--csv", "whole.csv", "-q"])).code(0);
    let whole = fs::read_to_string(dir.path().join("whole.csv")).expect("written");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("cells.csv", &whole[..whole.len() - 40]);
    write("log.csv", "step,loss\n1,2.5\n2");
    write("models.csv", "variant,bleu\nt2r,20.5\nelu");
    let assert = t2r(dir.path(), &["report", "cells.csv", "log.csv", "models.csv", "-o", "x.html"]).code(0);
    let said = stderr(&assert);
    for file in ["cells.csv", "log.csv", "models.csv"] {
        assert!(said.contains(&format!("warning: {file}: its last line is cut off and left out\n")), "{said}");
    }
    assert!(said.ends_with("x.html: 1 cell of 3 files\n"), "{said}");
    let whole = t2r(dir.path(), &["report", "whole.csv", "-o", "y.html"]).code(0);
    assert!(!stderr(&whole).contains("cut off"));
}

#[test]
fn a_header_without_rows_gives_a_page_that_says_so() {
    let dir = temp();
    let header = t2r::store::COLUMNS.join(",") + "\n";
    fs::write(dir.path().join("out.csv"), header).expect("written");
    let assert = t2r(dir.path(), &["report", "out.csv", "-o", "-"]).code(0);
    assert!(stdout(&assert).contains("There are no cells yet."));
}

#[test]
fn completions_name_the_subcommands_in_every_shell() {
    let dir = temp();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = stdout(&t2r(dir.path(), &["completions", shell]).code(0));
        assert!(
            ["report", "completions", "--seq-len"].iter().all(|w| text.contains(w.trim_start_matches("--"))),
            "{shell}"
        );
    }
    t2r(dir.path(), &["completions", "tcsh"]).code(2);
}

#[test]
fn the_manual_is_a_page_or_a_folder_of_pages() {
    let dir = temp();
    let page = stdout(&t2r(dir.path(), &["man"]).code(0));
    assert!(page.contains(".TH t2r 1") && page.contains("t2r\\-report(1)"), "{}", &page[..200]);
    t2r(dir.path(), &["man", "--dir", "man"]).code(0);
    let pages: Vec<_> = fs::read_dir(dir.path().join("man")).expect("pages").collect();
    assert!(dir.path().join("man/t2r-report.1").exists() && pages.len() > 6, "{pages:?}");
}

#[test]
fn the_version_names_commit_features_and_instructions() {
    let dir = temp();
    let text = stdout(&t2r(dir.path(), &["--version"]).code(0));
    let lines: Vec<&str> = text.lines().map(|l| l.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(lines, ["t2r", "commit", "profile", "features", "compiler", "candle", "kernels"]);
    let env = stdout(&t2r(dir.path(), &["env", "--format", "json"]).code(0));
    let env: serde_json::Value = serde_json::from_str(&env).expect("JSON");
    assert!(text.contains(env["cpu_isa"].as_str().expect("an ISA")), "{text}");
    assert_eq!(stdout(&t2r(dir.path(), &["-V"]).code(0)).lines().count(), 1);
}
