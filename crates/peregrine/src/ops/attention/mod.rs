//! Attention heads: causal, over the keys and values of all positions before. For one token on a
//! GPU they are part of [`super::mixers`], and [`Merge`] merges the splits of a long context.

pub mod reference;

use super::lora::fused::Fused;
use super::mixers::{Heads, KvSizes};
use super::{Op, Recorder};
use crate::config::Config;
use crate::kernels::{Bound, kernels};
use crate::model::Model;
use crate::plan::{Needed, Step};
use crate::state::{PageTable, SHORT_SPLITS, State, most_splits};

kernels! {
    /// One head at one token: where the CPU computes.
    Attention = ATTENTION { READY_STRIDE: u32, MIXED_STRIDE: u32, HEADS: u32, HEAD_DIM: u32, Q_PER_KV: u32; sizes: KvSizes }
    cache read (now: uniform Step, ready: read f32, pages: uniform PageTable, mixed: write f32)

    /// One head at [`AttentionTile::QUERIES`] tokens.
    AttentionTile = ATTENTION_TILE {
        READY_STRIDE: u32, MIXED_STRIDE: u32, HEADS: u32, HEAD_DIM: u32, Q_PER_KV: u32;
        sizes: KvSizes,
    }
    cache read (now: uniform Step, ready: read f32, pages: uniform PageTable, mixed: write f32)

    /// One head at [`AttentionCooperative::QUERIES`] tokens, with cooperative matrices.
    AttentionCooperative = ATTENTION_COOPERATIVE {
        READY_STRIDE: u32, MIXED_STRIDE: u32, HEADS: u32, HEAD_DIM: u32, Q_PER_KV: u32;
        sizes: KvSizes,
    }
    cache read (now: uniform Step, ready: read f32, pages: uniform PageTable, mixed: write [f32; 4])

    /// One token, the query heads that share keys and values at a time: splits of a long context.
    AttentionLong = ATTENTION_LONG { THREADS: u32, SPLITS_OFFSET: u32, Q_DIM: u32, HEAD_DIM: u32, Q_PER_KV: u32, HEADS_EACH: u32; sizes: KvSizes }
    cache write (
        now: uniform Step, proj: read f32, turns: uniform [[f32; 4]; 64], pages: uniform PageTable, mixed: write f32,
    )

    /// One head: the splits of a context that is cut into more than two.
    Merge = MERGE { SPLITS_OFFSET: u32, HEAD_DIM: u32 } (now: uniform Step, mixed: write [f32; 4])

    /// The same where o_proj has adapters, whose A it multiplies.
    MergeLora = MERGE_LORA { SPLITS_OFFSET: u32, HEAD_DIM: u32; heads: Heads }
    (now: uniform Step, mixed: write [f32; 4], lora_a: read f32, sums_out: write_part f32)
}

impl AttentionTile<'_> {
    /// `QUERIES` in the source.
    pub const QUERIES: u32 = 32;
    /// Widest slice of a head that a workgroup makes.
    const SLICE: u32 = 128;
}

impl AttentionCooperative<'_> {
    /// `QUERIES` in the source.
    pub const QUERIES: u32 = 64;

    /// Whether heads of this size fit its tiles.
    pub fn fits(c: &Config) -> bool {
        c.head_dim <= 128 && c.head_dim.is_multiple_of(16)
    }
}

impl AttentionLong<'_> {
    const THREADS: u32 = 128;
    /// Query heads that a workgroup has room for.
    const MOST_HEADS: u32 = 4;
}

/// The kernel of many tokens' attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// [`Attention`]
    Head,
    /// [`AttentionTile`]
    Tile,
    /// [`AttentionCooperative`]
    Cooperative,
}

