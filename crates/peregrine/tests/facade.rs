//! The names at the crate's root: few, and all that a program with a conversation needs.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::path::Path;

/// A file of this crate.
fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names that a line `use PATH::{A, B};` or `use PATH::A;` brings.
fn names(line: &str) -> Vec<String> {
    let last = line.trim_end_matches(';').rsplit("::").next().unwrap();
    last.trim_matches(['{', '}']).split(", ").map(String::from).collect()
}

/// Those at the root; what the feature `internals` opens is none of them.
fn root() -> Vec<String> {
    let source = read("src/lib.rs");
    let lines = source.lines().filter(|line| line.starts_with("pub use self::"));
    lines.filter(|line| !line.ends_with("::*;")).flat_map(names).collect()
}

#[test]
fn a_dozen_names_are_at_the_root() {
    assert!((1..=12).contains(&root().len()), "{:?}", root());
}

#[test]
fn examples_need_only_the_names_at_the_root() {
    for example in ["chat", "fork", "own_device"] {
        let text = read(&format!("examples/{example}.rs"));
        let (used, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("use peregrine::"));
        assert!(!rest.iter().any(|line| line.contains("peregrine::")), "{example} names a module");
        let used: Vec<String> = used.into_iter().flat_map(names).collect();
        assert!(!used.is_empty() && used.iter().all(|name| root().contains(name)), "{example}: {used:?}");
    }
}
