//! The model on one page: `Model::record` is Falcon-H1's forward pass, one line a dispatch, in
//! order.
//!
//! The CPU twin, `reference::model`, has the same lines. What each kernel does with its buffers
//! stands in the head of its WGSL file. For many tokens, and on software adapters, every line is a
//! dispatch. For one token on a GPU the norms are part of the linear layers that follow, and
//! `prepare` of the mixers: five dispatches a layer, of the same page.

pub mod footprint;
mod load;
mod pace;
mod recipe;
pub(crate) mod turns;

use std::rc::Rc;

use crate::config::Config;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::Pipelines;
use crate::ops::linear::{Input, Output};
use crate::ops::lora::Adapted;
use crate::ops::norm::Norm;
use crate::ops::sample::SamplingBuffers;
use crate::ops::target::Target;
use crate::ops::{Op, Recorder};
use crate::plan::{Call, Plan};
use crate::sampling::MOST_TOKENS;
use crate::state::{Arena, State};
use crate::weights::{Matrix, padded};

pub use crate::options::LoadOptions;
pub use crate::state::KvType;
pub use crate::weights::LoadTimes;
use footprint::{Budget, Footprint};
pub(crate) use load::mamba_values;
use pace::Pace;
use turns::Turns;

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of tensors read and sent to the GPU.
    Upload {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Pipelines made.
    Compile {
        /// So far.
        done: u32,
        /// In all.
        total: u32,
    },
}

/// One layer's weights.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) struct Layer {
    /// \[D\]
    pub input_layernorm: wgpu::Buffer,
    /// \[q | k | v | z | x | B | C | dt\] × D
    pub w_in: Matrix,
    /// conv1d.weight \[conv_dim, K\] | conv1d.bias \[conv_dim\] | dt_bias \[H\] | A \[H\] | D \[H\]
    pub mamba: wgpu::Buffer,
    /// \[d\], where the model has `mamba_rms_norm`
    pub mamba_norm: Option<wgpu::Buffer>,
    /// D × \[attention | SSM\]
    pub w_out: Matrix,
    /// \[D\]
    pub pre_ff_layernorm: wgpu::Buffer,
    /// gate and up, 2 sums of F rows × D
    pub mlp_in: Matrix,
    /// D × F
    pub mlp_out: Matrix,
}

/// Activations of one step, for up to [`Model::chunk`] tokens. Rows that a matrix reads are padded
/// to whole strips of 32 with zeros that nothing ever overwrites.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) struct Scratch {
    /// cos, sin \[T, hd / 2\]
    pub rope: wgpu::Buffer,
    /// The same for one token, as a uniform.
    pub turns: wgpu::Buffer,
    /// Residual stream \[T, D\]
    pub h: wgpu::Buffer,
    /// Its norm \[T, D\]
    pub u: wgpu::Buffer,
    /// \[T, q | k | v | z | x | B | C | dt\]
    pub proj: wgpu::Buffer,
    /// \[T, q | x | B | C | delta | exp(delta A) | halted\]
    pub ready: wgpu::Buffer,
    /// \[T, attention | SSM\]; in decode after the first row the splits of a long context, see
    /// `shaders/attention/merge.wgsl`
    pub mixed: wgpu::Buffer,
    /// What prompts need for the SSM heads on a GPU.
    pub ssd: Option<Ssd>,
    /// \[T, F\]
    pub ff: wgpu::Buffer,
    /// \[rows, V\]
    pub logits: wgpu::Buffer,
}

/// What `shaders/ssm/ssd.wgsl` keeps of each chunk of [`crate::ops::ssm::CHUNK`] tokens. Software
/// adapters go token by token and need none of it.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) struct Ssd {
    /// \[chunks, H, P, N\]: what the chunk adds to the state, then the state before it.
    pub states: wgpu::Buffer,
    /// \[chunks, G, 64, 64\]: C of each token times B of each.
    pub products: wgpu::Buffer,
    /// \[chunks, H, 64\]: delta A, summed up within the chunk.
    pub decays: wgpu::Buffer,
}

/// Row lengths of the activations, in floats.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) struct Strides {
    /// h and u
    pub hidden: u32,
    /// proj
    pub proj: u32,
    /// ready
    pub ready: u32,
    /// mixed
    pub mixed: u32,
    /// Where the SSM heads' output begins in a row of mixed.
    pub ssm: u32,
    /// ff
    pub ff: u32,
}

