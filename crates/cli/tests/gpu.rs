//! The commands that run a model, on what a user gets; where a GPU is the subject, on one, also in
//! software.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::common::{model, program};

/// The processor will not do.
const ON_A_GPU: [&str; 2] = ["--device", "gpu"];

/// A question in the model's own format.
const QUESTION: &str =
    "<|begin_of_text|><|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";

/// Runs `peregrine COMMAND MODEL ARGS`, with `input` on standard input; it must succeed.
fn run(command: &str, args: &[&str], input: &str) -> Output {
    // `fidelity` without a model makes its own.
    let model = (command != "fidelity").then(model);
    let mut child = program()
        .arg(command)
        .args(model)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{command} {args:?}: {stderr}");
    output
}

fn text(command: &str, args: &[&str], input: &str) -> String {
    String::from_utf8(run(command, args, input).stdout).unwrap()
}

fn json(command: &str, args: &[&str]) -> Value {
    serde_json::from_str(&text(command, args, "")).unwrap()
}

/// A file of logits: shape and values.
fn logits(args: &[&str]) -> (Vec<u64>, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    let (ids, out) = (folder.path().join("ids"), folder.path().join("out.npy"));
    std::fs::write(&ids, "1 3 634 16\n664 384 299 35 4 100").unwrap();
    let files = ["--ids", ids.to_str().unwrap(), "--out", out.to_str().unwrap()];
    run("logits", &[&files, args].concat(), "");
    let npy = npyz::NpyFile::new(std::fs::File::open(&out).unwrap()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no unfinished file stays");
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

/// Largest difference; NaN counts as infinite.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) })
}

#[test]
fn the_difference_can_be_seen() {
    assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.5]), 0.5);
    assert_eq!(difference(&[f32::NAN], &[f32::NAN]), f32::INFINITY);
}

#[test]
fn logits_do_not_depend_on_the_chunks() {
    // As they are computed: in f16 a key that differs by rounding can become the next one.
    let logits = |args: &[&str]| logits(&[args, &["--kv", "f32"]].concat());
    let (shape, whole) = logits(&[]);
    assert_eq!(shape, [10, 6144]);
    assert!(difference(&whole, &vec![0.0; whole.len()]) > 1.0, "something was computed");
    for args in [&["--step"][..], &["--chunk", "1"], &["--chunk", "3"], &["--chunk", "512"]] {
        let (shape, parts) = logits(args);
        assert_eq!(shape, [10, 6144]);
        assert!(difference(&whole, &parts) < 2e-4, "{args:?}: {}", difference(&whole, &parts));
    }
    let (shape, last) = logits(&["--last", "2"]);
    assert_eq!(shape, [2, 6144]);
    assert!(difference(&whole[8 * 6144..], &last) < 2e-4);
    assert_eq!(logits(&["--last", "50", "--step"]).0, [10, 6144]);
}

