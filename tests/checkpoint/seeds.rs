//! Small files for the fuzzer to begin with: legal ones, and some lies.

use std::path::Path;

use peregrine::checkpoint::TokenizerData;
use serde_json::json;

use super::file::{File, array, text};
use super::lies::SEEDS;
use super::toy::Toy;

/// Entry, name, bytes.
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    // Zeros compress, and whatever the numbers are, the headers are the same.
    let mut file = File::new();
    file.data.fill(0);
    file.set("tokenizer.chat_template", 8, text("{% for m in messages %}{{ m.content }}{% endfor %}"));
    seeds.push(("gguf", "toy.gguf".to_string(), file.bytes()));
    let mut mixed = file.clone();
    mixed.tensor("blk.0.attn_q.weight").ty = 2; // Q4_0
    mixed.tensor("output.weight").ty = 8; // Q8_0
    mixed.tensor("blk.0.ffn_gate.weight").ty = 30; // BF16
    seeds.push(("gguf", "mixed.gguf".into(), mixed.bytes()));
    for (i, change) in SEEDS.iter().enumerate() {
        let mut lie = file.clone();
        change(&mut lie);
        // Their ends are never reached.
        seeds.push(("gguf", format!("lie{i}.gguf"), lie.header()));
    }
    let mut nested = file.clone();
    nested.set("nested", 9, array(9, 1, &array(9, 1, &array(4, 0, &[]))));
    seeds.push(("gguf", "nested.gguf".into(), nested.header()));

    let toy = Toy::new();
    let few = toy.safetensors(|name| name.contains("norm") || name.contains("dt_bias"));
    seeds.push(("safetensors", "few.safetensors".into(), few));
    let header = |json: serde_json::Value| {
        let text = json.to_string();
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &[0; 64]].concat()
    };
    let entry = |dtype: &str, from: u64, to: u64| json!({"dtype": dtype, "shape": [4, 2], "data_offsets": [from, to]});
    for (name, json) in [
        ("mixed", json!({"a": entry("F16", 0, 16), "b": entry("BF16", 16, 32), "c": entry("F32", 32, 64)})),
        ("overlap", json!({"a": entry("F16", 0, 16), "b": entry("F16", 8, 24)})),
        ("far", json!({"a": entry("F16", u64::MAX - 16, u64::MAX)})),
        ("other", json!({"__metadata__": {"format": "pt"}, "a": entry("I32", 0, 32)})),
    ] {
        seeds.push(("safetensors", format!("{name}.safetensors"), header(json)));
    }

    let golden = crate::text::golden();
    let small = crate::text::small(&golden, "falcon-h1");
    let json = crate::text::as_json(&small, &golden["small_pre_tokenizer"], true, false);
    if let TokenizerData::Json { bytes, .. } = json {
        seeds.push(("tokenizer", "llama3.json".into(), bytes));
    }
    seeds.push(("tokenizer", "no-bytes.json".into(), toy.tokenizer.to_string().into()));

    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("text/chatml-tools.jinja");
    seeds.push(("template", "tools.jinja".into(), std::fs::read(tools).unwrap()));
    for (name, source) in [
        (
            "loop",
            "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}",
        ),
        ("raise", "{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}"),
        ("fuel", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"),
        (
            "macro",
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}{% set x = namespace(a=1) %}{{ x.a }}",
        ),
    ] {
        seeds.push(("template", format!("{name}.jinja"), source.into()));
    }
    seeds
}
