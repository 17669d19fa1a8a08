//! The model on one page: [`Model::record`] is Falcon-H1's forward pass, one line a dispatch, in order.
//!
//! The CPU twin, [`crate::reference::model`], has the same lines. What each kernel does with its buffers stands in the head of
//! its WGSL file. For many tokens, and on software adapters, every line is a dispatch. For one token on a GPU the norms are part
//! of the linear layers that follow, and `prepare` of the mixers: five dispatches a layer, of the same page.

pub mod footprint;
mod load;
mod recipe;

use std::rc::Rc;

use crate::config::Config;
use crate::gpu::{Gpu, Reduction};
use crate::kernels::Pipelines;
use crate::plan::{Epilogue, Input, Needed, Norm, Plan, Recorder, Rows, Step, lanes};
use crate::state::{Arena, CANDIDATES, KvType, State};
use crate::weights::{Matrix, padded};

pub(crate) use load::mamba_values;

/// What to do otherwise than by default when a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Most tokens of a conversation; `None`: what the model was made for.
    pub context_length: Option<u32>,
    /// Tokens read at a time in prefill; `None` chooses by adapter.
    pub chunk: Option<u32>,
    /// Bytes that the model and one conversation may take on the GPU. A context that is asked for and does not fit is an error;
    /// otherwise the context is as large as fits.
    pub memory_budget: Option<u64>,
    /// How keys and values are kept: in f16 unless told otherwise.
    pub kv: KvType,
    /// Bytes on the GPU that each session may spend on places to go back to; `None`: 256 MiB.
    pub snapshot_budget: Option<u64>,
}

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
pub struct Layer {
    /// \[D\]
    pub input_layernorm: wgpu::Buffer,
    /// \[q | k | v | z | x | B | C | dt\] × D
    pub w_in: Matrix,
    /// conv1d.weight \[conv_dim, K\] | conv1d.bias \[conv_dim\] | dt_bias \[n\] | A \[n\] | D \[n\]
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

/// Activations of one step, for up to [`Model::chunk`] tokens. Rows that a matrix reads are padded to whole strips of 32 with
/// zeros that nothing ever overwrites.
pub struct Scratch {
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
    /// \[T, attention | SSM\]; in decode after the first row the pieces of a long context, see `shaders/merge.wgsl`
    pub mixed: wgpu::Buffer,
    /// \[T, F\]
    pub ff: wgpu::Buffer,
    /// \[rows, V\]
    pub logits: wgpu::Buffer,
}

/// Row lengths of the activations, in floats.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
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
            ready: c.q_dim() + c.conv_dim() + 2 * c.mamba_n_heads + 1,
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
    chunk: u32,
    logit_rows: u32,
    context_length: u32,
    fingerprint: String,
    kv: Rc<Arena>,
    pub(crate) snapshot_budget: Option<u64>,
}

impl Model {
    /// The forward pass. D hidden, F feed-forward, V vocabulary, H SSM heads, P, N, G their sizes, T tokens.
    pub fn record(&self, state: &State, many: bool) -> Plan {
        use Epilogue::{Add, Store, SwiGlu};
        use Rows::{All, Logits};
        let s = &self.scratch;
        let mut r = Recorder::new(&self.gpu, &self.pipelines, &self.step, many);

        r.embed(&self.embed_tokens, &state.next.ids, &s.h); //                           h [T, D] = E[ids]
        for (i, layer) in self.layers.iter().enumerate() {
            r.layer = Some(i as u32);
            let u = r.rmsnorm("input_layernorm", self.norm(&layer.input_layernorm), &s.h, &s.u, All); // for both mixers
            r.linear("project_in", &layer.w_in, u, &s.proj, Store, All); //               q k v z x B C dt
            self.prepare(&mut r, state, i); //                                            RoPE, KV append, convolution, softplus
            self.mixer(&mut r, state, i); //                                              attention heads beside SSM heads
            let mixed = self.gated_norm(&mut r, layer); //                                in each of the G groups
            r.linear("project_out", &layer.w_out, mixed, &s.h, Add, All); //              h += W_o attention + W_out ssm
            let u = r.rmsnorm("pre_ff_layernorm", self.norm(&layer.pre_ff_layernorm), &s.h, &s.u, All);
            r.linear("mlp_in", &layer.mlp_in, u, &s.ff, SwiGlu, All); //                  ff [T, F]
            r.linear("mlp_out", &layer.mlp_out, Input::of(&s.ff), &s.h, Add, All); //     h += W_down ff
        }
        r.layer = None;
        let last = r.rmsnorm("final_layernorm", self.norm(&self.final_layernorm), &s.h, &s.u, Logits);
        r.linear("lm_head", &self.lm_head, last, &s.logits, Store, Logits); //            logits [rows, V]
        self.sample(&mut r, state); //                                                    greedy: the next token stays on the GPU
        r.finish()
    }

