//! Conversion: what is in the file that comes out.

use std::collections::BTreeMap;
use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, MemorySource, TokenizerData};
use peregrine::format::Format;
use peregrine::{Error, Result};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize, quantize_to_file};
use pollster::block_on;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::toy::Toy;

/// The toy, opened from a folder. The folder must live as long as the checkpoint.
fn folder(toy: &Toy) -> (TempDir, Checkpoint) {
    let folder = TempDir::new().unwrap();
    toy.write(folder.path());
    let checkpoint = block_on(Checkpoint::open_folder(folder.path())).unwrap();
    (folder, checkpoint)
}

fn convert(input: &Checkpoint, target: QuantType) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    block_on(quantize(input, &mut out, &QuantizeOptions::new(target), &mut |_, _| {})).map(|()| out)
}

fn reopen(bytes: Vec<u8>) -> Checkpoint {
    block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("converted", bytes)))).unwrap()
}

fn formats(checkpoint: &Checkpoint) -> BTreeMap<&str, Format> {
    checkpoint.tensors().map(|t| (t.name.as_str(), t.format)).collect()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let info = checkpoint.tensor(name).unwrap();
    block_on(checkpoint.read_rows_f32(info, 0, info.rows())).unwrap()
}

#[test]
fn every_multiplier_is_in_the_weights() {
    let toy = Toy::new();
    let (_folder, input) = folder(&toy);
    let output = reopen(convert(&input, QuantType::F32).unwrap());
    // Written out by hand, so that a multiplier in the wrong place shows.
    let sections = [(0, 64, 0.35), (64, 128, 0.25), (128, 144, 0.45), (144, 160, 0.5), (160, 164, 0.15f32)];
    for (name, (shape, source)) in &toy.tensors {
        let cols = shape[shape.len() - 1];
        let scale = |at: usize| -> f32 {
            let row = at / cols;
            match name.rsplit('.').nth(1).unwrap() {
                "embed_tokens" => 5.5,
                "lm_head" => 0.25,
                "q_proj" | "v_proj" => 1.1,
                "k_proj" => 0.3 * 1.1,
                "o_proj" => 0.9,
                "out_proj" => 0.7,
                "gate_proj" => 0.8,
                "down_proj" => 0.6,
                "in_proj" => 1.25 * sections.iter().find(|(first, end, _)| (*first..*end).contains(&row)).unwrap().2,
                _ => 1.0,
            }
        };
        let a = name.ends_with("A_log");
        let found = values(&output, &name.replace("A_log", "A"));
        for (at, (found, &value)) in found.iter().zip(source).enumerate() {
            let expected = if a { -f64::from(value).exp() as f32 } else { value * scale(at) };
            assert!((found - expected).abs() <= 2e-7 * expected.abs(), "{name} {at}: {found} {expected}");
        }
    }
    let config = &output.config;
    let ones = peregrine::config::Config {
        embedding_multiplier: 1.0,
        lm_head_multiplier: 1.0,
        key_multiplier: 1.0,
        attention_in_multiplier: 1.0,
        attention_out_multiplier: 1.0,
        ssm_in_multiplier: 1.0,
        ssm_out_multiplier: 1.0,
        mlp_multipliers: [1.0; 2],
        ssm_multipliers: [1.0; 5],
        rope_theta: f64::from(1e11f32),
        ..input.config.clone()
    };
    assert_eq!(config, &ones);
}

