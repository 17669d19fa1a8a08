//! What the sources themselves must keep to: who may ask what.

use std::fs;

use crate::toy::{files, root};

/// Which kernel an operation uses, and all else that follows from the kind of device, is decided in
/// `ops/target.rs`. The others know it for reasons of their own.
#[test]
fn only_the_target_asks_what_kind_of_device_it_is() {
    const QUESTIONS: [&str; 7] = [
        "is_processor(",
        "is_software(",
        "ShapeClass::Software",
        "ShapeClass::Hardware",
        ".shapes()",
        ".cooperative()",
        ".subgroup_min_size()",
    ];
    let mut all = Vec::new();
    for folder in ["crates/peregrine/src", "crates/workbench/src"] {
        files(&root().join(folder), &mut all);
    }
    let mut found = Vec::new();
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let mut code = text.lines().map(|line| line.split("//").next().unwrap());
        if code.any(|line| QUESTIONS.iter().any(|question| line.contains(question))) {
            found.push(path.strip_prefix(root()).unwrap().display().to_string());
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "crates/peregrine/src/cpu/mod.rs",            // is it
            "crates/peregrine/src/gpu.rs",                // is it
            "crates/peregrine/src/gpu/opening.rs",        // opens it
            "crates/peregrine/src/gpu/streaming.rs",      // how many copies are under way
            "crates/peregrine/src/kernels/making.rs",     // WGSL, or the name of a kernel in Rust
            "crates/peregrine/src/ops/target.rs",         // decides
            "crates/peregrine/src/selfcheck/variants.rs", // opens it in other ways
            "crates/workbench/src/bench/mod.rs",          // writes it down
            "crates/workbench/src/bench/state.rs",        // writes it down
        ]
    );
}
