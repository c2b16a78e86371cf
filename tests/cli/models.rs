//! Checkpoints on the command line: eval, generate, convert, and a checkpoint under a run.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{stderr, stdout, t2r, temp};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/fixtures").join(name).display().to_string()
}

#[test]
fn eval_answers_in_every_form() {
    let dir = temp();
    fs::write(dir.path().join("text"), "It is a truth universally acknowledged, that 1813 is a year.").unwrap();
    let eval = |more: &[&str]| {
        let llama = fixture("llama");
        let args: Vec<&str> = ["eval", &llama, "--text", "text"].into_iter().chain(more.iter().copied()).collect();
        t2r(dir.path(), &args).success()
    };
    let json: Value = serde_json::from_str(&stdout(&eval(&["--window", "8", "--format", "json"]))).unwrap();
    let row = &json[0];
    let (perplexity, nll) = (row["perplexity"].as_f64().unwrap(), row["nll"].as_f64().unwrap());
    assert!((perplexity - nll.exp()).abs() < 1e-6 * perplexity);
    let tokens = row["tokens"].as_u64().unwrap();
    // One of each eight is not scored.
    assert_eq!(row["windows"].as_u64().unwrap(), tokens.div_ceil(7));
    // In one window every byte is covered: mean nats per token over mean bytes per token, in bits.
    let json: Value = serde_json::from_str(&stdout(&eval(&["--window", "60", "--format", "json"]))).unwrap();
    let (nll, tokens) = (json[0]["nll"].as_f64().unwrap(), json[0]["tokens"].as_f64().unwrap());
    let want = nll * (tokens + 1.0) / 60.0 / std::f64::consts::LN_2;
    assert!((json[0]["bits_per_byte"].as_f64().unwrap() - want).abs() < 1e-6);
    let csv = stdout(&eval(&["--window", "8", "--format", "csv", "--max-windows", "2"]));
    assert!(
        csv.starts_with("perplexity,nll,tokens,windows,bits_per_byte,tokens_per_s\n") && csv.contains(",14,2,"),
        "{csv}"
    );
    let teacher = fixture("llama");
    let table = stdout(&eval(&["--teacher", &teacher]));
    assert!(table.contains("attention_distance") && table.contains("softmax"), "{table}");
    let json: Value = serde_json::from_str(&stdout(&eval(&["--teacher", &teacher, "--format", "json"]))).unwrap();
    assert_eq!(json[0]["attention_distance"], serde_json::json!([0.0, 0.0]));
}

