//! Each family as `transformers` reads it: logits, texts, names.

use std::{fs, path::Path};

use candle_core::{DType, Device};
use proptest::prelude::*;
use t2r::{checkpoint::Family, spec::Positions};

use crate::{FAMILIES, decoder, distance, fixture, logits, open};

fn folder(name: &str) -> std::path::PathBuf {
    let path = fixture(name);
    if path.is_dir() { path } else { path.parent().map(Path::to_owned).unwrap() }
}

#[test]
fn logits_are_those_of_transformers() {
    for name in FAMILIES {
        let expected = candle_core::safetensors::load(folder(name).join("expected.safetensors"), &Device::Cpu).unwrap();
        let ids: Vec<u32> = expected["ids"].to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let want: Vec<f32> = expected["logits"].flatten_all().unwrap().to_vec1().unwrap();
        for (form, got) in logits(&decoder(&open(&fixture(name))), &ids) {
            let distance = distance(&got, &want);
            assert!(distance < 1e-4, "{name} {form}: {distance:e}");
        }
    }
}

#[test]
fn texts_are_split_as_tokenizers_splits_them() {
    for name in FAMILIES {
        let tokenizer = open(&fixture(name)).tokenizer().unwrap();
        let texts: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder(name).join("texts.json")).unwrap()).unwrap();
        for case in texts.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let want: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: '{text}'");
            let (ids, ends) = tokenizer.encode_with_ends(text).unwrap();
            assert_eq!(ids, want);
            assert_eq!(ends.last().copied().unwrap_or(0), text.len(), "{name}: '{text}' ends at its end");
            let mut stream = tokenizer.stream();
            let streamed: String = want.iter().map(|id| stream.push(*id)).collect();
            let plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "");
            assert_eq!((streamed.as_str(), tokenizer.decode(&want).unwrap().as_str()), (&*plain, &*plain), "{name}");
        }
    }
}

#[test]
fn what_a_checkpoint_says_of_itself_is_read() {
    let llama = open(&fixture("llama"));
    let setup = llama.setup();
    assert_eq!(
        (setup.shape.d_model, setup.heads.n_heads, setup.heads.n_kv_heads, setup.heads.head_dim),
        (32, 4, 2, 10)
    );
    assert_eq!((setup.conventions.rotary_base, setup.conventions.norm_epsilon), (50_000.0, 1e-6));
    assert!(setup.shape.tied_output && !setup.conventions.qkv_bias && !setup.has_encoder());
    assert_eq!((llama.description().special.bos, llama.description().special.eos.as_slice()), (Some(0), &[1][..]));
    assert_eq!((llama.name().as_str(), llama.description().family()), ("llama", Family::Llama));
    let qwen2 = open(&fixture("qwen2"));
    let conventions = qwen2.setup().conventions;
    assert!(conventions.qkv_bias && !conventions.out_bias && !conventions.ffn_bias && !qwen2.setup().shape.tied_output);
    let gpt2 = open(&fixture("gpt2"));
    assert_eq!((gpt2.setup().shape.positions, gpt2.setup().max_len), (Positions::Learned, 24));
    assert_eq!((gpt2.setup().shape.ffn_dim, gpt2.setup().conventions.norm_epsilon), (128, 1e-4));
    let gguf = open(&fixture("gguf/tiny.gguf"));
    assert_eq!((gguf.name().as_str(), gguf.setup().conventions.rotary_base), ("tiny", 30_000.0));
    assert_eq!(gguf.description().special.eos, [1]);
}

#[test]
fn a_token_ends_where_its_text_does_blanks_too() {
    for name in ["llama", "gguf/tiny.gguf"] {
        let tokenizer = open(&fixture(name)).tokenizer().unwrap();
        for text in ["   ", " \n\n a  ", "a\t", "of the  night\n"] {
            let (ids, ends) = tokenizer.encode_with_ends(text).unwrap();
            let want: Vec<usize> = (1..=ids.len()).map(|n| tokenizer.decode(&ids[..n]).unwrap().len()).collect();
            assert_eq!(ends, want, "{name} {text:?}");
        }
    }
}

#[test]
fn a_key_names_the_content() {
    let (key, copy) = (open(&fixture("llama")).key().unwrap(), crate::copy_of("llama"));
    let (name, hash) = key.split_once('@').unwrap();
    assert_eq!((name, hash.len()), ("llama", 8));
    assert!(open(copy.path()).key().unwrap().ends_with(hash), "a copy has the same hash");
    assert!(!open(&fixture("qwen2")).key().unwrap().ends_with(hash));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_whole_and_piece_by_piece(text in "(\\PC|[ \\t\\r\\n]|[0-9]{1,4}){0,40}") {
        // A stream takes U+FFFD at its end for a character that is not whole yet.
        let text = text.replace(char::REPLACEMENT_CHARACTER, "?");
        for name in ["llama", "gguf/tiny.gguf"] {
            let tokenizer = open(&fixture(name)).tokenizer().unwrap();
            let (ids, ends) = tokenizer.encode_with_ends(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
            let mut stream = tokenizer.stream();
            prop_assert_eq!(ids.iter().map(|id| stream.push(*id)).collect::<String>(), text.clone());
            prop_assert!(ends.is_sorted() && ends.last().copied().unwrap_or(0) == text.len());
        }
    }

    #[test]
    fn a_stream_of_any_tokens_goes_on(ids in prop::collection::vec(0u32..288, 0..200)) {
        let tokenizer = open(&fixture("llama")).tokenizer().unwrap();
        let mut stream = tokenizer.stream();
        ids.iter().for_each(|id| drop(stream.push(*id)));
        // Whatever came before, whole characters follow in the end: at most the pending bytes are lost.
        let after: String = tokenizer.encode("abcdefghijklmnop").unwrap().iter().map(|id| stream.push(*id)).collect();
        prop_assert!(after.ends_with("op"), "{}", after);
    }
}
