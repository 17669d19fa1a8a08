//! What a plan is recorded for: here, and nowhere else, is decided which kernels an operation uses
//! and which workgroups suit them.

use super::attention::{self, AttentionCooperative};
use super::linear::{self, Team};
use super::{Op, Rows, ssm};
use crate::config::Config;
use crate::gpu::{Gpu, Reduction, ShapeClass};
use crate::kernels::constants;
use crate::state::KvType;
use crate::weights::GpuMatrix;

constants! {
    /// Invocations in a workgroup, and how many of them share one sum.
    Shape {
        /// Invocations in a workgroup.
        THREADS: u32,
        /// Invocations that share a sum; a power of two that divides `THREADS`.
        LANES: u32,
    }
}

/// What a plan is recorded for: how many tokens, on which kind of device, how keys and values are
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Many tokens at once, or one.
    pub many: bool,
    /// Whether the CPU computes.
    pub class: ShapeClass,
    /// How sums over lanes are made.
    pub reduction: Reduction,
    /// Whether many tokens are multiplied with cooperative matrices.
    pub cooperative: bool,
    /// How keys and values are kept.
    pub kv: KvType,
    /// Whether it is the processor, by kernels of its own.
    pub processor: bool,
    /// Most lanes that share a sum.
    pub most_lanes: u32,
    /// Most invocations of a workgroup.
    pub most_threads: u32,
}

impl Target {
    /// Steps of many tokens on this device.
    pub fn of(gpu: &Gpu, kv: KvType) -> Self {
        let most_lanes = match gpu.reduction() {
            Reduction::Subgroup => gpu.subgroup_min_size().unwrap_or(4).min(32),
            Reduction::Workgroup => 32,
        };
        // A size that is no power of two does not exist, but a driver's word is not ours.
        let most_lanes = if most_lanes.is_power_of_two() { most_lanes } else { 1 };
        Self {
            many: true,
            class: gpu.shapes(),
            reduction: gpu.reduction(),
            cooperative: gpu.cooperative(),
            kv,
            processor: gpu.is_processor(),
            most_lanes,
            most_threads: gpu.max_invocations(),
        }
    }

    /// The same for many tokens, or for one.
    pub fn tokens(self, many: bool) -> Self {
        Self { many, ..self }
    }

    /// Whether the CPU computes.
    pub fn is_software(&self) -> bool {
        self.class == ShapeClass::Software
    }

    /// Whether norms and what prepares the mixers are part of the dispatches that follow them: one
    /// token, on a GPU. Software adapters would repeat that work in every workgroup and save
    /// nothing, since their dispatches cost nothing.
    pub fn fused(&self) -> bool {
        !self.many && !self.is_software()
    }

    /// Whether the norm of the SSM heads' output, in so many groups, is part of the linear layer
    /// that follows.
    pub fn fuses_gated_norm(&self, groups: u32) -> bool {
        self.fused() && groups == 1
    }

    /// The kernel of a linear layer. Only whole chunks are worth cooperative matrices.
    pub fn linear(&self, op: Op) -> linear::Variant {
        use linear::Variant::{Cooperative, Rows as OneToken, Team, Tile, Tokens};
        match (self.many, self.class) {
            (true, _) if self.cooperative && op.rows() == Rows::All => Cooperative,
            (true, ShapeClass::Hardware) => Tile,
            (true, ShapeClass::Software) => Tokens,
            (false, ShapeClass::Hardware) => Team,
            (false, ShapeClass::Software) => OneToken,
        }
    }

    /// The kernel of many tokens' attention.
    pub fn attention(&self, c: &Config) -> attention::Variant {
        match self.class {
            ShapeClass::Software => attention::Variant::Head,
            ShapeClass::Hardware if self.cooperative && AttentionCooperative::fits(c) => {
                attention::Variant::Cooperative
            }
            ShapeClass::Hardware => attention::Variant::Tile,
        }
    }

