//! The table of a matrix's parts: as the shaders read it, and as the constants of a pipeline.

use bytemuck::{Pod, Zeroable};

/// Most parts in a matrix: the array's length in `shaders/linear/matrix.wgsl`.
pub const MAX_PARTS: usize = 8;

/// `Part` of `shaders/linear/matrix.wgsl`, same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct GpuPart {
    /// First output row.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// Strips of 32 weights in a row.
    pub strips: u32,
    /// First vec4 of the input row.
    pub x: u32,
    /// Plane Q, in words.
    pub quants: u32,
    /// Plane S, in 16-bit words.
    pub scales: u32,
    /// Low byte: which format; next byte: which sum.
    pub kind: u32,
    /// muP multiplier.
    pub scale: f32,
}

/// `Matrix` of `shaders/linear/matrix.wgsl`, same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct GpuMatrix {
    /// First output row of the slab.
    pub first_row: u32,
    /// Output rows of the slab.
    pub rows: u32,
    /// Parts in use.
    pub parts: u32,
    /// vec4s in an input row.
    pub x_stride: u32,
    /// Floats in an output row.
    pub y_stride: u32,
    /// Padding to 16 bytes.
    pub unused: [u32; 3],
    /// The parts.
    pub part: [GpuPart; MAX_PARTS],
}

/// The names of a part as override constants of `shaders/linear/matvec_team.wgsl`: first_row,
/// quants, scales, kind, scale.
#[rustfmt::skip]
pub(crate) const PART_CONSTANTS: &[[&str; 5]; MAX_PARTS] = &[
    ["ROW_0", "QUANTS_0", "SCALES_0", "KIND_0", "SCALE_0"],
    ["ROW_1", "QUANTS_1", "SCALES_1", "KIND_1", "SCALE_1"],
    ["ROW_2", "QUANTS_2", "SCALES_2", "KIND_2", "SCALE_2"],
    ["ROW_3", "QUANTS_3", "SCALES_3", "KIND_3", "SCALE_3"],
    ["ROW_4", "QUANTS_4", "SCALES_4", "KIND_4", "SCALE_4"],
    ["ROW_5", "QUANTS_5", "SCALES_5", "KIND_5", "SCALE_5"],
    ["ROW_6", "QUANTS_6", "SCALES_6", "KIND_6", "SCALE_6"],
    ["ROW_7", "QUANTS_7", "SCALES_7", "KIND_7", "SCALE_7"],
];

crate::kernels::wgsl! {
    GpuMatrix: "Matrix";
}

impl GpuMatrix {
    fn used(&self) -> &[GpuPart] {
        &self.part[..self.parts as usize]
    }

    /// Two parts that cover the same rows, next to each other in the input, and are added up.
    fn is_beside(&self) -> bool {
        matches!(self.used(), [a, b] if a.first_row == b.first_row && a.kind >> 8 == b.kind >> 8 && b.x == 8 * a.strips)
    }

    /// Strips in a row, over the parts that stand beside each other.
    pub fn row_strips(&self) -> u32 {
        let beside = if self.is_beside() { self.part[1].strips } else { 0 };
        self.part[0].strips + beside
    }

    /// The whole table as the override constants of `matvec_team`.
    pub fn constants(&self) -> Vec<(&'static str, f64)> {
        let mut constants = vec![
            ("STRIPS", f64::from(self.row_strips())),
            ("FIRST_ROW", self.first_row.into()),
            ("ALL_ROWS", self.rows.into()),
        ];
        if self.is_beside() {
            constants.push(("BESIDE", self.part[0].strips.into()));
        }
        for (part, names) in self.used().iter().zip(PART_CONSTANTS) {
            let [row, quants, scales, kind, scale] = names;
            // The second of a pair has the rows of the first.
            if part.first_row > self.part[0].first_row || *row == "ROW_0" {
                constants.push((row, part.first_row.into()));
            }
            constants.extend([
                (*quants, part.quants.into()),
                (*scales, part.scales.into()),
                (*kind, part.kind.into()),
                (*scale, part.scale.into()),
            ]);
        }
        constants
    }

    /// Whether no `group` rows from a multiple of `group` on belong to different parts.
    pub fn in_groups_of(&self, group: u32) -> bool {
        self.used().iter().all(|p| {
            let inside = p.first_row - self.first_row;
            inside.is_multiple_of(group) && (p.rows.is_multiple_of(group) || inside + p.rows == self.rows)
        })
    }
}
