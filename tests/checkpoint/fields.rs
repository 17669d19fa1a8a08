//! Fields that change the computation are honored or refused; odd values of fields that nobody
//! needs are neither; fields of a file survive its conversion; what is no model says so.

use std::path::Path;

use peregrine::checkpoint::Checkpoint;
use peregrine::config::{Config, GGUF_KEYS, Meaning};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize};
use pollster::block_on;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::file::{File, array, open, refusal, text};
use super::toy::Toy;

fn keys() -> Value {
    serde_json::from_str(include_str!("keys.json")).unwrap()
}

/// A valid value of another kind for each: 7, which is no neutral value of any field.
#[test]
fn every_gguf_field_is_honored_refused_or_declared() {
    let names: Vec<String> = serde_json::from_value(keys()["gguf"].clone()).unwrap();
    assert!(names.len() > 90);
    for name in &names {
        let key = format!("falcon-h1.{name}");
        let meaning = GGUF_KEYS.iter().find(|(known, _)| known == name).map(|(_, meaning)| *meaning);
        if matches!(meaning, Some(Meaning::Honored)) {
            continue;
        }
        let mut file = File::new();
        match name.as_str() {
            "rope.scaling.type" => file.set(&key, 8, text("yarn")),
            _ => file.set(&key, 6, 7f32.to_le_bytes().to_vec()),
        }
        match meaning {
            Some(Meaning::Nothing(why)) => {
                assert!(!why.is_empty());
                assert!(open(file.bytes()).is_ok(), "{key}");
            }
            _ => {
                let error = refusal(file.bytes(), &key);
                assert_eq!(error.code(), "unsupported", "{key}: {error}");
                assert!(error.to_string().contains(&key), "{error}");
            }
        }
    }
    // Nothing is listed that does not exist, but for the old name of a factor.
    let listed = GGUF_KEYS.iter().map(|(key, _)| *key).filter(|key| *key != "rope.scale_linear");
    for key in listed {
        assert!(names.iter().any(|name| name == key), "{key}");
    }
}

#[test]
fn neutral_values_change_nothing() {
    let head = 16u32;
    let float = |value: f32| (6, value.to_le_bytes().to_vec());
    for (name, (ty, bytes)) in [
        ("rope.scaling.type", (8, text("none"))),
        ("rope.scaling.type", (8, text("linear"))),
        ("rope.scaling.factor", float(1.0)),
        ("rope.scale_linear", float(0.0)),
        ("rope.scaling.attn_factor", float(1.0)),
        ("attention.causal", (7, vec![1])),
        ("attention.sliding_window", (4, 0u32.to_le_bytes().to_vec())),
        ("logit_scale", float(0.0)),
        ("expert_count", (4, 0u32.to_le_bytes().to_vec())),
    ] {
        let mut file = File::new();
        file.set(&format!("falcon-h1.{name}"), ty, bytes);
        assert!(open(file.bytes()).is_ok(), "{name}");
    }
    // Without scaling a factor means nothing.
    let mut file = File::new();
    file.set("falcon-h1.rope.scaling.type", 8, text("none"));
    file.set("falcon-h1.rope.scaling.factor", 6, 4f32.to_le_bytes().to_vec());
    assert!(open(file.bytes()).is_ok());
    // The head's own numbers.
    let mut file = File::new();
    let head = open(file.bytes()).map_or(head, |checkpoint| checkpoint.config.head_dim);
    file.set_u32("falcon-h1.rope.dimension_count", head);
    file.set("falcon-h1.attention.scale", 6, (1.0 / (head as f32).sqrt()).to_le_bytes().to_vec());
    assert!(open(file.bytes()).is_ok());
    file.set_u32("falcon-h1.rope.dimension_count", head / 2);
    assert!(refusal(file.bytes(), "half a head").to_string().contains("rope.dimension_count"));
}