    fn norm<'a>(&self, weight: &'a wgpu::Buffer) -> Norm<'a> {
        let c = &self.config;
        Norm { weight, offset: 0, width: c.hidden_size, stride: self.strides.hidden, eps: c.rms_norm_eps }
    }

    fn prepare(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if r.fused() {
            return; // part of the mixers
        }
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let threads = r.shapes().elements();
        let elements = c.q_dim() / 2 + c.kv_dim() / 2 + c.conv_dim() + c.mamba_n_heads + 1;
        let groups = elements.div_ceil(threads);
        let mut constants = self.sizes();
        constants.extend([
            ("THREADS", threads.into()),
            ("PROJ_STRIDE", self.strides.proj.into()),
            ("READY_STRIDE", self.strides.ready.into()),
        ]);
        let (mamba, pages, control) = (&self.layers[layer].mamba, state.pages.table(), &state.next.control);
        let buffers = [r.step(), &s.proj, &s.rope, &l.conv, mamba, &s.ready, pages, control];
        let grid = Box::new(move |step: &Step| [groups, step.tokens, 1]);
        r.kernel("prepare", "prepare", Reduction::Workgroup, &constants, &buffers, Needed::Always, grid);
        r.with_kv(layer);
    }

    fn mixer(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let shape = r.shapes().mixer(c.mamba_d_state, r.fused());
        let attention = c.num_attention_heads;
        let ssm = c.mamba_n_heads * c.mamba_d_head.div_ceil(shape.threads / shape.lanes);
        let mut constants = self.sizes();
        constants.extend(lanes(shape));
        constants.extend([
            ("SSM_OFFSET", self.strides.ssm.into()),
            ("Q_PER_KV", (c.num_attention_heads / c.num_key_value_heads).into()),
            ("P", c.mamba_d_head.into()),
            ("N", c.mamba_d_state.into()),
            ("G", c.mamba_n_groups.into()),
        ]);
        let (mamba, pages) = (&self.layers[layer].mamba, state.pages.table());
        let reduction = self.gpu.reduction();
        if !r.fused() {
            constants.extend([
                ("PROJ_STRIDE", self.strides.proj.into()),
                ("READY_STRIDE", self.strides.ready.into()),
                ("MIXED_STRIDE", self.strides.mixed.into()),
            ]);
            let buffers = [r.step(), &s.proj, &s.ready, pages, mamba, &l.conv, &l.ssm, &s.mixed];
            let grid = Box::new(move |step: &Step| [attention * step.tokens + ssm, 1, 1]);
            r.kernel("mixer", "mixer", reduction, &constants, &buffers, Needed::Always, grid);
            r.with_kv(layer);
            return;
        }
        let pieces = ("PIECES", self.strides.mixed.into());
        constants.push(pieces);
        let control = &state.next.control;
        let buffers = [r.step(), &s.proj, &s.turns, &l.conv, mamba, pages, &l.ssm, &s.mixed, control];
        let grid = Box::new(move |step: &Step| [attention * step.splits + ssm, 1, 1]);
        r.kernel("mixer", "mixer_step", reduction, &constants, &buffers, Needed::Always, grid);
        r.with_kv(layer);
        let constants = [("THREADS", 256.0), pieces, ("HEAD_DIM", c.head_dim.into())];
        let grid = Box::new(move |_: &Step| [attention, 1, 1]);
        r.kernel("mixer", "merge", Reduction::Workgroup, &constants, &[r.step(), &s.mixed], Needed::Splits, grid);
    }

    fn gated_norm<'a>(&'a self, r: &mut Recorder<'_>, layer: &'a Layer) -> Input<'a> {
        let (c, s) = (&self.config, &self.scratch);
        let Some(weight) = &layer.mamba_norm else {
            return Input::of(&s.mixed);
        };
        let (groups, width, offset) = (c.mamba_n_groups, c.mamba_d_ssm / c.mamba_n_groups, self.strides.ssm);
        let norm = Norm { weight, offset, width, stride: self.strides.mixed, eps: c.rms_norm_eps };
        if r.fused() && groups == 1 {
            return Input { x: &s.mixed, norm: Some(norm) };
        }
        let mut constants = lanes(r.shapes().norm(width));
        constants.extend([
            ("WIDTH", width.into()),
            ("STRIDE", norm.stride.into()),
            ("OFFSET", offset.into()),
            ("EPS", norm.eps.into()),
        ]);
        let grid = Box::new(move |step: &Step| [step.tokens, groups, 1]);
        let buffers = [weight, &s.mixed];
        r.kernel("gated_norm", "gated_norm", Reduction::Workgroup, &constants, &buffers, Needed::Always, grid);
        Input::of(&s.mixed)
    }

    fn sample(&self, r: &mut Recorder<'_>, state: &State) {
        let next = &state.next;
        let pieces = ("PIECES", CANDIDATES.into());
        let buffers = [&next.ends, &self.scratch.logits, &next.kept, &next.control, &next.candidates];
        let grid = Box::new(|_: &Step| [CANDIDATES, 1, 1]);
        let constants = [("THREADS", 256.0), pieces];
        r.kernel("sample", "candidates", Reduction::Workgroup, &constants, &buffers, Needed::Token, grid);
        let buffers = [&next.ends, &next.candidates, &next.ids, &next.control];
        let grid = Box::new(|_: &Step| [1, 1, 1]);
        r.kernel("sample", "sample", Reduction::Workgroup, &[pieces], &buffers, Needed::Token, grid);
    }

    /// The override constants that `prepare` and `mixer` share.
    fn sizes(&self) -> Vec<(&'static str, f64)> {
        let c = &self.config;
        vec![
            ("KV_F16", f64::from(u8::from(self.kv.kv() == KvType::F16))),
            ("Q_DIM", c.q_dim().into()),
            ("KV_DIM", c.kv_dim().into()),
            ("HEAD_DIM", c.head_dim.into()),
            ("D_SSM", c.mamba_d_ssm.into()),
            ("CONV_DIM", c.conv_dim().into()),
            ("D_CONV", c.mamba_d_conv.into()),
            ("SSM_HEADS", c.mamba_n_heads.into()),
        ]
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device it lies on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
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
        self.context_length
    }

    /// Bytes of weights on the GPU.
    pub fn weight_bytes(&self) -> u64 {
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        let head = if self.config.tie_word_embeddings { 0 } else { self.lm_head.bytes() };
        matrices.map(Matrix::bytes).sum::<u64>() + self.embed_tokens.bytes() + head
    }

    /// Bytes of all its buffers on the GPU: weights, tables, activations. States are apart: [`State::bytes`].
    pub fn bytes(&self) -> u64 {
        let s = &self.scratch;
        let scratch = [&s.rope, &s.turns, &s.h, &s.u, &s.proj, &s.ready, &s.mixed, &s.ff, &s.logits, &self.step];
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        let tables = [&self.embed_tokens, &self.lm_head].into_iter().chain(matrices).map(Matrix::table_bytes);
        let vectors = self
            .layers
            .iter()
            .flat_map(|l| [&l.input_layernorm, &l.mamba, &l.pre_ff_layernorm].into_iter().chain(&l.mamba_norm));
        let buffers = scratch.into_iter().chain(vectors).chain([&self.final_layernorm]);
        self.weight_bytes() + tables.sum::<u64>() + buffers.map(wgpu::Buffer::size).sum::<u64>()
    }

    /// Slabs of each matrix, embedding and LM head first.
    pub fn slab_counts(&self) -> Vec<usize> {
        let matrices = self.layers.iter().flat_map(|l| [&l.w_in, &l.w_out, &l.mlp_in, &l.mlp_out]);
        [&self.embed_tokens, &self.lm_head].into_iter().chain(matrices).map(|m| m.slabs.len()).collect()
    }

    /// What tells this model from others: 32 hexadecimal digits of an SHA-256 over its configuration and a sample of its weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Keys and values of all its sequences.
    pub fn kv(&self) -> &Rc<Arena> {
        &self.kv
    }

    /// Pipelines in use.
    pub fn pipeline_count(&self) -> usize {
        self.pipelines.count()
    }
}
