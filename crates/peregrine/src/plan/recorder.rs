//! Recording a plan: the vocabulary that the page in `model.rs` is written in.

use super::{Call, Epilogue, Grid, Needed, Rows, Stage, Step};
use crate::gpu::Reduction;
use crate::kernels::Kernel;
use crate::target::{Shape, Target};
use crate::weights::Matrix;

/// Records the dispatches of a plan; the methods are the vocabulary that `model.rs` is written in.
pub struct Recorder<'a> {
    target: Target,
    step: &'a wgpu::Buffer,
    /// The layer that is being recorded.
    pub layer: Option<u32>,
    calls: Vec<Call>,
}

impl<'a> Recorder<'a> {
    /// An empty plan. `step` is the uniform buffer of [`Step`].
    pub fn new(target: Target, step: &'a wgpu::Buffer) -> Self {
        Self { target, step, layer: None, calls: Vec::new() }
    }

    /// What was recorded.
    pub fn finish(self) -> Vec<Call> {
        self.calls
    }

    /// What it is recorded for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// h\[t\] = scale E\[id_t\]
    pub fn embed(&mut self, embed: &Matrix, ids: &wgpu::Buffer, h: &wgpu::Buffer) {
        let threads = self.target.elements();
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
                Needed::Always,
                Box::new(move |step| [groups, step.tokens, 1]),
            );
        }
    }

    /// weight x / rms(x), as the input of a linear layer: a dispatch of its own that fills `y`, or fused into that layer. With
    /// `Rows::Logits` from token `step.first` on, written from row 0 on.
    pub fn rmsnorm<'b>(
        &mut self,
        name: &'static str,
        norm: Norm<'b>,
        x: &'b wgpu::Buffer,
        y: &'b wgpu::Buffer,
        rows: Rows,
    ) -> Input<'b> {
        if self.target.fused() {
            return Input { norm: Some(norm), ..Input::of(x) };
        }
        let shape = self.target.norm(norm.width);
        let mut constants = lanes(shape);
        constants.extend([
            ("WIDTH", norm.width.into()),
            ("STRIDE", norm.stride.into()),
            ("EPS", norm.eps.into()),
            ("FINAL", f64::from(u8::from(rows == Rows::Logits))),
        ]);
        self.push(
            name,
            Kernel::named("rmsnorm"),
            Reduction::Workgroup,
            &constants,
            &[self.step, x, norm.weight, y],
            needed(rows),
            Box::new(move |step| [rows.count(step), 1, 1]),
        );
        Input::of(y)
    }

    /// y = W x, y += W x or y = silu(W_gate x) (W_up x).
    pub fn linear(
        &mut self,
        name: &'static str,
        matrix: &Matrix,
        input: Input<'_>,
        y: &wgpu::Buffer,
        epilogue: Epilogue,
        rows: Rows,
    ) {
        let hardware = !self.target.is_software();
        for slab in &matrix.slabs {
            let mut constants = formats(matrix);
            constants.push(("EPILOGUE", f64::from(epilogue as u32)));
            // Rows and tokens of a workgroup.
            let (kernel, tile) = match (self.target.many, hardware) {
                (true, _) if self.target.cooperative && rows == Rows::All => {
                    ("matmul_cooperative", (if epilogue == Epilogue::SwiGlu { 64 } else { 128 }, 128))
                }
                (true, true) => ("matmul_tile", (if epilogue == Epilogue::SwiGlu { 32 } else { 64 }, 64)),
                (false, true) => {
                    let together = [8, 4, 2].into_iter().find(|rows| matrix.in_groups_of(*rows)).unwrap_or(1);
                    let two_rows = epilogue == Epilogue::SwiGlu;
                    let mixed = input.norm.is_some_and(|norm| norm.offset > 0);
                    let team = self.target.team(&slab.table, together, !two_rows && !mixed);
                    constants.extend(team.constants());
                    constants.extend(slab.table.constants());
                    if let Some(norm) = input.norm {
                        constants.extend([
                            ("NORM_STRIP", (norm.offset / 32).into()),
                            ("NORM_WIDTH", norm.width.into()),
                            ("NORM_EPS", norm.eps.into()),
                        ]);
                    }
                    if let Some(pieces) = input.pieces {
                        constants.extend(pieces.constants());
                    }
                    ("matvec_team", (team.rows * if team.paired { 2 } else { 1 }, 1))
                }
                (many, false) => {
                    let threads = self.target.linear();
                    constants.push(("THREADS", threads.into()));
                    (if many { "matmul" } else { "matvec" }, (2 * threads, if many { 8 } else { 1 }))
                }
            };
            let buffers = if kernel == "matvec_team" {
                vec![&slab.weights, input.x, y, input.norm.map_or(input.x, |norm| norm.weight), self.step]
            } else {
                constants.push(("FINAL", f64::from(u8::from(rows == Rows::Logits))));
                vec![self.step, &slab.uniform, &slab.weights, input.x, y]
            };
            let groups = slab.table.rows.div_ceil(tile.0);
            let grid =
                move |step: &Step| [groups.min(32768), groups.div_ceil(32768), rows.count(step).div_ceil(tile.1)];
            self.push(
                name,
                Kernel::named(kernel),
                self.target.reduction,
                &constants,
                &buffers,
                needed(rows),
                Box::new(grid),
            );
            if let Some(call) = self.calls.last_mut() {
                call.weight_bytes = slab.weights.size();
            }
        }
    }

    /// Any other kernel: `buffers` in the order of its bindings, the step uniform included where it has one.
    #[expect(clippy::too_many_arguments, reason = "all that a dispatch is made of")]
    pub fn kernel(
        &mut self,
        name: &'static str,
        kernel: &'static str,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
        buffers: &[&wgpu::Buffer],
        needed: Needed,
        grid: Grid,
    ) {
        self.push(name, Kernel::named(kernel), reduction, constants, buffers, needed, grid);
    }

    /// The last dispatch has the keys and values of a layer as bind group 1.
    pub fn with_kv(&mut self, layer: usize) {
        if let Some(call) = self.calls.last_mut() {
            call.kv = Some(layer);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one private place where a dispatch is put together")]
    fn push(
        &mut self,
        name: &'static str,
        kernel: Option<&'static Kernel>,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
        buffers: &[&wgpu::Buffer],
        needed: Needed,
        grid: Grid,
    ) {
        let Some(kernel) = kernel else {
            unreachable!("kernel {name} is not in KERNELS");
        };
        self.calls.push(Call {
            stage: Stage { layer: self.layer, name },
            needed,
            weight_bytes: 0,
            kv: None,
            kernel,
            reduction,
            constants: constants.to_vec(),
            buffers: buffers.iter().map(|buffer| (*buffer).clone()).collect(),
            grid,
        });
    }

    /// The step uniform, first binding of most kernels.
    pub fn step(&self) -> &'a wgpu::Buffer {
        self.step
    }
}

