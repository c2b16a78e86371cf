//! What is refused, how, and with which exit code.

use crate::{stderr, stdout, t2r, temp, tiny};

#[test]
fn mistakes_of_usage_are_2_and_name_the_nearest_right_word() {
    let dir = temp();
    let cases: [(&[&str], &str); 11] = [
        (&["--profile", "smok"], "did you mean 'smoke'?"),
        (&["--variants", "sofmax"], "did you mean 'softmax'?"),
        (&["--workload", "atention"], "did you mean 'attention'?"),
        (&["--rouds", "3"], "'--rounds'"),
        (&["--threads", "0"], "--threads 0"),
        (&["--threads", "1000000"], "at most"),
        (&["--rounds", "10001"], "at most 10000"),
        (&["--samples-per-round", "18446744073709551615"], "at most 10000"),
        (&["list", "profils"], "profiles"),
        (&["--csv", "same", "--jsonl", "./same"], "both"),
        (&["--rounds", "6", "run"], "behind the subcommand"),
    ];
    for (args, hint) in cases {
        let text = stderr(&t2r(dir.path(), args).code(2));
        assert!(text.starts_with("error: ") && text.contains(hint), "{args:?}: {text}");
    }
}

#[test]
fn an_empty_grid_is_2() {
    let dir = temp();
    std::fs::write(dir.path().join("none.toml"), "description = 'x'\n[defaults]\nvariants = []\n").expect("written");
    let text = stderr(&t2r(dir.path(), &["--profile", "./none.toml"]).code(2));
    assert!(text.contains("empty"), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_1_with_the_reason_and_never_another_device() {
    let dir = temp();
    let text = stderr(&t2r(dir.path(), &tiny(&["--device", "cuda:15", "--csv", "out.csv"])).code(1));
    assert!(text.starts_with("error: device cuda:15"), "{text}");
    assert!(!dir.path().join("out.csv").exists());
}

#[test]
fn help_and_version_are_answers() {
    let dir = temp();
    for (args, word) in [(["--help"], "--seq-len"), (["-h"], "--csv"), (["-V"], "t2r ")] {
        let assert = t2r(dir.path(), &args).code(0);
        assert!(stdout(&assert).contains(word));
        assert_eq!(stderr(&assert), "");
    }
}

#[test]
fn settings_come_in_layers() {
    let dir = temp();
    std::fs::write(dir.path().join("t2r.toml"), "profile = 'smoke'\n[sweep]\nworkload = 'decode'\n").expect("written");
    let text = stdout(&t2r(dir.path(), &["list", "cells", "--format", "csv"]).code(0));
    assert!(text.lines().count() > 2 && text.lines().skip(1).all(|l| l.contains(",decode,")), "{text}");
    let text = stdout(&t2r(dir.path(), &["list", "cells", "--format", "csv", "--workload", "forward"]).code(0));
    assert!(text.lines().skip(1).all(|l| l.contains(",forward,")), "{text}");
    std::fs::write(dir.path().join("t2r.toml"), "[measure]\nruonds = 3\n").expect("written");
    let text = stderr(&t2r(dir.path(), &["list", "cells"]).code(2));
    assert!(text.contains("t2r.toml") && text.contains("line 2"), "{text}");
}
