//! A plan: dispatches with ready-made pipelines and bind groups, recorded once and replayed for
//! every step.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use crate::gpu::Reduction;
use crate::kernels::{Bound, Kernel, Pipelines, wgsl};
use crate::ops::Op;
use crate::state::{Arena, SHORT_SPLITS};

/// `Step` of `shaders/common/step.wgsl`, same layout: the only uniform that changes from step to
/// step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Step {
    /// T: tokens in the step.
    pub tokens: u32,
    /// Position of the first.
    pub position: u32,
    /// First token whose logits are wanted; T when none are.
    pub first: u32,
    /// Splits of the context, each a workgroup's, in decode.
    pub splits: u32,
}

impl Step {
    /// Rows of logits that the step makes.
    pub fn logit_rows(&self) -> u32 {
        self.tokens - self.first
    }
}

wgsl! {
    Step: "Step";
}

/// Where in the model a dispatch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The layer, or `None` before the first and after the last.
    pub layer: Option<u32>,
    /// The line of the page in `model.rs`.
    pub op: Op,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "layer {layer}, {}", self.op.name()),
            None => f.write_str(self.op.name()),
        }
    }
}

/// Workgroups of a dispatch, by the step.
pub type Grid = Box<dyn Fn(&Step) -> [u32; 3]>;

/// When a dispatch is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// In every step.
    Always,
    /// When logits are wanted.
    Logits,
    /// When those of one token are wanted.
    OneLogits,
    /// When those of several tokens are wanted.
    ManyLogits,
    /// When the context has more splits than the linear layer that reads them puts together.
    Splits,
    /// When it has more than the mixers of one token make.
    ManySplits,
    /// In steps of at most so many tokens.
    Tokens(u32),
    /// When the next token is sampled on the GPU.
    Token,
    /// When that is the likeliest.
    Greedy,
    /// When it is sampled at a temperature.
    Random,
}

/// Who samples the token after a step, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingMode {
    /// The host, or nobody.
    Host,
    /// The GPU takes the likeliest.
    Greedy,
    /// The GPU samples at a temperature.
    Random,
}

/// One dispatch as it is recorded: all that it is made of, before there is a pipeline.
pub struct Call {
    /// Where it belongs.
    pub stage: Stage,
    /// When.
    pub needed: Needed,
    /// Bytes of weights that it reads.
    pub weight_bytes: u64,
    /// The layer whose keys and values it reads or writes: bind group 1.
    pub kv: Option<usize>,
    /// What runs.
    pub kernel: &'static Kernel,
    /// How it sums over lanes.
    pub reduction: Reduction,
    /// Its override constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Bind group 0, in the order of the bindings.
    pub buffers: Vec<Bound>,
    /// Its workgroups.
    pub grid: Grid,
}

/// One dispatch.
pub struct Dispatch {
    /// Where it belongs.
    pub stage: Stage,
    /// When.
    pub needed: Needed,
    /// Bytes of weights that it reads.
    pub weight_bytes: u64,
    /// The layer whose keys and values it reads or writes.
    kv: Option<usize>,
    pipeline: Rc<wgpu::ComputePipeline>,
    bind_group: wgpu::BindGroup,
    grid: Grid,
}

/// A recorded plan.
pub struct Plan {
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// The calls with their pipelines and bind groups.
    pub fn new(pipelines: &Pipelines, calls: Vec<Call>) -> Self {
        let dispatches = calls.into_iter().map(|call| Dispatch::new(pipelines, call));
        Self { dispatches: dispatches.collect() }
    }

    /// The dispatches in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// The stages in order: where one or several dispatches belong.
    pub fn stages(&self) -> Vec<Stage> {
        let mut stages: Vec<Stage> = self.dispatches.iter().map(|dispatch| dispatch.stage).collect();
        stages.dedup();
        stages
    }

    /// Encodes the dispatches whose index is in `range`, leaving out what the step does not need.
    /// `mode`: who samples the next token. `kv`: where keys and values lie.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        step: &Step,
        mode: SamplingMode,
        range: std::ops::Range<usize>,
        kv: &Arena,
    ) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in self.dispatches[range].iter().filter(|d| d.is_needed(step, mode)) {
            dispatch.encode(&mut pass, step, kv);
        }
    }
}

impl Dispatch {
    fn new(pipelines: &Pipelines, call: Call) -> Self {
        let (pipeline, bind_group) = pipelines.bound(call.kernel, call.reduction, &call.constants, &call.buffers);
        let Call { stage, needed, weight_bytes, kv, grid, .. } = call;
        Self { stage, needed, weight_bytes, kv, pipeline, bind_group, grid }
    }

    /// Whether a step needs it.
    pub fn is_needed(&self, step: &Step, mode: SamplingMode) -> bool {
        match self.needed {
            Needed::Always => true,
            Needed::Logits => step.logit_rows() > 0,
            Needed::OneLogits => step.logit_rows() == 1,
            Needed::ManyLogits => step.logit_rows() > 1,
            Needed::Splits => step.splits > 2,
            Needed::ManySplits => step.splits > SHORT_SPLITS,
            Needed::Tokens(most) => step.tokens <= most,
            Needed::Token => mode != SamplingMode::Host,
            Needed::Greedy => mode == SamplingMode::Greedy,
            Needed::Random => mode == SamplingMode::Random,
        }
    }

    /// Encodes it.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, step: &Step, kv: &Arena) {
        let [x, y, z] = (self.grid)(step);
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        if let Some(layer) = self.kv {
            pass.set_bind_group(1, &kv.bind_group(&self.pipeline, layer), &[]);
        }
        pass.dispatch_workgroups(x, y, z);
    }
}