impl Strides {
    /// Of a configuration.
    pub fn of(c: &Config) -> Self {
        Self {
            hidden: padded(c.hidden_size),
            proj: c.q_dim() + 2 * c.kv_dim() + c.in_proj_rows(),
            // So that rows can be read by fours.
            ready: (c.q_dim() + c.conv_dim() + 2 * c.mamba_n_heads + 1).next_multiple_of(4),
            mixed: padded(c.q_dim()) + padded(c.mamba_d_ssm),
            ssm: padded(c.q_dim()),
            ff: padded(c.intermediate_size),
        }
    }
}

/// A model on the GPU.
pub struct Model {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) strides: Strides,
    pub(crate) embed_tokens: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_layernorm: wgpu::Buffer,
    pub(crate) lm_head: Matrix,
    pub(crate) scratch: Scratch,
    pub(crate) step: wgpu::Buffer,
    pub(crate) pipelines: Pipelines,
    /// Steps of many tokens; a plan for one has the same otherwise.
    pub(crate) target: Target,
    chunk: u32,
    logit_rows: u32,
    fingerprint: String,
    kv: Rc<Arena>,
    load_times: LoadTimes,
    pub(crate) snapshot_budget: u64,
    /// What the caller allows of memory.
    pub(crate) budget: Budget,
    pub(crate) snapshot_host_budget: u64,
    pub(crate) pace: Pace,
    pub(crate) turns: Rc<Turns>,
}

