//! Prints every composed WGSL source that a browser may be given, as JSON: `[{"name", "code"}]`.
//! `web/e2e/goldens/accepted.mjs` has them all parsed and checked by Dawn.

use peregrine_tests::variants;
use serde_json::{Value, json};

/// What no browser has: `only_browsers_are_told_to_enable_subgroups` sees where it stands.
const NATIVE_ONLY: &str = "enable wgpu_cooperative_matrix;";

fn main() {
    let sources = variants().into_iter().map(|variant| (variant.name(), variant.source(true)));
    let browsers = sources.filter(|(_, code)| !code.contains(NATIVE_ONLY));
    println!("{}", browsers.map(|(name, code)| json!({ "name": name, "code": code })).collect::<Value>());
}
