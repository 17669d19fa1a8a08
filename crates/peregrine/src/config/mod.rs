//! The model's numbers, from GGUF metadata or from `config.json`, under the names that Hugging Face
//! gives them.
//!
//! Nothing has a default that could be wrong in silence: a field that shapes the model must be
//! there, and a field with a value that this runtime would ignore is an error that names it.

pub(crate) mod json;
mod keys;

pub use self::keys::{GGUF_KEYS, Meaning};
use crate::checkpoint::gguf_value::Metadata;
use crate::{Error, Result};

/// GGUF's name of the architecture; its keys begin with it.
pub const ARCHITECTURE: &str = "falcon-h1";

/// Sizes, switches and multipliers of one model. In a GGUF file all multipliers are 1: they are in
/// the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// V: rows of the embedding, whatever a field says.
    pub vocab_size: u32,
    /// D: width of the residual stream.
    pub hidden_size: u32,
    /// Layers; each has attention, SSM and MLP.
    pub num_hidden_layers: u32,
    /// Query heads.
    pub num_attention_heads: u32,
    /// Key and value heads; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: u32,
    /// Values in an attention head. Heads times this need not be D.
    pub head_dim: u32,
    /// F: width of the MLP.
    pub intermediate_size: u32,
    /// Width of the SSM branch: `mamba_n_heads * mamba_d_head`.
    pub mamba_d_ssm: u32,
    /// H: SSM heads.
    pub mamba_n_heads: u32,
    /// P: values in an SSM head.
    pub mamba_d_head: u32,
    /// G: groups of SSM heads that share B and C.
    pub mamba_n_groups: u32,
    /// N: state size for each value of an SSM head.
    pub mamba_d_state: u32,
    /// Width of the causal convolution.
    pub mamba_d_conv: u32,
    /// Whether the SSM output is normalized after the gate.
    pub mamba_rms_norm: bool,
    /// Whether the embedding is the LM head too.
    pub tie_word_embeddings: bool,
    /// The ε of every RMSNorm.
    pub rms_norm_eps: f32,
    /// The base θ of the rotary embedding.
    pub rope_theta: f64,
    /// Positions that the model was made for.
    pub max_position_embeddings: u32,
    /// Scales the embedding.
    pub embedding_multiplier: f32,
    /// Scales the logits. A GGUF file has it in the LM head's weights, so it is 1 there. Where
    /// embeddings are tied, a GGUF file has only the embedding's own multiplier, and logits are too
    /// large or too small by a factor that the file does not know: whoever does sets it here before
    /// loading. It changes no greedy answer.
    pub lm_head_multiplier: f32,
    /// Scales the keys.
    pub key_multiplier: f32,
    /// Scales the input of attention.
    pub attention_in_multiplier: f32,
    /// Scales the output of attention.
    pub attention_out_multiplier: f32,
    /// Scales the input of the SSM branch.
    pub ssm_in_multiplier: f32,
    /// Scales the output of the SSM branch.
    pub ssm_out_multiplier: f32,
    /// Scale the gate before SiLU, and the output of the MLP.
    pub mlp_multipliers: [f32; 2],
    /// Scale the sections z, x, B, C, dt of the SSM projection.
    pub ssm_multipliers: [f32; 5],
}

impl Config {
    /// Channels of the convolution: x, B and C.
    pub fn conv_dim(&self) -> u32 {
        self.mamba_d_ssm + 2 * self.mamba_n_groups * self.mamba_d_state
    }

    /// Rows of `mamba.in_proj`: z, x, B, C, dt.
    pub fn in_proj_rows(&self) -> u32 {
        self.mamba_d_ssm + self.conv_dim() + self.mamba_n_heads
    }

    /// Rows of `q_proj`.
    pub fn q_dim(&self) -> u32 {
        self.num_attention_heads * self.head_dim
    }

    /// Rows of `k_proj`, and of `v_proj`.
    pub fn kv_dim(&self) -> u32 {
        self.num_key_value_heads * self.head_dim
    }

