//! The operations: a folder each. Its module declares the kernels with their constants, bindings
//! and workgroups, and records them; `reference.rs` beside it is the twin on the CPU. Which of its
//! kernels a step uses is decided in [`target`], once.

pub mod attention;
pub mod embed;
pub mod linear;
pub mod lora;
pub mod mixers;
pub mod norm;
mod recorder;
pub mod sample;
pub mod ssm;
pub mod target;
mod written;

pub use recorder::Recorder;
pub use written::{Section, Written};

use crate::kernels::{Signature, kernels};
use crate::plan::{Needed, Step};

/// A line of the page in `model.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// h = E\[ids\]
    Embed,
    /// The norm before the mixers.
    InputNorm,
    /// q k v z x B C dt
    ProjectIn,
    /// RoPE, KV append, convolution, softplus.
    Prepare,
    /// Attention heads and SSM heads in one dispatch, with what prepares them.
    Mixer,
    /// Attention heads.
    Attention,
    /// SSM heads.
    Ssm,
    /// The norm of the SSM heads' output, where the model has it.
    GatedNorm,
    /// h += W_o attention + W_out SSM
    ProjectOut,
    /// The norm before the MLP.
    MlpNorm,
    /// SwiGLU of gate and up.
    MlpIn,
    /// h += W_down ff
    MlpOut,
    /// The norm before the LM head.
    FinalNorm,
    /// The logits.
    LmHead,
    /// The next token.
    Sample,
}

impl Op {
    /// What a layer may consist of, in the order of every plan.
    pub const LAYER: [Self; 11] = [
        Self::InputNorm,
        Self::ProjectIn,
        Self::Prepare,
        Self::Mixer,
        Self::Attention,
        Self::Ssm,
        Self::GatedNorm,
        Self::ProjectOut,
        Self::MlpNorm,
        Self::MlpIn,
        Self::MlpOut,
    ];

    /// As messages and tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::InputNorm => "input_layernorm",
            Self::ProjectIn => "project_in",
            Self::Prepare => "prepare",
            Self::Mixer => "mixer",
            Self::Attention => "attention",
            Self::Ssm => "ssm",
            Self::GatedNorm => "gated_norm",
            Self::ProjectOut => "project_out",
            Self::MlpNorm => "pre_ff_layernorm",
            Self::MlpIn => "mlp_in",
            Self::MlpOut => "mlp_out",
            Self::FinalNorm => "final_layernorm",
            Self::LmHead => "lm_head",
            Self::Sample => "sample",
        }
    }

    /// Which tokens it works on.
    pub fn rows(self) -> Rows {
        match self {
            Self::FinalNorm | Self::LmHead => Rows::Logits,
            Self::Embed
            | Self::InputNorm
            | Self::ProjectIn
            | Self::Prepare
            | Self::Mixer
            | Self::Attention
            | Self::Ssm
            | Self::GatedNorm
            | Self::ProjectOut
            | Self::MlpNorm
            | Self::MlpIn
            | Self::MlpOut
            | Self::Sample => Rows::All,
        }
    }
}

impl Op {
    /// Whether it adds to what is there, or changes it in place.
    pub fn adds(self) -> bool {
        match self {
            Self::ProjectOut | Self::MlpOut | Self::GatedNorm => true,
            Self::Embed
            | Self::InputNorm
            | Self::ProjectIn
            | Self::Prepare
            | Self::Mixer
            | Self::Attention
            | Self::Ssm
            | Self::MlpNorm
            | Self::MlpIn
            | Self::FinalNorm
            | Self::LmHead
            | Self::Sample => false,
        }
    }
}

/// Which tokens a dispatch works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All T of the step.
    All,
    /// Those whose logits are wanted.
    Logits,
}

impl Rows {
    /// How many.
    pub fn count(self, step: &Step) -> u32 {
        match self {
            Self::All => step.tokens,
            Self::Logits => step.logit_rows(),
        }
    }

    /// When a dispatch for them is needed.
    pub fn needed(self) -> Needed {
        match self {
            Self::All => Needed::Always,
            Self::Logits => Needed::Logits,
        }
    }
}

kernels! {
    /// Reads a buffer, and nothing else: no operation, but a measure of what the device can do.
    Probe = PROBE { THREADS: u32 } (data: read [u32; 4], sums: write u32)
}

/// What is declared of every kernel, for the test that compares it with the sources.
pub fn all_signatures() -> Vec<Signature> {
    let of_modules = [
        embed::signatures,
        norm::signatures,
        linear::signatures,
        linear::splits::signatures,
        linear::team::signatures,
        lora::signatures,
        lora::fused::signatures,
        mixers::signatures,
        attention::signatures,
        ssm::signatures,
        sample::signatures,
        signatures,
    ];
    of_modules.into_iter().flat_map(|of| of()).collect()
}
