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
fn each_cell_comes_with_its_estimated_time() {
    let dir = temp();
    let text = stdout(&t2r(dir.path(), &["list", "cells", "--profile", "smoke", "--format", "csv"]).code(0));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let at = reader.headers().expect("a header").iter().position(|h| h == "est_s").expect("est_s");
    let seconds: Vec<f64> = reader.records().filter_map(|r| r.ok()?.get(at)?.parse().ok()).collect();
    assert_eq!(seconds.len(), text.lines().count() - 1);
    assert!(seconds.iter().sum::<f64>() > 0.0);
}

#[cfg(unix)]
#[test]
fn limits_are_measured_on_all_threads_whatever_the_environment_says() {
    let dir = temp();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_t2r"));
    command.current_dir(dir.path()).env("HOME", dir.path()).args(["env", "--measure", "--format", "json"]);
    command.env("RAYON_NUM_THREADS", "1").env("CANDLE_NUM_THREADS", "1");
    let output = command.output().expect("started");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["limits"]["n_threads"], json["cpu_threads_logical"]);
    let has_l1 = json["limits"]["streams"].as_array().expect("streams").iter().any(|s| s["level"] == "L1");
    assert_eq!(has_l1, json["cache_l1d_bytes"].is_number());
}

#[test]
fn a_dry_run_shows_cells_memory_and_time_and_measures_nothing() {
    let dir = temp();
    let assert = t2r(dir.path(), &tiny(&["--dry-run", "--csv", "out.csv"])).code(0);
    assert!(stdout(&assert).contains("softmax") && stdout(&assert).contains("memory_bytes_pred"));
    assert!(stderr(&assert).contains("2 cells, 1 group, about"), "{}", stderr(&assert));
    assert!(!dir.path().join("out.csv").exists());
}
