//! The built program: what it prints, its exit status, and one line on stderr for every bad input.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::{command, fails, model, ok, run, text, told};

#[test]
fn the_check_of_failures_can_fail() {
    let output = run(&["info", "nowhere.gguf"]);
    told(&output, Some(2), "nowhere.gguf").unwrap();
    assert!(told(&output, Some(1), "nowhere.gguf").is_err(), "status");
    assert!(told(&output, Some(2), "somewhere").is_err(), "message");
    let talkative = Output { stdout: b"x".to_vec(), ..output.clone() };
    assert!(told(&talkative, Some(2), "nowhere.gguf").is_err(), "output");
    let long = Output { stderr: [output.stderr.clone(), b"more\n".to_vec()].concat(), ..output };
    assert!(told(&long, Some(2), "nowhere.gguf").is_err(), "two lines");
}

#[test]
fn info() {
    let model = model();
    let table = ok(&["info", model.to_str().unwrap()]);
    for part in ["falcon-h1 (gguf)", "31.0 M", "Q4_0", "in 73 tensors", "hidden_size                512", "6144 tokens"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json = ok(&["info", model.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["architecture"], "falcon-h1");
    assert_eq!(json["config"]["num_hidden_layers"], 8);
    assert_eq!(json["tokenizer"]["end"], serde_json::json!([2, 4]));
    assert_eq!(json["chat_template"], true);
    let formats = json["formats"].as_object().unwrap();
    let bytes: u64 = formats.values().map(|f| f["bytes"].as_u64().unwrap()).sum();
    assert_eq!(json["bytes"].as_u64(), Some(bytes));
    assert_eq!(formats["Q6_K"]["tensors"], 1);
}

#[test]
fn info_tells_the_memory() {
    let model = model();
    let model = model.to_str().unwrap();
    let memory = |args: &[&str]| {
        let json = ok(&[&["info", model, "--json"], args].concat());
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["memory"].clone()
    };
    let all = memory(&[]);
    let sum: u64 =
        ["weights", "kv_cache", "kv_growth", "states", "scratch"].map(|k| all[k].as_u64().unwrap()).iter().sum();
    assert_eq!((all["total"].as_u64(), &all["context"]), (Some(sum), &4096.into()));
    assert!(all["fits"].is_null());
    assert_eq!(all["snapshots"].as_u64(), Some(256 << 20));
    let asked = memory(&["--snapshots", "0", "--host-snapshots", "5k"]);
    assert_eq!([&asked, &all].map(|m| m["host_snapshots"].as_u64()), [Some(5000), Some(1 << 30)]);
    assert_eq!((asked["snapshots"].as_u64(), &asked["total"]), (Some(0), &all["total"]));
    // What a budget leaves is theirs.
    let exact = memory(&["--memory-budget", &(sum + 1000).to_string()]);
    assert_eq!((exact["fits"].as_bool(), exact["snapshots"].as_u64()), (Some(true), Some(1000)));
    let some = memory(&["--context", "256", "--memory-budget", "1GB"]);
    assert_eq!((some["kv_cache"].as_u64(), some["fits"].as_bool()), (Some(8 * 2 * 256 * 128 * 2), Some(true)));
    assert_eq!(memory(&["--context", "256", "--kv", "f32"])["kv_cache"].as_u64(), Some(8 * 2 * 256 * 128 * 4));
    assert_eq!(
        memory(&["--context", "256", "--kv", "q8"])["kv_cache"].as_u64(),
        Some(8 * 2 * 256 * (128 + 128 / 32 * 4))
    );
    fails(&["info", model, "--kv", "f8"], "f16, f32 or q8 is needed");
    for option in ["--context=5", "--snapshots=1GB", "--memory-budget=1GB"] {
        fails(&["info", option], "name one");
    }
    let none = memory(&["--memory-budget", "1MiB"]);
    assert_eq!((&none["budget"], &none["fits"]), (&(1 << 20).into(), &false.into()));
    assert!(none["largest_context"].is_null());
    let table = ok(&["info", model, "--memory-budget", "40M"]);
    for part in ["on the GPU", "keys and values", "into 38.15 MiB", "does not fit", "tokens fits"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    for bad in ["4XB", "0", "GB", "1e9"] {
        fails(&["info", model, "--memory-budget", bad], "--memory-budget");
    }
}

#[test]
fn tokenize() {
    let model = model();
    let model = model.to_str().unwrap();
    assert_eq!(ok(&["tokenize", model, "--text", "Hello, how are you?<|im_end|>"]), "634 16 664 384 299 35 4\n");
    assert_eq!(ok(&["tokenize", model, "--text", "Hello", "--bos"]), "1 634\n");
    assert_eq!(ok(&["tokenize", model, "--text", ""]), "\n");
    // A text that looks like a flag.
    assert!(!ok(&["tokenize", model, "--text", "--bos"]).trim().is_empty());
    let spelled = ok(&["tokenize", model, "--text", "<|im_end|>", "--plain"]);
    assert!(!spelled.split_whitespace().any(|id| id == "4") && spelled.split_whitespace().count() > 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "Hello,\nyou").unwrap();
    let from_file = ok(&["tokenize", model, "--file", file.to_str().unwrap()]);
    assert_eq!(from_file, ok(&["tokenize", model, "--text", "Hello,\nyou"]));
}

#[test]
fn quantize_makes_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("q8.gguf");
    let (model, out) = (model(), out.to_str().unwrap());
    let quiet = ok(&["quantize", model.to_str().unwrap(), out, "--type", "q8_0", "--name", "Copy"]);
    assert_eq!(quiet, "");
    let json: serde_json::Value = serde_json::from_str(&ok(&["info", out, "--json"])).unwrap();
    assert_eq!(json["name"], "Copy");
    assert!(json["formats"]["Q8_0"]["tensors"].as_u64().unwrap() > 70);
    assert_eq!(ok(&["tokenize", out, "--text", "Hello"]), "634\n");
    // No rest of an unfinished file, and nothing is written for an unknown type or over the input.
    fails(&["quantize", out, "x.gguf", "--type", "Q9"], "Q4_K_M");
    fails(&["quantize", out, out, "--type", "Q4_0"], "both input and output");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("no/such/folder.gguf");
    let output = run(&["quantize", out, nowhere.to_str().unwrap(), "--type", "F16"]);
    told(&output, Some(1), "folder.gguf").unwrap();
}

#[test]
fn synth_makes_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiny.gguf");
    let out = out.to_str().unwrap();
    let make = |seed: &str| {
        let quiet = ok(&["synth", "--size", "tiny-90m", "--type", "Q4_K_M", "--seed", seed, "-o", out]);
        assert_eq!(quiet, "");
        std::fs::read(out).unwrap()
    };
    let first = make("1");
    assert!(make("2") != first && make("1") == first, "the seed decides");
    let json: serde_json::Value = serde_json::from_str(&ok(&["info", out, "--json"])).unwrap();
    for (key, value) in [
        ("vocab_size", 32_768),
        ("hidden_size", 512),
        ("num_hidden_layers", 24),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 2),
        ("head_dim", 64),
        ("intermediate_size", 768),
        ("mamba_d_ssm", 768),
        ("mamba_n_heads", 24),
        ("mamba_d_head", 32),
        ("mamba_n_groups", 1),
        ("mamba_d_state", 64),
        ("mamba_d_conv", 4),
        ("max_position_embeddings", 262_144),
    ] {
        assert_eq!(json["config"][key], value, "{key}");
    }
    assert_eq!(json["config"]["tie_word_embeddings"], true);
    assert_eq!(json["config"]["mamba_rms_norm"], false);
    assert_eq!(json["tokenizer"]["end"], serde_json::json!([2, 4]));
    assert_eq!(json["chat_template"], true);

    let shallow = ["synth", "--size", "tiny-90m", "--type", "Q8_0", "--layers", "1", "-o", out];
    ok(&shallow);
    let json: serde_json::Value = serde_json::from_str(&ok(&["info", out, "--json"])).unwrap();
    assert_eq!(json["config"]["num_hidden_layers"], 1);
    fails(&["synth", "--size", "2b", "-o", "x.gguf"], "1.5b-deep");
    fails(&["synth", "--size", "7b", "--type", "Q9", "-o", "x.gguf"], "Q4_K_M");
    fails(&["synth", "--size", "7b", "--layers", "0", "-o", out], "1 to 1024");
    fails(&["synth", "--size", "7b", "--set", "head_dim", "-o", out], "hidden_size=96");
    fails(&["synth", "--size", "7b", "--set", "heads=3", "-o", out], "config.json");
    fails(&["synth", "--size", "7b"], "--output");
    for conflict in [&["--type", "F16"][..], &["--pure"], &["--files", "2"]] {
        fails(&[&["synth", "--size", "7b", "--lora", "4", "-o", out], conflict].concat(), "--lora");
    }
    fails(&["synth", "--size", "7b", "--lora", "0", "-o", out], "1 to 1024");
    let nowhere = folder.path().join("no/such/folder.gguf");
    let output = run(&["synth", "--size", "7b", "-o", nowhere.to_str().unwrap()]);
    told(&output, Some(1), "folder.gguf").unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no rest of an unfinished file");
}

