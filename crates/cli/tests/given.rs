//! What the program is given: values that begin with a hyphen, and texts that are too long for an
//! argument.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::fs::File;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{command, fails, model, text};

/// What looks like an option is a value where a text belongs: the file that is missing is what is
/// wrong.
#[test]
fn values_may_begin_with_a_hyphen() {
    let generate = ["generate", "nowhere.gguf", "--prompt"];
    for rest in [
        &["-x"][..],
        &["--json"],
        &["x", "--stop", "---", "--stop", "-", "--stop", "--json", "--stop", "-1"],
        &["x", "--seed", "-1"],
        &["x", "--temperature", "-0"],
    ] {
        fails(&[&generate[..], rest].concat(), "nowhere.gguf");
    }
    fails(&["chat", "nowhere.gguf", "--system", "--- be brief ---", "--seed", "-1"], "nowhere.gguf");
    fails(&["tokenize", "nowhere.gguf", "--text", "-"], "nowhere.gguf");
    fails(&["quantize", "nowhere.gguf", "x.gguf", "--type", "F16", "--name", "-- x"], "nowhere.gguf");
}

fn generate(args: &[&str]) -> Command {
    command(&[&["generate", model().to_str().unwrap()], args].concat())
}

#[test]
fn a_prompt_from_a_file_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt");
    let prompt = "  What is the capital of France?\n";
    std::fs::write(&file, prompt).unwrap();
    let with = |args: &[&str]| generate(&[args, &["--temperature", "0", "--max-tokens", "6", "--json"]].concat());
    let of = |output: Output| -> Value { serde_json::from_str(&text(&output.stdout)).unwrap() };
    let plain = of(with(&["--prompt", prompt]).output().unwrap());
    let from_file = of(with(&["--prompt-file", file.to_str().unwrap()]).output().unwrap());
    let from_pipe = of(with(&["--prompt-file", "-"]).stdin(File::open(&file).unwrap()).output().unwrap());
    for other in [&from_file, &from_pipe] {
        assert_eq!((&other["ids"], &other["prompt_tokens"]), (&plain["ids"], &plain["prompt_tokens"]));
    }
    // More than fits an argument: told by the context, not by the system.
    std::fs::write(&file, "one two three four ".repeat(12_000)).unwrap();
    let output = with(&["--prompt-file", file.to_str().unwrap()]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("the context is full"), "{error}");
    // A stop text that looks like an option.
    let stopped = of(with(&["--prompt", prompt, "--stop", "---", "--seed", "-1"]).output().unwrap());
    assert_eq!(stopped["ids"], plain["ids"]);
}
