//! Files that are cut short, changed or of another kind: an error that names the file and what is wrong, and never a panic.

use std::{fs, path::Path};

use candle_core::{DType, Device};
use proptest::prelude::*;
use serde_json::{Value, json};
use t2r::checkpoint::Checkpoint;

use crate::{FAMILIES, copy_of, fixture};

/// Opens, reads the tokenizer and builds the model: the first error.
fn use_all(path: &Path) -> Result<(), String> {
    let checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?;
    checkpoint.tokenizer().map_err(|e| e.to_string())?;
    checkpoint.decoder(&Device::Cpu, DType::F32).map_err(|e| e.to_string())?;
    Ok(())
}

fn error(path: &Path) -> String {
    use_all(path).expect_err("the checkpoint is damaged")
}

/// The first error after the named file was changed.
fn after(name: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let dir = copy_of(name);
    let path = dir.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    error(&if file.ends_with(".gguf") { path } else { dir.path().to_owned() })
}

fn with_config(name: &str, key: &str, value: Value) -> Result<(), String> {
    let dir = copy_of(name);
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(&path, config.to_string()).unwrap();
    use_all(dir.path())
}

#[test]
fn the_fixtures_themselves_are_whole() {
    for name in FAMILIES {
        assert_eq!(use_all(&fixture(name)), Ok(()), "{name}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_said_to_be() {
    let cut = after("llama", "model.safetensors", |bytes| bytes.truncate(bytes.len() - 3));
    assert!(cut.contains("model.safetensors: truncated: expected") && cut.contains("found"), "{cut}");
    for keep in [0, 7, 8, 100] {
        let cut = after("llama", "model.safetensors", |bytes| bytes.truncate(keep));
        assert!(cut.contains("model.safetensors") && cut.contains("truncated"), "{keep}: {cut}");
    }
    let longer = after("llama", "model.safetensors", |bytes| bytes.push(0));
    assert!(longer.contains("model.safetensors: truncated: expected"), "{longer}");
    let cut = after("gguf", "tiny.gguf", |bytes| bytes.truncate(bytes.len() - 900));
    assert!(cut.contains("tiny.gguf: tensor '") && cut.contains("remaining"), "{cut}");
    for (length, why) in [(3, "the file ends too early"), (10, "the file ends too early"), (2000, "")] {
        let cut = after("gguf", "tiny.gguf", |bytes| bytes.truncate(length));
        assert!(cut.contains(&format!("tiny.gguf: no GGUF file, or damaged: {why}")), "{length}: {cut}");
    }
    assert!(after("gpt2", "config.json", |bytes| bytes.truncate(30)).contains("config.json: not JSON"));
    assert!(after("gpt2", "tokenizer.json", |bytes| bytes.truncate(500)).contains("tokenizer.json: not a tokenizer"));
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_is_named() {
    let wider = with_config("llama", "intermediate_size", json!(44)).unwrap_err();
    let gate =
        "model.safetensors: tensor 'model.layers.0.mlp.gate_proj.weight': expected shape [44, 32], found [40, 32]";
    assert!(wider.contains(gate), "{wider}");
    let more = with_config("gpt2", "n_layer", json!(3)).unwrap_err();
    assert!(more.contains("no tensor 'transformer.h.2.ln_1.weight'; expected one of shape [32]"), "{more}");
    let untied = with_config("llama", "tie_word_embeddings", json!(false)).unwrap_err();
    assert!(untied.contains("no tensor 'lm_head.weight'; expected one of shape [288, 32]"), "{untied}");
    let fewer = with_config("llama", "vocab_size", json!(200)).unwrap_err();
    assert!(fewer.contains("tokenizer.json") && fewer.contains("expected ids below 200"), "{fewer}");
}

#[test]
fn what_is_not_supported_is_said_with_what_is() {
    let cases = [
        ("model_type", json!("gemma"), "model_type 'gemma'"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "RoPE scaling 'llama3'"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "RoPE scaling 'linear'"),
        ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}), "RoPE scaling 'yarn'"),
        ("hidden_act", json!("gelu"), "'hidden_act' gelu"),
        ("sliding_window", json!(16), "'sliding_window' 16"),
        ("partial_rotary_factor", json!(0.5), "'partial_rotary_factor' 0.5"),
        ("quantization_config", json!({"bits": 4}), "'quantization_config'"),
    ];
    for (key, value, found) in cases {
        let message = with_config("llama", key, value).unwrap_err();
        assert!(message.contains("config.json") && message.contains(found), "{key}: {message}");
        assert!(message.contains("is not supported; expected"), "{key}: {message}");
    }
    let erf = with_config("gpt2", "activation_function", json!("gelu")).unwrap_err();
    assert!(erf.contains("gelu_new"), "{erf}");
}