#[test]
fn bad_files_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let good = std::fs::read(model()).unwrap();
    let other = {
        let at = good.windows(9).position(|w| w == b"falcon-h1").unwrap();
        let mut bytes = good.clone();
        bytes[at..at + 9].copy_from_slice(b"llama-xyz");
        bytes
    };
    let cases = [
        ("nowhere.gguf".to_string(), "nowhere.gguf"),
        (file("text.gguf", b"This is no model.\nReally not.\n"), "not a GGUF file"),
        (file("empty.gguf", b""), "empty.gguf"),
        (file("magic.gguf", b"GGUF"), "magic.gguf"),
        (file("header.gguf", &good[..2000]), "truncated"),
        (file("weights.gguf", &good[..good.len() / 2]), "truncated"),
        (file("other.gguf", &other), "llama-xyz"),
        (folder.path().to_str().unwrap().to_string(), "config.json"),
        ("tiiuae/Falcon-H1-0.5B-Instruct".to_string(), "HF_HUB_OFFLINE"),
    ];
    for (model, expected) in &cases {
        fails(&["info", model], expected);
        fails(&["info", model, "--json"], expected);
        fails(&["tokenize", model, "--text", "x"], expected);
        fails(&["generate", model, "--prompt", "x"], expected);
        fails(&["chat", model], expected);
        fails(&["bench", model], expected);
        fails(&["quantize", model, "out.gguf", "--type", "Q8_0"], expected);
    }
}

