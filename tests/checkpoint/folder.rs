//! Hugging Face folders: one file, shards, and what can be wrong with either.

use std::path::Path;
use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, Container, MemorySource, Source, TokenizerData};
use peregrine::{Error, Result};
use pollster::block_on;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::toy::{Toy, VOCAB};

fn open(folder: &Path) -> Result<Checkpoint> {
    block_on(Checkpoint::open_folder(folder))
}

/// Opens a toy that `change` has changed on disk; it must fail.
fn refusal(toy: &Toy, change: impl FnOnce(&Path)) -> Error {
    let folder = TempDir::new().unwrap();
    toy.write(folder.path());
    change(folder.path());
    open(folder.path()).map(|_| ()).expect_err("it opened")
}

fn assert_all_read(checkpoint: &Checkpoint, toy: &Toy) {
    for (name, (shape, values)) in &toy.tensors {
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        assert_eq!(&block_on(checkpoint.read_f32(name, &shape)).unwrap(), values, "{name}");
    }
    assert_eq!(checkpoint.tensors().count(), toy.tensors.len());
}

#[test]
fn a_single_file_opens() {
    let (folder, toy) = (TempDir::new().unwrap(), Toy::new());
    toy.write(folder.path());
    let checkpoint = open(folder.path()).unwrap();
    assert_all_read(&checkpoint, &toy);
    let config = &checkpoint.config;
    assert_eq!(checkpoint.container, Container::Safetensors);
    assert_eq!((config.mamba_d_head, config.vocab_size as usize), (16, VOCAB));
    assert_eq!((config.embedding_multiplier, config.mlp_multipliers), (5.5, [0.8, 0.6]));
    assert_eq!(config.ssm_multipliers, [0.35, 0.25, 0.45, 0.5, 0.15]);
    assert_eq!(checkpoint.chat_template.as_deref(), Some("{{ messages }}"));
    let a_log = &toy.tensors["model.layers.1.mamba.A_log"].1;
    let a: Vec<f32> = a_log.iter().map(|a| -f64::from(*a).exp() as f32).collect();
    assert_eq!(block_on(checkpoint.mamba_a(1)).unwrap(), a);
    let TokenizerData::Json { bos, eos, pad, add_bos, .. } = &checkpoint.tokenizer else {
        panic!("not a tokenizer.json");
    };
    assert_eq!((*bos, eos.as_slice(), *pad, *add_bos), (Some(1), &[2, 3][..], Some(0), true));
}

/// Writes the toy in two shards.
fn write_shards(toy: &Toy, folder: &Path) {
    toy.write_texts(folder);
    let first = |name: &str| name.contains("layers.0");
    let mut map = serde_json::Map::new();
    for name in toy.tensors.keys() {
        map.insert(name.clone(), if first(name) { "a.safetensors" } else { "b.safetensors" }.into());
    }
    std::fs::write(folder.join("a.safetensors"), toy.safetensors(first)).unwrap();
    std::fs::write(folder.join("b.safetensors"), toy.safetensors(|name| !first(name))).unwrap();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_open() {
    let (folder, toy) = (TempDir::new().unwrap(), Toy::new());
    write_shards(&toy, folder.path());
    let checkpoint = block_on(Checkpoint::open(folder.path().to_str().unwrap())).unwrap();
    assert_all_read(&checkpoint, &toy);
}

/// The files of a folder in memory, as a browser has them: their names are paths.
fn sources(folder: &Path, called: &str) -> Vec<Rc<dyn Source>> {
    let mut sources: Vec<Rc<dyn Source>> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{called}{}", entry.file_name().to_str().unwrap());
        sources.push(Rc::new(MemorySource::new(name, std::fs::read(entry.path()).unwrap())));
    }
    sources
}