#[test]
fn generate_writes_text_alone_to_stdout() {
    let dir = temp();
    let llama = fixture("llama");
    let generate = |more: &[&str]| {
        let args: Vec<&str> = ["generate", &llama, "--max-tokens", "12", "--ignore-eos"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        t2r(dir.path(), &args).success()
    };
    let greedy = generate(&["--prompt", "It is"]);
    assert!(stderr(&greedy).contains("12 tokens in ") && stderr(&greedy).contains("tokens/s"), "{}", stderr(&greedy));
    assert_eq!(stdout(&greedy), stdout(&generate(&["--prompt", "It is"])));
    let drawn = |seed: &str| stdout(&generate(&["--prompt", "It is", "--temperature", "1.5", "--seed", seed]));
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    assert!(!stdout(&generate(&[])).is_empty(), "a text may begin with nothing");
    assert!(!stdout(&generate(&["--prompt", "Hi", "--chat"])).is_empty());
}

#[test]
fn a_converted_model_is_used_by_its_path() {
    let dir = temp();
    let llama = fixture("llama");
    let convert =
        ["convert", &llama, "--to", "t2r", "--feature-dim", "4", "--layers", "1", "-o", "out", "--format", "csv"];
    let converted = t2r(dir.path(), &convert).success();
    let rows = stdout(&converted);
    assert!(rows.starts_with("parameter,origin,tensors,numbers\n"), "{rows}");
    // 2 key heads of a map of 4 × 10; 2 layers of 32 inputs and 40 outputs.
    assert!(
        rows.contains("blocks.*.attention.weight,new,1,80\n") && rows.contains("blocks.*.q.weight,copied,2,2560\n"),
        "{rows}"
    );
    // 2 key heads · 2 · 10 · 4 bytes a token and layer, against 2 · 4 · 11 · 4.
    let said = stderr(&converted);
    assert!(said.contains("1 of 2 layers swapped") && said.contains("less from 3 tokens on"), "{said}");
    let again = t2r(dir.path(), &convert).code(1);
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    t2r(dir.path(), &[&convert[..], &["--force"]].concat()).success();
    fs::write(dir.path().join("text"), "It is a truth universally acknowledged.").unwrap();
    let eval = t2r(dir.path(), &["eval", "out", "--text", "text", "--teacher", &llama, "--format", "json"]).success();
    let json: Value = serde_json::from_str(&stdout(&eval)).unwrap();
    let distances = json[0]["attention_distance"].as_array().unwrap();
    assert!(distances[0] == 0.0 && distances[1].as_f64().unwrap() > 0.0, "{distances:?}");
    t2r(dir.path(), &["generate", "out", "--prompt", "It", "--max-tokens", "3"]).success();
}

#[test]
fn a_checkpoint_stands_under_whole_model_workloads() {
    let dir = temp();
    let llama = fixture("llama");
    let run = [
        "--model",
        &llama,
        "--profile",
        "smoke",
        "--workload",
        "decode,prefill,generate,attention",
        "--variants",
        "softmax,t2r",
        "--seq-len",
        "16",
        "--batch",
        "1",
        "--rounds",
        "1",
        "--min-block",
        "1ms",
        "--threads",
        "1",
        "--cache",
        "warm",
        "--csv",
        "-",
    ];
    let csv = stdout(&t2r(dir.path(), &run).success());
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|c| c == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8, "{csv}");
    for row in &rows {
        let get = |name: &str| &row[place(name)];
        assert_eq!(
            (get("status"), get("n_heads"), get("n_kv_heads"), get("head_dim")),
            ("ok", "4", "2", "10"),
            "{row:?}"
        );
        match get("workload") {
            "attention" => assert_eq!(get("model"), ""),
            _ => {
                assert!(get("model").starts_with("llama@"), "{row:?}");
                assert_eq!((get("n_layers"), get("d_model"), get("vocab_size")), ("2", "32", "288"));
            }
        }
    }
}

/// Columns of what a run of smoke's sizes gives, by name.
fn measured<const N: usize>(dir: &Path, how: &[&str], names: [&str; N]) -> Vec<[String; N]> {
    let fixed = ["--profile", "smoke", "--rounds", "1", "--min-block", "1ms", "--threads", "1", "--csv", "-", "-q"];
    let csv = stdout(&t2r(dir, &[how, &fixed].concat()).success());
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let at = names.map(|name| header.iter().position(|h| h == name).expect("a column"));
    reader.records().map(|row| row.expect("a row")).map(|row| at.map(|i| row[i].to_owned())).collect()
}

#[test]
fn a_converted_checkpoint_is_measured_as_it_is() {
    let dir = temp();
    for (layers, out) in [("all", "whole"), ("50%", "mixed")] {
        let convert =
            ["convert", &fixture("llama"), "--to", "t2r", "--feature-dim", "4", "--layers", layers, "-o", out];
        t2r(dir.path(), &convert).success();
    }
    let names = ["workload", "variant", "feature_dim", "status", "state_bytes_pred", "state_bytes_measured"];
    let run = |model: &str, more: &[&str]| {
        let how = ["--model", model, "--workload", "decode,prefill,generate,train", "--seq-len", "16", "--batch", "2"];
        measured(dir.path(), &[&how, more].concat(), names)
    };
    let whole = run("whole", &[]);
    assert!(whole.iter().all(|row| row[1..4] == ["t2r", "4", "ok"]), "{whole:?}");
    let mixed = run("mixed", &[]);
    assert_eq!(mixed.len(), 4, "{mixed:?}");
    assert!(mixed.iter().all(|row| row[1..4] == ["as-is", "", "ok"]), "{mixed:?}");
    // Two layers with two key heads of 10 for two sequences, f32: sums of 4 · 11 in one, in the other keys and values of 16.
    let decode = mixed.iter().find(|row| row[0] == "decode").unwrap();
    let want = (2 * 2 * 4 * (4 * 11 + 16 * 2 * 10)).to_string();
    assert_eq!(decode[4..], [want.clone(), want], "{mixed:?}");
    let both = run("mixed", &["--variants", "softmax,as-is"]);
    assert_eq!(both.iter().filter(|row| row[1] == "softmax" && row[3] == "ok").count(), 4, "{both:?}");
    for how in [&["--workload", "decode", "--variants", "as-is"][..], &["--model", "mixed", "--workload", "attention"]]
    {
        let refused = stderr(&t2r(dir.path(), &[how, &["--no-tui"]].concat()).code(2));
        assert!(refused.contains("as-is"), "{refused}");
    }
}

