//! The tensors of a Falcon-H1 model: both names, and the shapes that the configuration implies.

use crate::config::Config;

/// What conversion to GGUF does to a tensor besides its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bake {
    /// `embedding_multiplier`.
    Embedding,
    /// `lm_head_multiplier`.
    LmHead,
    /// `attention_in_multiplier`.
    AttentionIn,
    /// `attention_in_multiplier` and `key_multiplier`.
    Key,
    /// `attention_out_multiplier`.
    AttentionOut,
    /// `ssm_in_multiplier`, and the multiplier of the row's section.
    SsmIn,
    /// `ssm_out_multiplier`.
    SsmOut,
    /// The first of `mlp_multipliers`.
    Gate,
    /// The second of `mlp_multipliers`.
    Down,
    /// A = -exp(A_log).
    A,
    /// Nothing; a matrix that takes the file's type.
    Matrix,
    /// Nothing; a small tensor that stays F32.
    Small,
}

/// One tensor that the architecture has.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Hugging Face's name.
    pub hf: String,
    /// GGUF's name.
    pub gguf: String,
    /// `[out, in]`, or `[n]`.
    pub shape: Vec<u64>,
    /// What a GGUF writer does to it, and so whether it is a matrix.
    pub bake: Bake,
    /// Dimensions in a GGUF file, fastest first, where they are not `shape` reversed.
    pub gguf_dims: Option<Vec<u64>>,
}

impl Expected {
    /// Whether a shape in a file, slowest dimension first, is this tensor's. Dimensions of 1 do not
    /// count, and a vector may be cut in equal groups, as GGUF does with the SSM norm.
    pub fn accepts(&self, found: &[u64]) -> bool {
        let squeeze = |dims: &[u64]| dims.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
        let grouped = self.gguf_dims.iter().any(|dims| dims.iter().rev().eq(found));
        grouped || squeeze(found) == squeeze(&self.shape)
    }

    /// Dimensions in a GGUF file, fastest first.
    pub fn dims(&self) -> Vec<u64> {
        self.gguf_dims.clone().unwrap_or_else(|| self.shape.iter().rev().copied().collect())
    }
}

/// Every tensor of the model that `config` describes, in the order of use.
pub fn expected(config: &Config) -> Vec<Expected> {
    let tensor = |hf: &str, gguf: &str, bake, shape: &[u32]| Expected {
        hf: hf.into(),
        gguf: gguf.into(),
        shape: shape.iter().map(|&d| d.into()).collect(),
        bake,
        gguf_dims: None,
    };
    let (d, f, inner) = (config.hidden_size, config.intermediate_size, config.mamba_d_ssm);
    let (q, kv, n) = (config.q_dim(), config.kv_dim(), config.mamba_n_heads);
    let (conv, groups) = (config.conv_dim(), config.mamba_n_groups);
    let column = |n: u32| Some(vec![1, n.into()]);

    let mut all =
        vec![tensor("model.embed_tokens.weight", "token_embd.weight", Bake::Embedding, &[config.vocab_size, d])];
    for layer in 0..config.num_hidden_layers {
        let mut add = |hf: &str, gguf: &str, bake, shape: &[u32], gguf_dims| {
            let (hf, gguf) = (format!("model.layers.{layer}.{hf}"), format!("blk.{layer}.{gguf}"));
            all.push(Expected { gguf_dims, ..tensor(&hf, &gguf, bake, shape) });
        };
        let rows = config.in_proj_rows();
        add("input_layernorm.weight", "attn_norm.weight", Bake::Small, &[d], None);
        add("self_attn.q_proj.weight", "attn_q.weight", Bake::AttentionIn, &[q, d], None);
        add("self_attn.k_proj.weight", "attn_k.weight", Bake::Key, &[kv, d], None);
        add("self_attn.v_proj.weight", "attn_v.weight", Bake::AttentionIn, &[kv, d], None);
        add("self_attn.o_proj.weight", "attn_output.weight", Bake::AttentionOut, &[d, q], None);
        add("mamba.in_proj.weight", "ssm_in.weight", Bake::SsmIn, &[rows, d], None);
        add("mamba.conv1d.weight", "ssm_conv1d.weight", Bake::Small, &[conv, config.mamba_d_conv], None);
        add("mamba.conv1d.bias", "ssm_conv1d.bias", Bake::Small, &[conv], None);
        add("mamba.dt_bias", "ssm_dt.bias", Bake::Small, &[n], None);
        add("mamba.A_log", "ssm_a", Bake::A, &[n], column(n));
        add("mamba.D", "ssm_d", Bake::Small, &[n], column(n));
        if config.mamba_rms_norm {
            let dims = Some(vec![(inner / groups).into(), groups.into()]);
            add("mamba.norm.weight", "ssm_norm.weight", Bake::Small, &[inner], dims);
        }
        add("mamba.out_proj.weight", "ssm_out.weight", Bake::SsmOut, &[d, inner], None);
        add("pre_ff_layernorm.weight", "ffn_norm", Bake::Small, &[d], None);
        add("feed_forward.gate_proj.weight", "ffn_gate.weight", Bake::Gate, &[f, d], None);
        add("feed_forward.up_proj.weight", "ffn_up.weight", Bake::Matrix, &[f, d], None);
        add("feed_forward.down_proj.weight", "ffn_down.weight", Bake::Down, &[d, f], None);
    }
    all.push(tensor("model.final_layernorm.weight", "output_norm.weight", Bake::Small, &[d]));
    if !config.tie_word_embeddings {
        all.push(tensor("lm_head.weight", "output.weight", Bake::LmHead, &[config.vocab_size, d]));
    }
    all
}

/// The multipliers of a row of a tensor, to be applied one after the other in f32, as the field's
/// converter does.
pub fn multipliers(config: &Config, bake: Bake, row: u64) -> [f32; 2] {
    match bake {
        Bake::Embedding => [config.embedding_multiplier, 1.0],
        Bake::LmHead => [config.lm_head_multiplier, 1.0],
        Bake::AttentionIn => [config.attention_in_multiplier, 1.0],
        Bake::Key => [config.key_multiplier, config.attention_in_multiplier],
        Bake::AttentionOut => [config.attention_out_multiplier, 1.0],
        Bake::SsmOut => [config.ssm_out_multiplier, 1.0],
        Bake::Gate => [config.mlp_multipliers[0], 1.0],
        Bake::Down => [config.mlp_multipliers[1], 1.0],
        Bake::A | Bake::Matrix | Bake::Small => [1.0, 1.0],
        Bake::SsmIn => {
            let (inner, state) = (config.mamba_d_ssm, config.mamba_n_groups * config.mamba_d_state);
            let mut end = 0;
            let section = [inner, inner, state, state].into_iter().position(|rows| {
                end += u64::from(rows);
                row < end
            });
            [config.ssm_in_multiplier, config.ssm_multipliers[section.unwrap_or(4)]]
        }
    }
}

/// A = -exp(A_log), rounded once: the same bits wherever it is computed, which the exponential
/// functions of systems in f32 are not.
pub fn a_of_log(log: f32) -> f32 {
    -f64::from(log).exp() as f32
}