#[test]
fn files_in_memory_open_as_a_folder_on_the_disk() {
    let (folder, toy) = (TempDir::new().unwrap(), Toy::new());
    write_shards(&toy, folder.path());
    let on_disk = open(folder.path()).unwrap();
    for (called, name) in [("", "model"), ("Toy-H1/", "Toy-H1"), ("models/Toy-H1/", "Toy-H1")] {
        let mut files = sources(folder.path(), called);
        // What training leaves in a folder of its own is another model.
        let older = MemorySource::new(format!("{called}checkpoint-1/config.json"), &b"{}"[..]);
        files.insert(0, Rc::new(older));
        let checkpoint = block_on(Checkpoint::open_files(files)).unwrap();
        assert_all_read(&checkpoint, &toy);
        assert_eq!(checkpoint.name, name);
        assert_eq!(checkpoint.config, on_disk.config);
        assert_eq!(checkpoint.metadata, on_disk.metadata);
        assert_eq!(checkpoint.chat_template, on_disk.chat_template);
        assert_eq!(checkpoint.named_tokens, on_disk.named_tokens);
        assert_eq!(format!("{:?}", checkpoint.tokenizer), format!("{:?}", on_disk.tokenizer));
    }
    for (missing, code) in [("config.json", "not-gguf"), ("tokenizer.json", "io"), ("b.safetensors", "io")] {
        let mut files = sources(folder.path(), "Toy-H1/");
        files.retain(|file| file.name() != format!("Toy-H1/{missing}"));
        let error = block_on(Checkpoint::open_files(files)).map(|_| ()).expect_err("it opened");
        assert_eq!(error.code(), code, "{missing}: {error}");
        assert!(code == "not-gguf" || error.to_string().starts_with(&format!("Toy-H1/{missing}: ")), "{error}");
    }
}

#[test]
fn shards_that_disagree_with_the_index_are_refused() {
    let toy = Toy::new();
    let changed = |change: &dyn Fn(&mut Value)| {
        let folder = TempDir::new().unwrap();
        write_shards(&toy, folder.path());
        let path = folder.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        std::fs::write(&path, index.to_string()).unwrap();
        open(folder.path()).map(|_| ()).expect_err("it opened")
    };
    let error = changed(&|i| i["weight_map"]["lm_head.weight"] = "a.safetensors".into());
    assert_eq!(error.code(), "malformed");
    assert!(error.to_string().contains("lm_head.weight"), "{error}");
    let error = changed(&|i| i["weight_map"]["lm_head.weight"] = "../b.safetensors".into());
    assert!(error.to_string().contains("names of files in the folder"), "{error}");
    let error = changed(&|i| drop(i["weight_map"].as_object_mut().unwrap().remove("lm_head.weight")));
    assert!(error.to_string().contains("lm_head.weight"), "{error}");
    let error = changed(&|i| {
        for file in i["weight_map"].as_object_mut().unwrap().values_mut() {
            if file == "a.safetensors" {
                *file = "c.safetensors".into();
            }
        }
    });
    assert_eq!(error.code(), "io");
    assert!(error.to_string().contains("c.safetensors"), "{error}");
    // Of a layer that there is not: what one forgot to save stands in no file.
    let error = changed(&|i| i["weight_map"]["model.layers.2.mamba.D"] = "b.safetensors".into());
    assert!(
        matches!(&error, Error::MissingTensor { name, tensor } if name.ends_with("b.safetensors") && tensor == "model.layers.2.mamba.D"),
        "{error}"
    );
    let error = changed(&|i| *i = json!({}));
    assert_eq!(error.code(), "missing-field");
}

