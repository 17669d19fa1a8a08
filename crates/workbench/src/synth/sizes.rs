//! The published shapes.

use std::str::FromStr;

use peregrine::checkpoint::names::expected;
use peregrine::config::Config;
use peregrine::{Error, Result};

/// A published member of the family. H1R-7B has the shape of the 7B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Falcon-H1-Tiny-90M. Its embedding is its LM head, and it has no gated norm.
    Tiny90M,
    /// Falcon-H1-0.5B, without gated norm.
    B0_5,
    /// Falcon-H1-1.5B.
    B1_5,
    /// Falcon-H1-1.5B-Deep.
    B1_5Deep,
    /// Falcon-H1-3B.
    B3,
    /// Falcon-H1-7B.
    B7,
    /// Falcon-H1-34B, the only one with two groups.
    B34,
    /// Not published, and not among [`Size::ALL`]: four small layers with everything that the
    /// others have between them.
    Toy,
}

impl Size {
    /// All of them, by parameters.
    pub const ALL: &[Self] = &[Self::Tiny90M, Self::B0_5, Self::B1_5, Self::B1_5Deep, Self::B3, Self::B7, Self::B34];

    /// The name that [`Size::from_str`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny90M => "tiny-90m",
            Self::B0_5 => "0.5b",
            Self::B1_5 => "1.5b",
            Self::B1_5Deep => "1.5b-deep",
            Self::B3 => "3b",
            Self::B7 => "7b",
            Self::B34 => "34b",
            Self::Toy => "toy",
        }
    }

    /// The configuration as a GGUF file has it: every multiplier is 1.
    pub fn config(self) -> Config {
        #[rustfmt::skip]
        let [vocab_size, hidden_size, layers, heads, kv, head_dim, f, n, p, groups, state, context] = match self {
            //                      V     D   L  nh nkv   hd      F   n    P  G    N  context
            Self::Tiny90M => [ 32_768,  512, 24,  8,  2,  64,   768, 24,  32, 1,  64, 262_144],
            Self::B0_5 =>    [ 32_784, 1024, 36,  8,  2,  64,  2048, 24,  64, 1, 128,  16_384],
            Self::B1_5 =>    [ 65_537, 2048, 24,  8,  2, 128,  4608, 48,  64, 1, 256, 131_072],
            Self::B1_5Deep =>[ 65_537, 1280, 66,  6,  2, 128,  3072, 24,  64, 1, 256, 131_072],
            Self::B3 =>      [ 65_537, 2560, 32, 10,  2, 128,  6144, 32, 128, 1, 256, 131_072],
            Self::B7 =>      [130_049, 3072, 44, 12,  2, 128, 12288, 24, 128, 1, 256, 262_144],
            Self::B34 =>     [261_120, 5120, 72, 20,  4, 128, 21504, 32, 128, 2, 256, 262_144],
            Self::Toy =>     [  2_048,  256,  4,  4,  2,  64,   512,  8,  32, 2,  64,   4_096],
        };
        Config {
            vocab_size,
            hidden_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv,
            head_dim,
            intermediate_size: f,
            mamba_d_ssm: n * p,
            mamba_n_heads: n,
            mamba_d_head: p,
            mamba_n_groups: groups,
            mamba_d_state: state,
            mamba_d_conv: 4,
            mamba_rms_norm: !matches!(self, Self::Tiny90M | Self::B0_5),
            tie_word_embeddings: self == Self::Tiny90M,
            rms_norm_eps: 1e-5,
            // A GGUF file has it as f32.
            rope_theta: f64::from(1e11f32),
            max_position_embeddings: context,
            embedding_multiplier: 1.0,
            lm_head_multiplier: 1.0,
            key_multiplier: 1.0,
            attention_in_multiplier: 1.0,
            attention_out_multiplier: 1.0,
            ssm_in_multiplier: 1.0,
            ssm_out_multiplier: 1.0,
            mlp_multipliers: [1.0; 2],
            ssm_multipliers: [1.0; 5],
        }
    }

    /// The configuration with other sizes, each by its name in `config.json`; the inner width of
    /// the SSM follows from its heads. For `mamba_rms_norm` and `tie_word_embeddings` 0 is no and 1
    /// is yes.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is none, [`Error::Malformed`] for sizes that do not go
    /// together.
    pub fn with(self, sizes: &[(String, u32)]) -> Result<Config> {
        let mut config = self.config();
        for (name, value) in sizes {
            let place = match name.as_str() {
                "vocab_size" => &mut config.vocab_size,
                "hidden_size" => &mut config.hidden_size,
                "num_attention_heads" => &mut config.num_attention_heads,
                "num_key_value_heads" => &mut config.num_key_value_heads,
                "head_dim" => &mut config.head_dim,
                "intermediate_size" => &mut config.intermediate_size,
                "mamba_n_heads" => &mut config.mamba_n_heads,
                "mamba_d_head" => &mut config.mamba_d_head,
                "mamba_n_groups" => &mut config.mamba_n_groups,
                "mamba_d_state" => &mut config.mamba_d_state,
                "mamba_rms_norm" | "tie_word_embeddings" if *value <= 1 => {
                    let yes = *value == 1;
                    *(if name == "mamba_rms_norm" {
                        &mut config.mamba_rms_norm
                    } else {
                        &mut config.tie_word_embeddings
                    }) = yes;
                    continue;
                }
                _ => {
                    return Err(Error::Argument {
                        field: "set".into(),
                        expected:
                            "a size by its name in config.json, as hidden_size=96; 0 or 1 for mamba_rms_norm and \
                                   tie_word_embeddings"
                                .into(),
                        found: format!("{name}={value}"),
                    });
                }
            };
            *place = *value;
        }
        config.mamba_d_ssm = config.mamba_n_heads.saturating_mul(config.mamba_d_head);
        config.checked("the shape")
    }

    /// Values in all tensors.
    pub fn parameters(self) -> u64 {
        expected(&self.config()).iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum()
    }
}

impl FromStr for Size {
    type Err = Error;

    /// Case does not matter; "toy" is one, too.
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        Self::ALL.iter().copied().chain([Self::Toy]).find(|size| size.name() == lower).ok_or_else(|| Error::Argument {
            field: "size".into(),
            expected: format!("one of {}", Self::ALL.iter().map(|size| size.name()).collect::<Vec<_>>().join(", ")),
            found: text.into(),
        })
    }
}
