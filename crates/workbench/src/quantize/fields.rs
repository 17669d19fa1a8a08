//! The metadata of a converted file.

use super::QuantType;
use crate::gguf::to_gguf;
use crate::gguf::{Field, GgufHeader};
use peregrine::Result;
use peregrine::checkpoint::TokenizerData;
use peregrine::config::{ARCHITECTURE, Config};

/// What there is to say about a file.
pub(crate) struct Description<'a> {
    /// `general.name`.
    pub name: &'a str,
    /// `general.license`.
    pub license: Option<&'a str>,
    /// The sizes.
    pub config: &'a Config,
    /// What the matrices are quantized to.
    pub target: QuantType,
    /// Of either container.
    pub tokenizer: &'a TokenizerData,
    /// Jinja source.
    pub chat_template: Option<&'a str>,
    /// Fields of the GGUF file that this one is made from.
    pub kept: &'a [(String, Vec<u8>)],
}

/// All fields, in the order of llama.cpp's converter.
///
/// # Errors
/// As [`to_gguf`].
pub(crate) fn write(header: &mut GgufHeader, about: &Description<'_>) -> Result<()> {
    let config = about.config;
    header.field("general.architecture", Field::Str(ARCHITECTURE));
    header.field("general.type", Field::Str("model"));
    header.field("general.name", Field::Str(about.name));
    if let Some(license) = about.license {
        header.field("general.license", Field::Str(license));
    }
    let sizes = [
        ("block_count", config.num_hidden_layers),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("vocab_size", config.vocab_size),
        ("ssm.conv_kernel", config.mamba_d_conv),
        ("ssm.inner_size", config.mamba_d_ssm),
        ("ssm.state_size", config.mamba_d_state),
        ("ssm.time_step_rank", config.mamba_n_heads),
        ("ssm.group_count", config.mamba_n_groups),
    ];
    let key = |name: &str| format!("{ARCHITECTURE}.{name}");
    for (name, value) in sizes {
        header.field(&key(name), Field::U32(value));
    }
    header.field(&key("attention.layer_norm_rms_epsilon"), Field::F32(config.rms_norm_eps));
    header.field(&key("rope.freq_base"), Field::F32(config.rope_theta as f32));
    header.field("general.quantization_version", Field::U32(2));
    header.field("general.file_type", Field::U32(about.target.file_type()));
    tokenizer_fields(header, about)?;
    // Whatever else the file says of itself; not how it was cut, aligned or quantized.
    let stale = |key: &str| key.starts_with("split.") || key.starts_with("quantize.") || key == "general.alignment";
    for (key, bytes) in about.kept.iter().filter(|(key, _)| !stale(key)) {
        header.raw(key, bytes);
    }
    Ok(())
}

fn tokenizer_fields(header: &mut GgufHeader, about: &Description<'_>) -> Result<()> {
    let data = to_gguf(about.tokenizer, about.config.vocab_size)?;
    if let TokenizerData::Gguf { pre, tokens, token_types, merges, bos, eos, pad, add_bos } = &data {
        header.field("tokenizer.ggml.model", Field::Str("gpt2"));
        header.field("tokenizer.ggml.pre", Field::Str(pre));
        header.field("tokenizer.ggml.tokens", Field::Strs(tokens));
        header.field("tokenizer.ggml.token_type", Field::I32s(token_types));
        header.field("tokenizer.ggml.merges", Field::Strs(merges));
        // GGUF has three names for tokens that end an answer; a fourth could only be found by its
        // text.
        let ends = ["eos", "eot", "eom"].into_iter().zip(eos.iter().copied());
        let ids = bos.map(|id| ("bos", id)).into_iter().chain(ends).chain(pad.map(|id| ("padding", id)));
        for (kind, id) in ids {
            header.field(&format!("tokenizer.ggml.{kind}_token_id"), Field::U32(id));
        }
        header.field("tokenizer.ggml.add_bos_token", Field::Bool(*add_bos));
    }
    if let Some(template) = about.chat_template {
        header.field("tokenizer.chat_template", Field::Str(template));
    }
    Ok(())
}
