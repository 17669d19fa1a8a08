//! A plan: dispatches with ready-made pipelines and bind groups, recorded once and replayed for every step.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use crate::gpu::{Gpu, Reduction};
use crate::kernels::{Kernel, Pipelines, Shape};
use crate::weights::Matrix;

/// `Step` of `shaders/step.wgsl`, same layout: the only uniform that changes from step to step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Step {
    /// T: tokens in the step.
    pub tokens: u32,
    /// Position of the first.
    pub position: u32,
    /// First token whose logits are wanted; T when none are.
    pub first: u32,
    /// Padding to 16 bytes.
    pub unused: u32,
}

impl Step {
    /// Rows of logits that the step makes.
    pub fn logit_rows(&self) -> u32 {
        self.tokens - self.first
    }
}

/// Where in the model a dispatch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The layer, or `None` before the first and after the last.
    pub layer: Option<u32>,
    /// The line of the page in `model.rs`.
    pub name: &'static str,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "layer {layer}, {}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Workgroups of a dispatch, by the step.
pub type Grid = Box<dyn Fn(&Step) -> [u32; 3]>;

/// One dispatch.
pub struct Dispatch {
    /// Where it belongs.
    pub stage: Stage,
    /// Whether it is only needed for logits.
    pub head: bool,
    pipeline: Rc<wgpu::ComputePipeline>,
    bind_group: wgpu::BindGroup,
    grid: Grid,
}

/// What a finished row of a linear layer becomes: `shaders/epilogue.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// y = W x
    Store = 0,
    /// y += W x
    Add = 1,
    /// y = silu(W_gate x) (W_up x)
    SwiGlu = 2,
}

/// Which tokens a dispatch works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All T of the step.
    All,
    /// Those whose logits are wanted.
    Logits,
}

impl Rows {
    fn count(self, step: &Step) -> u32 {
        match self {
            Self::All => step.tokens,
            Self::Logits => step.logit_rows(),
        }
    }
}

/// Records the dispatches of a plan; the methods are the vocabulary that `model.rs` is written in.
pub struct Recorder<'a> {
    gpu: &'a Gpu,
    pipelines: &'a Pipelines,
    step: &'a wgpu::Buffer,
    /// Many tokens at once (matmul) or one (matvec).
    many: bool,
    /// The layer that is being recorded.
    pub layer: Option<u32>,
    dispatches: Vec<Dispatch>,
}

/// A recorded plan.
pub struct Plan {
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// The dispatches in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Encodes the dispatches whose index is in `range`, leaving out those for logits when the step wants none.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder, step: &Step, range: std::ops::Range<usize>) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in &self.dispatches[range] {
            if dispatch.head && step.logit_rows() == 0 {
                continue;
            }
            let [x, y, z] = (dispatch.grid)(step);
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.bind_group, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

impl<'a> Recorder<'a> {
    /// An empty plan. `step` is the uniform buffer of [`Step`].
    pub fn new(gpu: &'a Gpu, pipelines: &'a Pipelines, step: &'a wgpu::Buffer, many: bool) -> Self {
        Self { gpu, pipelines, step, many, layer: None, dispatches: Vec::new() }
    }

    /// The plan.
    pub fn finish(self) -> Plan {
        Plan { dispatches: self.dispatches }
    }

    /// The shapes that suit the device.
    pub fn shapes(&self) -> &crate::kernels::Shapes {
        self.pipelines.shapes()
    }

    /// h\[t\] = scale E\[id_t\]
    pub fn embed(&mut self, embed: &Matrix, ids: &wgpu::Buffer, h: &wgpu::Buffer) {
        let threads = self.shapes().elements();
        let groups = embed.strips.div_ceil(threads);
        for slab in &embed.slabs {
            let mut constants = formats(embed);
            constants.push(("THREADS", threads.into()));
            self.push(
                "embed",
                Kernel::named("embed"),
                Reduction::Workgroup,
                &constants,
                &[self.step, &slab.uniform, &slab.weights, ids, h],
                false,
                Box::new(move |step| [groups, step.tokens, 1]),
            );
        }
    }

