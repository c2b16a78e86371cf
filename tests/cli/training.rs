//! Models trained, converted and trained on by the binary: what it writes, what it refuses.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use crate::{stderr, stdout, t2r, temp};

/// A text that has something to learn.
pub(crate) fn write_text(dir: &Path) {
    let subjects = ["the cat", "a dog", "my friend", "the old king"];
    let verbs = ["sees", "follows", "likes", "forgets"];
    let line =
        |i: usize| format!("{} {} {} {}.\n", subjects[i % 4], verbs[i / 4 % 4], subjects[i / 16 % 4], i * i % 97);
    fs::write(dir.join("text.txt"), (0..800).map(line).collect::<String>()).expect("written");
}

pub(crate) const PRETRAIN: [&str; 27] = [
    "pretrain",
    "-o",
    "base",
    "--text",
    "text.txt",
    "--vocab-size",
    "300",
    "--n-layers",
    "2",
    "--d-model",
    "16",
    "--n-heads",
    "2",
    "--ffn-dim",
    "32",
    "--seq-len",
    "16",
    "--batch",
    "4",
    "--steps",
    "6",
    "--validate-every",
    "3",
    "--validation-size",
    "4",
    "--threads",
    "1",
];

const FINETUNE: [&str; 13] = [
    "--text",
    "text.txt",
    "--steps",
    "6",
    "--batch",
    "4",
    "--seq-len",
    "16",
    "--validation-size",
    "4",
    "--threads",
    "1",
    "-q",
];

fn finetune<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["finetune", model].iter().chain(&FINETUNE).chain(more).copied().collect()
}

#[test]
fn a_model_is_pretrained_converted_finetuned_and_scored() {
    let dir = temp();
    write_text(dir.path());
    let assert = t2r(dir.path(), &PRETRAIN).code(0);
    assert!(stderr(&assert).contains("held out: loss"), "{}", stderr(&assert));
    assert!(stdout(&assert).starts_with("stage"), "{}", stdout(&assert));
    let log = fs::read_to_string(dir.path().join("base/training/pretrain.csv")).expect("a log");
    assert!(log.starts_with("step,tokens,loss,lr,grad_norm,tokens_per_s,memory_bytes,validation_loss"), "{log}");
    assert_eq!(log.lines().count(), 8);
    // Once more over it, and anew without being asked to.
    assert!(stderr(&t2r(dir.path(), &PRETRAIN).code(1)).contains("holds something already"));

    t2r(dir.path(), &["convert", "base", "--to", "t2r:8", "-o", "twin", "-q"]).code(0);
    let assert = t2r(dir.path(), &finetune("twin", &["--transfer", "4", "--format", "csv"])).code(0);
    let answer = stdout(&assert);
    let mut rows = csv::Reader::from_reader(answer.as_bytes());
    let header = rows.headers().expect("a header").clone();
    let rows: Vec<csv::StringRecord> = rows.records().map(|r| r.expect("a row")).collect();
    let column = |name: &str| header.iter().position(|c| c == name).expect("a column");
    assert_eq!(rows.iter().map(|r| r[column("stage")].to_owned()).collect::<Vec<_>>(), ["transfer", "finetune"]);
    let number = |row: usize, name: &str| rows[row][column(name)].parse::<f64>().expect("a number");
    assert!(number(0, "loss") < number(0, "loss_before") && number(1, "perplexity") < number(1, "perplexity_before"));
    let text = stderr(&t2r(dir.path(), &finetune("twin", &[])).code(1));
    assert!(text.contains("--resume") && text.contains("--force"), "{text}");
    // What is done stays as it is.
    t2r(dir.path(), &finetune("twin", &["--transfer", "4", "--resume"])).code(0);
    let text = stderr(&t2r(dir.path(), &finetune("twin", &["--transfer", "4", "--resume", "--lr", "0.5"])).code(1));
    assert!(text.contains("another training") && text.contains("schedule.peak"), "{text}");
    t2r(dir.path(), &["eval", "twin", "--text", "text.txt", "--window", "16", "--max-windows", "4", "-q"]).code(0);
}

