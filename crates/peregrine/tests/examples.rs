//! The examples, run with the embedded model.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What an example prints.
fn run(name: &str, input: &str) -> String {
    // Cargo builds a package's examples with its tests, beside them.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(example.exists(), "{}: cargo build --release -p peregrine --examples", example.display());
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let mut command = Command::new(example);
    let mut child = command.arg(model).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {text}");
    text
}

#[test]
fn a_conversation_goes_on() {
    let text = run("chat", "Hello!\nAnd now?\n\n");
    assert_eq!(text.matches("\n> ").count(), 2, "{text}");
    assert!(text.lines().filter(|line| line.len() > 2).count() >= 2, "{text}");
}

#[test]
fn forks_go_on_from_the_same_token() {
    let text = run("fork", "");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("from token ")).collect();
    let from: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
    assert!(from.len() == 3 && from.iter().all(|one| *one == from[0]), "{text}");
}

#[test]
fn a_device_of_the_apps_own_outlives_the_model() {
    let text = run("own_device", "");
    for when in ["before", "after"] {
        assert!(text.contains(&format!("squares {when}: [1.0, 4.0, 9.0, 16.0]")), "{text}");
    }
    assert!(text.contains("the model: "), "{text}");
}
