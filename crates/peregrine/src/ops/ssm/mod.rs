//! SSM heads (Mamba-2) of many tokens: chunk by chunk on a GPU, token by token where the CPU
//! computes. For one token on a GPU they are part of [`super::mixers`].

pub mod reference;

use super::mixers::ReadySizes;
use super::{Op, Recorder};
use crate::config::Config;
use crate::kernels::{constants, kernels};
use crate::model::{Model, Ssd};
use crate::plan::{Needed, Step};
use crate::state::State;

constants! {
    /// Of the SSM states.
    StateSizes {
        /// mamba_d_head
        P: u32,
        /// mamba_d_state
        N: u32,
        /// mamba_n_groups
        G: u32,
    }
}

impl StateSizes {
    /// Of a model.
    pub fn of(c: &Config) -> Self {
        Self { P: c.mamba_d_head, N: c.mamba_d_state, G: c.mamba_n_groups }
    }
}

kernels! {
    /// Rows of the SSM heads over all tokens: where the CPU computes.
    SelectiveScan = SELECTIVE_SCAN {
        THREADS: u32, PROJ_STRIDE: u32, READY_STRIDE: u32, MIXED_STRIDE: u32, SSM_OFFSET: u32, COLUMNS: u32, D_CONV: u32;
        widths: ReadySizes, state: StateSizes,
    }
    (
        now: uniform Step, proj: read f32, ready: read f32, mamba: read f32, conv_state: write f32,
        ssm_state: write [f32; 4], mixed: write f32,
    )

    /// What a chunk of tokens adds to a tile of an SSM head's state; C . B of them.
    SsdStates = SSD_STATES { READY_STRIDE: u32, D_CONV: u32; widths: ReadySizes, state: StateSizes }
    (now: uniform Step, ready: read f32, mamba: read f32, states: write f32, products: write f32, decays: write f32)

    /// The same with cooperative matrices.
    SsdStatesCooperative = SSD_STATES_COOPERATIVE {
        READY_STRIDE: u32, D_CONV: u32;
        widths: ReadySizes, state: StateSizes,
    }
    (now: uniform Step, ready: read [f32; 4], mamba: read f32, states: write f32, products: write f32, decays: write f32)

    /// Four values of a state from chunk to chunk.
    SsdPass = SSD_PASS {
        PROJ_STRIDE: u32, COLUMNS: u32, D_CONV: u32, Q_DIM: u32, CONV_DIM: u32, SSM_HEADS: u32, P: u32, N: u32,
    }
    (
        now: uniform Step, ready: read f32, decays: read f32, states: write [f32; 4], ssm_state: write [f32; 4],
        proj: read f32, conv_state: write f32,
    )

    /// A tile of an SSM head's channels at a chunk of tokens.
    SsdOutput = SSD_OUTPUT {
        PROJ_STRIDE: u32, READY_STRIDE: u32, MIXED_STRIDE: u32, SSM_OFFSET: u32, COLUMNS: u32, D_CONV: u32;
        widths: ReadySizes, state: StateSizes,
    }
    (
        now: uniform Step, ready: read f32, mamba: read f32, states: read [f32; 4], products: read [f32; 4],
        decays: read f32, proj: read f32, mixed: write f32,
    )

    /// The same with cooperative matrices.
    SsdOutputCooperative = SSD_OUTPUT_COOPERATIVE {
        PROJ_STRIDE: u32, READY_STRIDE: u32, MIXED_STRIDE: u32, SSM_OFFSET: u32, COLUMNS: u32, D_CONV: u32;
        widths: ReadySizes, state: StateSizes,
    }
    (
        now: uniform Step, ready: read [f32; 4], mamba: read f32, states: read [f32; 4], products: read [f32; 4],
        decays: read f32, proj: read f32, mixed: write [f32; 4],
    )
}

/// Tokens of a chunk: `CHUNK` in `shaders/ssm/ssd.wgsl`.
pub const CHUNK: u32 = 64;
/// Channels, and columns of a state, of a workgroup's tile.
const TILE: u32 = 64;

impl SelectiveScan<'_> {
    const THREADS: u32 = 32;
}

impl SsdStatesCooperative<'_> {
    /// Columns of a state of a workgroup's tile, where they are whole tiles.
    const TILE: u32 = 128;
}

impl SsdPass<'_> {
    /// Invocations of a workgroup, each with four values.
    const THREADS: u32 = 64;
}

/// The kernels of many tokens' SSM heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// [`SelectiveScan`]
    Scan,
    /// [`SsdStates`], [`SsdPass`], [`SsdOutput`]
    Chunks,
    /// The same, the first and the last with cooperative matrices.
    Cooperative,
}

impl Variant {
    /// Whether cooperative matrices suit a model: whole tiles, in rows that begin at fours.
    pub fn cooperative_fits(c: &Config) -> bool {
        [c.mamba_d_head % TILE, c.mamba_d_state % TILE, c.q_dim() % 4] == [0; 3]
    }
}