#[test]
fn wrong_values_are_shown_with_what_was_expected() {
    let cases = [
        ("hidden_size", json!("x"), "'hidden_size' is \"x\", expected a whole number"),
        ("hidden_size", json!(0), "'hidden_size' is 0"),
        ("hidden_size", json!(-4), "'hidden_size' is -4"),
        ("hidden_size", Value::Null, "'hidden_size' is missing"),
        ("num_hidden_layers", json!(100_000), "100000 layers"),
        ("num_key_value_heads", json!(3), "3 key heads do not divide 4 query heads"),
        ("head_dim", json!(9), "heads of 9 are odd"),
        ("rms_norm_eps", json!(-1.0), "'rms_norm_eps' is -1.0, expected a positive number"),
        ("tie_word_embeddings", json!("yes"), "'tie_word_embeddings' is \"yes\", expected true or false"),
        ("eos_token_id", json!("</s>"), "'eos_token_id' is \"</s>\", expected a token id"),
        ("t2r", json!([1]), "'t2r' is no object"),
        (
            "t2r",
            json!({"model_type": "llama", "layers": [{"attention": "t2r"}]}),
            "names the attention of 1 layers, expected 2",
        ),
        ("t2r", json!({"model_type": "llama", "layers": [{"attention": "t3r"}, {}]}), "did you mean 't2r'?"),
    ];
    for (key, value, expected) in cases {
        let message = with_config("llama", key, value.clone()).unwrap_err();
        assert!(message.contains("config.json") && message.contains(expected), "{key} {value}: {message}");
    }
}

#[test]
fn shards_are_held_against_their_index() {
    let index = "model.safetensors.index.json";
    let dir = copy_of("qwen2");
    let mut shards: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    shards.retain(|p| p.extension().is_some_and(|e| e == "safetensors") && !p.ends_with("expected.safetensors"));
    assert!(shards.len() > 1, "the fixture is in several files");
    fs::remove_file(&shards[0]).unwrap();
    assert!(error(dir.path()).contains(&shards[0].file_name().unwrap().to_string_lossy().into_owned()));
    let changed = |to: Value| {
        after("qwen2", index, |bytes| {
            let mut json: Value = serde_json::from_slice(bytes).unwrap();
            json["weight_map"]["model.norm.weight"] = to;
            *bytes = json.to_string().into_bytes();
        })
    };
    assert!(changed(json!("../model.safetensors")).contains("expected a file name"));
    assert!(changed(json!(7)).contains("expected a file name"));
    assert!(changed(json!("nothing.safetensors")).contains("nothing.safetensors"));
    let twice = after("qwen2", index, |bytes| {
        let mut json: Value = serde_json::from_slice(bytes).unwrap();
        json["weight_map"]["model.extra.weight"] = json["weight_map"]["model.norm.weight"].clone();
        *bytes = json.to_string().into_bytes();
    });
    assert!(twice.contains("tensor 'model.extra.weight' is in none of its files"), "{twice}");
}

#[test]
fn what_is_no_checkpoint_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(error(dir.path()).contains("config.json"));
    assert!(error(&dir.path().join("nowhere")).contains("nowhere"));
    let file = dir.path().join("weights.bin");
    fs::write(&file, "x").unwrap();
    assert!(error(&file).contains("expected a folder with config.json and *.safetensors, or a .gguf file"));
    fs::write(dir.path().join("config.json"), "[]").unwrap();
    assert!(error(dir.path()).contains("expected a JSON object, found a list"));
    fs::copy(fixture("llama/config.json"), dir.path().join("config.json")).unwrap();
    assert!(error(dir.path()).contains("neither model.safetensors nor model.safetensors.index.json"));
}

#[test]
fn a_byte_order_mark_and_other_line_ends_do_no_harm() {
    let dir = copy_of("llama");
    let path = dir.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    assert_eq!(use_all(dir.path()), Ok(()));
}

/// A value that some key might be given by mistake.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..100).prop_map(Value::from),
        any::<f64>().prop_map(|x| serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number)),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, "x", null])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_is_read_or_refused(which in 0usize..3, key in 0usize..60, value in any_value()) {
        let name = FAMILIES[which];
        let dir = copy_of(name);
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        config[&keys[key % keys.len()]] = value;
        fs::write(&path, config.to_string()).unwrap();
        if let Err(message) = use_all(dir.path()) {
            prop_assert!(message.contains(&*dir.path().to_string_lossy()), "{}", message);
        }
    }

    #[test]
    fn changed_bytes_are_read_or_refused(which in 0usize..4, at in 0usize..9000, bytes in prop::collection::vec(any::<u8>(), 1..5)) {
        let (name, file) = [
            ("llama", "model.safetensors"), ("gguf", "tiny.gguf"), ("gpt2", "tokenizer.json"), ("qwen2", "model.safetensors.index.json"),
        ][which];
        let dir = copy_of(name);
        let path = dir.path().join(file);
        let mut content = fs::read(&path).unwrap();
        let at = at % content.len();
        let end = content.len().min(at + bytes.len());
        content[at..end].copy_from_slice(&bytes[..end - at]);
        fs::write(&path, content).unwrap();
        let whole = if file.ends_with(".gguf") { path } else { dir.path().to_owned() };
        if let Err(message) = use_all(&whole) {
            prop_assert!(message.contains(&*dir.path().to_string_lossy()), "{}", message);
        }
    }

    #[test]
    fn any_header_is_read_or_refused(header in "\\PC{0,120}|(\\{\"[a-z_]{1,14}\":\\{\"dtype\":\"(F32|BF16|I8)\",\"shape\":\\[[0-9,]{0,20}\\],\"data_offsets\":\\[[0-9]{1,20},[0-9]{1,20}\\]\\}\\})", data in 0usize..64) {
        let dir = copy_of("llama");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        prop_assert!(error(dir.path()).contains(&*dir.path().to_string_lossy()));
    }
}