#[test]
fn the_check_of_a_training_step_looks_between_the_kinks() {
    // Here a clamped denominator bends the loss within a thousandth of a step along the gradient.
    for seed in ["0", "1", "3"] {
        let how = ["--model", &fixture("llama"), "--workload", "train", "--variants", "t2r", "--seed", seed];
        let rows = measured(temp().path(), &how, ["status", "max_rel_err"]);
        assert!(!rows.is_empty() && rows.iter().all(|row| row[0] == "ok"), "seed {seed}: {rows:?}");
    }
}

#[test]
fn mistakes_with_checkpoints_are_said() {
    let dir = temp();
    let (llama, gpt2) = (fixture("llama"), fixture("gpt2"));
    fs::write(dir.path().join("text"), "Some text.").unwrap();
    fs::write(dir.path().join("short"), "a").unwrap();
    fs::write(dir.path().join("bytes"), [b'a', 0xff]).unwrap();
    let gguf = fs::read(fixture("gguf/tiny.gguf")).unwrap();
    fs::write(dir.path().join("cut.gguf"), &gguf[..gguf.len() - 1000]).unwrap();
    let cases: [(&[&str], i32, &str); 15] = [
        (&["eval", "cut.gguf", "--text", "text"], 1, "cut.gguf: tensor '"),
        (&["eval", "nowhere", "--text", "text"], 1, "nowhere"),
        (&["eval", &llama, "--text", "missing"], 1, "missing"),
        (&["eval", &llama, "--text", "short"], 1, "too few"),
        (&["eval", &llama, "--text", "bytes"], 1, "byte 1 is not UTF-8"),
        (&["eval", &llama, "--text", "text", "--window", "1"], 2, "--window 1"),
        (&["eval", &llama, "--text", "text", "--window", "8", "--stride", "9"], 2, "--stride 9"),
        (&["eval", &llama, "--text", "text", "--teacher", &gpt2], 1, "another shape"),
        (&["generate", &llama, "--temperature", "-1"], 2, "--temperature"),
        (&["generate", &llama, "--top-p", "1.5"], 2, "--top-p 1.5"),
        (&["convert", &llama, "--to", "t3r", "-o", "out"], 2, "did you mean 't2r'?"),
        (&["convert", &llama, "--to", "t2r", "--layers", "7", "-o", "out"], 2, "no layer 7"),
        (&["convert", &llama, "--to", "t2r", "--cross-feature-dim", "4", "-o", "out"], 2, "encoder-decoders"),
        (&["--model", &llama, "--n-layers", "3", "--dry-run"], 2, "--n-layers"),
        (&["--model", "nowhere", "--dry-run"], 1, "nowhere"),
    ];
    for (args, code, hint) in cases {
        let refused = t2r(dir.path(), args).code(code);
        assert!(stderr(&refused).contains(hint), "{args:?}: {}", stderr(&refused));
    }
    assert!(!dir.path().join("out").exists());
}

#[test]
fn cells_that_a_checkpoint_cannot_be_are_skipped_with_the_reason() {
    let dir = temp();
    let gpt2 = fixture("gpt2");
    let listed = t2r(
        dir.path(),
        &[
            "list",
            "cells",
            "--model",
            &gpt2,
            "--workload",
            "decode,translate",
            "--seq-len",
            "8,20",
            "--n-gen",
            "2",
            "--format",
            "csv",
        ],
    );
    let text = stdout(&listed.success());
    assert!(text.contains("the model is a language model") && text.contains("the model knows 24 positions"), "{text}");
}
