//! A Falcon-H1 model of a few thousand random weights, as a Hugging Face folder.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// Numbers that are the same on every machine; uniform in -1..1.
pub struct Noise(pub u64);

impl Noise {
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub fn value(&mut self) -> f32 {
        self.bits() as f32 / 2f32.powi(31) - 1.0
    }

    /// About normal, standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.value()).sum::<f32>() / 2.0
    }
}

/// One tensor: shape and values.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// A model before it is a file.
pub struct Toy {
    pub config: Value,
    pub tensors: BTreeMap<String, Tensor>,
    pub tokenizer: Value,
}

pub const VOCAB: usize = 40;

impl Toy {
    /// Two layers, two groups, an SSM norm, every multiplier different from 1.
    pub fn new() -> Self {
        Self::with_hidden(32)
    }

    /// As [`Toy::new`], with another hidden size.
    pub fn with_hidden(hidden: usize) -> Self {
        let config = json!({
            "model_type": "falcon_h1", "vocab_size": VOCAB, "hidden_size": hidden, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
            "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": "auto", "mamba_n_groups": 2, "mamba_d_state": 8,
            "mamba_d_conv": 4, "mamba_rms_norm": true, "mamba_norm_before_gate": false, "mamba_conv_bias": true,
            "rms_norm_eps": 1e-5, "rope_theta": 1e11, "max_position_embeddings": 512, "hidden_act": "silu",
            "tie_word_embeddings": false, "time_step_limit": [0.0, "Infinity"],
            "embedding_multiplier": 5.5, "lm_head_multiplier": 0.25, "key_multiplier": 0.3,
            "attention_in_multiplier": 1.1, "attention_out_multiplier": 0.9, "ssm_in_multiplier": 1.25,
            "ssm_out_multiplier": 0.7, "mlp_multipliers": [0.8, 0.6], "ssm_multipliers": [0.35, 0.25, 0.45, 0.5, 0.15],
            "bos_token_id": 1, "eos_token_id": 2,
        });
        let (d, q, kv, f, inner, conv, n) = (hidden, 64, 32, 96, 64, 64 + 2 * 16, 4);
        let mut noise = Noise(7);
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let values = (0..shape.iter().product()).map(|_| noise.value()).collect();
            tensors.insert(name, (shape.to_vec(), values));
        };
        add("model.embed_tokens.weight".into(), &[VOCAB, d]);
        add("model.final_layernorm.weight".into(), &[d]);
        add("lm_head.weight".into(), &[VOCAB, d]);
        for layer in 0..2 {
            for (name, shape) in [
                ("input_layernorm.weight", &[d][..]),
                ("pre_ff_layernorm.weight", &[d]),
                ("self_attn.q_proj.weight", &[q, d]),
                ("self_attn.k_proj.weight", &[kv, d]),
                ("self_attn.v_proj.weight", &[kv, d]),
                ("self_attn.o_proj.weight", &[d, q]),
                ("feed_forward.gate_proj.weight", &[f, d]),
                ("feed_forward.up_proj.weight", &[f, d]),
                ("feed_forward.down_proj.weight", &[d, f]),
                ("mamba.in_proj.weight", &[inner + conv + n, d]),
                ("mamba.conv1d.weight", &[conv, 1, 4]),
                ("mamba.conv1d.bias", &[conv]),
                ("mamba.dt_bias", &[n]),
                ("mamba.A_log", &[n]),
                ("mamba.D", &[n]),
                ("mamba.norm.weight", &[inner]),
                ("mamba.out_proj.weight", &[d, inner]),
            ] {
                add(format!("model.layers.{layer}.{name}"), shape);
            }
        }
        Self { config, tensors, tokenizer: tokenizer() }
    }

    /// Sets a field of `config.json`.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config[field] = value.into();
        self
    }

    /// Writes everything but the tensors.
    pub fn write_texts(&self, folder: &Path) {
        let write = |file: &str, text: String| std::fs::write(folder.join(file), text).unwrap();
        // Python's spelling of an infinity, which is not JSON.
        write("config.json", self.config.to_string().replace("\"Infinity\"", "Infinity"));
        write("tokenizer.json", self.tokenizer.to_string());
        write("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}}).to_string());
        write("generation_config.json", json!({"eos_token_id": [3, 2], "pad_token_id": 0}).to_string());
        write("chat_template.jinja", "{{ messages }}".into());
    }

    /// The bytes of a safetensors file with those tensors whose name `wanted` accepts, in F32.
    pub fn safetensors(&self, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let chosen = self.tensors.iter().filter(|(name, _)| wanted(name));
        let data: Vec<_> = chosen.map(|(name, (shape, values))| (name, shape, bytes(values))).collect();
        let views = data
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    /// Writes the whole folder, with one safetensors file.
    pub fn write(&self, folder: &Path) {
        self.write_texts(folder);
        std::fs::write(folder.join("model.safetensors"), self.safetensors(|_| true)).unwrap();
    }
}

/// A tokenizer of `VOCAB - 2` tokens: four special ones, letters, two merges, and a user-defined
/// one.
fn tokenizer() -> Value {
    let mut vocab = serde_json::Map::new();
    for (id, text) in ["<pad>", "<s>", "</s>", "<|im_end|>"].into_iter().enumerate() {
        vocab.insert(text.into(), id.into());
    }
    for (at, letter) in ('a'..='z').enumerate() {
        vocab.insert(letter.into(), (4 + at).into());
    }
    for (at, text) in ["ab", "abc", "Ġ", "1", "2", "3", "é"].into_iter().enumerate() {
        vocab.insert(text.into(), (30 + at).into());
    }
    let special = |id: u32, content: &str, special: bool| json!({"id": id, "content": content, "special": special});
    json!({
        "added_tokens": [
            special(0, "<pad>", true), special(1, "<s>", true), special(2, "</s>", true),
            special(3, "<|im_end|>", true), special(37, "my word", false),
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
        "model": {"type": "BPE", "byte_fallback": false, "vocab": vocab, "merges": [["a", "b"], "ab c"]},
    })
}