#[test]
fn formats_follow_the_rules() {
    let toy = Toy::with_hidden(256).set("time_step_limit", Value::Null);
    let (_folder, input) = folder(&toy);
    let (head, q) = ("lm_head.weight", "model.layers.0.self_attn.q_proj.weight");
    let (down, norm) = ("model.layers.0.feed_forward.down_proj.weight", "model.layers.0.input_layernorm.weight");
    let embedding = "model.embed_tokens.weight";
    for (target, expected) in [
        // Rows of `down` have 96 values: no whole blocks of 256.
        (QuantType::F32, [Format::F32; 4]),
        (QuantType::F16, [Format::F16; 4]),
        (QuantType::BF16, [Format::BF16; 4]),
        (QuantType::Q8_0, [Format::Q8_0; 4]),
        (QuantType::Q4_0, [Format::Q6_K, Format::Q4_0, Format::Q4_0, Format::Q4_0]),
        (QuantType::Q6_K, [Format::Q6_K, Format::Q6_K, Format::Q6_K, Format::Q8_0]),
        (QuantType::Q4_K_M, [Format::Q6_K, Format::Q4_K, Format::Q4_K, Format::Q5_0]),
        (QuantType::Q5_K_M, [Format::Q6_K, Format::Q5_K, Format::Q5_K, Format::Q5_1]),
        (QuantType::Q5_0, [Format::Q6_K, Format::Q5_0, Format::Q5_0, Format::Q5_0]),
        (QuantType::Q5_1, [Format::Q6_K, Format::Q5_1, Format::Q5_1, Format::Q5_1]),
        (QuantType::Q4_1, [Format::Q6_K, Format::Q4_1, Format::Q4_1, Format::Q4_1]),
        (QuantType::Q2_K, [Format::Q6_K, Format::Q2_K, Format::Q2_K, Format::Q4_0]),
        (QuantType::Q3_K_M, [Format::Q6_K, Format::Q3_K, Format::Q3_K, Format::Q5_0]),
        (QuantType::IQ4_NL, [Format::Q6_K, Format::IQ4_NL, Format::IQ4_NL, Format::IQ4_NL]),
        (QuantType::IQ4_XS, [Format::Q6_K, Format::IQ4_XS, Format::IQ4_XS, Format::IQ4_NL]),
    ] {
        let output = reopen(convert(&input, target).unwrap());
        let found = formats(&output);
        assert_eq!([found[head], found[q], found[embedding], found[down]], expected, "{target:?}");
        assert_eq!(found[norm], Format::F32);
        assert_eq!(found["model.layers.0.mamba.conv1d.weight"], Format::F32);
    }
    // Rows of 48 values fit no block at all.
    let (_folder, input) = folder(&Toy::with_hidden(48));
    let output = reopen(convert(&input, QuantType::Q4_0).unwrap());
    assert_eq!([formats(&output)[head], formats(&output)[q]], [Format::F16; 2]);
}

#[test]
fn requantizing_a_gguf_file_is_quantizing_its_weights() {
    let (_folder, input) = folder(&Toy::new());
    let wide = convert(&input, QuantType::F32).unwrap();
    let direct = convert(&input, QuantType::Q4_0).unwrap();
    assert!(convert(&reopen(wide), QuantType::Q4_0).unwrap() == direct);
    // Half the bits and back up: the values stay those of the small file.
    let up = reopen(convert(&reopen(direct.clone()), QuantType::F32).unwrap());
    let name = "model.layers.1.mamba.in_proj.weight";
    assert_eq!(values(&up, name), values(&reopen(direct), name));
}

#[test]
fn a_tied_model_keeps_both_multipliers() {
    let mut toy = Toy::new().set("tie_word_embeddings", true);
    toy.tensors.remove("lm_head.weight");
    let (_folder, input) = folder(&toy);
    let output = reopen(convert(&input, QuantType::F32).unwrap());
    let source = &toy.tensors["model.embed_tokens.weight"].1;
    assert_eq!(values(&output, "lm_head.weight")[7], source[7] * 0.25);
    assert_eq!(values(&output, "model.embed_tokens.weight")[7], source[7] * 5.5);
    // With equal multipliers one matrix is enough.
    let (_folder, input) = folder(&toy.set("lm_head_multiplier", 5.5));
    let output = reopen(convert(&input, QuantType::F32).unwrap());
    assert!(output.config.tie_word_embeddings && output.get("lm_head.weight").is_none());
}

#[test]
fn the_tokenizer_and_the_fields_are_there() {
    let (_folder, input) = folder(&Toy::new());
    let mut out = Vec::new();
    let mut steps = Vec::new();
    let options = QuantizeOptions { target: QuantType::Q8_0, name: Some("A Name".into()), license: Some("mit".into()) };
    block_on(quantize(&input, &mut out, &options, &mut |done, total| steps.push((done, total)))).unwrap();
    let output = reopen(out);
    let (done, total) = *steps.last().unwrap();
    assert_eq!((done, total), (output.tensor_bytes(), output.tensor_bytes()));
    assert!(steps.is_sorted());
    assert_eq!((output.name.as_str(), output.chat_template.as_deref()), ("A Name", Some("{{ messages }}")));
    let shown = |key: &str| output.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    assert_eq!(shown("general.file_type"), Some("7"));
    assert_eq!(shown("general.license"), Some("mit"));
    assert_eq!(shown("general.quantization_version"), Some("2"));
    let TokenizerData::Gguf { pre, tokens, token_types, merges, bos, eos, pad, add_bos } = &output.tokenizer else {
        panic!("not a GGUF tokenizer");
    };
    assert_eq!((pre.as_str(), *bos, eos.as_slice(), *pad, *add_bos), ("smollm", Some(1), &[2, 3][..], Some(0), true));
    assert_eq!(merges, &["a b", "ab c"]);
    assert_eq!((tokens[3].as_str(), token_types[3]), ("<|im_end|>", 3));
    assert_eq!((tokens[4].as_str(), token_types[4]), ("a", 1));
    assert_eq!((tokens[37].as_str(), token_types[37]), ("my word", 4));
    assert_eq!((tokens[39].as_str(), token_types[39]), ("[PAD39]", 5));
}

