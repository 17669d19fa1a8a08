//! Ids of the hub, without a network: what is one, and which files it means.

use peregrine::checkpoint::hub::{HubFiles, HubId, shards};

fn id(text: &str) -> HubId {
    HubId::parse(text).unwrap_or_else(|| panic!("{text} is an id"))
}

fn names(files: &[&str]) -> Vec<String> {
    files.iter().map(ToString::to_string).collect()
}

fn gguf(text: &str, files: &[&str]) -> Vec<String> {
    match id(text).choose(&names(files)).unwrap() {
        HubFiles::Gguf(files) => files,
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str, files: &[&str]) -> String {
    id(text).choose(&names(files)).unwrap_err().to_string()
}

#[test]
fn ids_are_told_from_paths() {
    let plain = id("tiiuae/Falcon-H1-0.5B-Instruct");
    assert_eq!((plain.repo.as_str(), plain.file), ("tiiuae/Falcon-H1-0.5B-Instruct", None));
    let with = id("a/b_c.d:sub/x-Q4_0.gguf");
    assert_eq!((with.repo.as_str(), with.file.as_deref()), ("a/b_c.d", Some("sub/x-Q4_0.gguf")));
    for path in [
        "model.gguf",
        "folder/model.gguf",
        "a/b/c",
        "./a",
        "../b",
        "/a/b",
        "a/",
        "/b",
        "a",
        "",
        "a/b:",
        "a/b:../c.gguf",
        "a/b:/etc/passwd",
        "a/b:x?y",
        "a b/c",
        "a/b#c",
        "http://host/x",
        "C:/x/y",
        "a/b.json",
    ] {
        assert_eq!(HubId::parse(path), None, "{path}");
    }
}

const MANY: [&str; 6] = ["README.md", "m-F16.gguf", "m-BF16.gguf", "m-Q4_K_S.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"];

#[test]
fn a_type_finds_its_file() {
    assert_eq!(gguf("a/b:Q8_0", &MANY), ["m-Q8_0.gguf"]);
    assert_eq!(gguf("a/b:q4_k_m", &MANY), ["m-Q4_K_M.gguf"]);
    // Not a part of another type's name, where the type itself is there.
    assert_eq!(gguf("a/b:f16", &MANY), ["m-F16.gguf"]);
    assert_eq!(gguf("a/b:m-Q4_K_S.gguf", &MANY), ["m-Q4_K_S.gguf"]);
    assert_eq!(gguf("a/b", &MANY), ["m-Q4_K_M.gguf"]);
    assert_eq!(gguf("a/b:Q4_K", &["m-Q4_K_M.gguf", "m-Q8_0.gguf"]), ["m-Q4_K_M.gguf"]);
    // A type that names a folder of parts.
    let split = ["Q6_K/m-00001-of-00002.gguf", "Q6_K/m-00002-of-00002.gguf", "m-Q4_0.gguf"];
    assert_eq!(gguf("a/b:Q6_K", &split), split[..2]);
    assert_eq!(gguf("a/b:Q6_K/m-00002-of-00002.gguf", &split), split[..2]);
}

#[test]
fn what_is_not_there_is_reported_with_what_is() {
    for (text, files, words) in [
        ("a/b:Q9", &MANY[..], &["a/b", "Q9", "m-Q8_0.gguf"][..]),
        ("a/b:Q4_K", &MANY, &["only one file", "m-Q4_K_S.gguf", "m-Q4_K_M.gguf"]),
        ("a/b:README.md", &MANY, &["GGUF", "README.md"]),
        ("a/b", &["m-Q8_0.gguf"], &["Q4_K_M", "m-Q8_0.gguf"]),
        ("a/b", &["README.md"], &["no model file"]),
        ("a/b", &["model.safetensors", "config.json"], &["tokenizer.json"]),
        ("a/b", &["x-Q4_K_M-00001-of-00002.gguf"], &["all parts", "00002-of-00002"]),
        ("a/b", &["../x-Q4_K_M.gguf"], &["inside"]),
    ] {
        let message = refused(text, files);
        words.iter().for_each(|word| assert!(message.contains(word), "{text}: {word:?} is not in: {message}"));
    }
    let hundred: Vec<String> = (0..100).map(|i| format!("x{i}.gguf")).collect();
    let message = id("a/b").choose(&hundred).unwrap_err().to_string();
    assert!(message.contains("and 70 more"), "{message}");
}

#[test]
fn safetensors_come_as_a_folder() {
    let one = ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "m-Q4_K_M.gguf", "x.py"];
    let files = names(&["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]);
    assert_eq!(id("a/b").choose(&names(&one)).unwrap(), HubFiles::Folder { files, index: None });
    let sharded = ["config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"];
    let index = Some("model.safetensors.index.json".to_string());
    let files = names(&["config.json", "tokenizer.json"]);
    assert_eq!(id("a/b").choose(&names(&sharded)).unwrap(), HubFiles::Folder { files, index });
}

#[test]
fn an_index_names_its_shards() {
    let index = br#"{"weight_map": {"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"}}"#;
    assert_eq!(shards("i", index).unwrap(), ["x-1.safetensors", "x-2.safetensors"]);
    for (index, word) in [
        (&b"no"[..], "JSON"),
        (b"{}", "by name"),
        (br#"{"weight_map": {"a": "../x"}}"#, "in the folder"),
        (br#"{"weight_map": {"a": "b/x"}}"#, "in the folder"),
        (br#"{"weight_map": {"a": 1}}"#, "in the folder"),
    ] {
        let message = shards("i", index).unwrap_err().to_string();
        assert!(message.starts_with("i: weight_map") && message.contains(word), "{message}");
    }
}