    /// The kernels of many tokens' SSM heads.
    pub fn ssm(&self, c: &Config) -> ssm::Variant {
        match self.class {
            ShapeClass::Software => ssm::Variant::Scan,
            ShapeClass::Hardware if self.cooperative && ssm::Variant::cooperative_fits(c) => ssm::Variant::Cooperative,
            ShapeClass::Hardware => ssm::Variant::Chunks,
        }
    }

    /// Whether the GPU samples at a temperature, too: not where the CPU computes, which reads the
    /// logits for nothing.
    pub fn samples_at_temperatures(&self) -> bool {
        !self.is_software()
    }

    /// So many tokens are read as quickly one after the other as at once. On a GPU a few at once
    /// take as long as a whole tile of them: on an H200 as long as some twenty, one by one.
    pub fn most_one_by_one(&self) -> usize {
        if self.is_software() { 1 } else { 8 }
    }

    /// Tokens read at a time in prefill unless the options say otherwise.
    pub fn chunk(&self) -> u32 {
        match (self.class, self.cooperative) {
            // Weights are decoded once for all of them.
            (ShapeClass::Software, _) if self.processor => 64,
            (ShapeClass::Software, _) => 32,
            (ShapeClass::Hardware, false) => 256,
            (ShapeClass::Hardware, true) => 1024,
        }
    }

    /// Invocations of `matvec` and `matmul`, the kernels of software adapters; each has two rows.
    pub fn linear_threads(&self) -> u32 {
        16
    }

    /// For `matvec_team`. `together`: rows of the matrix that a workgroup may share; `pairs`:
    /// whether an invocation may have two. `besides`: bytes of workgroup memory for other things.
    pub fn team(&self, matrix: &GpuMatrix, together: u32, pairs: bool, besides: u32) -> Team {
        let lanes = self.most_lanes;
        let strips = matrix.row_strips();
        let rows = together.min(4).min(lanes);
        // A pair halves what is read of the input, and the workgroups: where enough of them are
        // left.
        let paired = pairs && together >= 2 * rows && matrix.rows >= 4096;
        let mut spans = 1;
        loop {
            let span = strips.div_ceil(spans);
            let rounds = (rows * span).div_ceil(self.most_threads);
            let threads = (rows * span.div_ceil(rounds)).next_multiple_of(lanes);
            // The staged input, the lanes' sums, and what a reduction through workgroup memory
            // needs, in vec4s.
            if 8 * span + rows * (threads / lanes) + threads <= (MOST_WORKGROUP_MEMORY - besides) / 16 {
                let rounds = span.div_ceil(threads / rows);
                return Team {
                    THREADS: threads,
                    LANES: lanes,
                    ROWS: rows,
                    PAIRED: paired,
                    SPAN: span,
                    SPANS: spans,
                    ROUNDS: rounds,
                };
            }
            spans += 1;
        }
    }

    /// For A x of adapters.
    pub fn lora_down(&self) -> Shape {
        match self.class {
            ShapeClass::Software => Shape { THREADS: 16, LANES: 1 },
            ShapeClass::Hardware => Shape { THREADS: 128, LANES: self.most_lanes },
        }
    }

    /// For a norm over `width` values: one sum a workgroup, always through workgroup memory.
    pub fn norm(&self, width: u32) -> Shape {
        let lanes = match self.class {
            ShapeClass::Software => 1,
            ShapeClass::Hardware => 128.min((width / 8).max(1).next_power_of_two()),
        };
        Shape { THREADS: lanes, LANES: lanes }
    }

    /// For the mixers of one token on a GPU, with `d_state` N.
    pub fn mixer_step(&self, d_state: u32) -> Shape {
        Shape { THREADS: 256, LANES: self.most_lanes.min((d_state / 4).next_power_of_two()) }
    }

    /// For `candidates`.
    pub fn candidates(&self) -> u32 {
        match self.class {
            ShapeClass::Software => 16,
            ShapeClass::Hardware => 256,
        }
    }

    /// For kernels that work element by element.
    pub fn elements(&self) -> u32 {
        match self.class {
            ShapeClass::Software => 32,
            ShapeClass::Hardware => 64,
        }
    }
}

/// What every WebGPU device allows of workgroup memory, bytes.
const MOST_WORKGROUP_MEMORY: u32 = 16384;
