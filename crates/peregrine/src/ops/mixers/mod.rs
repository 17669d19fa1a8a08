//! The mixers of a layer, side by side: what lies between `project_in` and `project_out` on the
//! page in `model.rs`. One token is one dispatch on a GPU; many tokens are [`Prepare`], then
//! attention heads and SSM heads, each in dispatches of their own.

pub mod reference;

use super::lora::fused::{Fused, heads_at};
use super::ssm::StateSizes;
use super::target::{Shape, Target};
use super::{Op, Recorder};
use crate::config::Config;
use crate::kernels::{Atomic, constants, kernels};
use crate::model::Model;
use crate::plan::{Needed, Step};
use crate::state::{KvType, PageTable, SHORT_SPLITS, State};

constants! {
    /// Of the cache of keys and values.
    KvSizes {
        /// nkv hd
        KV_DIM: u32,
        /// In 8 bits: vec4s that share a scale.
        KV_FOURS: Option<u32>,
    }
}

impl KvSizes {
    /// Of a model on a device.
    pub fn of(target: Target, c: &Config) -> Self {
        let fours = (target.kv == KvType::Q8).then(|| KvType::block(c.head_dim) / 4);
        Self { KV_DIM: c.kv_dim(), KV_FOURS: fours }
    }
}

constants! {
    /// Of a row of `ready`.
    ReadySizes {
        /// nh hd
        Q_DIM: u32,
        /// d
        D_SSM: u32,
        /// d + 2 G N
        CONV_DIM: u32,
        /// H
        SSM_HEADS: u32,
    }
}

impl ReadySizes {
    /// Of a model.
    pub fn of(c: &Config) -> Self {
        Self { Q_DIM: c.q_dim(), D_SSM: c.mamba_d_ssm, CONV_DIM: c.conv_dim(), SSM_HEADS: c.mamba_n_heads }
    }
}

kernels! {
    /// Elements of a token: RoPE, KV append, convolution and SiLU, softplus, decay.
    Prepare = PREPARE {
        THREADS: u32, PROJ_STRIDE: u32, READY_STRIDE: u32, HEAD_DIM: u32, D_CONV: u32;
        sizes: KvSizes, widths: ReadySizes,
    }
    cache write (
        now: uniform Step, proj: read f32, rope: read [f32; 2], conv_state: read f32, mamba: read f32, ready: write f32,
        pages: uniform PageTable, control: read u32,
    )

    /// All mixers of one token: one attention head over a split of the context, or rows of one SSM
    /// head.
    MixerStep = MIXER_STEP {
        SSM_OFFSET: u32, SPLITS_OFFSET: u32, HEAD_DIM: u32, Q_PER_KV: u32, D_CONV: u32;
        sizes: KvSizes, widths: ReadySizes, state: StateSizes, shape: Shape,
    }
    cache write (
        now: uniform Step, proj: read f32, turns: uniform [[f32; 4]; 64], conv_state: write f32, mamba: read f32,
        pages: uniform PageTable, ssm_state: write [f32; 4], mixed: write f32, control: read u32,
    )

    /// The same where `project_out` has adapters, whose A it multiplies.
    MixerStepLora = MIXER_STEP_LORA {
        SSM_OFFSET: u32, SPLITS_OFFSET: u32, HEAD_DIM: u32, Q_PER_KV: u32, D_CONV: u32;
        sizes: KvSizes, widths: ReadySizes, state: StateSizes, shape: Shape, heads: Heads, out: Out,
    }
    cache write (
        now: uniform Step, proj: read f32, turns: uniform [[f32; 4]; 64], conv_state: write f32, mamba: read f32,
        pages: uniform PageTable, ssm_state: write [f32; 4], mixed: write f32, control: read u32,
        sums_out: write_part Atomic<i32>,
    )
}

constants! {
    /// A of o_proj, in floats.
    Heads {
        /// Where it begins.
        O_A: u32,
        /// Its ranks.
        O_RANKS: u32,
        /// Where in the sums each head leaves its own product.
        HEADS_AT: u32,
    }
}

constants! {
    /// A of out_proj.
    Out {
        /// Where it begins.
        OUT_A: u32,
        /// Its ranks.
        OUT_RANKS: u32,
        /// The first of them in t.
        OUT_T: u32,
        /// Where the weight of the SSM heads' norm begins.
        OUT_NORM: Option<u32>,
        /// All ranks of `project_out`.
        SUM_RANKS: u32,
        /// Slots of a sum.
        SLOTS: u32,
    }
}

#[allow(non_snake_case, reason = "the names of WGSL")]
impl Heads {
    /// Of the adapters of `project_out`.
    pub fn of(fused: &Fused) -> Self {
        let [O_A, O_RANKS] = fused.heads[0];
        Self { O_A, O_RANKS, HEADS_AT: 4 * heads_at(fused.ranks) }
    }
}