    /// y = weight x / rms(x); with `Rows::Logits` from token `step.first` on, written from row 0 on.
    pub fn rmsnorm(&mut self, name: &'static str, norm: Norm<'_>, x: &wgpu::Buffer, y: &wgpu::Buffer, rows: Rows) {
        let shape = self.shapes().norm(norm.width);
        let last = rows == Rows::Logits;
        let mut constants = lanes(shape);
        constants.extend([
            ("WIDTH", norm.width.into()),
            ("STRIDE", norm.stride.into()),
            ("EPS", norm.eps.into()),
            ("FINAL", f64::from(u8::from(last))),
        ]);
        self.push(
            name,
            Kernel::named("rmsnorm"),
            Reduction::Workgroup,
            &constants,
            &[self.step, x, norm.weight, y],
            last,
            Box::new(move |step| [rows.count(step), 1, 1]),
        );
    }

    /// y = W x, y += W x or y = silu(W_gate x) (W_up x).
    pub fn linear(
        &mut self,
        name: &'static str,
        matrix: &Matrix,
        x: &wgpu::Buffer,
        y: &wgpu::Buffer,
        epilogue: Epilogue,
        rows: Rows,
    ) {
        let shape = self.shapes().linear(matrix.strips);
        let many = self.many;
        let last = rows == Rows::Logits;
        for slab in &matrix.slabs {
            let mut constants = formats(matrix);
            constants.extend(lanes(shape));
            constants.push(("EPILOGUE", f64::from(epilogue as u32)));
            constants.push(("FINAL", f64::from(u8::from(last))));
            let groups = slab.table.rows.div_ceil(shape.threads / shape.lanes);
            self.push(
                name,
                Kernel::named(if many { "matmul" } else { "matvec" }),
                self.gpu.reduction(),
                &constants,
                &[self.step, &slab.uniform, &slab.weights, x, y],
                last,
                Box::new(move |step| {
                    let tokens = rows.count(step);
                    let z = if many { tokens.div_ceil(8) } else { tokens };
                    [groups.min(32768), groups.div_ceil(32768), z]
                }),
            );
        }
    }

    /// Any other kernel: `buffers` in the order of its bindings, the step uniform included where it has one.
    pub fn kernel(
        &mut self,
        name: &'static str,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
        buffers: &[&wgpu::Buffer],
        grid: Grid,
    ) {
        self.push(name, Kernel::named(name), reduction, constants, buffers, false, grid);
    }

    #[expect(clippy::too_many_arguments, reason = "one private place where a dispatch is put together")]
    fn push(
        &mut self,
        name: &'static str,
        kernel: Option<&'static Kernel>,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
        buffers: &[&wgpu::Buffer],
        head: bool,
        grid: Grid,
    ) {
        let Some(kernel) = kernel else {
            unreachable!("kernel {name} is not in KERNELS");
        };
        let pipeline = self.pipelines.get(kernel, reduction, constants);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
            .iter()
            .enumerate()
            .map(|(i, buffer)| wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group = self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        self.dispatches.push(Dispatch { stage: Stage { layer: self.layer, name }, head, pipeline, bind_group, grid });
    }

    /// The step uniform, first binding of most kernels.
    pub fn step(&self) -> &'a wgpu::Buffer {
        self.step
    }
}

/// A norm's weight and sizes.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// \[width\]
    pub weight: &'a wgpu::Buffer,
    /// Values in a row.
    pub width: u32,
    /// Floats from row to row.
    pub stride: u32,
    /// rms_norm_eps
    pub eps: f32,
}

/// The override constants of a shape.
pub fn lanes(shape: Shape) -> Vec<(&'static str, f64)> {
    vec![("THREADS", shape.threads.into()), ("LANES", shape.lanes.into())]
}

fn formats(matrix: &Matrix) -> Vec<(&'static str, f64)> {
    let mut constants = vec![("FORMATS", matrix.formats.len() as f64)];
    for (name, format) in ["FORMAT_0", "FORMAT_1", "FORMAT_2", "FORMAT_3"].into_iter().zip(&matrix.formats) {
        constants.push((name, format.spec().gguf_id.into()));
    }
    constants
}
