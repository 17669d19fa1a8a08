//! Each fault of an adapter has its own message.

use std::path::Path;

use peregrine::Error;
use peregrine::adapter::Summary;
use peregrine::format::Format;
use peregrine_workbench::gguf::{Field, GgufHeader};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::checkpoint::toy::Noise;

type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// A copy of the golden adapter `plain` with changes, opened for its base.
fn opened(config: impl Fn(&mut Value), tensors: impl Fn(&mut Tensors)) -> Result<Adapter, Error> {
    let from = golden_path("adapters/plain");
    let to = TempDir::new().unwrap();
    let mut description: Value =
        serde_json::from_slice(&std::fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    config(&mut description);
    std::fs::write(to.path().join("adapter_config.json"), description.to_string()).unwrap();
    let bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Tensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors(&mut all);
    let views = all
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(to.path().join("adapter_model.safetensors"), serialize(views, None).unwrap()).unwrap();
    open_for("hf-folder", to.path())
}

fn open_for(base: &str, path: &Path) -> Result<Adapter, Error> {
    let file = checkpoint(&golden_path(base));
    block_on(Adapter::open(path, &Base::of(&file)))
}

fn message(outcome: Result<Adapter, Error>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

fn has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(!message.contains('\n'), "{message:?}");
}

fn extra(name: &str, shape: &[usize], value: f32) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    let values = vec![value; shape.iter().product()];
    (name.into(), Dtype::F32, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

#[test]
fn what_a_description_asks_for_is_refused_by_name() {
    for (field, value, found) in [
        ("use_dora", json!(true), "DoRA"),
        ("modules_to_save", json!(["lm_head"]), "whole modules"),
        ("lora_bias", json!(true), "biases"),
        ("bias", json!("all"), "\"all\""),
        ("peft_type", json!("LOHA"), "LOHA"),
        ("init_lora_weights", json!("pissa_niter_4"), "pissa_niter_4"),
        ("trainable_token_indices", json!([1]), "rows of the embedding"),
        ("alora_invocation_tokens", json!([1, 2]), "aLoRA"),
        ("use_bdlora", json!({"target_modules_bd_a": ["q_proj"]}), "blocks"),
        ("layer_replication", json!([[0, 2]]), "several times"),
        ("target_parameters", json!(["a"]), "no linear layers"),
    ] {
        let error = opened(|c| c[field] = value.clone(), |_| {}).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { field: found, .. } if found == field), "{field}: {error}");
        has(&error.to_string(), &["adapter_config.json", field, found]);
    }
    for (field, value) in [
        ("r", json!(0)),
        ("r", json!("4")),
        ("lora_alpha", json!("8")),
        ("use_rslora", json!(1)),
        ("rank_pattern", json!([1])),
        ("rank_pattern", json!({"q_proj": 2.5})),
        ("alpha_pattern", json!({"(": 1})),
        ("target_modules", json!(7)),
        ("target_modules", json!("(")),
        ("layers_to_transform", json!("all")),
    ] {
        let error = opened(|c| c[field] = value.clone(), |_| {}).map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, Error::Malformed { field: found, .. } if found.starts_with(field)),
            "{field}: {error}"
        );
    }
    has(&message(opened(|c| *c = json!([1]), |_| {})), &["a JSON object"]);
    let error = opened(|c| c["r"] = Value::Null, |_| {}).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::MissingField { field, .. } if field == "r"), "{error}");
    // What asks for nothing is fine.
    let nothing = |c: &mut Value| {
        c["use_dora"] = json!(false);
        c["modules_to_save"] = json!([]);
        c["init_lora_weights"] = json!("gaussian");
        c["fan_in_fan_out"] = json!(true);
    };
    assert!(opened(nothing, |_| {}).is_ok());
}