/// The fields that the three have in common, which are all.
macro_rules! heads {
    ($kernel:ident, $model:ident, $r:ident, $state:ident, $layer:ident) => {
        $kernel {
            READY_STRIDE: $model.strides.ready,
            MIXED_STRIDE: $model.strides.mixed,
            HEADS: $model.config.num_attention_heads,
            HEAD_DIM: $model.config.head_dim,
            Q_PER_KV: $model.config.num_attention_heads / $model.config.num_key_value_heads,
            sizes: KvSizes::of($r.target(), &$model.config),
            kv: $layer,
            now: $r.step(),
            ready: &$model.scratch.ready,
            pages: $state.pages.table(),
            mixed: &$model.scratch.mixed,
        }
    };
}

impl Model {
    /// The attention heads of many tokens.
    pub(crate) fn attention(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (heads, width) = (self.config.num_attention_heads, self.config.head_dim);
        let grid =
            move |queries: u32, slices: u32| move |step: &Step| [heads * step.tokens.div_ceil(queries), slices, 1];
        match r.target().attention(&self.config) {
            Variant::Head => {
                let kernel = heads!(Attention, self, r, state, layer);
                r.call(Op::Attention, &kernel, Needed::Always, grid(1, 1));
            }
            Variant::Tile => {
                let kernel = heads!(AttentionTile, self, r, state, layer);
                let slices = width.div_ceil(AttentionTile::SLICE);
                r.call(Op::Attention, &kernel, Needed::Always, grid(AttentionTile::QUERIES, slices));
            }
            Variant::Cooperative => {
                let kernel = heads!(AttentionCooperative, self, r, state, layer);
                r.call(Op::Attention, &kernel, Needed::Always, grid(AttentionCooperative::QUERIES, 1));
            }
        }
    }

    /// Whether there can be more splits than the mixers of one token make.
    pub(crate) fn has_long_attention(&self) -> bool {
        self.target.tokens(false).fused() && most_splits(self.longest_context()) > SHORT_SPLITS
    }

    /// Attention of one token over contexts that can have more splits than its mixers make.
    pub(super) fn attention_long(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        if !self.has_long_attention() {
            return;
        }
        let c = &self.config;
        let together = c.num_attention_heads / c.num_key_value_heads;
        let shares = together.div_ceil(AttentionLong::MOST_HEADS);
        let kernel = AttentionLong {
            THREADS: AttentionLong::THREADS,
            SPLITS_OFFSET: self.strides.mixed,
            Q_DIM: c.q_dim(),
            HEAD_DIM: c.head_dim,
            Q_PER_KV: together,
            HEADS_EACH: together.div_ceil(shares),
            sizes: KvSizes::of(r.target(), c),
            kv: layer,
            now: r.step(),
            proj: &self.scratch.proj,
            turns: &self.scratch.turns,
            pages: state.pages.table(),
            mixed: &self.scratch.mixed,
        };
        let groups = c.num_key_value_heads * shares;
        r.call(Op::Mixer, &kernel, Needed::ManySplits, move |step| [groups * step.splits, 1, 1]);
    }

    /// The splits that a long context was cut into, merged.
    pub(super) fn merge(&self, r: &mut Recorder<'_>) {
        let (c, heads) = (&self.config, self.config.num_attention_heads);
        let kernel = Merge {
            SPLITS_OFFSET: self.strides.mixed,
            HEAD_DIM: c.head_dim,
            now: r.step(),
            mixed: &self.scratch.mixed,
        };
        r.call(Op::Mixer, &kernel, Needed::Splits, move |_| [heads, 1, 1]);
    }

    /// The same with the adapters of o_proj.
    pub(super) fn merge_lora(&self, r: &mut Recorder<'_>, fused: &Fused, sums: &Bound) {
        let (c, heads) = (&self.config, self.config.num_attention_heads);
        let kernel = MergeLora {
            SPLITS_OFFSET: self.strides.mixed,
            HEAD_DIM: c.head_dim,
            heads: Heads::of(fused),
            now: r.step(),
            mixed: &self.scratch.mixed,
            lora_a: &fused.columns,
            sums_out: sums,
        };
        r.call(Op::Mixer, &kernel, Needed::Splits, move |_| [heads, 1, 1]);
    }
}
