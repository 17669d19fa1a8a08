//! The same random models as Hugging Face folders, for tests of that container: small shapes only,
//! as a whole model is in memory.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::{SynthOptions, Weights, argument, vocabulary};
use crate::gguf::LLAMA3_SPLIT;
use peregrine::checkpoint::TokenizerData;
use peregrine::checkpoint::names::{Bake, Expected, expected, multipliers};
use peregrine::config::Config;
use peregrine::format::Format;
use peregrine::{Error, Result};

/// How a folder has its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// All in bfloat16, as the official folders.
    BF16,
    /// The linear layers in GPTQ's integers with a scale for 64 inputs, the rest in bfloat16.
    Gptq {
        /// 4 or 8.
        bits: u32,
        /// Inputs belong to groups in no order, as `desc_act` makes it; zeros differ, too.
        desc_act: bool,
    },
}

/// Inputs of a scale.
const GROUP: usize = 64;

/// Shape, type, bytes.
type Stored = (Vec<usize>, Dtype, Vec<u8>);

/// Writes a random model as a folder: `config.json` with the multipliers of Falcon-H1-0.5B,
/// `tokenizer.json`, `generation_config.json`, `chat_template.jinja`, and `options.files` files of
/// tensors. The folder must be there. `options.target` and `options.pure` do not count.
///
/// # Errors
/// As [`super::synth`]; [`Error::Io`] by file.
pub fn synth_folder(path: &Path, options: &SynthOptions, store: Store) -> Result<()> {
    let config = Config {
        embedding_multiplier: 5.656_854,
        lm_head_multiplier: 0.039_062_5,
        key_multiplier: 0.390_625,
        attention_in_multiplier: 0.9,
        attention_out_multiplier: 0.937_5,
        ssm_in_multiplier: 1.25,
        ssm_out_multiplier: 0.235_702_26,
        mlp_multipliers: [0.883_883_5, 0.585_937_5],
        ssm_multipliers: [0.353_553_4, 0.25, 0.353_553_4, 0.5, 0.353_553_4],
        ..options.config()?
    };
    if !matches!(store, Store::BF16 | Store::Gptq { bits: 4 | 8, .. }) || !(1..=99).contains(&options.files) {
        return Err(argument("store", "4 or 8 bits, 1 to 99 files", format!("{store:?}, {} files", options.files)));
    }
    let tensors = tensors(options, &config, store);
    let write = |name: &str, bytes: &[u8]| {
        let path = path.join(name);
        std::fs::write(&path, bytes).map_err(|source| Error::Io { name: path.display().to_string(), source })
    };
    write("config.json", config_json(&config, store).to_string().as_bytes())?;
    write("tokenizer.json", tokenizer_json(&vocabulary::tokenizer(config.vocab_size)).to_string().as_bytes())?;
    let generation = json!({"bos_token_id": 1, "eos_token_id": [2, 4], "pad_token_id": 0});
    write("generation_config.json", generation.to_string().as_bytes())?;
    write("chat_template.jinja", vocabulary::CHAT_TEMPLATE.as_bytes())?;

    let all: Vec<(&String, &Stored)> = tensors.iter().collect();
    let shards: Vec<_> = all.chunks(all.len().div_ceil(options.files as usize)).collect();
    let mut weight_map = serde_json::Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let views: Result<Vec<_>, _> = shard
            .iter()
            .map(|(name, (shape, dtype, bytes))| TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name, view)))
            .collect();
        let bytes = views.and_then(|views| safetensors::serialize(views, None));
        write(&name, &bytes.map_err(|error| argument("size", "tensors that safetensors can hold", error))?)?;
        weight_map.extend(shard.iter().map(|(tensor, _)| ((*tensor).clone(), json!(name))));
    }
    match shards.len() {
        1 => Ok(()),
        _ => write("model.safetensors.index.json", json!({"weight_map": weight_map}).to_string().as_bytes()),
    }
}

/// All tensors by name, the weights without the multipliers.
fn tensors(options: &SynthOptions, config: &Config, store: Store) -> BTreeMap<String, Stored> {
    let mut weights = Weights::new(options.seed, config);
    let mut tensors = BTreeMap::new();
    for tensor in expected(config) {
        let cols = tensor.shape.last().copied().unwrap_or(1) as usize;
        let rows: u64 = tensor.shape.iter().rev().skip(1).product();
        let mut values = Vec::new();
        for row in 0..rows {
            let mut bytes = Vec::new();
            weights.row(&tensor, Format::F32, row, &mut bytes);
            let [first, second] = multipliers(config, tensor.bake, row);
            let baked = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values.extend(baked.map(|v| if tensor.bake == Bake::A { (-v).ln() } else { v / first / second }));
        }
        match store {
            Store::Gptq { bits, desc_act } if tensor.hf.ends_with("_proj.weight") => {
                gptq(&mut tensors, &tensor, &values, cols, bits, desc_act);
            }
            _ => {
                let mut shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
                if tensor.hf.ends_with("conv1d.weight") {
                    shape.insert(1, 1);
                }
                let bytes = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
                tensors.insert(tensor.hf, (shape, Dtype::BF16, bytes));
            }
        }
    }
    tensors
}