#[test]
fn generate_continues_a_text() {
    let greedy = ["--prompt", QUESTION, "--temperature", "0", "--max-tokens", "24"];
    let answer = text("generate", &greedy, "");
    assert!(answer.contains("Paris"), "{answer}");
    let object = json("generate", &[&greedy[..], &["--json"]].concat());
    assert_eq!(object["text"].as_str().unwrap().to_string() + "\n", answer);
    assert_eq!(object["finish"], "stop");
    let ids: Vec<String> = object["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(!ids.is_empty());

    // The same from ids, taken from standard input.
    let prompt = text("tokenize", &["--text", QUESTION], "");
    let from_ids = text("generate", &["--ids", "-", "--temperature", "0", "--max-tokens", "24"], &prompt);
    assert_eq!(from_ids, answer);

    let short = json("generate", &[&greedy[..4], &["--max-tokens", "3", "--ignore-end", "--json"]].concat());
    assert_eq!((short["finish"].as_str(), short["ids"].as_array().unwrap().len()), (Some("length"), 3));
}

#[test]
fn answers_follow_what_they_must() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    };
    let schema = r#"{"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
        "required": ["capital", "large"], "additionalProperties": false}"#;
    let schema = file("schema.json", schema);
    let base = ["--prompt", QUESTION, "--max-tokens", "60", "--json"];
    for sampling in [&["--temperature", "0"][..], &["--temperature", "1", "--seed", "3"]] {
        let answer = json("generate", &[&base[..], sampling, &["--json-schema", &schema]].concat());
        assert_eq!(answer["finish"], "stop", "{answer}");
        let found: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
        assert!(["Paris", "Rome"].contains(&found["capital"].as_str().unwrap()) && found["large"].is_boolean());
        assert_eq!(found.as_object().unwrap().len(), 2);
    }
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/by-schema.json")).unwrap();
    let schema = file("golden.json", &golden["schema"].to_string());
    let asked =
        ["--prompt", golden["prompt"].as_str().unwrap(), "--temperature", "0", "--json-schema", &schema, "--json"];
    assert_eq!(json("generate", &asked)["ids"], golden["ids"]);
    let regex = json("generate", &[&base[..], &["--temperature", "0", "--regex", "-?[0-9]{3}"]].concat());
    assert!(regex["text"].as_str().unwrap().trim_start_matches('-').parse::<u32>().is_ok(), "{regex}");
    let grammar = file("grammar.lark", "start: \"<\" (\"a\" | \"b\") \">\"");
    let lark = json("generate", &[&base[..], &["--temperature", "0", "--grammar", &grammar]].concat());
    assert!(["<a>", "<b>"].contains(&lark["text"].as_str().unwrap()), "{lark}");

    // What is wrong with them names the file and the place.
    let fails = |args: &[&str], expected: &str| {
        let output = program().arg("generate").arg(model()).args(base).args(args).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(expected) && told.lines().count() == 1, "{told}");
    };
    let unknown = file("unknown.json", r#"{"properties": {"when": {"type": "string", "format": "lunar"}}}"#);
    fails(&["--json-schema", &unknown], "unknown.json#/properties/when/format: Unknown format: lunar");
    let broken = file("broken.json", "{\n  \"type\": }");
    fails(&["--json-schema", &broken], "broken.json: not JSON: expected value at line 2 column 11");
    let broken = file("broken.lark", "start: \"a\"\nother: (\n");
    fails(&["--grammar", &broken], "broken.lark:");
    fails(&["--regex", "a{2,1}"], "--regex: ");
    fails(&["--json-schema", "/no/such/schema"], "/no/such/schema");
}

#[test]
fn the_seed_decides() {
    let with = |seed: &str| {
        text("generate", &["--prompt", "Once", "--temperature", "1.5", "--max-tokens", "16", "--seed", seed], "")
    };
    assert_eq!(with("1"), with("1"));
    assert_ne!(with("1"), with("2"));
}