/// Fields of `config.json` that change no logits, and why.
const HARMLESS: &[(&str, &str)] = &[
    ("_name_or_path", "a name"),
    ("architectures", "the class for transformers; model_type decides"),
    ("attention_dropout", "training"),
    ("bos_token_id", "read with the tokenizer"),
    ("eos_token_id", "read with the tokenizer"),
    ("pad_token_id", "read with the tokenizer"),
    ("chunk_size_feed_forward", "memory only, and not in this architecture"),
    ("dtype", "the tensors' own types are read"),
    ("id2label", "classification"),
    ("label2id", "classification"),
    ("problem_type", "classification"),
    ("initializer_range", "training"),
    ("is_encoder_decoder", "not in this architecture"),
    ("mamba_chunk_size", "how the same sums are cut"),
    ("num_logits_to_keep", "which logits are given out"),
    ("output_attentions", "what is given out"),
    ("output_hidden_states", "what is given out"),
    ("return_dict", "what is given out"),
    ("transformers_version", "who wrote it"),
    ("use_cache", "speed"),
    ("mamba_expand", "only where mamba_d_ssm is missing, and there honored"),
];

#[test]
fn every_field_of_the_configuration_is_honored_refused_or_declared() {
    let names: Vec<String> = serde_json::from_value(keys()["config"].clone()).unwrap();
    assert!(names.len() > 50);
    let toy = Toy::new();
    let plain = Config::from_json("config.json", &toy.config).unwrap();
    for name in &names {
        let mut changed = toy.config.clone();
        changed[name] = match &changed[name] {
            Value::Number(number) if number.is_u64() => json!(number.as_u64().unwrap() * 2),
            Value::Number(number) => json!(number.as_f64().unwrap() * 2.0 + 0.125),
            Value::Bool(on) => json!(!on),
            Value::Array(items) if items.iter().all(Value::is_number) => items.iter().map(|_| json!(0.375)).collect(),
            Value::Array(_) => json!([0.0, 1.0]),
            Value::String(_) => json!("other"),
            _ if name == "rope_parameters" => json!({"rope_type": "yarn", "factor": 4.0}),
            _ if name.ends_with("bias") => json!(true),
            _ => json!(7),
        };
        let result = Config::from_json("config.json", &changed);
        let harmless = HARMLESS.iter().any(|(known, _)| known == name);
        match &result {
            Ok(config) if harmless => assert_eq!(*config, plain, "{name}"),
            Ok(config) => assert_ne!(*config, plain, "{name} = {} changes nothing", changed[name]),
            Err(_) => assert!(!harmless, "{name}: {:?}", result.err()),
        }
    }
}