/// One layer rounded to integers: `qweight`, `qzeros` (less one, as GPTQ's first version has them),
/// `scales`, `g_idx`.
fn gptq(
    tensors: &mut BTreeMap<String, Stored>,
    tensor: &Expected,
    values: &[f32],
    inputs: usize,
    bits: u32,
    desc_act: bool,
) {
    let outputs = values.len() / inputs;
    let (groups, per_word, top) = (inputs / GROUP, 32 / bits as usize, (1i32 << bits) - 1);
    // Every input of a block has another group, or neighbors have one.
    let group = |input: usize| if desc_act { input % groups } else { input / GROUP };
    let middle = top / 2 + 1;
    let zero = |output: usize| if desc_act { middle - (output % 3) as i32 } else { middle };
    let mut scales = vec![f16::ZERO; groups * outputs];
    let mut words = vec![0u32; inputs / per_word * outputs];
    for (output, row) in values.chunks_exact(inputs).enumerate() {
        for g in 0..groups {
            let largest =
                row.iter().enumerate().filter(|(i, _)| group(*i) == g).map(|(_, v)| v.abs()).fold(0.0, f32::max);
            scales[g * outputs + output] = f16::from_f32(largest / (middle - 3) as f32);
        }
        for (input, value) in row.iter().enumerate() {
            let scale = scales[group(input) * outputs + output].to_f32();
            let code = (zero(output) + (value / scale).round() as i32).clamp(0, top) as u32;
            words[input / per_word * outputs + output] |= code << (bits as usize * (input % per_word));
        }
    }
    let mut zeros = vec![0u32; groups * outputs / per_word];
    for at in 0..groups * outputs {
        zeros[at / per_word] |= ((zero(at % outputs) - 1) as u32 & top as u32) << (bits as usize * (at % per_word));
    }
    let order: Vec<u32> = (0..inputs).map(|input| group(input) as u32).collect();
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let halves = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let stem = tensor.hf.trim_end_matches(".weight");
    for (ending, stored) in [
        ("qweight", (vec![inputs / per_word, outputs], Dtype::I32, bytes(&words))),
        ("qzeros", (vec![groups, outputs / per_word], Dtype::I32, bytes(&zeros))),
        ("scales", (vec![groups, outputs], Dtype::F16, halves)),
        ("g_idx", (vec![inputs], Dtype::I32, bytes(&order))),
    ] {
        tensors.insert(format!("{stem}.{ending}"), stored);
    }
}

fn config_json(c: &Config, store: Store) -> Value {
    let mut json = json!({
        "model_type": "falcon_h1", "vocab_size": c.vocab_size, "hidden_size": c.hidden_size,
        "num_hidden_layers": c.num_hidden_layers, "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads, "head_dim": c.head_dim, "intermediate_size": c.intermediate_size,
        "mamba_d_ssm": c.mamba_d_ssm, "mamba_n_heads": c.mamba_n_heads, "mamba_d_head": c.mamba_d_head,
        "mamba_n_groups": c.mamba_n_groups, "mamba_d_state": c.mamba_d_state, "mamba_d_conv": c.mamba_d_conv,
        "mamba_rms_norm": c.mamba_rms_norm, "mamba_norm_before_gate": false, "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": c.rope_theta, "max_position_embeddings": c.max_position_embeddings,
        "tie_word_embeddings": c.tie_word_embeddings, "embedding_multiplier": c.embedding_multiplier,
        "lm_head_multiplier": c.lm_head_multiplier, "key_multiplier": c.key_multiplier,
        "attention_in_multiplier": c.attention_in_multiplier, "attention_out_multiplier": c.attention_out_multiplier,
        "ssm_in_multiplier": c.ssm_in_multiplier, "ssm_out_multiplier": c.ssm_out_multiplier,
        "mlp_multipliers": c.mlp_multipliers, "ssm_multipliers": c.ssm_multipliers,
    });
    if let Store::Gptq { bits, desc_act } = store {
        json["quantization_config"] =
            json!({"quant_method": "gptq", "bits": bits, "group_size": GROUP, "sym": !desc_act, "desc_act": desc_act});
    }
    json
}

/// Vocabulary and split as Hugging Face writes them.
fn tokenizer_json(data: &TokenizerData) -> Value {
    let TokenizerData::Gguf { tokens, token_types, merges, .. } = data else {
        return Value::Null;
    };
    let used = || tokens.iter().zip(token_types).enumerate().filter(|(_, (_, kind))| **kind != 5);
    let vocab: serde_json::Map<String, Value> = used().map(|(id, (text, _))| (text.clone(), json!(id))).collect();
    let control = used().filter(|(_, (_, kind))| **kind == 3);
    let added: Vec<Value> = control
        .map(|(id, (text, _))| {
            json!({"id": id, "content": text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "post_processor": null, "decoder": bytes,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated", "invert": false}, bytes]},
        "model": {"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": merges},
    })
}