    /// From `config.json`, already parsed; `name` is the file's, for messages. Where
    /// `tie_word_embeddings` is missing it is false here: whoever knows the tensors decides.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::Malformed`], [`Error::Unsupported`], each with the field's
    /// name.
    pub fn from_json(name: &str, value: &serde_json::Value) -> Result<Self> {
        let config = json::parse(name, value)?;
        config.validate(name, Names::Json)?;
        Ok(config)
    }

    /// From GGUF metadata and what only the tensors tell: the rows of the embedding, whether there
    /// is an LM head, whether there is an SSM norm.
    ///
    /// # Errors
    /// As [`Config::from_json`].
    pub fn from_gguf(metadata: &Metadata, vocab_size: u32, has_lm_head: bool, has_ssm_norm: bool) -> Result<Self> {
        refuse(metadata)?;
        let key = |key: &str| format!("{ARCHITECTURE}.{key}");
        let u32 = |name: &str| metadata.u32(&key(name));
        let (inner, heads) = (u32("ssm.inner_size")?, u32("ssm.time_step_rank")?);
        let head_dim = u32("attention.key_length")?;
        let value_length = u32("attention.value_length")?;
        if value_length != head_dim {
            return Err(unsupported(
                metadata.file(),
                &key("attention.value_length"),
                format!("attention.key_length, {head_dim}"),
                value_length,
            ));
        }
        let config = Self {
            vocab_size,
            hidden_size: u32("embedding_length")?,
            num_hidden_layers: u32("block_count")?,
            num_attention_heads: u32("attention.head_count")?,
            num_key_value_heads: u32("attention.head_count_kv")?,
            head_dim,
            intermediate_size: u32("feed_forward_length")?,
            mamba_d_ssm: inner,
            mamba_n_heads: heads,
            // Exactness is checked in `validate`.
            mamba_d_head: inner.checked_div(heads).unwrap_or(0),
            mamba_n_groups: u32("ssm.group_count")?,
            mamba_d_state: u32("ssm.state_size")?,
            mamba_d_conv: u32("ssm.conv_kernel")?,
            mamba_rms_norm: has_ssm_norm,
            tie_word_embeddings: !has_lm_head,
            rms_norm_eps: metadata.f64(&key("attention.layer_norm_rms_epsilon"))? as f32,
            rope_theta: metadata.f64(&key("rope.freq_base"))?,
            max_position_embeddings: u32("context_length")?,
            embedding_multiplier: 1.0,
            lm_head_multiplier: 1.0,
            key_multiplier: 1.0,
            attention_in_multiplier: 1.0,
            attention_out_multiplier: 1.0,
            ssm_in_multiplier: 1.0,
            ssm_out_multiplier: 1.0,
            mlp_multipliers: [1.0; 2],
            ssm_multipliers: [1.0; 5],
        };
        config.validate(metadata.file(), Names::Gguf)?;
        Ok(config)
    }

    /// As it is, if its sizes make sense together; messages have the names of `config.json`.
    pub fn checked(self, name: &str) -> Result<Self> {
        self.validate(name, Names::Json).map(|()| self)
    }

