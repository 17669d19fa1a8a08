//! The files around `tokenizer.json` against Hugging Face's own code (text/tokens.py makes the
//! golden), and what is refused of them.

use std::path::Path;

use peregrine::Result;
use peregrine::checkpoint::Checkpoint;
use peregrine::tokenizer::Tokenizer;
use pollster::block_on;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::text::{ids, list};

/// The golden folder with other files; `null` is no file.
fn open(files: &Value) -> Result<Checkpoint> {
    let (from, to) = (peregrine_tests::golden_path("hf-folder"), TempDir::new().unwrap());
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    for (name, content) in files.as_object().unwrap() {
        let path = to.path().join(name);
        match content {
            Value::Null => std::fs::remove_file(path).unwrap(),
            Value::String(text) => write(&path, text),
            content => write(&path, &content.to_string()),
        }
    }
    block_on(Checkpoint::open_folder(to.path()))
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn tokenizer(checkpoint: &Checkpoint) -> Tokenizer {
    Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size.max(300)).unwrap()
}

#[test]
fn every_file_of_a_tokenizer_is_read() {
    let golden: Value = serde_json::from_str(include_str!("text/tokens.json")).unwrap();
    for case in list(&golden, "cases") {
        let checkpoint = open(&case["files"]).unwrap();
        let tokenizer = tokenizer(&checkpoint);
        for (text, expected) in list(&golden, "texts").iter().zip(list(case, "ids")) {
            let found = tokenizer.encode(text.as_str().unwrap(), false).unwrap();
            assert_eq!(found, ids(expected), "{}: {text}", case["name"]);
        }
        let named: Value = checkpoint.named_tokens.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
        assert_eq!(named, case["named"], "{}", case["name"]);
    }
}

/// The error of a `tokenizer_config.json` with another field.
fn refusal(field: &str, value: Value) -> String {
    let mut config: Value = serde_json::from_slice(
        &std::fs::read(peregrine_tests::golden_path("hf-folder/tokenizer_config.json")).unwrap(),
    )
    .unwrap();
    config[field] = value;
    open(&json!({"tokenizer_config.json": config})).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_not_honored_is_refused_by_name() {
    let error = refusal("split_special_tokens", json!(true));
    assert!(error.contains("split_special_tokens"), "{error}");
    let error = refusal("add_prefix_space", json!(true));
    assert!(error.contains("add_prefix_space"), "{error}");
    // An id that the library would not give.
    let token = json!({"content": "<|tool|>", "special": true});
    let error = refusal("added_tokens_decoder", json!({"290": token}));
    assert!(error.contains("<|tool|>") && error.contains("290") && error.contains("267"), "{error}");
    let error = refusal("added_tokens_decoder", json!({"x": token}));
    assert!(error.contains("added_tokens_decoder"), "{error}");
}

#[test]
fn templates_are_found_wherever_transformers_keeps_them() {
    let template = |files: Value| open(&files).unwrap().chat_template.unwrap();
    assert_eq!(template(json!({"chat_template.jinja": null, "chat_template.json": {"chat_template": "J"}})), "J");
    let several = json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]);
    assert_eq!(
        template(json!({"chat_template.jinja": null, "tokenizer_config.json": {"chat_template": several}})),
        "D"
    );
    assert_eq!(template(json!({"chat_template.jinja": "F", "tokenizer_config.json": {"chat_template": "C"}})), "F");
    assert_eq!(template(json!({"chat_template.jinja": "F", "additional_chat_templates/default.jinja": "A"})), "A");
}

#[test]
fn text_that_is_normalized_to_a_control_token_is_none() {
    let mut file: Value =
        serde_json::from_slice(&std::fs::read(peregrine_tests::golden_path("hf-folder/tokenizer.json")).unwrap())
            .unwrap();
    file["normalizer"] = json!({"type": "NFKC"});
    for token in file["added_tokens"].as_array_mut().unwrap() {
        token["normalized"] = json!(true);
    }
    let checkpoint = open(&json!({"tokenizer.json": file})).unwrap();
    let error = Tokenizer::new(&checkpoint.tokenizer, 300).unwrap_err().to_string();
    assert!(error.contains("normalized"), "{error}");
}

#[test]
fn expressions_that_mean_other_things_elsewhere_are_refused() {
    let mut file: Value =
        serde_json::from_slice(&std::fs::read(peregrine_tests::golden_path("hf-folder/tokenizer.json")).unwrap())
            .unwrap();
    let split = json!({"type": "Split", "pattern": {"Regex": "^\\w+$"}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    let checkpoint = open(&json!({"tokenizer.json": file})).unwrap();
    let error = Tokenizer::new(&checkpoint.tokenizer, 300).unwrap_err().to_string();
    assert!(error.contains("regular expression") && error.contains('^'), "{error}");
}

/// A file that says that a token which ends a turn is no control token: a person could end his turn
/// by typing it.
#[test]
fn what_ends_a_turn_is_a_control_token_whatever_its_entry_says() {
    let path = peregrine_tests::golden_path("hf-folder/tokenizer.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for token in file["added_tokens"].as_array_mut().unwrap() {
        token["special"] = json!(false);
    }
    let next = file["model"]["vocab"].as_object().unwrap().len() + file["added_tokens"].as_array().unwrap().len();
    for (text, config) in [
        // By its name, by the id that config.json states, by what every model of the family means
        // by it.
        ("<|stop|>", json!({"eos_token": "<|stop|>"})),
        ("<|tool|>", json!({"tool_token": "<|tool|>"})),
        ("<|im_end|>", json!({})),
    ] {
        let mut file = file.clone();
        let added = file["added_tokens"].as_array_mut().unwrap();
        if !added.iter().any(|token| token["content"] == text) {
            added.push(json!({"id": next, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": false}));
        }
        let checkpoint = open(&json!({"tokenizer.json": file, "tokenizer_config.json": config})).unwrap();
        let tokenizer = tokenizer(&checkpoint);
        let id = tokenizer.encode(text, false).unwrap();
        assert_eq!(id.len(), 1, "{text}");
        assert!(tokenizer.is_special(id[0]), "{text}");
        assert!(!tokenizer.encode_plain(text).unwrap().contains(&id[0]), "{text}");
    }
}

#[test]
fn a_tokenizer_file_that_is_no_object_is_refused() {
    for content in ["[1]", "7", "\"x\"", "null"] {
        let files = json!({"tokenizer.json": content, "added_tokens.json": {"<|tool|>": 267}});
        let error = open(&files).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "malformed", "{error}");
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}