#[allow(non_snake_case, reason = "the names of WGSL")]
impl Out {
    fn of(fused: &Fused, slots: u32) -> Self {
        let [[_, OUT_T], [OUT_A, OUT_RANKS]] = fused.heads;
        Self { OUT_A, OUT_RANKS, OUT_T, OUT_NORM: fused.norm, SUM_RANKS: fused.ranks, SLOTS: slots }
    }
}

/// The fields that both kernels of one token have.
macro_rules! step {
    ($kernel:ident { $($more:ident: $value:expr),* }, $model:ident, $r:ident, $state:ident, $layer:ident, $mamba:expr) => {{
        let (c, s) = (&$model.config, &$model.scratch);
        $kernel {
            SSM_OFFSET: $model.strides.ssm,
            SPLITS_OFFSET: $model.strides.mixed,
            HEAD_DIM: c.head_dim,
            Q_PER_KV: c.num_attention_heads / c.num_key_value_heads,
            D_CONV: c.mamba_d_conv,
            sizes: KvSizes::of($r.target(), c),
            widths: ReadySizes::of(c),
            state: StateSizes::of(c),
            shape: $r.target().mixer_step(c.mamba_d_state),
            kv: $layer,
            now: $r.step(),
            proj: &s.proj,
            turns: &s.turns,
            conv_state: &$state.layers[$layer].conv,
            mamba: $mamba,
            pages: $state.pages.table(),
            ssm_state: &$state.layers[$layer].ssm,
            mixed: &s.mixed,
            control: $r.control(),
            $($more: $value,)*
        }
    }};
}

impl Model {
    /// RoPE, KV append, convolution, softplus of many tokens. For one token on a GPU they are part
    /// of [`MixerStep`].
    pub(crate) fn prepare(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if r.target().fused() {
            return;
        }
        let (c, s) = (&self.config, &self.scratch);
        let threads = r.target().elements();
        let elements = c.q_dim() / 2 + c.kv_dim() / 2 + c.conv_dim() + c.mamba_n_heads + 1;
        let groups = elements.div_ceil(threads);
        let kernel = Prepare {
            THREADS: threads,
            PROJ_STRIDE: self.strides.proj,
            READY_STRIDE: self.strides.ready,
            HEAD_DIM: c.head_dim,
            D_CONV: c.mamba_d_conv,
            sizes: KvSizes::of(r.target(), c),
            widths: ReadySizes::of(c),
            kv: layer,
            now: r.step(),
            proj: &s.proj,
            rope: &s.rope,
            conv_state: &state.layers[layer].conv,
            mamba: &self.layers[layer].mamba,
            ready: &s.ready,
            pages: state.pages.table(),
            control: r.control(),
        };
        r.call(Op::Prepare, &kernel, Needed::Always, move |step| [groups, step.tokens, 1]);
    }

    /// Attention heads beside SSM heads.
    pub(crate) fn mixers(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if r.target().fused() {
            self.mixer_step(r, state, layer);
        } else {
            self.attention(r, state, layer);
            self.ssm(r, state, layer);
        }
    }

    fn mixer_step(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let c = &self.config;
        let shape = r.target().mixer_step(c.mamba_d_state);
        let attention = c.num_attention_heads;
        let ssm = c.mamba_n_heads * c.mamba_d_head.div_ceil(shape.THREADS / shape.LANES);
        let short = |step: &Step| if step.splits > SHORT_SPLITS { 0 } else { step.splits };
        let grid = move |step: &Step| [attention * short(step) + ssm, 1, 1];
        self.attention_long(r, state, layer);
        // A norm that is a dispatch of its own comes in between.
        let norm_follows = self.layers[layer].mamba_norm.is_some() && !r.target().fuses_gated_norm(c.mamba_n_groups);
        let publish = if norm_follows { None } else { r.publish_mixed(ssm) };
        let Some((fused, sums, slots)) = publish else {
            let kernel = step!(MixerStep {}, self, r, state, layer, &self.layers[layer].mamba);
            r.call(Op::Mixer, &kernel, Needed::Always, grid);
            return self.merge(r);
        };
        let kernel = step!(
            MixerStepLora { heads: Heads::of(fused), out: Out::of(fused, slots), sums_out: &sums },
            self,
            r,
            state,
            layer,
            &fused.columns
        );
        r.call(Op::Mixer, &kernel, Needed::Always, grid);
        match fused.heads[0] {
            [_, 0] => self.merge(r),
            _ => self.merge_lora(r, fused, &sums),
        }
    }
}