#[test]
fn half_turned_heads_and_other_layers_are_refused() {
    for (field, value) in [
        ("partial_rotary_factor", json!(0.5)),
        ("rope_parameters", json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5})),
        ("layer_types", json!(["hybrid", "attention"])),
        ("layers_block_type", json!(["mamba"])),
    ] {
        let mut config = Toy::new().config;
        config[field] = value;
        let error = Config::from_json("config.json", &config).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn odd_values_that_nobody_needs_are_shown() {
    let nested = array(9, 1, &array(4, 2, &[1, 0, 0, 0, 2, 0, 0, 0]));
    let deep = array(9, 1, &array(9, 1, &array(8, 1, &text("x"))));
    let large = array(10, 2, &[u64::MAX.to_le_bytes(), 1u64.to_le_bytes()].concat());
    for (name, ty, bytes, shown) in [
        ("general.description", 8, [&6u64.to_le_bytes()[..], b"Mod\xe8le"].concat(), "Mod\u{fffd}le"),
        ("x.nested", 9, nested, "1 arrays"),
        ("x.deep", 9, deep, "1 arrays"),
        ("x.hashes", 9, large, "2 integers"),
        ("x.flag", 7, vec![2], "2"),
        ("x.flags", 9, array(7, 2, &[1, 3]), "2 bools"),
        ("x.texts", 9, array(8, 1, &[&1u64.to_le_bytes()[..], &[0xff]].concat()), "1 strings"),
    ] {
        let mut file = File::new();
        file.set(name, ty, bytes.clone());
        let checkpoint = open(file.bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = checkpoint.metadata.iter().find(|(key, _)| key == name).unwrap();
        assert_eq!(found.1, shown, "{name}");
        // Where it is needed, it is wrong.
        let mut file = File::new();
        file.set("falcon-h1.context_length", ty, bytes);
        assert_eq!(refusal(file.bytes(), name).code(), "malformed", "{name}");
    }
    let mut file = File::new();
    file.set("general.name", 8, [&6u64.to_le_bytes()[..], b"Mod\xe8le"].concat());
    assert_eq!(open(file.bytes()).unwrap().name, "Mod\u{fffd}le");
    // Arrays without end are refused.
    let mut bytes = array(4, 0, &[]);
    for _ in 0..12 {
        bytes = array(9, 1, &bytes);
    }
    let mut file = File::new();
    file.set("x.deep", 9, bytes);
    assert!(refusal(file.bytes(), "twelve levels").to_string().contains("levels"));
}

fn convert(input: &Checkpoint, target: QuantType) -> peregrine::Result<Vec<u8>> {
    let mut out = Vec::new();
    block_on(quantize(input, &mut out, &QuantizeOptions::new(target), &mut |_, _| {})).map(|()| out)
}

#[test]
fn a_file_s_own_fields_survive() {
    let mut file = File::new();
    let strings =
        |items: &[&str]| array(8, items.len() as u64, &items.iter().flat_map(|item| text(item)).collect::<Vec<_>>());
    let kept = [
        ("general.tags", 9, strings(&["falcon-h1", "edge"])),
        ("general.languages", 9, strings(&["ar", "hi"])),
        ("general.base_model.count", 4, 1u32.to_le_bytes().to_vec()),
        ("general.base_model.0.name", 8, text("Falcon H1")),
        ("general.license", 8, text("other")),
        ("tokenizer.ggml.add_eos_token", 7, vec![0]),
        ("tokenizer.chat_templates", 9, strings(&["tool_use"])),
        ("tokenizer.chat_template.tool_use", 8, text("TOOLS")),
        ("falcon-h1.rope.scaling.finetuned", 7, vec![0]),
        ("x.hashes", 9, array(10, 1, &u64::MAX.to_le_bytes())),
    ];
    for (key, ty, bytes) in &kept {
        file.set(key, *ty, bytes.clone());
    }
    for (key, ty, bytes) in
        [("quantize.imatrix.file", 8, text("x")), ("general.file_type", 4, 99u32.to_le_bytes().to_vec())]
    {
        file.set(key, ty, bytes);
    }
    let out = convert(&open(file.bytes()).unwrap(), QuantType::F16).unwrap();
    for (key, ty, bytes) in kept {
        // Key, type and value, as they were.
        let field = [text(key), ty.to_le_bytes().to_vec(), bytes].concat();
        let times = out.windows(field.len()).filter(|window| *window == field).count();
        assert_eq!(times, 1, "{key}");
    }
    let again = open(out).unwrap();
    let shown = |key: &str| again.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    assert_eq!((shown("quantize.imatrix.file"), shown("general.file_type")), (None, Some("1")));
}

#[test]
fn only_scales_must_fit_halves() {
    let at = |value: f32, target| {
        let mut toy = Toy::new();
        toy.tensors.get_mut("model.layers.0.feed_forward.up_proj.weight").unwrap().1[3] = value;
        let folder = TempDir::new().unwrap();
        toy.write(folder.path());
        convert(&block_on(Checkpoint::open_folder(folder.path())).unwrap(), target)
    };
    for target in [QuantType::Q8_0, QuantType::Q4_0, QuantType::F32, QuantType::BF16] {
        assert!(at(99_840.0, target).is_ok(), "{target:?}");
        assert!(at(-99_840.0, target).is_ok(), "{target:?}");
    }
    assert!(at(8_000_000.0, QuantType::Q8_0).is_ok());
    for (value, target) in
        [(99_840.0, QuantType::F16), (9e6, QuantType::Q8_0), (1e6, QuantType::Q4_0), (1e30, QuantType::Q4_K_M)]
    {
        let error = at(value, target).unwrap_err().to_string();
        assert!(error.contains("up_proj"), "{target:?}: {error}");
    }
}

#[test]
fn what_gguf_cannot_say_is_not_converted() {
    for (what, change) in [
        ("normalizer", (|t| t["normalizer"] = json!({"type": "NFC"})) as fn(&mut Value)),
        ("normalizer", |t| t["normalizer"] = json!({"type": "Sequence", "normalizers": []})),
        ("lstrip", |t| t["added_tokens"][0]["lstrip"] = json!(true)),
        ("rstrip", |t| t["added_tokens"][0]["rstrip"] = json!(true)),
        ("single_word", |t| t["added_tokens"][0]["single_word"] = json!(true)),
        ("ignore_merges", |t| {
            t["model"]["ignore_merges"] = json!(true);
            t["model"]["vocab"]["xyz"] = json!(38);
        }),
        ("unk_token", |t| t["model"]["unk_token"] = json!("<s>")),
    ] {
        let mut toy = Toy::new();
        change(&mut toy.tokenizer);
        let folder = TempDir::new().unwrap();
        toy.write(folder.path());
        let input = block_on(Checkpoint::open_folder(folder.path())).unwrap();
        let error = convert(&input, QuantType::F16).unwrap_err();
        assert!(error.code() == "unsupported" && error.to_string().contains(what), "{what}: {error}");
    }
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 12345\n";

#[test]
fn stand_ins_for_files_are_reported() {
    let error = refusal(POINTER.as_bytes().to_vec(), "a pointer").to_string();
    assert!(error.contains("Git LFS pointer") && error.contains("git lfs pull"), "{error}");
    let error = refusal(b"<!DOCTYPE html><html>Not found</html>".to_vec(), "a page").to_string();
    assert!(error.contains("web page"), "{error}");
    for file in ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let folder = TempDir::new().unwrap();
        Toy::new().write(folder.path());
        std::fs::write(folder.path().join(file), POINTER).unwrap();
        let error = block_on(Checkpoint::open_folder(folder.path())).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("Git LFS pointer") && error.contains(file), "{file}: {error}");
    }
}

#[test]
fn adapters_and_other_kinds_are_reported() {
    for (kind, word) in
        [("adapter", "LoRA adapter"), ("mmproj", "images"), ("imatrix", "important"), ("vocab", "vocab")]
    {
        let mut file = File::new();
        file.set("general.type", 8, text(kind));
        file.tensors.clear();
        file.data.clear();
        let error = refusal(file.bytes(), kind).to_string();
        assert!(error.contains(word), "{error}");
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), json!({"peft_type": "LORA"}).to_string()).unwrap();
    let error = block_on(Checkpoint::open_folder(folder.path())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("LoRA adapter") && error.contains("--lora"), "{error}");
}

fn with_buffers(folder: &Path, names: &[&str]) {
    let toy = Toy::new();
    toy.write_texts(folder);
    let bytes = toy.safetensors(|_| true);
    let good = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ints = vec![0u8; 64];
    let mut views: Vec<(String, TensorView<'_>)> =
        good.tensors().into_iter().map(|(name, view)| (name.to_string(), view)).collect();
    for name in names {
        views.push((name.to_string(), TensorView::new(Dtype::I64, vec![8], &ints).unwrap()));
    }
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn buffers_are_passed_over_whatever_their_type() {
    let folder = TempDir::new().unwrap();
    with_buffers(
        folder.path(),
        &[
            "model.embeddings.position_ids",
            "model.rotary_emb.inv_freq",
            "model.layers.0.self_attn.rotary_emb.cos_cached",
        ],
    );
    assert!(block_on(Checkpoint::open_folder(folder.path())).is_ok());
    // Others keep their message.
    let folder = TempDir::new().unwrap();
    with_buffers(folder.path(), &["model.layers.0.odd"]);
    let error = block_on(Checkpoint::open_folder(folder.path())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("model.layers.0.odd"), "{error}");
}
