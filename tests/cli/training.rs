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
    // A sentence too long is named by its line in the file, whichever batch it is in.
    fs::write(dir.path().join("long.txt"), format!("w1\nw2\n{}\nw4\n", "w3 ".repeat(40))).expect("written");
    let assert =
        t2r(dir.path(), &["eval", "mt", "--target", "long.txt", "--source", "long.txt", "--batch", "1"]).code(1);
    assert!(stderr(&assert).contains("line 3 of the sentences: it has"), "{}", stderr(&assert));
    // A translation goes on, with an empty line in its place.
    let assert = t2r(dir.path(), &["translate", "mt", "--source", "long.txt", "--batch", "1"]).code(1);
    let text = stderr(&assert);
    assert!(text.contains("line 3 is left empty: it has") && text.contains("1 of 4 sentences"), "{text}");
    assert_eq!(stdout(&assert).lines().count(), 4, "{}", stdout(&assert));
    assert_eq!(stdout(&assert).lines().nth(2), Some(""));
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
    assert!(with(&["--text", "empty.txt"]).contains("no text to learn in empty.txt"));
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

/// A tradeoff of a few updates.
const TINY: &str = r#"
description = "tiny"
task = "recall"

[recall]
pairs = 2
keys = 5
values = 3

[model]
n_layers = 2
d_model = 16
n_heads = 2
ffn_dim = 16
positions = "learned"
norm = "layernorm"
activation = "gelu"

[training]
batch = 4
clip = 1.0
weight_decay = 0.01
dropout = 0.0
label_smoothing = 0.0
held_out = 8

[pretrain]
steps = 3
learning_rate = 1e-3
warmup = 1
decay = "cosine"

[finetune]
steps = 3
learning_rate = 1e-3
warmup = 1
decay = "cosine"

[transfer]
steps = 2
learning_rate = 1e-2
warmup = 1
decay = "cosine"

[decode]
batch = 2
lengths = [4, 16]
tokens = 2

[[row]]
variant = "t2r:4"
ways = ["swapped", "transfer-only", "transferred", "scratch"]
seeds = [0]
"#;

/// Columns of a tradeoff's file by name, for every row.
fn columns<const N: usize>(file: &Path, names: [&str; N]) -> Vec<[String; N]> {
    let mut reader = csv::Reader::from_path(file).expect("a file");
    let header = reader.headers().expect("a header").clone();
    let at = names.map(|name| header.iter().position(|h| h == name).expect("a column"));
    reader.records().map(|r| r.expect("a row")).map(|r| at.map(|i| r[i].to_owned())).collect()
}

#[test]
fn a_tradeoff_measures_speeds_when_all_models_are_there_and_again_when_asked() {
    let dir = temp();
    fs::write(dir.path().join("tiny.toml"), TINY).expect("written");
    let file = dir.path().join("x.csv");
    let run =
        |how: &[&str]| stderr(&t2r(dir.path(), &[&["tradeoff", "--profile", "./tiny.toml"], how].concat()).code(0));
    let told = run(&["--csv", "x.csv"]);
    let (last, first) = (told.find("[5/5]").expect("five models"), told.find("round 1 of 6").expect("rounds"));
    assert!(last < first, "{told}");
    let ways: Vec<_> = columns(&file, ["way", "train_steps"]).into_iter().step_by(2).collect();
    let want = [("pretrained", "3"), ("swapped", "0"), ("transfer-only", "2"), ("transferred", "3"), ("scratch", "6")];
    assert_eq!(ways, want.map(|(way, steps)| [way.to_owned(), steps.to_owned()]));
    let loss = columns(&file, ["way", "loss"]);
    assert!(loss.iter().zip(&loss[2..]).all(|(a, b)| a[0] == b[0] || a[1] != b[1]), "{loss:?}");
    assert!(!dir.path().join("x.csv.state").exists());
    let speeds = || columns(&file, ["variant", "seq_len", "tokens_per_s", "state_bytes", "speed_rounds"]);
    let measured = speeds();
    assert!(measured.iter().all(|row| row.iter().all(|cell| !cell.is_empty())), "{measured:?}");
    // One measurement for all models that are made alike.
    assert!(measured[2..].chunks(2).all(|of_model| *of_model == measured[2..4]), "{measured:?}");

    // What is there stays, what is missing is filled in, and all is taken anew where that is asked for.
    let text = fs::read_to_string(&file).expect("there").replace(&measured[2][2], "").replace(&measured[0][2], "1.5");
    fs::write(&file, text).expect("written");
    let told = run(&["--resume", "x.csv"]);
    assert!(told.contains("round 6 of 6") && !told.contains("[1/5]"), "{told}");
    assert!(speeds().iter().all(|row| !row[2].is_empty()) && speeds()[0][2] == "1.5", "{:?}", speeds());
    assert!(!run(&["--resume", "x.csv"]).contains("round"));
    run(&["--resume", "x.csv", "--speeds-again"]);
    assert!(speeds().iter().all(|row| row[2] != "1.5"), "{:?}", speeds());
    assert_eq!(columns(&file, ["way", "loss"]), loss);
    t2r(dir.path(), &["tradeoff", "--profile", "./tiny.toml", "--csv", "y.csv", "--speeds-again"]).code(2);
}

#[test]
fn a_pretrained_model_is_asked_for_and_converted() {
    let dir = temp();
    write_text(dir.path());
    let given = TINY
        .replace("task = \"recall\"", "task = \"text\"")
        .replace("[recall]\npairs = 2\nkeys = 5\nvalues = 3\n", "[given]\nseq_len = 16\n")
        .replace(", \"scratch\"", "");
    let without = |text: &str, section: &str| -> String {
        let start = text.find(section).expect("a section");
        let end = text[start + 1..].find("\n[").map_or(text.len(), |end| start + 1 + end);
        format!("{}{}", &text[..start], &text[end..])
    };
    fs::write(dir.path().join("given.toml"), without(&without(&given, "[model]"), "[pretrain]")).expect("written");
    let tradeoff = ["tradeoff", "--profile", "./given.toml", "--text", "text.txt", "--csv", "x.csv"];
    assert!(stderr(&t2r(dir.path(), &tradeoff).code(2)).contains("--model"));
    t2r(dir.path(), &PRETRAIN).code(0);
    t2r(dir.path(), &[&tradeoff[..], &["--model", "base"]].concat()).code(0);
    let rows = columns(&dir.path().join("x.csv"), ["way", "train_steps", "total_tokens", "tokens_per_s"]);
    assert_eq!(
        rows.iter().step_by(2).map(|r| r[0].as_str()).collect::<Vec<_>>(),
        ["pretrained", "swapped", "transfer-only", "transferred"]
    );
    assert!(rows.iter().all(|row| row[2].is_empty() && !row[3].is_empty()), "{rows:?}");
}
