//! Runs the built program on the embedded model.

#![allow(dead_code)] // each binary of tests uses a part

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// 0 done, 1 a run failed, 2 bad input.
pub type Status = Option<i32>;

pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf")
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peregrine"));
    // Mesa's drivers complain on stderr where there is none.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    // Ids of the hub have tests of their own.
    command.args(args).stdin(Stdio::null()).env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nowhere");
    command
}

pub fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a run that must succeed.
pub fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Checks that a failure is told as it should be: the status, and one line that contains `expected`.
pub fn told(output: &Output, status: Status, expected: &str) -> Result<(), String> {
    let stderr = text(&output.stderr);
    if output.status.code() != status {
        return Err(format!("status {:?}: {stderr}", output.status.code()));
    }
    let one_line = stderr.starts_with("error: ") && stderr.ends_with('\n') && stderr.lines().count() == 1;
    if !one_line || stderr.contains("panicked") || !stderr.contains(expected) {
        return Err(format!("expected one line with {expected:?}, found {stderr:?}"));
    }
    match output.stdout.is_empty() {
        true => Ok(()),
        false => Err(format!("output: {:?}", text(&output.stdout))),
    }
}

pub fn fails(args: &[&str], expected: &str) {
    told(&run(args), Some(2), expected).unwrap_or_else(|reason| panic!("{args:?}: {reason}"));
}