    /// Ranges and divisibility. After this, products of two sizes fit `u32`.
    fn validate(&self, file: &str, names: Names) -> Result<()> {
        // HF's name, GGUF's key, the value, the least and the most that make sense.
        let sizes: [(&str, &str, u32, u32, u32); 14] = [
            ("vocab_size", "vocab_size", self.vocab_size, 1, 1 << 24),
            ("hidden_size", "embedding_length", self.hidden_size, 1, 1 << 16),
            ("num_hidden_layers", "block_count", self.num_hidden_layers, 1, 1024),
            ("num_attention_heads", "attention.head_count", self.num_attention_heads, 1, 1024),
            ("num_key_value_heads", "attention.head_count_kv", self.num_key_value_heads, 1, 1024),
            ("head_dim", "attention.key_length", self.head_dim, 2, 1024),
            ("intermediate_size", "feed_forward_length", self.intermediate_size, 1, 1 << 18),
            ("mamba_d_ssm", "ssm.inner_size", self.mamba_d_ssm, 1, 1 << 16),
            ("mamba_n_heads", "ssm.time_step_rank", self.mamba_n_heads, 1, 4096),
            ("mamba_d_head", "ssm.inner_size", self.mamba_d_head, 1, 1024),
            ("mamba_n_groups", "ssm.group_count", self.mamba_n_groups, 1, 256),
            ("mamba_d_state", "ssm.state_size", self.mamba_d_state, 1, 1024),
            ("mamba_d_conv", "ssm.conv_kernel", self.mamba_d_conv, 2, 8),
            ("max_position_embeddings", "context_length", self.max_position_embeddings, 1, 1 << 30),
        ];
        for (hf, gguf, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                let expected = format!("{least} to {most}");
                return Err(malformed(file, &names.pick(hf, gguf), expected, value));
            }
        }
        let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
        let (n, groups) = (self.mamba_n_heads, self.mamba_n_groups);
        let (inner, per_head) = (self.mamba_d_ssm, self.mamba_d_head);
        let rules: [(&str, &str, u32, bool, String); 4] = [
            (
                "num_key_value_heads",
                "attention.head_count_kv",
                kv,
                heads.is_multiple_of(kv),
                format!("a divisor of the {heads} attention heads"),
            ),
            (
                "head_dim",
                "attention.key_length",
                self.head_dim,
                self.head_dim.is_multiple_of(2),
                "an even number".into(),
            ),
            (
                "mamba_d_ssm",
                "ssm.inner_size",
                inner,
                n * per_head == inner,
                format!("{n} SSM heads of {per_head} values, {}", n * per_head),
            ),
            (
                "mamba_n_groups",
                "ssm.group_count",
                groups,
                n.is_multiple_of(groups),
                format!("a divisor of the {n} SSM heads"),
            ),
        ];
        for (hf, gguf, value, holds, expected) in rules {
            if !holds {
                return Err(malformed(file, &names.pick(hf, gguf), expected, value));
            }
        }
        let eps = ("rms_norm_eps", "attention.layer_norm_rms_epsilon");
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let field = names.pick(eps.0, eps.1);
            return Err(malformed(file, &field, "a number between 0 and 1", self.rms_norm_eps));
        }
        if !(self.rope_theta >= 1.0 && self.rope_theta.is_finite()) {
            let field = names.pick("rope_theta", "rope.freq_base");
            return Err(malformed(file, &field, "a number from 1", self.rope_theta));
        }
        Ok(())
    }
}

/// Whose names a message uses.
#[derive(Clone, Copy)]
enum Names {
    Json,
    Gguf,
}

impl Names {
    fn pick(self, hf: &str, gguf: &str) -> String {
        match self {
            Self::Json => hf.into(),
            Self::Gguf => format!("{ARCHITECTURE}.{gguf}"),
        }
    }
}

/// Refuses what is not this architecture, or not this schema of it.
fn refuse(metadata: &Metadata) -> Result<()> {
    let file = metadata.file();
    let architecture = metadata.str("general.architecture")?;
    if architecture != ARCHITECTURE {
        return Err(unsupported(file, "general.architecture", ARCHITECTURE, architecture));
    }
    // Files from before mid-2025 hold weights without multipliers, and the multipliers as run-time
    // keys.
    let early = |key: &str| {
        let Some(key) = key.strip_prefix(ARCHITECTURE) else {
            return false;
        };
        key == ".ssm.has_mup"
            || key.ends_with("_multiplier")
            || key.ends_with("_multipliers")
            || key.starts_with(".mamba_")
    };
    if let Some((key, _)) = metadata.iter().find(|(key, _)| early(key)) {
        return Err(unsupported(
            file,
            key,
            "a file converted by llama.cpp of July 2025 or later",
            "an early Falcon-H1 conversion, whose weights lack the multipliers: convert the model again, or get \
             a newer file. Such a file",
        ));
    }
    keys::check(metadata)
}

fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn unsupported(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Unsupported {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
