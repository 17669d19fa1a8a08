//! Recording: what the page in `model.rs` writes into.

use super::Op;
use super::lora::Adapted;
use super::lora::fused::Published;
use super::target::Target;
use crate::kernels::Typed;
use crate::plan::{Call, Needed, Stage, Step};

/// Records dispatches in order. The operations add the vocabulary that `model.rs` is written in.
pub struct Recorder<'a> {
    target: Target,
    step: &'a wgpu::Buffer,
    control: &'a wgpu::Buffer,
    /// The layer that is being recorded.
    pub layer: Option<u32>,
    /// The adapters beside its linear layers.
    pub(super) adapted: Option<&'a Adapted>,
    /// [`Recorder::sharing`]
    pub(super) free: Option<[&'a wgpu::Buffer; 2]>,
    /// The t of adapters that what was recorded has made.
    pub(super) published: Option<Published>,
    calls: Vec<Call>,
}

impl<'a> Recorder<'a> {
    /// Nothing yet. `step` is the uniform buffer of [`Step`], `control` that of
    /// [`SamplingBuffers`](super::sample::SamplingBuffers).
    pub fn new(target: Target, step: &'a wgpu::Buffer, control: &'a wgpu::Buffer) -> Self {
        Self { target, step, control, layer: None, adapted: None, free: None, published: None, calls: Vec::new() }
    }

    /// The same with adapters.
    pub fn with(self, adapted: Option<&'a Adapted>) -> Self {
        Self { adapted, ..self }
    }

    /// The same with scratch that is free in the linear layers, for the sums of workgroups that
    /// share tiles: the second in [`Op::ProjectIn`], which writes the first, and the first in all
    /// others.
    pub fn sharing(self, free: [&'a wgpu::Buffer; 2]) -> Self {
        Self { free: Some(free), ..self }
    }

    /// What was recorded.
    pub fn finish(self) -> Vec<Call> {
        self.calls
    }

    /// What it is recorded for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The step's uniform, `now` in most kernels.
    pub fn step(&self) -> &'a wgpu::Buffer {
        self.step
    }

    /// Whether an end token has halted the step: then it leaves the states as they are.
    pub fn control(&self) -> &'a wgpu::Buffer {
        self.control
    }

    /// A dispatch. `grid`: its workgroups.
    pub fn call<K: Typed>(&mut self, op: Op, kernel: &K, needed: Needed, grid: impl Fn(&Step) -> [u32; 3] + 'static) {
        self.calls.push(Call {
            stage: Stage { layer: self.layer, op },
            needed,
            weight_bytes: kernel.weight_bytes(),
            kv: kernel.layer(),
            kernel: K::KERNEL,
            reduction: K::reduction(self.target.reduction),
            constants: kernel.constants(),
            buffers: kernel.buffers(),
            grid: Box::new(grid),
        });
    }
}