/// What a linear layer reads.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// \[T, stride\]
    pub x: &'a wgpu::Buffer,
    /// The norm that is still to be applied to it.
    pub norm: Option<Norm<'a>>,
    /// Pieces of attention in decode that are still to be put together, where the context is cut into two.
    pub pieces: Option<Pieces>,
}

/// Where `shaders/mixers/mixer_step.wgsl` leaves the pieces of attention, in floats.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    /// The first of them.
    pub first: u32,
    /// nh hd
    pub q_dim: u32,
    /// hd
    pub head_dim: u32,
}

impl Pieces {
    /// The override constants, in vec4s.
    fn constants(self) -> [(&'static str, f64); 3] {
        [("PIECES", self.first), ("ATTENTION", self.q_dim), ("HEAD", self.head_dim)]
            .map(|(name, n)| (name, (n / 4).into()))
    }
}

impl<'a> Input<'a> {
    /// As it is.
    pub fn of(x: &'a wgpu::Buffer) -> Self {
        Self { x, norm: None, pieces: None }
    }
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

/// The override constants of a shape.
pub fn lanes(shape: Shape) -> Vec<(&'static str, f64)> {
    vec![("THREADS", shape.threads.into()), ("LANES", shape.lanes.into())]
}

fn needed(rows: Rows) -> Needed {
    match rows {
        Rows::All => Needed::Always,
        Rows::Logits => Needed::Logits,
    }
}

fn formats(matrix: &Matrix) -> Vec<(&'static str, f64)> {
    let mut constants = vec![("FORMATS", matrix.formats.len() as f64)];
    for (name, format) in ["FORMAT_0", "FORMAT_1", "FORMAT_2", "FORMAT_3"].into_iter().zip(&matrix.formats) {
        constants.push((name, format.spec().gguf_id.into()));
    }
    constants
}