#[test]
fn bad_arguments_are_one_line() {
    let model = model();
    let model = model.to_str().unwrap();
    fails(&[], "--help");
    fails(&["fly"], "fly");
    fails(&["tokenize", model], "--text");
    fails(&["tokenize", model, "--text", "a", "--file", "b"], "cannot be used with");
    fails(&["tokenize", model, "--file", "/no/such/file"], "/no/such/file");
    fails(&["info", model, "--frobnicate"], "--frobnicate");
    fails(&["generate", model], "--prompt");
    fails(&["generate", model, "--prompt", "x", "--temperature", "-1"], "temperature");
    fails(&["generate", model, "--prompt", "x", "--top-p", "0"], "top_p");
    fails(&["generate", model, "--prompt", "x", "--top-k", "many"], "many");
    fails(&["generate", model, "--prompt", "x", "--max-tokens", "-5"], "-5");
    for option in ["--max-tokens", "--top-k", "--seed"] {
        fails(&["generate", model, "--prompt", "x", option, "-7"], "-7");
    }
    fails(&["generate", model, "--prompt", "x", "--prompt-file", "y"], "cannot be used with");
    fails(&["generate", model, "--prompt", "x", "--regex", "a", "--grammar", "b"], "cannot be used with");
    fails(&["generate", model, "--prompt", "x", "--json-schema", "a", "--regex", "b"], "cannot be used with");
    fails(&["generate", model, "--prompt-file", "/no/such/prompt"], "/no/such/prompt");
    fails(&["chat", model, "--system-file", "/no/such/system"], "/no/such/system");
    fails(&["chat", model, "--state", "/no/such/folder/a.state"], "/no/such/folder/a.state");
    fails(&["logits", model, "--ids", "x", "--out", "y", "--step", "--chunk", "4"], "--chunk");
    fails(&["logits", model, "--ids", "x", "--out", "y", "--chunk", "0"], "0");
    fails(&["bench", model, "--gen-tokens", "0"], "0");
}

/// A color, the clipboard, a row that is none, a C1 command and an override of direction.
const HOSTILE: &str = "a\u{1b}[31mred\u{1b}]52;c;eA==\u{7}\nweights  0 bytes\u{9b}2J\u{202e}z";

