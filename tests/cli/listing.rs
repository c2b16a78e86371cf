//! `list`, `env` and `--dry-run`.

use crate::{stderr, stdout, t2r, temp, tiny};

#[test]
fn every_list_answers_in_every_form() {
    let dir = temp();
    let lists: [&[&str]; 5] = [
        &["list", "profiles"],
        &["list", "variants"],
        &["list", "devices"],
        &["list", "cells", "--profile", "smoke"],
        &["env"],
    ];
    for list in lists {
        for format in ["table", "json", "csv", "md"] {
            let args: Vec<&str> = list.iter().chain(&["--format", format]).copied().collect();
            let text = stdout(&t2r(dir.path(), &args).code(0));
            match format {
                "json" => {
                    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    assert!(json.is_object() || json.as_array().is_some_and(|a| !a.is_empty()), "{args:?}");
                }
                "csv" => {
                    let mut reader = csv::Reader::from_reader(text.as_bytes());
                    assert!(reader.records().all(|r| r.is_ok()) && text.lines().count() > 1, "{args:?}");
                }
                "md" => assert!(text.starts_with("| "), "{args:?}: {text}"),
                _ => assert!(text.lines().count() > 1, "{args:?}: {text}"),
            }
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is written unasked");
}

#[test]
fn a_dry_run_shows_cells_memory_and_time_and_measures_nothing() {
    let dir = temp();
    let assert = t2r(dir.path(), &tiny(&["--dry-run", "--csv", "out.csv"])).code(0);
    assert!(stdout(&assert).contains("softmax") && stdout(&assert).contains("memory_bytes_pred"));
    assert!(stderr(&assert).contains("2 cells, 1 group, about"), "{}", stderr(&assert));
    assert!(!dir.path().join("out.csv").exists());
}
