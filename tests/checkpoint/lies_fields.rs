//! Lies in the fields' values: sizes that contradict each other, other architectures, broken
//! tokenizers.

use super::file::{array, text};
use super::lies::{KEY, Lie};

pub const FIELDS: &[Lie] = &[
    (
        "another architecture",
        |f| f.set("general.architecture", 8, text("llama")),
        "unsupported",
        &["general.architecture", "llama", "falcon-h1"],
    ),
    ("no architecture", |f| f.remove("general.architecture"), "missing-field", &["general.architecture"]),
    (
        "an early conversion",
        |f| f.set("falcon-h1.ssm.has_mup", 7, vec![1]),
        "unsupported",
        &["falcon-h1.ssm.has_mup", "convert the model again", "July 2025"],
    ),
    (
        "run-time multipliers",
        |f| f.set("falcon-h1.mlp_gate_multiplier", 6, vec![0; 4]),
        "unsupported",
        &["falcon-h1.mlp_gate_multiplier"],
    ),
    ("a field that is missing", |f| f.remove(KEY), "missing-field", &[KEY]),
    (
        "no epsilon",
        |f| f.remove("falcon-h1.attention.layer_norm_rms_epsilon"),
        "missing-field",
        &["layer_norm_rms_epsilon"],
    ),
    ("a string for a size", |f| f.set(KEY, 8, text("32")), "malformed", &[KEY, "a string"]),
    ("a float for a size", |f| f.set(KEY, 6, 32f32.to_le_bytes().to_vec()), "malformed", &[KEY, "float 32"]),
    ("a negative size", |f| f.set(KEY, 5, (-32i32).to_le_bytes().to_vec()), "malformed", &[KEY, "-32"]),
    (
        "an array for a size",
        |f| f.set("falcon-h1.attention.head_count", 9, array(4, 1, &[4, 0, 0, 0])),
        "malformed",
        &["attention.head_count", "1 integers"],
    ),
    ("a size of 0", |f| f.set_u32(KEY, 0), "malformed", &[KEY, "1 to 65536", "0"]),
    ("a size that is absurd", |f| f.set_u32(KEY, u32::MAX), "malformed", &[KEY, "4294967295"]),
    ("layers without end", |f| f.set_u32("falcon-h1.block_count", 1 << 30), "malformed", &["falcon-h1.block_count"]),
    ("a layer too many", |f| f.set_u32("falcon-h1.block_count", 2), "missing-tensor", &["blk.1.attn_norm.weight"]),
    (
        "heads that are not shared evenly",
        |f| f.set_u32("falcon-h1.attention.head_count_kv", 3),
        "malformed",
        &["head_count_kv", "divisor", "3"],
    ),
    (
        "an odd head",
        |f| {
            f.set_u32("falcon-h1.attention.key_length", 7);
            f.set_u32("falcon-h1.attention.value_length", 7);
        },
        "malformed",
        &["key_length", "even"],
    ),
    (
        "another length of values",
        |f| f.set_u32("falcon-h1.attention.value_length", 4),
        "unsupported",
        &["value_length", "8"],
    ),
    (
        "SSM heads that do not divide",
        |f| f.set_u32("falcon-h1.ssm.time_step_rank", 5),
        "malformed",
        &["ssm.inner_size", "32"],
    ),
    ("no SSM heads", |f| f.set_u32("falcon-h1.ssm.time_step_rank", 0), "malformed", &["ssm.time_step_rank"]),
    (
        "groups that do not divide",
        |f| f.set_u32("falcon-h1.ssm.group_count", 3),
        "malformed",
        &["ssm.group_count", "divisor"],
    ),
    ("no convolution", |f| f.set_u32("falcon-h1.ssm.conv_kernel", 1), "malformed", &["ssm.conv_kernel", "2 to 8"]),
    (
        "a negative epsilon",
        |f| f.set("falcon-h1.attention.layer_norm_rms_epsilon", 6, (-1f32).to_le_bytes().to_vec()),
        "malformed",
        &["epsilon", "-1"],
    ),
    (
        "an infinite theta",
        |f| f.set("falcon-h1.rope.freq_base", 6, f32::INFINITY.to_le_bytes().to_vec()),
        "malformed",
        &["rope.freq_base", "inf"],
    ),
    (
        "scaled positions",
        |f| f.set("falcon-h1.rope.scaling.type", 8, text("yarn")),
        "unsupported",
        &["rope.scaling.type", "yarn"],
    ),
    (
        "another tokenizer",
        |f| f.set("tokenizer.ggml.model", 8, text("llama")),
        "unsupported",
        &["tokenizer.ggml.model", "llama"],
    ),
    ("no tokenizer", |f| f.remove("tokenizer.ggml.tokens"), "missing-field", &["tokenizer.ggml.tokens"]),
    (
        "an unknown pre-tokenizer",
        |f| f.set("tokenizer.ggml.pre", 8, text("qwen2")),
        "unsupported",
        &["tokenizer.ggml.pre", "qwen2"],
    ),
    (
        "too few tokens",
        |f| f.set("tokenizer.ggml.tokens", 9, array(8, 1, &text("a"))),
        "malformed",
        &["tokenizer.ggml.tokens", "40", "1"],
    ),
    (
        "tokens that are numbers",
        |f| f.set("tokenizer.ggml.tokens", 9, array(4, 0, &[])),
        "malformed",
        &["tokenizer.ggml.tokens", "strings"],
    ),
    (
        "too few types",
        |f| f.set("tokenizer.ggml.token_type", 9, array(5, 0, &[])),
        "malformed",
        &["tokenizer.ggml.token_type"],
    ),
    (
        "a type of 9",
        |f| f.set("tokenizer.ggml.token_type", 9, array(0, 40, &[9; 40])),
        "malformed",
        &["tokenizer.ggml.token_type", "9"],
    ),
    (
        "an id past the vocabulary",
        |f| f.set_u32("tokenizer.ggml.eos_token_id", 40),
        "malformed",
        &["tokenizer.ggml.eos_token_id", "40"],
    ),
];