#[test]
fn the_device_is_chosen_or_given() {
    let bench = |device: &[&str]| {
        let args = ["--prompt-tokens", "4", "--gen-tokens", "2", "--repeat", "1", "--json"];
        let report = json("bench", &[&args[..], device].concat());
        (report["device"].as_str().unwrap().to_string(), report["adapter"].as_str().unwrap().to_string())
    };
    let (gpu, name) = bench(&ON_A_GPU);
    assert_eq!(gpu, "gpu");
    let (cpu, processor) = bench(&["--device", "cpu"]);
    assert!(cpu == "cpu" && processor.starts_with("CPU ("), "{processor}");
    // Nothing, and `auto`, are what `info` says, with the reason where it is the processor.
    let chosen = serde_json::from_slice::<Value>(&program().args(["info", "--json"]).output().unwrap().stdout).unwrap();
    let chosen = &chosen["device"];
    for device in [&[][..], &["--device", "auto"]] {
        let (kind, name) = bench(device);
        assert_eq!((chosen["kind"].as_str(), chosen["name"].as_str()), (Some(kind.as_str()), Some(name.as_str())));
    }
    let is_processor = chosen["kind"] == "cpu";
    assert_eq!(chosen["why"].as_str().is_some_and(|why| why.contains("GPU")), is_processor, "{chosen}");
    let table = String::from_utf8(program().arg("info").output().unwrap().stdout).unwrap();
    let last = table.lines().last().unwrap();
    assert!(last.starts_with("models run on ") && last.contains(", since ") == is_processor, "{table}");
    // As many threads as rayon's variable says.
    let mut one = program();
    one.arg("bench").arg(model()).args(["--prompt-tokens", "4", "--gen-tokens", "2", "--repeat", "1", "--json"]);
    let one = one.args(["--device", "cpu"]).env("RAYON_NUM_THREADS", "1").output().unwrap().stdout;
    let one: Value = serde_json::from_slice(&one).unwrap();
    assert!(one["adapter"].as_str().unwrap().starts_with("CPU (1 thread, "), "{one}");
    // An adapter that is named is a GPU.
    assert_eq!(bench(&["--adapter", &name]), (gpu, name));

    let fails = |command: &str, args: &[&str], status: i32, expected: &str| {
        let output = program().arg(command).arg(model()).args(args).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let one_line = told.starts_with("error: ") && told.lines().count() == 1;
        assert!(output.status.code() == Some(status) && one_line && told.contains(expected), "{args:?}: {told}");
    };
    for command in ["generate", "check"] {
        let prompt: &[&str] = if command == "generate" { &["--prompt", "x"] } else { &[] };
        let with = |args: &[&'static str]| [prompt, args].concat();
        fails(command, &with(&["--device", "tpu"]), 2, "auto, gpu or cpu is needed");
        fails(command, &with(&["--adapter", "no such GPU"]), 1, "--device cpu");
        fails(command, &with(&["--device", "cpu", "--adapter", "x"]), 2, "device");
    }
}

#[test]
fn check_compares_the_processor_too() {
    let report = json("check", &["--device", "cpu", "--all-variants", "--tokens", "5", "--json"]);
    let variants = report["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|variant| variant["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "keys and values in f32", "keys and values in 8 bits"]);
    for variant in variants {
        assert!(variant["gpu"].as_str().unwrap().starts_with("CPU ("), "{variant}");
        assert!(variant["comparisons"].as_u64().unwrap() > 50 && variant["differ"] == 0, "{variant}");
    }
}