#[test]
fn tensors_are_what_the_description_says() {
    const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    let find = |all: &Tensors, name: &str| all.iter().position(|tensor| tensor.0 == name).unwrap();
    let shaped = |name: &'static str, shape: [usize; 2]| {
        move |all: &mut Tensors| {
            let at = find(all, name);
            all[at] = extra(name, &shape, 0.5);
        }
    };
    has(&message(opened(|_| {}, shaped(A, [4, 31]))), &[A, "[4, 32]", "[4, 31]"]);
    has(&message(opened(|_| {}, shaped(A, [5, 32]))), &[A, "[4, 32]", "[5, 32]"]);
    has(&message(opened(|_| {}, shaped(B, [32, 4]))), &[B, "[96, 4]", "[32, 4]"]);
    let scalar = |all: &mut Tensors| {
        let at = find(all, A);
        all[at] = extra(A, &[], 0.5);
    };
    has(&message(opened(|_| {}, scalar)), &[A, "[4, 32]", "[]"]);
    has(&message(opened(|c| c["r"] = json!(8), |_| {})), &["lora_A", "[8, 32]", "[4, 32]"]);
    let without = |name: &'static str| {
        move |all: &mut Tensors| {
            all.remove(find(all, name));
        }
    };
    for name in [A, B] {
        let error = opened(|_| {}, without(name)).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == name), "{error}");
    }
    let neither = |all: &mut Tensors| all.retain(|tensor| tensor.0 != A && tensor.0 != B);
    has(&message(opened(|_| {}, neither)), &[A, "missing"]);
    let nan = |all: &mut Tensors| {
        let at = find(all, A);
        all[at] = extra(A, &[4, 32], f32::NAN);
    };
    has(&message(opened(|_| {}, nan)), &[A, "NaN"]);
    let few = |c: &mut Value| c["target_modules"] = json!(["k_proj"]);
    has(&message(opened(few, |_| {})), &["tensor base_model", "adapter_config.json names"]);
    has(&message(opened(|c| c["layers_to_transform"] = json!(1), |_| {})), &["layers.0.", "adapter_config.json names"]);
}

#[test]
fn tensors_that_are_no_low_ranks_are_refused_by_name() {
    const LAYER: &str = "base_model.model.model.layers.0";
    for (name, shape, found) in [
        (format!("{LAYER}.self_attn.q_proj.lora_magnitude_vector"), &[96][..], "DoRA"),
        (format!("{LAYER}.self_attn.q_proj.lora_B.bias"), &[96], "bias"),
        ("base_model.model.lm_head.modules_to_save.weight".into(), &[271, 32], "modules_to_save"),
        ("base_model.model.model.embed_tokens.lora_embedding_A".into(), &[4, 271], "embedding"),
        ("base_model.model.lm_head.lora_A.weight".into(), &[4, 32], "LM head"),
        (format!("{LAYER}.mlp.experts.lora_A.weight"), &[4, 32], "does not have"),
        ("base_model.model.visual.q.lora_A.weight".into(), &[4, 32], "outside of the layers"),
        (format!("{LAYER}.self_attn.q_proj.weight"), &[96, 32], "lora_A and lora_B"),
    ] {
        let add = |all: &mut Tensors| all.push(extra(&name, shape, 0.5));
        has(&message(opened(|_| {}, add)), &[&name, found]);
    }
    let far = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight";
    has(&message(opened(|_| {}, |all| all.push(extra(far, &[4, 32], 0.5)))), &[far, "2 layers", "layer 2"]);
    // The convolution of older adapters: untrained, or refused.
    let conv = |value: f32| {
        move |all: &mut Tensors| {
            all.push(extra(&format!("{LAYER}.mamba.conv1d.lora_A.weight"), &[4, 1, 4], 0.5));
            all.push(extra(&format!("{LAYER}.mamba.conv1d.lora_B.weight"), &[128, 4, 1], value));
        }
    };
    let kept = opened(|_| {}, conv(0.0)).unwrap();
    assert!(kept.notes()[0].contains("conv1d"), "{:?}", kept.notes());
    has(&message(opened(|_| {}, conv(0.5))), &["conv1d", "trained convolution"]);
}

#[test]
fn damaged_files_are_told_apart() {
    let to = TempDir::new().unwrap();
    let missing = message(open_for("hf-folder", to.path()));
    has(&missing, &["adapter_config.json", "missing"]);
    let config = golden_path("adapters/plain/adapter_config.json");
    std::fs::copy(config, to.path().join("adapter_config.json")).unwrap();
    assert!(matches!(open_for("hf-folder", to.path()), Err(Error::Io { .. })));
    std::fs::write(to.path().join("adapter_model.bin"), b"PK").unwrap();
    has(&message(open_for("hf-folder", to.path())), &["adapter_model.bin", "safe_serialization"]);
    let bytes = std::fs::read(golden_path("adapters/plain/adapter_model.safetensors")).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(to.path().join("adapter_model.safetensors"), &bytes[..length]).unwrap();
        assert!(open_for("hf-folder", to.path()).is_err(), "{length}");
    }
    // The adapter of another model.
    has(&message(open_for("norm1.gguf", &golden_path("adapters/baked"))), &["config.json", "sizes"]);
    has(&message(open_for("gate2.gguf", &golden_path("adapters/plain"))), &["config.json", "multipliers"]);
    has(
        &message(open_for("gate2.gguf", &golden_path("adapters/baked.gguf"))),
        &["baked.gguf: tensor blk.0.", "expected shape"],
    );
}

