//! Files that the program makes: there whole, or as they were, whatever ends it.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{model, ok, program_after, run, told};

/// Runs the program on a disk that is full after 64 KiB or so.
fn limited(args: &[&str]) -> Output {
    program_after("ulimit -f 64;").args(args).output().unwrap()
}

/// Files of results: there whole, or as they were.
#[test]
fn results_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (out, link) = (at("out.gguf"), at("link.gguf"));
    std::fs::write(&out, "the old file").unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o640)).unwrap();
    symlink("out.gguf", &link).unwrap();
    let count = || std::fs::read_dir(folder.path()).unwrap().count();
    let model = model();
    let make = [
        &["quantize", model.to_str().unwrap(), "OUT", "--type", "Q4_0"][..],
        &["synth", "--size", "tiny-90m", "--type", "Q4_0", "-o", "OUT"],
    ];
    for args in make {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "OUT" { link.to_str().unwrap() } else { arg }).collect();
        told(&limited(&args), Some(1), "link.gguf").unwrap();
        assert_eq!((std::fs::read(&out).unwrap(), count()), (b"the old file".to_vec(), 2));
    }
    // Through a link, with the permissions that it had.
    ok(&["quantize", model.to_str().unwrap(), link.to_str().unwrap(), "--type", "Q4_0"]);
    assert_eq!((std::fs::read_link(&link).unwrap(), count()), ("out.gguf".into(), 2));
    assert_eq!(&std::fs::read(&out).unwrap()[..4], b"GGUF");
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o640);
    // A device stays one.
    let full = at("full");
    symlink("/dev/full", &full).unwrap();
    let output = run(&["quantize", model.to_str().unwrap(), full.to_str().unwrap(), "--type", "Q4_0"]);
    told(&output, Some(1), "full: ").unwrap();
    assert_eq!(std::fs::read_link(&full).unwrap(), Path::new("/dev/full"));
}

/// The same for what comes from the GPU.
#[test]
fn results_of_a_model_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (ids, out) = (at("ids"), at("out"));
    std::fs::write(&ids, "1 3 634 16").unwrap();
    std::fs::write(&out, "the old file").unwrap();
    let model = model();
    for command in [["logits", "--ids", "--out"], ["prefill", "--prompt-file", "-o"]] {
        let args = [command[0], model.to_str().unwrap(), command[1], &ids, command[2], &out];
        told(&limited(&args), Some(1), "out").unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), b"the old file");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

/// Killed in the middle: nothing stays, and whoever waits knows by what it was killed.
#[test]
fn a_signal_leaves_nothing_behind() {
    for (signal, number) in [(Signal::SIGINT, 2), (Signal::SIGQUIT, 3), (Signal::SIGTERM, 15), (Signal::SIGHUP, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.gguf");
        let args = ["synth", "--size", "34b", "--type", "Q8_0", "-o", out.to_str().unwrap()];
        // SIGQUIT would leave the program's memory as a file.
        let mut child =
            program_after("ulimit -c 0;").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = || std::fs::read_dir(folder.path()).unwrap().count() > 0;
        while !begun() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        assert!(!begun(), "{signal}");
    }
}