#[test]
fn an_encoder_decoder_is_trained_translates_and_is_scored() {
    let dir = temp();
    let line = |i: usize| format!("w{} w{} w{}\n", i % 7, i / 7 % 7, i * i % 7);
    let text: String = (0..400).map(line).collect();
    fs::write(dir.path().join("a.txt"), &text).expect("written");
    fs::write(dir.path().join("b.txt"), text.replace('w', "v")).expect("written");
    let sizes = ["--vocab-size", "260", "--n-layers", "1", "--d-model", "16", "--n-heads", "2", "--seq-len", "24"];
    let run = ["--steps", "4", "--batch", "8", "--threads", "1", "-q", "--validation-size", "16"];
    let pretrain = ["pretrain", "-o", "mt", "--source", "a.txt", "--target", "b.txt", "--variant", "t2r:4"];
    t2r(dir.path(), &[&pretrain[..], &sizes, &run].concat()).code(0);
    fs::write(dir.path().join("c.txt"), "w1 w2 w3\r\n\r\nw4\n").expect("written");
    for beams in ["1", "3"] {
        let assert = t2r(dir.path(), &["translate", "mt", "--source", "c.txt", "--beams", beams]).code(0);
        assert_eq!(stdout(&assert).lines().count(), 3, "{}", stdout(&assert));
        assert_eq!(stdout(&assert).lines().nth(1), Some(""));
        assert!(stderr(&assert).contains("3 sentences") && stderr(&assert).contains("tokens/s"));
    }
    let eval = ["eval", "mt", "--source", "a.txt", "--target", "b.txt", "--format", "json"];
    assert!(stdout(&t2r(dir.path(), &eval).code(0)).contains("\"signature\": \"nrefs:1|case:mixed|eff:no|tok:13a"));
    let text = stderr(&t2r(dir.path(), &["finetune", "mt", "--text", "a.txt", "-q"]).code(2));
    assert!(text.contains("--source and --target"), "{text}");
    // Lines that do not belong together.
    fs::write(dir.path().join("short.txt"), "v1\n").expect("written");
    let text = stderr(&t2r(dir.path(), &["eval", "--hypotheses", "short.txt", "--target", "b.txt"]).code(1));
    assert!(text.contains("has 1 lines") && text.contains("has 400"), "{text}");
    let same = ["eval", "--hypotheses", "b.txt", "--target", "b.txt", "--format", "csv"];
    assert!(stdout(&t2r(dir.path(), &same).code(0)).lines().nth(1).is_some_and(|row| row.starts_with("0.0,")));
}

#[test]
fn texts_that_teach_nothing_are_refused_with_the_reason() {
    let dir = temp();
    fs::write(dir.path().join("empty.txt"), "").expect("written");
    fs::write(dir.path().join("latin.txt"), b"caf\xe9").expect("written");
    write_text(dir.path());
    let with = |more: &[&str]| -> String {
        let line: Vec<&str> =
            ["pretrain", "-o", "x", "--vocab-size", "300", "--d-model", "16"].iter().chain(more).copied().collect();
        let assert = t2r(dir.path(), &line);
        assert_ne!(assert.get_output().status.code(), Some(0));
        stderr(&assert)
    };
    assert!(with(&["--text", "empty.txt"]).contains("no vocabulary of 300"));
    assert!(with(&["--text", "latin.txt"]).contains("latin.txt is not UTF-8: line 1"));
    assert!(with(&["--text", "none.txt"]).contains("cannot read none.txt"));
    assert!(with(&["--text", "text.txt", "--seq-len", "100000"]).contains("are needed"));
    assert!(with(&[]).contains("give --text FILES"));
    assert!(with(&["--text", "text.txt", "--n-heads", "3"]).contains("multiple"));
    assert!(with(&["--text", "text.txt", "--dropout", "1.5"]).contains("dropout is 1.5"));
    assert!(with(&["--text", "text.txt", "--variant", "t3r"]).contains("did you mean 't2r'?"));
    assert!(!dir.path().join("x").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_is_kept_and_goes_on() {
    let dir = temp();
    write_text(dir.path());
    let line: Vec<&str> = PRETRAIN.iter().map(|word| if *word == "6" { "4000" } else { *word }).collect();
    let mut run = Command::new(env!("CARGO_BIN_EXE_t2r"))
        .current_dir(dir.path())
        .env("HOME", dir.path().join("home"))
        .args(&line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stderr = BufReader::new(run.stderr.take().expect("piped"));
    let looked = stderr.by_ref().lines().map_while(Result::ok).any(|line| line.starts_with("6 · held out"));
    Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    stderr.read_to_string(&mut String::new()).expect("readable");
    assert!(looked, "no update was made");
    assert_eq!(run.wait().expect("ended").code(), Some(130));
    let log = fs::read_to_string(dir.path().join("base/training/pretrain.csv")).expect("a log");
    assert!(log.ends_with('\n') && log.lines().count() > 7);
    assert!(dir.path().join("base/training/pretrain.safetensors").is_file());
    // A run with other settings is another run.
    let other: Vec<&str> = PRETRAIN.iter().copied().chain(["--resume"]).collect();
    let text = crate::stderr(&t2r(dir.path(), &other).code(1));
    assert!(text.contains("another training"), "{text}");
}

#[test]
fn a_tradeoff_is_planned_and_its_file_is_guarded() {
    let dir = temp();
    let assert = t2r(dir.path(), &["tradeoff", "--profile", "tradeoff-smoke", "--dry-run", "--format", "csv"]).code(0);
    assert!(stdout(&assert).contains("t2r:32,,all,transferred,0"), "{}", stdout(&assert));
    let text = stderr(&t2r(dir.path(), &["tradeoff", "--profile", "tradeoff-smok", "--csv", "x.csv"]).code(2));
    assert!(text.contains("did you mean 'tradeoff-smoke'?"), "{text}");
    let text = stderr(&t2r(dir.path(), &["tradeoff", "--profile", "tradeoff-lm", "--csv", "x.csv"]).code(1));
    assert!(text.contains("--text"), "{text}");
    fs::write(dir.path().join("x.csv"), "mine").expect("written");
    let text = stderr(&t2r(dir.path(), &["tradeoff", "--profile", "tradeoff-smoke", "--csv", "x.csv"]).code(1));
    assert!(text.contains("x.csv exists"), "{text}");
    assert_eq!(fs::read_to_string(dir.path().join("x.csv")).expect("there"), "mine");
}
