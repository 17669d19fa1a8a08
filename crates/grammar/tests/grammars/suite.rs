//! The JSON-Schema-Test-Suite, draft 2020-12 (its license lies beside it): what each of its schemas
//! lets come. A case may only improve.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use peregrine::constraint::{Compiler, Spec};
use serde_json::Value;

use super::walk::{grammars, takes};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite");

/// What came of one test. Later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It lets come what is not valid.
    Wrong,
    /// It does not let come what is valid.
    Missed,
    /// The schema is refused, by name.
    Refused,
    Right,
}

impl Outcome {
    const ALL: [(Self, char); 4] = [(Self::Wrong, 'W'), (Self::Missed, 'm'), (Self::Refused, 'r'), (Self::Right, '.')];

    fn letter(self) -> char {
        Self::ALL.iter().find(|(outcome, _)| *outcome == self).unwrap().1
    }

    fn of(letter: char) -> Self {
        Self::ALL.iter().find(|(_, is)| *is == letter).unwrap().0
    }
}

/// The suite's files: required ones, and optional ones.
fn files() -> Vec<PathBuf> {
    let in_folder = |folder: &Path| -> Vec<PathBuf> {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    };
    let required = Path::new(FOLDER).join("draft2020-12");
    let optional = required.join("optional");
    let mut all = [in_folder(&required), in_folder(&optional), in_folder(&optional.join("format"))].concat();
    all.sort();
    all
}

/// What comes of the tests of one schema, a letter each.
fn outcomes(case: &Value) -> String {
    let spec = Spec::JsonSchema { schema: case["schema"].clone(), strict: true };
    let is_there = grammars().compile(&spec).is_ok();
    let outcome = |test: &Value| {
        let valid = test["valid"].as_bool().unwrap();
        if !is_there {
            return Outcome::Refused;
        }
        match (takes(&spec, &test["data"].to_string()), valid) {
            (true, false) => Outcome::Wrong,
            (false, true) => Outcome::Missed,
            _ => Outcome::Right,
        }
    };
    case["tests"].as_array().unwrap().iter().map(|test| outcome(test).letter()).collect()
}

/// A line for each schema.
fn lines() -> String {
    let mut lines = String::new();
    for file in files() {
        let cases: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let name = file.strip_prefix(FOLDER).unwrap().display().to_string();
        for case in cases.as_array().unwrap() {
            writeln!(lines, "{name}: {}: {}", case["description"].as_str().unwrap(), outcomes(case)).unwrap();
        }
    }
    lines
}

/// How many of the required tests came to what.
fn told(lines: &str) -> String {
    let required = lines.lines().filter(|line| !line.contains("/optional/"));
    let letters: String = required.filter_map(|line| line.rsplit_once(": ")).map(|(_, letters)| letters).collect();
    let count = |(outcome, letter): (Outcome, char)| format!("{outcome:?} {}", letters.matches(letter).count());
    Outcome::ALL.map(count).join(", ")
}

/// `SUITE=write` keeps what there is now.
#[test]
fn no_case_of_the_suite_is_worse_than_it_was() {
    let baseline = Path::new(FOLDER).join("baseline.txt");
    let now = lines();
    println!("required tests: {}", told(&now));
    if std::env::var_os("SUITE").is_some() {
        std::fs::write(&baseline, &now).unwrap();
    }
    let before = std::fs::read_to_string(&baseline).unwrap();
    assert_eq!(before.lines().count(), now.lines().count(), "SUITE=write writes the baseline anew");
    for (before, now) in before.lines().zip(now.lines()) {
        let ((case, was), (same, is)) = (before.rsplit_once(": ").unwrap(), now.rsplit_once(": ").unwrap());
        assert_eq!((case, was.len()), (same, is.len()));
        let worse = was.chars().zip(is.chars()).any(|(was, is)| Outcome::of(is) < Outcome::of(was));
        assert!(!worse, "{case}: {was} was better than {is}");
        // Required cases: an answer that is not valid is the one thing that must not be.
        let is_required = !case.contains("/optional/");
        assert!(!is_required || !is.contains('W'), "{case}: {is}");
    }
}