#[test]
fn config_fields_are_checked_by_name() {
    for (field, value, code) in [
        ("model_type", json!("llama"), "unsupported"),
        ("model_type", json!(null), "missing-field"),
        ("hidden_size", json!(null), "missing-field"),
        ("hidden_size", json!("32"), "malformed"),
        ("hidden_size", json!(-1), "malformed"),
        ("hidden_size", json!(1e300), "malformed"),
        ("hidden_size", json!(0), "malformed"),
        ("num_hidden_layers", json!(100_000), "malformed"),
        ("num_key_value_heads", json!(3), "malformed"),
        ("head_dim", json!(15), "malformed"),
        ("mamba_n_groups", json!(3), "malformed"),
        ("mamba_d_conv", json!(9), "malformed"),
        ("mamba_d_ssm", json!(4_000_000_000u32), "malformed"),
        ("rms_norm_eps", json!(0), "malformed"),
        ("rope_theta", json!(null), "missing-field"),
        ("embedding_multiplier", json!("big"), "malformed"),
        ("key_multiplier", json!("Infinity"), "malformed"),
        ("ssm_multipliers", json!([1, 1]), "malformed"),
        ("attention_bias", json!(true), "unsupported"),
        ("mlp_bias", json!(true), "unsupported"),
        ("projectors_bias", json!(true), "unsupported"),
        ("mamba_proj_bias", json!(true), "unsupported"),
        ("mamba_conv_bias", json!(false), "unsupported"),
        ("mamba_norm_before_gate", json!(true), "unsupported"),
        ("mamba_norm_before_gate", json!(null), "unsupported"),
        ("time_step_limit", json!([0.0, 0.1]), "unsupported"),
        ("time_step_limit", json!([0.001, "Infinity"]), "unsupported"),
        ("rope_scaling", json!({"type": "yarn", "factor": 4}), "unsupported"),
        ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e11}), "unsupported"),
        ("hidden_act", json!("gelu"), "unsupported"),
        ("quantization_config", json!({"quant_method": "awq"}), "unsupported"),
        ("quantization_config", json!({"quant_method": "gptq", "bits": 3, "group_size": 32}), "unsupported"),
        ("quantization_config", json!({"quant_method": "gptq", "bits": 4, "group_size": "x"}), "unsupported"),
        ("quantization_config", json!({"quant_method": "gptq", "bits": 4}), "unsupported"),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"+:q": {"bits": 8}}}),
            "unsupported",
        ),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin"}),
            "unsupported",
        ),
    ] {
        let error = refusal(&Toy::new().set(field, value.clone()), |_| {});
        let message = error.to_string();
        assert_eq!(error.code(), code, "{field} {value}: {message}");
        assert!(message.contains(field) && message.contains("config.json"), "{field} {value}: {message}");
    }
}

#[test]
fn config_spellings_are_understood() {
    let open = |toy: Toy| {
        let folder = TempDir::new().unwrap();
        toy.write(folder.path());
        open(folder.path()).unwrap().config
    };
    let parameters = json!({"rope_type": "default", "rope_theta": 5e5});
    assert_eq!(open(Toy::new().set("rope_parameters", parameters)).rope_theta, 5e5);
    assert_eq!(open(Toy::new().set("mamba_d_ssm", Value::Null).set("mamba_expand", 2)).mamba_d_ssm, 64);
    assert_eq!(open(Toy::new().set("ssm_multipliers", Value::Null)).ssm_multipliers, [1.0; 5]);
    for limit in [json!(null), json!([0, {"__float__": "Infinity"}]), json!([0.0, f64::MAX])] {
        open(Toy::new().set("time_step_limit", limit));
    }
    // An escaped quote must not confuse the reading of Python's JSON.
    open(Toy::new().set("note", "\" Infinity \\").set("time_step_limit", json!([0.0, "Infinity"])));
}

#[test]
fn tied_embeddings_are_seen() {
    let folder = TempDir::new().unwrap();
    let mut toy = Toy::new().set("tie_word_embeddings", true);
    toy.write(folder.path());
    // A copy of the embedding in the file is ignored.
    assert!(open(folder.path()).unwrap().get("lm_head.weight").is_none());
    toy.tensors.remove("lm_head.weight");
    toy.write(folder.path());
    assert!(open(folder.path()).unwrap().config.tie_word_embeddings);
    let toy = toy.set("tie_word_embeddings", Value::Null);
    toy.write(folder.path());
    assert!(open(folder.path()).unwrap().config.tie_word_embeddings);
    let error = refusal(&toy.set("tie_word_embeddings", false), |_| {});
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
}

#[test]
fn files_that_are_missing_are_named() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let error = refusal(&Toy::new(), |folder| std::fs::remove_file(folder.join(file)).unwrap());
        assert_eq!(error.code(), "io");
        assert!(error.to_string().contains(file), "{error}");
    }
    for file in ["config.json", "tokenizer.json", "generation_config.json"] {
        let error = refusal(&Toy::new(), |folder| std::fs::write(folder.join(file), "{").unwrap());
        assert_eq!(error.code(), "malformed");
        assert!(error.to_string().contains(file), "{error}");
    }
}

/// Replaces the header of the safetensors file; the data stays.
fn with_header(toy: &Toy, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let bytes = toy.safetensors(|_| true);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
}