#[test]
fn text_from_files_is_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let (model, out) = (model(), out.to_str().unwrap());
    ok(&["quantize", model.to_str().unwrap(), out, "--type", "Q4_0", "--name", HOSTILE]);
    let acts = |text: &str| text.contains(|c: char| c.is_control() && c != '\n') || text.contains('\u{202e}');
    let table = ok(&["info", out]);
    assert!(!acts(&table), "{table}");
    let name = "a\\x1b[31mred\\x1b]52;c;eA==\\x07\\nweights  0 bytes\\x9b2J\\u{202e}z";
    assert_eq!(table.lines().next().unwrap().split_once(' ').unwrap().1.trim(), name);
    assert_eq!(table.lines().filter(|line| line.starts_with("weights")).count(), 1, "{table}");
    let json = ok(&["info", out, "--json"]);
    assert!(!acts(&json), "{json}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["name"], HOSTILE);
    // In an error: a name from the command line, and one from a file.
    for (model, word) in [(HOSTILE, "\\x1b[31mred"), ("nowhere\u{9b}.gguf", "nowhere\\x9b.gguf")] {
        let output = run(&["info", model]);
        told(&output, Some(2), word).unwrap();
        assert!(!acts(&text(&output.stderr)));
    }
    let forged = model_bytes_with(&folder, "falcon-h1", "\u{1b}]0;forged");
    let output = run(&["info", forged.to_str().unwrap()]);
    told(&output, Some(2), "]0;forg").unwrap();
    assert!(!acts(&text(&output.stderr)));
}

/// The tiny model with another word of the same length in its header.
fn model_bytes_with(folder: &tempfile::TempDir, word: &str, other: &str) -> PathBuf {
    let mut bytes = std::fs::read(model()).unwrap();
    let at = bytes.windows(word.len()).position(|w| w == word.as_bytes()).unwrap();
    bytes[at..at + word.len()].copy_from_slice(&other.as_bytes()[..word.len()]);
    let path = folder.path().join("forged.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn bad_states_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.state");
    std::fs::write(&file, "this is a diary, and no state of a model at all, though it is long enough").unwrap();
    let (state, path) = (file.to_str().unwrap(), model());
    let given = ["generate", path.to_str().unwrap(), "--prompt", "x", "--state"];
    fails(&[&given[..], &[state]].concat(), "bad.state");
    fails(&[&given[..], &["/nowhere/a.state"]].concat(), "/nowhere/a.state");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let prompt = empty.to_str().unwrap();
    let prefill = ["prefill", path.to_str().unwrap(), "--prompt-file"];
    fails(&[&prefill[..], &["/nowhere/prompt", "-o", state]].concat(), "/nowhere/prompt");
    fails(&[&prefill[..], &[prompt, "-o", state]].concat(), "no tokens");
    std::fs::write(&empty, "words").unwrap();
    fails(&[&prefill[..], &[prompt, "-o", "/nowhere/a.state"]].concat(), "/nowhere/a.state");
}

#[test]
fn bad_ids_are_one_line() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.txt");
    let (model, ids) = (model.to_str().unwrap(), path.to_str().unwrap());
    for (content, expected) in [
        (&b"1 2 6144 3"[..], "token id 6144 is out of range"),
        (b"1 2 x3", "\"x3\" is not a token id"),
        (b"-1", "\"-1\" is not a token id"),
        (b"99999999999999999999", "is not a token id"),
        (b" \n", "no token ids"),
        (b"\xff\xfe", "not UTF-8"),
    ] {
        std::fs::write(&path, content).unwrap();
        fails(&["logits", model, "--ids", ids, "--out", "never.npy"], expected);
        fails(&["generate", model, "--ids", ids], expected);
    }
    assert!(!Path::new("never.npy").exists());
}

#[test]
fn help_and_version_are_no_failures() {
    assert!(ok(&["--version"]).starts_with("peregrine "));
    let help = ok(&["--help"]);
    for command in ["info", "chat", "generate", "tokenize", "logits", "bench", "quantize", "synth"] {
        assert!(help.contains(command));
        assert!(ok(&[command, "--help"]).contains("Usage"));
    }
}

/// `peregrine ... | head -1`: the reader goes away, and that is no error.
#[test]
fn a_closed_pipe_ends_quietly() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    // More than a pipe holds, so that the program is still writing when the reader goes.
    let file = folder.path().join("long");
    let mut long = std::fs::File::create(&file).unwrap();
    long.write_all("one two three four ".repeat(50_000).as_bytes()).unwrap();
    let mut child = command(&["tokenize", model.to_str().unwrap(), "--file", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}