/// The fields that [`SsdStates`] and its cooperative kin have.
macro_rules! states {
    ($kernel:ident, $model:ident, $ssd:ident, $layer:ident) => {
        $kernel {
            READY_STRIDE: $model.strides.ready,
            D_CONV: $model.config.mamba_d_conv,
            widths: ReadySizes::of(&$model.config),
            state: StateSizes::of(&$model.config),
            now: &$model.step,
            ready: &$model.scratch.ready,
            mamba: &$model.layers[$layer].mamba,
            states: &$ssd.states,
            products: &$ssd.products,
            decays: &$ssd.decays,
        }
    };
}

/// The fields that [`SsdOutput`] and its cooperative kin have.
macro_rules! output {
    ($kernel:ident, $model:ident, $ssd:ident, $layer:ident) => {
        $kernel {
            PROJ_STRIDE: $model.strides.proj,
            READY_STRIDE: $model.strides.ready,
            MIXED_STRIDE: $model.strides.mixed,
            SSM_OFFSET: $model.strides.ssm,
            COLUMNS: columns(&$model.config),
            D_CONV: $model.config.mamba_d_conv,
            widths: ReadySizes::of(&$model.config),
            state: StateSizes::of(&$model.config),
            now: &$model.step,
            ready: &$model.scratch.ready,
            mamba: &$model.layers[$layer].mamba,
            states: &$ssd.states,
            products: &$ssd.products,
            decays: &$ssd.decays,
            proj: &$model.scratch.proj,
            mixed: &$model.scratch.mixed,
        }
    };
}

/// Where x begins in a row of `proj`.
fn columns(c: &Config) -> u32 {
    c.q_dim() + 2 * c.kv_dim() + c.mamba_d_ssm
}

impl Model {
    /// The SSM heads of many tokens.
    pub(super) fn ssm(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        match (&self.scratch.ssd, r.target().ssm(&self.config)) {
            (None, _) | (_, Variant::Scan) => self.selective_scan(r, state, layer),
            (Some(ssd), variant) => {
                let c = &self.config;
                let cooperative = variant == Variant::Cooperative;
                let wide = cooperative && c.mamba_d_state.is_multiple_of(SsdStatesCooperative::TILE);
                let tiles = c.mamba_n_heads * c.mamba_d_head.div_ceil(TILE);
                let columns = c.mamba_d_state.div_ceil(if wide { SsdStatesCooperative::TILE } else { TILE });
                let groups = tiles * columns + c.mamba_n_groups;
                let chunks = |groups: u32| move |step: &Step| [groups, step.tokens.div_ceil(CHUNK), 1];
                match cooperative {
                    true => {
                        let kernel = states!(SsdStatesCooperative, self, ssd, layer);
                        r.call(Op::Ssm, &kernel, Needed::Always, chunks(groups));
                    }
                    false => r.call(Op::Ssm, &states!(SsdStates, self, ssd, layer), Needed::Always, chunks(groups)),
                }
                self.ssd_pass(r, ssd, state, layer);
                match cooperative {
                    true => {
                        let kernel = output!(SsdOutputCooperative, self, ssd, layer);
                        r.call(Op::Ssm, &kernel, Needed::Always, chunks(tiles));
                    }
                    false => r.call(Op::Ssm, &output!(SsdOutput, self, ssd, layer), Needed::Always, chunks(tiles)),
                }
            }
        }
    }

    fn selective_scan(&self, r: &mut Recorder<'_>, state: &State, layer: usize) {
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let groups = c.mamba_d_ssm.div_ceil(SelectiveScan::THREADS);
        let kernel = SelectiveScan {
            THREADS: SelectiveScan::THREADS,
            PROJ_STRIDE: self.strides.proj,
            READY_STRIDE: self.strides.ready,
            MIXED_STRIDE: self.strides.mixed,
            SSM_OFFSET: self.strides.ssm,
            COLUMNS: columns(c),
            D_CONV: c.mamba_d_conv,
            widths: ReadySizes::of(c),
            state: StateSizes::of(c),
            now: r.step(),
            proj: &s.proj,
            ready: &s.ready,
            mamba: &self.layers[layer].mamba,
            conv_state: &l.conv,
            ssm_state: &l.ssm,
            mixed: &s.mixed,
        };
        r.call(Op::Ssm, &kernel, Needed::Always, move |_| [groups, 1, 1]);
    }

    fn ssd_pass(&self, r: &mut Recorder<'_>, ssd: &Ssd, state: &State, layer: usize) {
        let (c, s, l) = (&self.config, &self.scratch, &state.layers[layer]);
        let groups = (c.mamba_d_ssm * c.mamba_d_state / 4).div_ceil(SsdPass::THREADS);
        let kernel = SsdPass {
            PROJ_STRIDE: self.strides.proj,
            COLUMNS: columns(c),
            D_CONV: c.mamba_d_conv,
            Q_DIM: c.q_dim(),
            CONV_DIM: c.conv_dim(),
            SSM_HEADS: c.mamba_n_heads,
            P: c.mamba_d_head,
            N: c.mamba_d_state,
            now: r.step(),
            ready: &s.ready,
            decays: &ssd.decays,
            states: &ssd.states,
            ssm_state: &l.ssm,
            proj: &s.proj,
            conv_state: &l.conv,
        };
        r.call(Op::Ssm, &kernel, Needed::Always, move |_| [groups, 1, 1]);
    }
}