#[test]
fn lies_in_safetensors_are_named() {
    let toy = Toy::new();
    let mut header: Value = Value::Null;
    with_header(&toy, |text| {
        header = serde_json::from_str(&text).unwrap();
        text
    });
    let d = "model.layers.0.mamba.D";
    let entry = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header[d]);
        header.to_string()
    };
    let (first, last) = (header[d]["data_offsets"][0].clone(), header[d]["data_offsets"][1].clone());
    let twice = format!("{{\"{d}\": {}, {}", header[d], &header.to_string()[1..]);
    for (what, text, code) in [
        ("not JSON", "{".to_string(), "malformed"),
        ("a list", "[]".into(), "malformed"),
        ("a tensor twice", twice, "malformed"),
        ("no dtype", entry(&|e| drop(e.as_object_mut().unwrap().remove("dtype"))), "malformed"),
        ("an unknown dtype", entry(&|e| e["dtype"] = "Q4".into()), "malformed"),
        ("integers", entry(&|e| e["dtype"] = "I32".into()), "unsupported"),
        ("a wrong shape", entry(&|e| e["shape"] = json!([2, 2])), "tensor-shape"),
        ("a shape of 0", entry(&|e| e["shape"] = json!([0])), "malformed"),
        ("a shape that overflows", entry(&|e| e["shape"] = json!([1u64 << 40, 1u64 << 40])), "malformed"),
        ("more values than bytes", entry(&|e| e["shape"] = json!([5])), "malformed"),
        ("offsets the wrong way round", entry(&|e| e["data_offsets"] = json!([last, first])), "malformed"),
        ("offsets past the end", entry(&|e| e["data_offsets"] = json!([1u64 << 40, (1u64 << 40) + 16])), "truncated"),
        ("offsets that overflow", entry(&|e| e["data_offsets"] = json!([u64::MAX - 16, u64::MAX])), "truncated"),
        ("a negative offset", entry(&|e| e["data_offsets"] = json!([-16, 0])), "malformed"),
        ("an overlap", entry(&|e| e["data_offsets"] = json!([0, 16])), "malformed"),
    ] {
        let file = with_header(&toy, |_| text);
        let error = refusal(&toy, |folder| std::fs::write(folder.join("model.safetensors"), &file).unwrap());
        let message = error.to_string();
        assert_eq!(error.code(), code, "{what}: {message}");
        let named = message.contains(d) || message.contains("header");
        assert!(named || what == "an overlap", "{what}: {message}");
    }
    let extra = with_header(&toy, |text| text.replace("lm_head.weight", "lm_head.bias"));
    let error = refusal(&toy, |folder| std::fs::write(folder.join("model.safetensors"), &extra).unwrap());
    assert_eq!(error.code(), "unsupported");
    assert!(error.to_string().contains("lm_head.bias"), "{error}");
}

#[test]
fn safetensors_cut_anywhere_are_refused() {
    let toy = Toy::new();
    let bytes = toy.safetensors(|_| true);
    let folder = TempDir::new().unwrap();
    toy.write(folder.path());
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let step = bytes.len() / 100;
    for cut in (0..16).chain((16..bytes.len()).step_by(step)).chain([header, bytes.len() - 1]) {
        std::fs::write(folder.path().join("model.safetensors"), &bytes[..cut]).unwrap();
        let error = open(folder.path()).map(|_| ()).expect_err("it opened");
        assert_eq!(error.code(), "truncated", "cut at {cut}: {error}");
    }
    // A length that no file justifies.
    std::fs::write(folder.path().join("model.safetensors"), [255; 64]).unwrap();
    assert_eq!(open(folder.path()).map(|_| ()).unwrap_err().code(), "malformed");
}

#[test]
fn what_the_user_names_is_understood() {
    let opened = |model: &str| block_on(Checkpoint::open(model)).map(|_| ()).unwrap_err();
    for hub in ["tiiuae/Falcon-H1-0.5B-Instruct", "org/repo:model.gguf"] {
        let error = opened(hub);
        assert_eq!(error.code(), "unsupported");
        assert!(error.to_string().contains("hub") && error.to_string().contains(hub), "{error}");
    }
    for path in ["no-such-file.gguf", "some/model.gguf", "/no/such/folder"] {
        assert_eq!(opened(path).code(), "io", "{path}");
    }
}
