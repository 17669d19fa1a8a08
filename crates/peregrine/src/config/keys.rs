//! Every field that GGUF has for an architecture, and what this runtime does with it: honored,
//! wanted at the one value that changes nothing, or without any effect here and why. Fields of the
//! architecture that are not in the list are refused.

use super::{ARCHITECTURE, unsupported};
use crate::Result;
use crate::checkpoint::gguf_value::{Metadata, Value};

/// What a field of the architecture means here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    /// It is in the [`Config`](super::Config).
    Honored,
    /// It would change the computation, unless it has one of these values.
    Only(&'static [f64]),
    /// It must agree with another: the rotary dimensions with the head's, for one. Checked apart.
    Checked,
    /// It changes nothing, because of that.
    Nothing(&'static str),
}

use Meaning::{Checked, Honored, Nothing, Only};

/// Without the architecture's name in front.
pub const GGUF_KEYS: &[(&str, Meaning)] = &[
    ("block_count", Honored),
    ("context_length", Honored),
    ("embedding_length", Honored),
    ("feed_forward_length", Honored),
    ("attention.head_count", Honored),
    ("attention.head_count_kv", Honored),
    ("attention.key_length", Honored),
    ("attention.value_length", Honored),
    ("attention.layer_norm_rms_epsilon", Honored),
    ("rope.freq_base", Honored),
    ("ssm.conv_kernel", Honored),
    ("ssm.inner_size", Honored),
    ("ssm.state_size", Honored),
    ("ssm.time_step_rank", Honored),
    ("ssm.group_count", Honored),
    ("vocab_size", Nothing("the embedding's rows decide")),
    ("rope.dimension_count", Checked),
    ("rope.scaling.type", Checked),
    ("rope.scaling.factor", Checked),
    ("rope.scale_linear", Checked),
    ("attention.scale", Checked),
    ("embedding_length_out", Checked),
    ("rope.scaling.attn_factor", Only(&[1.0])),
    ("rope.scaling.alpha", Only(&[0.0, 1.0])),
    ("rope.scaling.yarn_ext_factor", Only(&[0.0])),
    ("rope.scaling.yarn_attn_factor", Only(&[1.0])),
    ("rope.scaling.yarn_log_multiplier", Only(&[0.0])),
    ("rope.scaling.yarn_beta_fast", Nothing("YaRN is refused, and nothing else reads it")),
    ("rope.scaling.yarn_beta_slow", Nothing("YaRN is refused, and nothing else reads it")),
    ("rope.scaling.original_context_length", Nothing("only YaRN reads it, which is refused")),
    ("rope.scaling.finetuned", Nothing("a note about the training")),
    ("attention.causal", Only(&[1.0])),
    ("attention.clamp_kqv", Only(&[0.0])),
    ("attention.max_alibi_bias", Only(&[0.0])),
    ("attention.output_scale", Only(&[1.0])),
    ("attention.temperature_length", Only(&[0.0])),
    ("attention.temperature_scale", Only(&[0.0])),
    ("attention.sliding_window", Only(&[0.0])),
    ("attention.layer_norm_epsilon", Nothing("for norms with a mean, which this architecture has not")),
    ("attn_logit_softcapping", Only(&[0.0])),
    ("final_logit_softcapping", Only(&[0.0])),
    ("router_logit_softcapping", Only(&[0.0])),
    ("logit_scale", Only(&[0.0, 1.0])),
    ("residual_scale", Only(&[0.0, 1.0])),
    ("embedding_scale", Only(&[0.0, 1.0])),
    ("expert_count", Only(&[0.0])),
    ("expert_used_count", Only(&[0.0])),
    ("nextn_predict_layers", Only(&[0.0])),
    ("ssm.dt_b_c_rms", Only(&[0.0])),
    ("use_parallel_residual", Nothing("the architecture's order of its branches is fixed")),
    ("pooling_type", Nothing("for embeddings of texts, which are not made here")),
    ("decoder_start_token_id", Nothing("for encoders with a decoder")),
];

/// The number of a field; a bool is 0 or 1.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        _ => None,
    }
}

/// Refuses by name what would change the computation.
pub(super) fn check(metadata: &Metadata) -> Result<()> {
    let fields = metadata.iter().filter_map(|(key, value)| {
        let rest = key.strip_prefix(ARCHITECTURE)?.strip_prefix('.')?;
        Some((key, rest, value))
    });
    for (key, rest, value) in fields {
        match GGUF_KEYS.iter().find(|(known, _)| *known == rest) {
            Some((_, Honored | Checked | Nothing(_))) => {}
            Some((_, Only(values))) if number(value).is_some_and(|value| values.contains(&value)) => {}
            Some((_, Only(values))) => {
                let expected: Vec<String> = values.iter().map(f64::to_string).collect();
                return Err(unsupported(metadata.file(), key, expected.join(" or "), value));
            }
            None => {
                let expected = "only fields of a Falcon-H1 model, as others may change the computation";
                return Err(unsupported(metadata.file(), key, expected, value));
            }
        }
    }
    rope(metadata)?;
    attention(metadata)
}

fn get<'a>(metadata: &'a Metadata, key: &str) -> Option<(String, &'a Value)> {
    let key = format!("{ARCHITECTURE}.{key}");
    metadata.get(&key).map(|value| (key, value))
}

/// Positions are not scaled, and all dimensions of a head are turned.
fn rope(metadata: &Metadata) -> Result<()> {
    let file = metadata.file();
    let kind = metadata.str_opt(&format!("{ARCHITECTURE}.rope.scaling.type"))?;
    if let Some(other) = kind.filter(|kind| !matches!(*kind, "none" | "linear" | "")) {
        return Err(unsupported(file, &format!("{ARCHITECTURE}.rope.scaling.type"), "none", other));
    }
    // Files without a type are scaled by their factor; 0 says nothing.
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        if let Some((key, value)) = get(metadata, key).filter(|_| kind != Some("none"))
            && !number(value).is_some_and(|factor| factor == 1.0 || factor == 0.0)
        {
            return Err(unsupported(file, &key, "1, positions without scaling", value));
        }
    }
    let head = metadata.u32(&format!("{ARCHITECTURE}.attention.key_length"))?;
    match get(metadata, "rope.dimension_count") {
        Some((key, value)) if number(value) != Some(head.into()) => {
            Err(unsupported(file, &key, format!("{head}, as attention.key_length"), value))
        }
        _ => Ok(()),
    }
}

/// Scores are divided by the root of the head's size, and the output is as wide as the rest.
fn attention(metadata: &Metadata) -> Result<()> {
    let file = metadata.file();
    let head = metadata.u32(&format!("{ARCHITECTURE}.attention.key_length"))?;
    if let Some((key, value)) = get(metadata, "attention.scale") {
        let usual = 1.0 / f64::from(head).sqrt();
        let same = |scale: f64| scale == 0.0 || (scale - usual).abs() <= 1e-6 * usual;
        if !number(value).is_some_and(same) {
            return Err(unsupported(file, &key, format!("{usual}, 1/sqrt(attention.key_length)"), value));
        }
    }
    let width = metadata.u32(&format!("{ARCHITECTURE}.embedding_length"))?;
    match get(metadata, "embedding_length_out") {
        Some((key, value)) if number(value) != Some(width.into()) => {
            Err(unsupported(file, &key, format!("{width}, as embedding_length"), value))
        }
        _ => Ok(()),
    }
}
