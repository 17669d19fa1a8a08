//! Adapters beside linear layers: t = A x, then y += B t, two small dispatches for all projections
//! of a layer and all adapters that change them. Where the layer makes the SwiGLU of two sums, it
//! stores both, and the second dispatch makes it. Tiles of many tokens add B t themselves; in
//! decode on a GPU there is neither dispatch: [`fused`].

mod adapted;
pub mod fused;
pub mod reference;

use bytemuck::{Pod, Zeroable};

pub use self::adapted::{Adapted, Site};
use super::linear::{AttentionSplits, Epsilon, Input, Output};
use super::target::Shape;
use super::{Op, Recorder};
use crate::kernels::{kernels, wgsl};
use crate::plan::Step;

/// Most projections of a layer that read the same input or add to the same output: q, k, v and
/// in_proj.
pub const MAX_PARTS: usize = 4;

/// `LoraPart` of `shaders/lora/lora.wgsl`, same layout: what adapters add to one projection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct GpuLoraPart {
    /// First output row.
    pub first_row: u32,
    /// Output rows.
    pub rows: u32,
    /// vec4s of a row of B: the ranks of all adapters.
    pub rank: u32,
    /// First vec4 in a row of t.
    pub t: u32,
    /// First vec4 in a row of the input.
    pub x: u32,
    /// vec4s of a row of A.
    pub cols: u32,
    /// First vec4 of A \[4 rank, cols\].
    pub a: u32,
    /// First vec4 of B \[rows, rank\].
    pub b: u32,
}

/// `Lora` of `shaders/lora/lora.wgsl`, same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct GpuLora {
    /// Parts in use.
    pub parts: u32,
    /// vec4s in a row of t.
    pub rank: u32,
    /// vec4s in a row of the input.
    pub x_stride: u32,
    /// Floats in a row of the output.
    pub y_stride: u32,
    /// Rows of the output.
    pub rows: u32,
    /// Padding to 16 bytes.
    pub unused: [u32; 3],
    /// The parts, in the order of t.
    pub part: [GpuLoraPart; MAX_PARTS],
}

wgsl! {
    GpuLora: "Lora";
}

kernels! {
    /// t = A x, one token or four, with the norm of x on the way.
    LoraDown = LORA_DOWN {
        MANY: bool, SCALED: Option<bool>, FOURS: u32;
        shape: Shape, epsilon: Option<Epsilon>, attention: Option<AttentionSplits>,
    }
    (now: uniform Step, lora: uniform GpuLora, a: weights [f32; 4], x: read [f32; 4], norm: read [f32; 4], t: write f32)

    /// y += B t, one token or four; or the SwiGLU of two sums with what is added to both.
    LoraUp = LORA_UP { MANY: bool, SWIGLU: bool, THREADS: u32 }
    (now: uniform Step, lora: uniform GpuLora, b: weights [f32; 4], t: read [f32; 4], base: read f32, y: write f32)
}

/// Tokens of a workgroup in steps of many.
const TOKENS: u32 = 4;

impl<'a> Recorder<'a> {
    /// What adapters add to the linear layer that comes next.
    pub(super) fn site(&self, op: Op) -> Option<(&'a Adapted, &'a Site)> {
        let adapted = self.adapted?;
        Some((adapted, adapted.site(self.layer?, op)?))
    }

    /// t = A x; of one token on a GPU without the scale of the norm.
    pub(super) fn lora_down(&mut self, op: Op, (adapted, site): (&Adapted, &Site), input: Input<'_>) {
        let target = self.target();
        let ranks = site.table.rank;
        let (shape, fours) = target.lora_down(ranks);
        let kernel = LoraDown {
            MANY: target.many,
            SCALED: (target.fused() && input.norm.is_some()).then_some(false),
            FOURS: fours,
            shape,
            epsilon: input.norm.map(|norm| Epsilon::of(&norm)),
            attention: input.attention,
            now: self.step(),
            lora: &site.uniform,
            a: &site.a,
            x: input.x,
            norm: input.norm.map_or(input.x, |norm| norm.weight),
            t: &adapted.t,
        };
        let groups =
            if target.many { ranks.div_ceil(fours) } else { (4 * ranks).div_ceil(shape.THREADS / shape.LANES) };
        self.call(op, &kernel, op.rows().needed(), move |step| [groups, step.tokens.div_ceil(TOKENS), 1]);
    }

    /// y += B t; of SwiGLU y = silu(gate + B t) (up + B t), where `base` holds gate | up.
    pub(super) fn lora_up(&mut self, op: Op, (adapted, site): (&Adapted, &Site), output: Output<'_>) {
        let target = self.target();
        let threads = target.elements();
        let kernel = LoraUp {
            MANY: target.many,
            SWIGLU: output.is_swiglu(),
            THREADS: threads,
            now: self.step(),
            lora: &site.uniform,
            b: &site.b,
            t: &adapted.t,
            base: if output.is_swiglu() { &adapted.gate_up } else { &adapted.t },
            y: output.buffer(),
        };
        let groups = site.table.rows.div_ceil(threads);
        self.call(op, &kernel, op.rows().needed(), move |step| [groups, step.tokens.div_ceil(TOKENS), 1]);
    }
}