/// A GGUF adapter with one pair.
fn gguf(change: impl Fn(&mut GgufHeader), a: [u64; 2], b: [u64; 2]) -> Result<Adapter, Error> {
    let mut header = GgufHeader::default();
    change(&mut header);
    let mut size = 0;
    for (name, dims) in [("blk.0.attn_q.weight.lora_a", a), ("blk.0.attn_q.weight.lora_b", b)] {
        size += header.tensor(name, &dims, Format::F32).unwrap().next_multiple_of(32);
    }
    let mut bytes = header.bytes();
    bytes.resize(bytes.len() + size as usize, 0);
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    open_for("hf-folder", file.path())
}

#[test]
fn a_gguf_adapter_says_what_it_is() {
    let fields = |kind: &'static str, adapter: &'static str, architecture: &'static str| {
        move |header: &mut GgufHeader| {
            header.field("general.type", Field::Str(kind));
            header.field("adapter.type", Field::Str(adapter));
            header.field("general.architecture", Field::Str(architecture));
            header.field("adapter.lora.alpha", Field::F32(8.0));
        }
    };
    let right = fields("adapter", "lora", "falcon-h1");
    assert!(gguf(right, [32, 4], [4, 96]).is_ok());
    has(&message(gguf(right, [31, 4], [4, 96])), &["attn_q.weight.lora_a", "[4, 32]", "[4, 31]"]);
    has(&message(gguf(right, [32, 4], [4, 95])), &["attn_q.weight.lora_b", "[96, 4]", "[95, 4]"]);
    has(&message(gguf(right, [32, 4], [5, 96])), &["attn_q.weight.lora_b", "[96, 4]", "[96, 5]"]);
    has(&message(gguf(fields("model", "lora", "falcon-h1"), [32, 4], [4, 96])), &["general.type", "model"]);
    has(&message(gguf(fields("adapter", "control_vector", "falcon-h1"), [32, 4], [4, 96])), &["control_vector"]);
    has(&message(gguf(fields("adapter", "lora", "llama"), [32, 4], [4, 96])), &["general.architecture", "llama"]);
    let no_alpha = |header: &mut GgufHeader| {
        header.field("general.type", Field::Str("adapter"));
        header.field("adapter.type", Field::Str("lora"));
        header.field("general.architecture", Field::Str("falcon-h1"));
    };
    has(&message(gguf(no_alpha, [32, 4], [4, 96])), &["adapter.lora.alpha", "missing"]);
    let activated = |header: &mut GgufHeader| {
        right(header);
        header.field("adapter.alora.invocation_tokens", Field::U32(1));
    };
    has(&message(gguf(activated, [32, 4], [4, 96])), &["aLoRA"]);
    // Another tensor; half a pair.
    let named = |name: &'static str| {
        let mut header = GgufHeader::default();
        right(&mut header);
        let size = header.tensor(name, &[32, 4], Format::F32).unwrap();
        let mut bytes = header.bytes();
        bytes.resize(bytes.len() + size as usize, 0);
        let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        message(open_for("hf-folder", file.path()))
    };
    has(&named("token_embd.weight.lora_a"), &["token_embd.weight.lora_a", "linear layers"]);
    has(&named("blk.2.attn_q.weight.lora_a"), &["blk.2.attn_q.weight.lora_a"]);
    has(&named("blk.0.attn_q.weight.lora_a"), &["blk.0.attn_q.weight.lora_b", "missing"]);
}

/// Bytes of each file changed at random, most of them in its header, and cuts: no panic, whatever
/// is read.
#[test]
fn damage_does_no_harm() {
    let file = checkpoint(&golden_path("hf-folder"));
    let to = TempDir::new().unwrap();
    let folder = ["adapter_config.json", "adapter_model.safetensors"];
    for name in folder {
        std::fs::copy(golden_path("adapters/patterns").join(name), to.path().join(name)).unwrap();
    }
    let alone = to.path().join("plain.gguf");
    let whole = std::fs::read(golden_path("adapters/plain.gguf")).unwrap();
    let mut noise = Noise(5);
    let (mut accepted, mut refused) = (0, 0);
    for (path, open) in
        folder.map(|name| (to.path().join(name), to.path())).into_iter().chain([(alone.clone(), &*alone)])
    {
        let seed = std::fs::read(&path).unwrap_or_else(|_| whole.clone());
        for round in 0..120 {
            let mut bytes = seed.clone();
            for _ in 0..round / 24 {
                let at = noise.bits() as usize % bytes.len().min(4096);
                bytes[at] = (noise.bits() >> 24) as u8;
            }
            if round % 8 == 7 {
                bytes.truncate(noise.bits() as usize % bytes.len());
            }
            std::fs::write(&path, bytes).unwrap();
            match block_on(Adapter::open(open, &Base::of(&file))) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
            let _ = block_on(Summary::is_adapter(open));
            let _ = block_on(Summary::read(open));
        }
        std::fs::write(&path, seed).unwrap();
    }
    assert!(accepted >= 20 && refused >= 100, "{accepted} accepted, {refused} refused");
}
