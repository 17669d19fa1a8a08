//! Runs the built program on the embedded model.

#![allow(dead_code)] // each binary of tests uses a part

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// 0 done, 1 a run failed, 2 bad input.
pub type Status = Option<i32>;

pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf")
}

/// A program that begins where nothing of a person's own is read or written: neither what is kept
/// of devices, nor the hub's cache or tokens. Ids of the hub have tests of their own, with a hub.
pub fn isolated(mut command: Command) -> Command {
    let hub = |name: &str| ["HF_", "HUGGING", "TRANSFORMERS_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(hub)) {
        command.env_remove(name);
    }
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nowhere").env("XDG_CACHE_HOME", &*CACHE);
    // Mesa's drivers complain on stderr where there is none.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// Each run of the tests looks at the device anew: the program may be another one.
static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("cache-", env!("CARGO_CRATE_NAME")));
    let _ = std::fs::remove_dir_all(&folder);
    folder
});

/// Where the program is.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_peregrine");

/// The built program.
pub fn program() -> Command {
    isolated(Command::new(PROGRAM))
}

/// The built program after some lines of a shell. Whoever runs the tests may ignore signals, and
/// what is ignored is inherited: so each is as it is by default.
pub fn program_after(script: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT,TERM,PIPE");
    command.args(["sh", "-c", &format!("{script} exec \"$0\" \"$@\""), PROGRAM]);
    isolated(command)
}

pub fn command(args: &[&str]) -> Command {
    let mut command = program();
    command.args(args).stdin(Stdio::null());
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

/// Checks that a failure is told as it should be: the status, and one line that contains
/// `expected`.
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