/// What is known of a device is kept in the cache folder, and not looked at again.
#[test]
fn outcomes_of_self_checks_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peregrine/self-checks.json");
    let notes = || {
        let mut command = program();
        command.arg("generate").arg(model()).args(ON_A_GPU).args(["--prompt", "x", "--max-tokens", "1"]);
        let output = command.env("XDG_CACHE_HOME", folder.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    let kept = || serde_json::from_slice::<serde_json::Map<_, _>>(&std::fs::read(&file).unwrap()).unwrap();
    assert!(!notes().contains("is not used"));
    let found = kept();
    let last = found.iter().find(|(_, outcome)| outcome.is_null()).unwrap().0.clone();
    assert!(last.starts_with(env!("CARGO_PKG_VERSION")), "{last}");
    // Had it been wrong, it would not be tried.
    let mut planted = found.clone();
    planted.insert(last.clone(), "planted".into());
    std::fs::write(&file, serde_json::to_vec(&planted).unwrap()).unwrap();
    let told = notes();
    assert!(told.contains("is not used, since it computes wrong results here: planted"), "{told}");
    // The next way was looked at, and is kept beside what was known.
    assert_eq!((kept().len(), &kept()[&last]), (found.len() + 1, &Value::from("planted")));
    // What is no list costs another check, and is replaced.
    std::fs::write(&file, "{").unwrap();
    notes();
    assert_eq!(kept(), found);
}

#[test]
fn a_budget_makes_the_context_smaller() {
    let short = ["--prompt", "x", "--max-tokens", "2"];
    let output = run("generate", &[&short[..], &["--memory-budget", "40MB"]].concat(), "");
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("the context has") && note.lines().count() == 1, "{note}");
    let output = program().arg("generate").arg(model()).args(short).args(["--memory-budget", "1MB"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: the model does not fit") && error.lines().count() == 1, "{error}");
}

#[test]
fn chat_reads_lines_and_remembers() {
    let input = "What is the capital of France?\n\n/help\nThanks!\n/reset\nHello\n/quit\nnever read\n";
    let output = run("chat", &["--temperature", "0", "--max-tokens", "24"], input);
    let answers = String::from_utf8(output.stdout).unwrap();
    assert!(answers.contains("Paris"), "{answers}");
    let notes = String::from_utf8(output.stderr).unwrap();
    let statistics: Vec<&str> = notes.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(statistics.len(), 3, "{notes}");
    assert!(notes.contains("/reset"), "help");
    // The first turn read nothing before, the second continued, the third began anew.
    let cached: Vec<bool> = statistics.iter().map(|line| !line.contains("; 0 of ")).collect();
    assert_eq!(cached, [false, true, false], "{notes}");
}

#[test]
fn a_chat_is_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let with = ["--temperature", "0", "--max-tokens", "16"];
    let kept = [&with[..], &["--state", state.to_str().unwrap()]].concat();
    let notes = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let first = run("chat", &kept, "What is the capital of France?\n");
    assert!(!notes(&first).contains("read before\n"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no unfinished file stays");
    let second = run("chat", &kept, "Are you sure?\n");
    let told = notes(&second);
    assert!(told.contains("a.state: 1 turns") && !told.contains("; 0 of "), "{told}");
    // The same as in one go.
    let whole = text("chat", &with, "What is the capital of France?\nAre you sure?\n");
    let parts = [first.stdout, second.stdout].concat();
    assert_eq!(String::from_utf8(parts).unwrap(), whole);
    // A third time, begun anew, with fewer tokens than the conversation needs: the oldest turns go.
    let short = ["--context", "64", "--drop-oldest"];
    let many = "What is the capital of France?\nAre you sure?\nTell me a short story.\n";
    let told = notes(&run("chat", &[&with[..], &short].concat(), many));
    assert!(told.contains("oldest messages were left out"), "{told}");
}

#[test]
fn bench_measures() {
    let args = ["--prompt-tokens", "20", "--gen-tokens", "4", "--context", "10", "--repeat", "1", "--json"];
    let report = json("bench", &[&args[..], &ON_A_GPU].concat());
    assert_eq!(report["device"], "gpu");
    for key in ["prefill_tokens_per_second", "decode_tokens_per_second", "time_to_first_token_seconds"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    assert!(report["dispatches_per_token"].as_u64().unwrap() > 0);
    assert!(!report["adapter"].as_str().unwrap().is_empty());
    let number =
        |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {report}"));
    let of = |name: &str| number(&format!("/decode_milliseconds_percentiles/{name}"));
    assert!(0.0 < of("p50") && of("p50") <= of("p90") && of("p90") <= of("p99"));
    // 8 layers of 640 x 4 and 512 x 64 values, read and written; 10 + 20 + 2 + 1 positions of 8 x
    // 256 values in f16.
    assert_eq!(number("/bytes_per_token/states"), 2.0 * 8.0 * 4.0 * (640.0 * 4.0 + 512.0 * 64.0));
    assert_eq!(number("/bytes_per_token/keys_and_values"), 33.0 * 8.0 * 256.0 * 2.0);
    assert!(number("/bytes_per_token/weights") < number("/memory/weights"));
    assert!(number("/memory/ratio") > 1.0 && number("/memory/driver") >= number("/memory/weights"));
    assert!(number("/floor/milliseconds_per_token") > 0.0 && number("/floor/ratio") > 0.0, "{report}");
    let parts = ["open", "device", "model", "first_prompt"].map(|part| number(&format!("/loading/{part}_seconds")));
    assert!((parts.iter().sum::<f64>() - number("/loading/open_to_first_token_seconds")).abs() < 1e-6);
    let table =
        text("bench", &["--prompt-tokens", "20", "--gen-tokens", "4", "--repeat", "1", "--temperature", "1"], "");
    assert_eq!(table.lines().count(), 9, "{table}");
}

#[test]
fn the_bench_table_has_a_row_for_each_model() {
    let sections = |list: &str| {
        let sizes = ["--sizes", "toy", "--types", "Q4_K_M", "--contexts", "40,150,9999", "--layers", "1"];
        let short = ["--prompt-tokens", "40", "--gen-tokens", "4", "--sections", list];
        let output = program().arg("bench-table").args(ON_A_GPU).args(sizes).args(short).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = sections("speed,growth");
    let rows = |start: &str| table.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((rows("| toy | Q4_K_M |"), rows("| toy | 1 |")), (1, 1), "{table}");
    // A context that the model does not have is left out.
    assert_eq!((rows("| 1 | 40 |"), rows("| 1 | 150 |"), rows("| 1 | 9999 |")), (1, 1, 0), "{table}");
    let checked = sections("check");
    assert_eq!(checked.matches(", 0 differ (").count(), 1, "{checked}");
}

#[test]
fn bench_measures_states() {
    let args = ["--state", "--contexts", "60,140", "--repeat", "1"];
    let report = json("bench", &[&args[..], &["--json"]].concat());
    // 8 layers of 2 x 128 values of 2 bytes.
    assert_eq!(report["kv_bytes_per_token"], 8 * 2 * 128 * 2);
    let rows = report["contexts"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, context) in rows.iter().zip([60, 140]) {
        assert_eq!(row["context"], context);
        for key in [
            "read_again_seconds",
            "edit_seconds",
            "edit_from_host_seconds",
            "fork_seconds",
            "save_seconds",
            "restore_seconds",
        ] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}: {row}");
        }
        assert!(row["saved_bytes"].as_u64() > row["fork_bytes"].as_u64(), "{row}");
    }
    // The last 32 tokens; a stem of 28 tokens is too short for a snapshot.
    for key in ["edit_tokens_read", "edit_from_host_tokens_read"] {
        assert_eq!((&rows[0][key], &rows[1][key]), (&60.into(), &32.into()), "{key}");
    }
    let table = text("bench", &args, "");
    assert_eq!(table.lines().filter(|line| line.starts_with('|')).count(), 4, "{table}");
    let wide = json("bench", &["--state", "--contexts", "40", "--repeat", "1", "--json", "--kv", "f32"]);
    assert_eq!(wide["kv_bytes_per_token"], 8 * 2 * 128 * 4);
}

#[test]
fn a_prompt_is_read_once_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    // At a control token, which the tokenizer does not join with what is before it.
    let (stem, tail) = QUESTION.split_at(QUESTION.find("<|im_end|>").unwrap());
    let (prompt, state) = (at("prompt"), at("prompt.state"));
    let greedy = ["--temperature", "0", "--max-tokens", "16"];
    let whole = text("generate", &[&["--prompt", QUESTION], &greedy[..]].concat(), "");

    std::fs::write(&prompt, stem).unwrap();
    text("prefill", &["--prompt-file", &prompt, "-o", &state], "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no unfinished file stays");
    let on = text("generate", &[&["--prompt", tail, "--state", &state], &greedy[..]].concat(), "");
    assert_eq!(on, whole);
    // From standard input, and nothing after it.
    text("prefill", &["--prompt-file", "-", "-o", &state], QUESTION);
    let on = text("generate", &[&["--prompt", "", "--state", &state], &greedy[..]].concat(), "");
    assert_eq!(on, whole);
}

#[test]
fn fidelity_is_a_table_of_formats_and_containers() {
    let short = ["--prompt-tokens", "20", "--last", "6", "--decode-tokens", "5"];
    let with = |only: &[&'static str]| [&["--only"], only, &short].concat();
    let report = with(&["all Q4_0,mix Q4_K_M,GPTQ 4 bits", "--json", ON_A_GPU[0], ON_A_GPU[1]]);
    let report = json("fidelity", &report);
    let models = report["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    let expected = [
        "GGUF, all Q4_0",
        "GGUF, mix Q4_K_M",
        "GGUF, mix Q4_K_M",
        "GGUF, mix Q4_K_M",
        "GGUF, mix Q4_K_M, three files",
        "safetensors, GPTQ 4 bits",
        "safetensors, GPTQ 4 bits, desc_act",
    ];
    assert_eq!(names, expected);
    for model in models {
        for (step, rows) in [("prefill", 6), ("decode", 5)] {
            let found = &model[step];
            assert_eq!((&found["ok"], &found["rows"]), (&true.into(), &rows.into()), "{model}");
            // Keys and values in 8 bits cost more, and it shows.
            let in_8_bits = model["kv"] == "q8";
            let largest = found["largest"].as_f64().unwrap();
            assert!(largest < if in_8_bits { 0.05 } else { 2e-3 } && (largest > 2e-3) == in_8_bits, "{model}");
        }
    }
    let table = text("fidelity", &with(&["all Q4_0", "--single"]), "");
    assert!(table.contains("| GGUF, all Q4_0 | f32 | decode |") && table.contains("against the CPU in f32"), "{table}");
}

#[test]
fn perplexity_tells_formats_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "<|im_start|>user\nHello! Who are you?<|im_end|>\n<|im_start|>assistant\nHello! I am")
        .unwrap();
    let report = json("perplexity", &["--text", path.to_str().unwrap(), "--types", "F32,Q2_K", "--json"]);
    let models = report["models"].as_array().unwrap();
    let of = |i: usize| models[i]["perplexity"].as_f64().unwrap();
    assert_eq!((models.len(), &models[1]["name"], &models[2]["name"]), (3, &"F32".into(), &"Q2_K".into()));
    // The same values in another format; then others.
    assert!((of(0) / of(1) - 1.0).abs() < 1e-4 && (of(0) / of(2) - 1.0).abs() > 1e-2, "{report}");
    // The mean of -ln p, by hand from the command that prints logits.
    let ids = text("tokenize", &["--bos", "--file", path.to_str().unwrap()], "");
    let ids: Vec<usize> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert_eq!(models[0]["tokens"], ids.len() - 1);
    let (file, out) = (folder.path().join("ids"), folder.path().join("out.npy"));
    std::fs::write(&file, ids.iter().map(|id| format!("{id} ")).collect::<String>()).unwrap();
    run("logits", &["--ids", file.to_str().unwrap(), "--out", out.to_str().unwrap()], "");
    let npy = npyz::NpyFile::new(std::fs::File::open(&out).unwrap()).unwrap();
    let vocab = npy.shape()[1] as usize;
    let logits: Vec<f32> = npy.into_vec().unwrap();
    let nats: f64 = logits
        .chunks_exact(vocab)
        .zip(&ids[1..])
        .map(|(row, id)| row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln() - f64::from(row[*id]))
        .sum();
    assert!((models[0]["nats"].as_f64().unwrap() - nats).abs() < 1e-2, "{nats}: {report}");
    // In windows of eight, later tokens see less.
    let narrow = json("perplexity", &["--text", path.to_str().unwrap(), "--window", "8", "--json"]);
    assert_eq!(narrow["models"][0]["tokens"], models[0]["tokens"]);
    assert!((narrow["models"][0]["nats"].as_f64().unwrap() - nats).abs() > 0.1, "{narrow}");
}
