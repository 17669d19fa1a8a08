//! One token on a GPU: a workgroup's invocations share a few rows, norm what they read on the way,
//! and put two pieces of attention together. The table of the matrix's parts is in the pipeline's
//! constants.

use super::{Formats, Linear};
use crate::kernels::{Constant, Constants, constants, kernels};
use crate::ops::Recorder;
use crate::ops::norm::Norm;
use crate::plan::Step;
use crate::weights::{GpuMatrix, PART_CONSTANTS};

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
    /// Where `shaders/mixers/mixer_step.wgsl` leaves the pieces of attention, in vec4s.
    Pieces {
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
        formats: Formats, team: Team, table: Table, epsilon: Option<Epsilon>, pieces: Option<Pieces>,
    }
    (weights: weights [u32; 4], x: read [f32; 4], y: write f32, norm: read [f32; 4], now: uniform Step)
}

impl Recorder<'_> {
    pub(super) fn team(&mut self, layer: Linear<'_>) {
        let Linear { op, matrix, slab, input, output } = layer;
        let together = [8, 4, 2].into_iter().find(|rows| matrix.in_groups_of(*rows)).unwrap_or(1);
        let mixed = input.norm.is_some_and(|norm| norm.offset > 0);
        let team = self.target().team(&slab.table, together, !output.is_swiglu() && !mixed);
        let kernel = MatvecTeam {
            EPILOGUE: output.epilogue(),
            formats: Formats::of(matrix),
            team,
            table: Table(slab.table),
            epsilon: input.norm.map(|norm| Epsilon::of(&norm)),
            pieces: input.pieces,
            weights: &slab.weights,
            x: input.x,
            y: output.buffer(),
            norm: input.norm.map_or(input.x, |norm| norm.weight),
            now: self.step(),
        };
        self.call(op, &kernel, op.rows().needed(), layer.grid([team.rows(), 1]));
    }
}
