//! One token on a GPU: a workgroup's invocations share a few rows, norm what they read on the way,
//! and put two splits of attention together. The table of the matrix's parts is in the pipeline's
//! constants.

use super::{Formats, Input, Linear, Output};
use crate::kernels::{Atomic, Constant, Constants, constants, kernels};
use crate::ops::lora::fused::{MOST_SLOTS, Next, Shares};
use crate::ops::norm::Norm;
use crate::ops::{Op, Recorder};
use crate::plan::{Needed, Step};
use crate::weights::{GpuMatrix, Matrix, PART_CONSTANTS, Slab};

constants! {
    /// How a workgroup shares its rows.
    Team {
        /// Invocations.
        THREADS: u32,
        /// Invocations that share a sum.
        LANES: u32,
        /// Rows of the matrix.
        ROWS: u32,
        /// Whether each invocation has a second row, so that the workgroup has twice as many.
        PAIRED: bool,
        /// Strips of the input in workgroup memory at a time.
        SPAN: u32,
        /// How often.
        SPANS: u32,
        /// Strips of a span that an invocation multiplies.
        ROUNDS: u32,
    }
}

impl Team {
    /// Rows of the workgroup.
    fn rows(&self) -> u32 {
        if self.PAIRED { 2 * self.ROWS } else { self.ROWS }
    }
}

constants! {
    /// The norm of the input.
    Epsilon {
        /// First strip that it covers.
        NORM_STRIP: u32,
        /// Values in a row.
        NORM_WIDTH: u32,
        /// rms_norm_eps
        NORM_EPS: f32,
    }
}

impl Epsilon {
    /// Of a norm.
    pub fn of(norm: &Norm<'_>) -> Self {
        Self { NORM_STRIP: norm.offset / 32, NORM_WIDTH: norm.width, NORM_EPS: norm.eps }
    }
}

constants! {
    /// Where `shaders/mixers/mixer_step.wgsl` leaves the splits of attention, in vec4s.
    AttentionSplits {
        /// The first of them.
        SPLITS_OFFSET: u32,
        /// nh hd
        ATTENTION: u32,
        /// hd
        HEAD: u32,
    }
}

/// The table of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Table(GpuMatrix);

impl Constants for Table {
    fn push(&self, constants: &mut Vec<(&'static str, f64)>) {
        constants.extend(self.0.constants());
    }

    fn declare(constants: &mut Vec<Constant>) {
        let declare = |name, scalar, optional| Constant { name, scalar, optional };
        constants.extend(["STRIPS", "FIRST_ROW", "ALL_ROWS"].map(|name| declare(name, "u32", false)));
        constants.push(declare("BESIDE", "u32", true));
        for [row, quants, scales, kind, scale] in PART_CONSTANTS {
            constants.extend([row, quants, scales, kind].map(|name| declare(name, "u32", true)));
            constants.push(declare(scale, "f32", true));
        }
    }
}

kernels! {
    /// 4 or 8 rows of W x, one token, with the norm of x on the way.
    MatvecTeam = MATVEC_TEAM {
        EPILOGUE: u32;
        formats: Formats, team: Team, table: Table, epsilon: Option<Epsilon>, attention: Option<AttentionSplits>,
    }
    (weights: weights [u32; 4], x: read [f32; 4], y: write f32, norm: read [f32; 4], now: uniform Step)

    /// The same with adapters: B t is added, and A of the next layer multiplied.
    MatvecTeamLora = MATVEC_TEAM_LORA {
        EPILOGUE: u32;
        formats: Formats, team: Team, table: Table, epsilon: Option<Epsilon>, attention: Option<AttentionSplits>,
        shares: Shares, next: Option<Next>,
    }
    (
        weights: weights [u32; 4], x: read [f32; 4], y: write f32, norm: read [f32; 4], now: uniform Step,
        lora_b: weights f32, sums_in: read_part [i32; 4], lora_a: weights f32, sums_out: write_part Atomic<i32>,
    )
}

/// The fields that both have.
macro_rules! team {
    ($kernel:ident { $($more:ident: $value:expr),* }, $r:ident, $layer:ident, $team:ident) => {
        $kernel {
            EPILOGUE: $layer.output.epilogue(),
            formats: Formats::of($layer.matrix),
            team: $team,
            table: Table($layer.slab.table),
            epsilon: $layer.input.norm.map(|norm| Epsilon::of(&norm)),
            attention: $layer.input.attention,
            weights: &$layer.slab.weights,
            x: $layer.input.x,
            y: $layer.output.buffer(),
            norm: $layer.input.norm.map_or($layer.input.x, |norm| norm.weight),
            now: $r.step(),
            $($more: $value,)*
        }
    };
}

impl Recorder<'_> {
    /// A dispatch for each slab, adapters included.
    pub(super) fn team(&mut self, op: Op, needed: Needed, matrix: &Matrix, input: Input<'_>, output: Output<'_>) {
        let together = [8, 4, 2].into_iter().find(|rows| matrix.in_groups_of(*rows)).unwrap_or(1);
        let mixed = input.norm.is_some_and(|norm| norm.offset > 0);
        let target = self.target();
        let besides = self.bytes_beside(op);
        let team = |slab: &Slab| target.team(&slab.table, together, !output.is_swiglu() && !mixed, besides);
        // Each slab's are counted from 0: no slot is added to more often than these say.
        let groups_of = |slab: &Slab| slab.table.rows.div_ceil(team(slab).rows()).next_multiple_of(MOST_SLOTS);
        let groups = matrix.slabs.iter().map(groups_of).sum();
        let beside = self.beside(op, groups, input);
        for slab in &matrix.slabs {
            let (layer, team) = (Linear { op, matrix, slab, input, output }, team(slab));
            let grid = layer.grid([team.rows(), 1]);
            let Some(beside) = &beside else {
                self.call(op, &team!(MatvecTeam {}, self, layer, team), needed, grid);
                continue;
            };
            let kernel = team!(
                MatvecTeamLora {
                    shares: beside.shares,
                    next: beside.next,
                    lora_b: beside.lora_b,
                    sums_in: &beside.sums_in,
                    lora_a: beside.lora_a,
                    sums_out: &beside.sums_out
                },
                self,
                layer,
                team
            );
            self.call(op, &kernel, needed, grid);
        }
    }
}