impl Model {
    /// The forward pass, with adapters beside the linear layers of its layers where there are any.
    /// D hidden, F feed-forward, V vocabulary, H SSM heads, P, N, G their sizes, T tokens.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn record(
        &self,
        state: &State,
        next: &SamplingBuffers,
        many: bool,
        adapted: Option<&Adapted>,
    ) -> Vec<Call> {
        use Op::{FinalNorm, InputNorm, LmHead, MlpIn, MlpNorm, MlpOut, ProjectIn, ProjectOut};
        use Output::{Add, Store, SwiGlu};
        let s = &self.scratch;
        let mut r = Recorder::new(self.target.tokens(many), &self.step, &next.control)
            .with(adapted)
            .sharing([&s.proj, &s.ready]);

        r.lora_clear();
        // h [T, D] = E[ids]
        r.embed(&self.embed_tokens, &next.ids, &s.h);
        for (i, layer) in self.layers.iter().enumerate() {
            r.layer = Some(i as u32);
            // For both mixers.
            let u = r.rmsnorm(InputNorm, self.norm(&layer.input_layernorm), &s.h, &s.u);
            // q k v z x B C dt
            r.linear(ProjectIn, &layer.w_in, u, Store(&s.proj));
            // RoPE, KV append, convolution, softplus
            self.prepare(&mut r, state, i);
            // Attention heads beside SSM heads.
            self.mixers(&mut r, state, i);
            // In each of the G groups.
            let mixed = self.gated_norm(&mut r, layer);
            // h += W_o attention + W_out ssm
            r.linear(ProjectOut, &layer.w_out, mixed, Add(&s.h));
            let u = r.rmsnorm(MlpNorm, self.norm(&layer.pre_ff_layernorm), &s.h, &s.u);
            // ff [T, F]
            r.linear(MlpIn, &layer.mlp_in, u, SwiGlu(&s.ff));
            // h += W_down ff
            r.linear(MlpOut, &layer.mlp_out, Input::of(&s.ff), Add(&s.h));
        }
        r.layer = None;
        let last = r.rmsnorm(FinalNorm, self.norm(&self.final_layernorm), &s.h, &s.u);
        // logits [rows, V]
        r.linear(LmHead, &self.lm_head, last, Store(&s.logits));
        // The next token stays on the GPU.
        self.sample(&mut r, next);
        r.finish()
    }

    /// The page, ready to run for steps of many tokens or of one, with adapters or without.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn plan(&self, state: &State, next: &SamplingBuffers, many: bool, adapted: Option<&Adapted>) -> Plan {
        Plan::new(&self.pipelines, self.record(state, next, many, adapted))
    }

    /// The plans of one token and of many, whose pipelines are made at once where they are not
    /// there.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) with the name of the kernel that the device refuses.
    pub(crate) async fn plans(
        &self,
        state: &State,
        next: &SamplingBuffers,
        adapted: Option<&Adapted>,
    ) -> Result<[Plan; 2]> {
        let calls = [false, true].map(|many| self.record(state, next, many, adapted));
        self.pipelines.make(calls.iter().flatten()).finish(&self.pipelines, &mut |_, _| {}).await?;
        Ok(calls.map(|calls| Plan::new(&self.pipelines, calls)))
    }

    fn norm<'a>(&self, weight: &'a wgpu::Buffer) -> Norm<'a> {
        let c = &self.config;
        Norm { weight, offset: 0, width: c.hidden_size, stride: self.strides.hidden, eps: c.rms_norm_eps }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device it lies on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its pipelines.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// Most tokens in a step.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Most rows of logits that a step can make.
    pub fn logit_rows(&self) -> u32 {
        self.logit_rows
    }

    /// Most tokens of a conversation.
    pub fn context_length(&self) -> u32 {
        self.kv.context_length()
    }

    /// What it can grow to ([`Engine::grow_context`](crate::session::Engine::grow_context)): what
    /// the model was made for, and the device can bind.
    pub fn longest_context(&self) -> u32 {
        self.budget.longest(&self.config)
    }

    /// What it takes on the device with a conversation of its context.
    pub fn footprint(&self) -> Footprint {
        self.budget.footprint()
    }

    /// Conversations have so many tokens from now on, beside so many bytes of adapters.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit); then nothing has changed.
    pub(crate) fn grow_context(&self, context_length: u32, adapters: u64) -> Result<()> {
        self.budget.grow(&self.config, context_length, adapters, self.kv.bytes())?;
        self.kv.grow(context_length);
        self.kv.allow(self.budget.context_beside(&self.config, adapters));
        Ok(())
    }

    /// What its plans are recorded for.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the GPU samples at a temperature, too: not where the CPU computes, which reads the
    /// logits for nothing.
    pub fn samples_at_temperatures(&self) -> bool {
        self.target.samples_at_temperatures() && self.config.vocab_size <= MOST_TOKENS
    }

    /// So many tokens are read as quickly one after the other as at once.
    pub fn most_one_by_one(&self) -> usize {
        self.target.most_one_by_one()
    }

    /// Bytes of weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        let head = if self.config.tie_word_embeddings { 0 } else { self.lm_head.bytes() };
        matrices.map(Matrix::bytes).sum::<u64>() + self.embed_tokens.bytes() + head
    }

    /// Bytes of all its buffers on the GPU: weights, tables, activations. States are apart.
    pub fn bytes(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        let tables = [&self.embed_tokens, &self.lm_head].into_iter().chain(matrices).map(Matrix::table_bytes);
        let vectors = self
            .layers
            .iter()
            .flat_map(|l| [&l.input_layernorm, &l.mamba, &l.pre_ff_layernorm].into_iter().chain(&l.mamba_norm));
        let vectors = vectors.chain([&self.final_layernorm]).map(wgpu::Buffer::size);
        self.weight_bytes() + tables.sum::<u64>() + vectors.sum::<u64>() + self.scratch_bytes()
    }

    /// Bytes of the activations.
    pub fn scratch_bytes(&self) -> u64 {
        let s = &self.scratch;
        let scratch = [&s.rope, &s.turns, &s.h, &s.u, &s.proj, &s.ready, &s.mixed, &s.ff, &s.logits, &self.step];
        let ssd = s.ssd.iter().flat_map(|ssd| [&ssd.states, &ssd.products, &ssd.decays]);
        scratch.into_iter().chain(ssd).map(wgpu::Buffer::size).sum()
    }

    /// Where the time went in which it was loaded.
    pub fn load_times(&self) -> &LoadTimes {
        &self.load_times
    }

    /// Slabs of each matrix, embedding and LM head first.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn slab_counts(&self) -> Vec<usize> {
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        [&self.embed_tokens, &self.lm_head].into_iter().chain(matrices).map(|m| m.slabs.len()).collect()
    }

    /// What tells this model from others: 32 hexadecimal digits of an SHA-256 over its
    /// configuration and a sample of its weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Keys and values of all its sequences.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn kv(&self) -> &Rc<Arena> {
        &self.kv
    }

    /// Pipelines in use.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn pipeline_count(&self) -> usize {
        self.pipelines.count()
    }
}
