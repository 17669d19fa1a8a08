//! `--lora` and `info` of an adapter.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{ok, run, told};

fn golden(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    path.to_str().unwrap().into()
}

#[test]
fn info_tells_what_an_adapter_is() {
    let json = |name: &str| serde_json::from_str::<Value>(&ok(&["info", &golden(name), "--json"])).unwrap();
    let found = json("adapters/patterns");
    let expected = json!({
        "name": "patterns", "container": "peft", "type": "lora", "base": "hf-folder", "alpha": 6.0, "use_rslora": true,
        "rank": { "least": 2, "most": 5 },
        "targets": { "down_proj": 2, "in_proj": 2, "q_proj": 2, "up_proj": 2 },
        "parameters": found["parameters"], "bytes": found["bytes"],
    });
    assert_eq!(found, expected);
    assert_eq!(found["bytes"].as_u64(), Some(2 * found["parameters"].as_u64().unwrap()));
    let found = json("adapters/baked.gguf");
    assert_eq!((&found["container"], &found["alpha"]), (&json!("gguf"), &json!(9.0)));
    assert_eq!((&found["rank"], &found["targets"]["ssm_out"]), (&json!({ "least": 6, "most": 6 }), &json!(2)));
    let table = ok(&["info", &golden("adapters/plain")]);
    for part in
        ["LoRA adapter               PEFT", "rank                       4", "alpha                      8", "q_proj"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn info_tells_the_adapters_beside_a_model() {
    let (model, plain, patterns) = (golden("hf-folder"), golden("adapters/plain"), golden("adapters/patterns"));
    let info =
        |args: &[&str]| serde_json::from_str::<Value>(&ok(&[&["info", &model, "--json"], args].concat())).unwrap();
    let (alone, found) = (info(&[]), info(&["--lora", &plain, "--lora", &format!("{patterns}:-0.1")]));
    assert_eq!((&alone["lora"], &alone["memory"]["adapters"]), (&json!([]), &json!(0)));
    let adapters = found["lora"].as_array().unwrap();
    let names: Vec<(&Value, &Value)> = adapters.iter().map(|adapter| (&adapter["name"], &adapter["scale"])).collect();
    assert_eq!(names, [(&json!("plain"), &json!(1.0)), (&json!("patterns"), &json!(-0.1))]);
    assert_eq!(adapters[1]["rank"], json!({ "least": 2, "most": 5 }));
    assert_eq!(adapters[1]["targets"].as_object().unwrap().len(), 4, "{found}");
    // Matrices in f32, whatever the file has: here halves.
    let summary: Value = serde_json::from_str(&ok(&["info", &patterns, "--json"])).unwrap();
    assert_eq!(adapters[1]["bytes"].as_u64(), Some(4 * summary["parameters"].as_u64().unwrap()));
    let bytes = |info: &Value, key: &str| info["memory"][key].as_u64().unwrap();
    // On a GPU ranks are in fours, and A is there twice.
    let both = bytes(&found, "adapters");
    let once = adapters.iter().map(|adapter| adapter["bytes"].as_u64().unwrap()).sum::<u64>();
    assert!(both > once * 5 / 4 && both < 3 * once, "{both}, {once}");
    assert_eq!(bytes(&found, "total"), bytes(&alone, "total") + both);
    // A budget has to hold them, too: what is just enough for the model is too little for both.
    let info = |args: &[&str]| info(&[&["--context", "16"], args].concat());
    let enough = bytes(&info(&[]), "total").to_string();
    let alone = info(&["--memory-budget", &enough]);
    let found = info(&["--memory-budget", &enough, "--lora", &plain]);
    assert_eq!((&alone["memory"]["fits"], &found["memory"]["fits"]), (&json!(true), &json!(false)));
    let found = info(&["--memory-budget", "1GB", "--lora", &plain]);
    assert_eq!(found["memory"]["fits"], Value::Null, "a load says exactly");
    let table = ok(&["info", &model, "--lora", &format!("{patterns}:-0.1")]);
    assert!(table.contains("LoRA adapter               patterns times -0.1, rank 2 to 5, "), "{table}");
    assert!(table.contains("down_proj in 2 layers") && table.contains("\n  adapters "), "{table}");
    assert!(!ok(&["info", &model]).contains("adapter"));
    for args in [&["info", "--lora", &plain][..], &["info", &plain, "--lora", &patterns]] {
        told(&run(args), Some(2), "name one").unwrap();
    }
}

#[test]
fn an_adapter_changes_the_answer_and_check_agrees() {
    let (model, plain) = (golden("hf-folder"), golden("adapters/plain"));
    let generate = |lora: &[&str]| {
        let args = ["generate", &model, "--prompt", "hello", "--temperature", "0", "--max-tokens", "8"];
        ok(&[&args[..], lora].concat())
    };
    let base = generate(&[]);
    let adapted = generate(&["--lora", &plain]);
    assert_ne!(base, adapted);
    assert_eq!(generate(&["--lora", &format!("{plain}:1")]), adapted);
    assert_eq!(generate(&["--lora", &format!("{plain}:0")]), base);
    let report =
        ok(&["check", &model, "--lora", &plain, "--lora", &format!("{}:0.5", golden("adapters/patterns")), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["ok"], true);
}

/// A model and an adapter of the same shape, and what the adapter costs.
#[test]
fn synth_makes_adapters_that_bench_measures() {
    let folder = tempfile::TempDir::new().unwrap();
    let [model, lora, again] =
        ["model", "lora", "again"].map(|name| folder.path().join(format!("{name}.gguf")).to_str().unwrap().to_string());
    ok(&["synth", "--size", "toy", "--type", "F16", "-o", &model]);
    let synth = |out: &str| ok(&["synth", "--size", "toy", "--lora", "3", "--seed", "5", "-o", out]);
    assert_eq!(synth(&lora) + &synth(&again), "");
    assert_eq!(std::fs::read(&lora).unwrap(), std::fs::read(&again).unwrap());
    let json = |args: &[&str]| serde_json::from_str::<Value>(&ok(args)).unwrap();
    let info = json(&["info", &lora, "--json"]);
    assert_eq!((&info["rank"], info["targets"].as_object().unwrap().len()), (&json!({ "least": 3, "most": 3 }), 9));
    let sizes = ["--prompt-tokens", "8", "--gen-tokens", "4", "--repeat", "1", "--json"];
    let report = json(&[&["bench", &model, "--lora", &lora][..], &sizes].concat());
    for field in ["prefill_ratio", "decode_ratio", "plain_decode_milliseconds_per_token"] {
        assert!(report["lora"][field].as_f64().unwrap() > 0.0, "{field}: {}", report["lora"]);
    }
    assert_eq!(json(&[&["bench", &model][..], &sizes].concat())["lora"], Value::Null);
    ok(&["check", &model, "--lora", &lora, "--device", "cpu"]);
}

#[test]
fn what_is_merged_answers_as_the_adapter_did() {
    let (model, plain) = (golden("hf-folder"), golden("adapters/plain"));
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().join("merged.gguf").to_str().unwrap().to_string();
    ok(&["merge", &model, &format!("{plain}:2"), "-o", &out, "--type", "f32"]);
    let generate = |args: &[&str]| {
        let asked = ["--prompt", "hello", "--temperature", "0", "--max-tokens", "8"];
        ok(&[&["generate"][..], args, &asked].concat())
    };
    let merged = generate(&[&out]);
    assert_eq!(merged, generate(&[&model, "--lora", &format!("{plain}:2")]));
    assert_ne!(merged, generate(&[&model]));
    let info: Value = serde_json::from_str(&ok(&["info", &out, "--json"])).unwrap();
    assert_eq!(info["name"], "hf-folder + plain");
    for (args, part) in [
        (["merge", &model, &golden("adapters/tied"), "-o", &out, "--type", "f32"], "lora_"),
        (["merge", &out, &plain, "-o", &out, "--type", "f32"], "both input and output"),
        (["merge", &model, &plain, "-o", &out, "--type", "Q9"], "Q4_K_M"),
    ] {
        told(&run(&args), Some(2), part).unwrap();
    }
    told(&run(&["merge", &model, "-o", &out, "--type", "f32"]), Some(2), "ADAPTER").unwrap();
}

#[test]
fn what_is_wrong_with_an_adapter_is_one_line() {
    let model = golden("hf-folder");
    let fails = |lora: &str, part: &str| {
        let output = run(&["generate", &model, "--prompt", "a", "--lora", lora]);
        told(&output, Some(2), part).unwrap();
    };
    fails("nowhere", "nowhere");
    fails(&golden("hf-folder"), "adapter_config.json");
    fails(&golden("norm2.gguf"), "a LoRA adapter");
    fails(&golden("adapters/tied"), "lora_");
    let twice = golden("adapters/plain");
    let output = run(&["generate", &model, "--prompt", "a", "--lora", &twice, "--lora", &twice]);
    told(&output, Some(2), "\"plain\" twice").unwrap();
    // As a model it is refused by name.
    told(&run(&["generate", &twice, "--prompt", "a"]), Some(2), "--lora").unwrap();
    told(&run(&["generate", &golden("adapters/plain.gguf"), "--prompt", "a"]), Some(2), "--lora").unwrap();
}