#[test]
fn pre_tokenizers_have_names() {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": regex});
    let llama = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    let split = |regex: &str| {
        let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    };
    let named = |pre: Value| {
        let mut toy = Toy::new();
        toy.tokenizer["pre_tokenizer"] = pre;
        let (_folder, input) = folder(&toy);
        convert(&input, QuantType::F32).map(|bytes| match reopen(bytes).tokenizer {
            TokenizerData::Gguf { pre, .. } => pre,
            TokenizerData::Json { .. } => panic!("not a GGUF tokenizer"),
        })
    };
    assert_eq!(named(bytes(true)).unwrap(), "gpt-2");
    assert_eq!(named(split(llama)).unwrap(), "falcon-h1");
    for other in [split("\\w+"), bytes(false), json!(null), json!({"type": "Whitespace"})] {
        let error = named(other).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { field, .. } if field == "pre_tokenizer"), "{error}");
    }
}

#[test]
fn weights_that_a_format_cannot_hold_are_refused() {
    for (value, target, good) in [
        (f32::NAN, QuantType::F32, false),
        (f32::INFINITY, QuantType::BF16, false),
        (1e6, QuantType::F16, false),
        (1e6, QuantType::Q4_0, false),
        (1e6, QuantType::F32, true),
    ] {
        let mut toy = Toy::new();
        let name = "model.layers.1.self_attn.o_proj.weight";
        toy.tensors.get_mut(name).unwrap().1[17] = value;
        let (_folder, input) = folder(&toy);
        match convert(&input, target) {
            Ok(_) => assert!(good, "{value} as {target:?}"),
            Err(error) => {
                assert!(!good && error.to_string().contains(name), "{value} as {target:?}: {error}");
            }
        }
    }
}

#[test]
fn a_file_gets_its_name_only_when_complete() {
    let (dir, input) = folder(&Toy::new());
    let path = dir.path().join("out.gguf");
    let options = QuantizeOptions::new(QuantType::Q8_0);
    block_on(quantize_to_file(&input, &path, &options, &mut |_, _| {})).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), convert(&input, QuantType::Q8_0).unwrap());
    let mut toy = Toy::new();
    toy.tensors.get_mut("lm_head.weight").unwrap().1[0] = f32::NAN;
    let (dir, input) = folder(&toy);
    let path = dir.path().join("out.gguf");
    block_on(quantize_to_file(&input, &path, &options, &mut |_, _| {})).unwrap_err();
    assert!(!path.exists() && !dir.path().join("out.gguf.part").exists());
    let nowhere = dir.path().join("no/such/folder/out.gguf");
    let error = block_on(quantize_to_file(&input, &nowhere, &options, &mut |_, _| {})).unwrap_err();
    assert_eq!(error.code(), "io");
}

#[test]
fn types_have_names() {
    for ty in QuantType::ALL {
        assert_eq!(ty.name().parse::<QuantType>().unwrap(), *ty);
        assert_eq!(ty.name().to_lowercase().parse::<QuantType>().unwrap(), *ty);
    }
    assert_eq!("q4_k".parse::<QuantType>().unwrap(), QuantType::Q4_K_M);
    assert_eq!("Q5_K".parse::<QuantType>().unwrap(), QuantType::Q5_K_M);
    let error = "Q9_9".parse::<QuantType>().unwrap_err();
    assert_eq!(error.code(), "argument");
    assert!(error.to_string().contains("Q9_9") && error.to_string().contains("Q4_K_M"), "{error}");
}
