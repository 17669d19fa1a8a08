//! RMSNorm: of the residual stream, and of the SSM heads' output in groups.

pub mod reference;

use super::linear::{AttentionSplits, Input};
use super::target::Shape;
use super::{Op, Recorder};
use crate::kernels::kernels;
use crate::model::{Layer, Model};
use crate::plan::{Needed, Step};

kernels! {
    /// One token: y = weight x / rms(x).
    RmsNorm = RMSNORM through workgroup { WIDTH: u32, STRIDE: u32, EPS: f32, FINAL: bool; shape: Shape }
    (now: uniform Step, x: read f32, weight: read f32, y: write f32)

    /// One token, one group, in place.
    GatedNorm = GATED_NORM through workgroup { WIDTH: u32, STRIDE: u32, OFFSET: u32, EPS: f32; shape: Shape }
    (weight: read f32, mixed: write f32)
}

/// A norm's weight and sizes.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// \[width\], zeros up to whole strips of 32.
    pub weight: &'a wgpu::Buffer,
    /// First float of a row that it covers.
    pub offset: u32,
    /// Values in a row.
    pub width: u32,
    /// Floats from row to row.
    pub stride: u32,
    /// rms_norm_eps
    pub eps: f32,
}

impl Recorder<'_> {
    /// weight x / rms(x), as the input of a linear layer: a dispatch of its own that fills `y`, or
    /// fused into that layer. Where only some tokens' logits are wanted, the final norm writes
    /// theirs from row 0 on.
    pub fn rmsnorm<'b>(&mut self, op: Op, norm: Norm<'b>, x: &'b wgpu::Buffer, y: &'b wgpu::Buffer) -> Input<'b> {
        if self.target().fused() {
            return Input { norm: Some(norm), ..Input::of(x) };
        }
        let rows = op.rows();
        let kernel = RmsNorm {
            WIDTH: norm.width,
            STRIDE: norm.stride,
            EPS: norm.eps,
            FINAL: rows == super::Rows::Logits,
            shape: self.target().norm(norm.width),
            now: self.step(),
            x,
            weight: norm.weight,
            y,
        };
        self.call(op, &kernel, rows.needed(), move |step| [rows.count(step), 1, 1]);
        Input::of(y)
    }
}

impl Model {
    /// What the mixers leave, with the model's norm of the SSM heads' part where it has one: a
    /// dispatch, or fused into what reads it.
    pub(crate) fn gated_norm<'a>(&'a self, r: &mut Recorder<'_>, layer: &'a Layer) -> Input<'a> {
        let (c, s) = (&self.config, &self.scratch);
        let attention = r.target().fused().then(|| AttentionSplits::of(self.strides.mixed, c));
        let mixed = Input { attention, ..Input::of(&s.mixed) };
        let Some(weight) = &layer.mamba_norm else {
            return mixed;
        };
        let (groups, width, offset) = (c.mamba_n_groups, c.mamba_d_ssm / c.mamba_n_groups, self.strides.ssm);
        let norm = Norm { weight, offset, width, stride: self.strides.mixed, eps: c.rms_norm_eps };
        if r.target().fuses_gated_norm(groups) {
            return Input { norm: Some(norm), ..mixed };
        }
        let kernel = GatedNorm {
            WIDTH: width,
            STRIDE: norm.stride,
            OFFSET: offset,
            EPS: norm.eps,
            shape: r.target().norm(width),
            weight,
            mixed: &s.mixed,
        };
        r.call(Op::GatedNorm, &kernel, Needed::Always, move |step| [step.tokens, groups, 1]);
        mixed
    }
}
