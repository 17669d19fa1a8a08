//! The same in TypeScript, for the npm package: its load-options.ts is what is made here, and a
//! test says when it is not.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ts_rs::{Config, TS};

use super::{GpuOptions, LoadOptions};
use crate::gpu::DeviceKind;

const HEAD: &str = "\
/** What a model is loaded with. Made from the types of the crate peregrine by `make types`. */

/** What an option may be: one of some words, true or false, a number of at least `min`. */
export type Kind = readonly string[] | \"boolean\" | { min: number; whole: boolean };
";

/// An interface, and a constant with what each of its fields may be: what these types refuse, the
/// page refuses.
fn part<T: TS + DeserializeOwned>(constant: &str) -> String {
    let config = Config::new().with_large_int("number");
    let mut kinds = String::new();
    let mut interface = String::new();
    for line in T::decl(&config).replace(", };", ",\n}").lines().map(str::trim_end) {
        let field = line.strip_suffix(',').and_then(|field| field.split_once("?: "));
        interface += &match (field, line.strip_suffix(" = {"), line) {
            (Some((name, of)), ..) => {
                kinds += &format!("  {name}: {},\n", kind::<T>(name, of));
                format!("  {name}?: {of};\n")
            }
            (None, Some(name), _) => format!("export {}{{\n", name.replacen("type", "interface", 1) + " "),
            (None, None, "}") => "}\n".into(),
            (None, None, docs) => format!("  {docs}\n"),
        };
    }
    let docs = T::docs().unwrap_or_default();
    let kinds = format!(
        "/** What they may be. */\nexport const {constant} = {{\n{kinds}}} as const satisfies Record<keyof {}, Kind>;\n",
        T::name(&config)
    );
    on_one_line(&(docs + &interface)) + "\n" + &kinds
}

/// The kinds of devices.
fn devices() -> String {
    let names: Vec<String> = DeviceKind::ALL.iter().map(|kind| format!("{:?}", kind.name())).collect();
    for (kind, name) in DeviceKind::ALL.into_iter().zip(&names) {
        assert_eq!(serde_json::from_str::<DeviceKind>(name).expect("a kind"), kind);
    }
    format!(
        "/** What computes: a GPU where there is one and the processor otherwise, a GPU, or the processor. */\n\
         export const DEVICES = [{}] as const;\n\n/** One of them. */\n\
         export type DeviceKind = (typeof DEVICES)[number];\n",
        names.join(", ")
    )
}

/// Docs of one line.
fn on_one_line(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let opened =
            lines.len().checked_sub(2).filter(|_| line.trim() == "*/" && lines[lines.len() - 2].trim() == "/**");
        match opened {
            Some(at) => {
                let docs = lines.split_off(at);
                lines.push(format!("{} {} */", docs[0], docs[1].trim().trim_start_matches("* ")));
            }
            None => lines.push(line.to_string()),
        }
    }
    lines.join("\n") + "\n"
}

/// What a field may be, by its type and by trying.
fn kind<T: DeserializeOwned>(name: &str, of: &str) -> String {
    let takes = |value: Value| serde_json::from_value::<T>(json!({ name: value })).is_ok();
    assert!(!takes(json!({})), "{name}: a new kind of option, or one that Rust calls otherwise");
    match of {
        "boolean" => "\"boolean\"".into(),
        "number" => {
            let least = [0, 1].into_iter().find(|least| takes(json!(least))).expect("numbers from 0 or 1 on");
            assert!(!takes(json!(-1)) && (takes(json!(1.5)) || !takes(json!(1_u64 << 32))), "{name}");
            format!("{{ min: {least}, whole: {} }}", !takes(json!(1.5)))
        }
        words => {
            let words: Vec<&str> = words.split(" | ").collect();
            assert!(words.iter().all(|word| takes(serde_json::from_str(word).expect("a word"))), "{name}");
            format!("[{}]", words.join(", "))
        }
    }
}

#[test]
fn the_npm_package_has_these_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/package/src/load-options.ts");
    let parts = [part::<LoadOptions>("LOAD_OPTIONS"), part::<GpuOptions>("GPU_OPTIONS")];
    let expected = [HEAD, &parts[0], &parts[1], &devices()].join("\n");
    if std::env::var_os("TYPES").is_some() {
        std::fs::write(path, &expected).expect("the package's folder");
    }
    let found = std::fs::read_to_string(path).expect("load-options.ts");
    assert!(found == expected, "web/package/src/load-options.ts is not what these types say: make types");
}

#[test]
fn what_a_page_gives_is_read() {
    let load: LoadOptions =
        serde_json::from_value(json!({ "contextLength": 5, "kvType": "q8", "memoryBudget": 1.5e9 })).expect("options");
    assert_eq!(
        (load.context_length, load.kv, load.memory_budget),
        (Some(5), crate::state::KvType::Q8, Some(1_500_000_000))
    );
    let gpu: GpuOptions =
        serde_json::from_value(json!({ "powerPreference": "low-power", "vendor": "v" })).expect("options");
    assert!(gpu.low_power && gpu.subgroups && !gpu.baseline);
    for wrong in [json!({ "kvType": "f8" }), json!({ "contextLength": 0 }), json!({ "snapshotBytes": -1 })] {
        assert!(serde_json::from_value::<LoadOptions>(wrong.clone()).is_err(), "{wrong}");
    }
}
