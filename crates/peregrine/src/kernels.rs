//! The kernels: one row each in [`KERNELS`], and the cache of pipelines made from them.
//!
//! A kernel's source is the concatenation of its pieces, plain WGSL files. Numbers are `override`s; the way lanes are summed is
//! one of two pieces with the same function; the block formats are all in the source, and the overrides `FORMAT_0..3` say
//! which of them a pipeline keeps, so no source text depends on the file being loaded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Reduction, ShapeClass, translate};

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/", $name, ".wgsl"))
    };
}

/// A kernel: a name and the pieces of its source, in order.
pub struct Kernel {
    /// The name of its WGSL file and of its CPU twin in [`crate::reference`].
    pub name: &'static str,
    /// Pieces before the kernel itself.
    pub pieces: &'static [&'static [&'static str]],
    /// Whether it sums over lanes, and so needs a reduction piece in front.
    pub reduces: bool,
    /// The kernel's own file.
    pub body: &'static str,
}

const STEP: &[&str] = &[shader!("step")];
/// A matrix of weights in any block format.
const MATRIX: &[&str] = &[
    shader!("matrix"),
    shader!("format/f32"),
    shader!("format/f16"),
    shader!("format/bf16"),
    shader!("format/q4_0"),
    shader!("format/q4_1"),
    shader!("format/q5_0"),
    shader!("format/q5_1"),
    shader!("format/q8_0"),
    shader!("format/q2_k"),
    shader!("format/q3_k"),
    shader!("format/q4_k"),
    shader!("format/q5_k"),
    shader!("format/q6_k"),
    shader!("format/iq4_nl"),
    shader!("format/iq4_xs"),
];
/// The KV cache: read, and also written.
const KV: &[&str] = &[shader!("kv")];
const KV_APPEND: &[&str] = &[shader!("kv"), shader!("kv_append")];
const CANDIDATE: &[&str] = &[shader!("candidate")];
const EPILOGUE: &[&str] = &[shader!("epilogue")];
const TOKENS: &[&str] = &[shader!("tokens")];

/// Every kernel there is.
pub static KERNELS: &[Kernel] = &[
    Kernel { name: "embed", pieces: &[STEP, MATRIX], reduces: false, body: shader!("embed") },
    Kernel { name: "rmsnorm", pieces: &[STEP], reduces: true, body: shader!("rmsnorm") },
    Kernel { name: "matvec", pieces: &[STEP, TOKENS, MATRIX, EPILOGUE], reduces: true, body: shader!("matvec") },
    Kernel { name: "matvec_team", pieces: &[MATRIX, EPILOGUE], reduces: true, body: shader!("matvec_team") },
    Kernel { name: "matmul", pieces: &[STEP, TOKENS, MATRIX, EPILOGUE], reduces: true, body: shader!("matmul") },
    Kernel {
        name: "matmul_tile",
        pieces: &[STEP, TOKENS, MATRIX, EPILOGUE],
        reduces: false,
        body: shader!("matmul_tile"),
    },
    Kernel { name: "prepare", pieces: &[STEP, KV_APPEND], reduces: false, body: shader!("prepare") },
    Kernel { name: "mixer", pieces: &[STEP, KV], reduces: true, body: shader!("mixer") },
    Kernel { name: "mixer_step", pieces: &[STEP, KV_APPEND], reduces: true, body: shader!("mixer_step") },
    Kernel { name: "merge", pieces: &[STEP], reduces: false, body: shader!("merge") },
    Kernel { name: "candidates", pieces: &[CANDIDATE], reduces: false, body: shader!("candidates") },
    Kernel { name: "sample", pieces: &[CANDIDATE], reduces: false, body: shader!("sample") },
    Kernel { name: "gated_norm", pieces: &[], reduces: true, body: shader!("gated_norm") },
];

impl Kernel {
    /// The kernel of that name.
    pub fn named(name: &str) -> Option<&'static Kernel> {
        KERNELS.iter().find(|k| k.name == name)
    }

    /// The whole source. `web`: for Tint, which wants `enable subgroups;` in front where naga rejects the line.
    pub fn source(&self, reduction: Reduction, web: bool) -> String {
        let mut source = String::new();
        if self.reduces && reduction == Reduction::Subgroup && web {
            source.push_str("enable subgroups;\n");
        }
        if self.reduces {
            source.push_str(match reduction {
                Reduction::Workgroup => shader!("reduce_workgroup"),
                Reduction::Subgroup => shader!("reduce_subgroup"),
            });
        }
        for piece in self.pieces.iter().copied().flatten() {
            source.push_str(piece);
        }
        match std::env::var("PG_SHADERS")
            .ok()
            .and_then(|d| std::fs::read_to_string(format!("{d}/{}.wgsl", self.name)).ok())
        {
            Some(body) => source.push_str(&body),
            None => source.push_str(self.body),
        }
        source
    }
}

/// Invocations in a workgroup, and how many of them share one sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Invocations in a workgroup.
    pub threads: u32,
    /// Invocations that share a sum; a power of two that divides `threads`.
    pub lanes: u32,
}

/// How a workgroup of `matvec_team` shares its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    /// Invocations.
    pub shape: Shape,
    /// Rows of the matrix.
    pub rows: u32,
    /// Strips of the input in workgroup memory at a time.
    pub span: u32,
    /// How often.
    pub spans: u32,
    /// Strips of a span that an invocation multiplies.
    pub rounds: u32,
}

impl Team {
    /// The override constants.
    pub fn constants(&self) -> [(&'static str, f64); 6] {
        let Shape { threads, lanes } = self.shape;
        [
            ("THREADS", threads.into()),
            ("LANES", lanes.into()),
            ("ROWS", self.rows.into()),
            ("SPAN", self.span.into()),
            ("SPANS", self.spans.into()),
            ("ROUNDS", self.rounds.into()),
        ]
    }
}

/// The workgroup shapes for one device.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    class: ShapeClass,
    most_lanes: u32,
}

impl Shapes {
    fn new(gpu: &Gpu) -> Self {
        let most_lanes = match gpu.reduction() {
            Reduction::Subgroup => gpu.subgroup_min_size().unwrap_or(4).min(32),
            Reduction::Workgroup => 32,
        };
        // A size that is no power of two does not exist, but a driver's word is not ours.
        let most_lanes = if most_lanes.is_power_of_two() { most_lanes } else { 1 };
        Self { class: gpu.shapes(), most_lanes }
    }

    /// For `matvec` and `matmul`, the kernels of software adapters.
    pub fn linear(&self) -> Shape {
        Shape { threads: 16, lanes: 1 }
    }

    /// For `matvec_team`, whose rows have `strips` strips of 32 weights; `rows`: the most rows that a workgroup may share.
    pub fn team(&self, strips: u32, rows: u32) -> Team {
        let rows = rows.min(std::env::var("PG_R").ok().and_then(|v| v.parse().ok()).unwrap_or(4));
        let most: u32 = std::env::var("PG_T").ok().and_then(|v| v.parse().ok()).unwrap_or(MOST_THREADS);
        let lanes = self.most_lanes;
        let mut spans = 1;
        loop {
            let span = strips.div_ceil(spans);
            let rounds = (rows * span).div_ceil(most);
            let threads = (rows * span.div_ceil(rounds)).next_multiple_of(lanes);
            // The staged input, the lanes' sums, and what a reduction through workgroup memory needs, in vec4s.
            if 8 * span + rows * (threads / lanes) + threads <= MOST_WORKGROUP_MEMORY / 16 {
                let rounds = span.div_ceil(threads / rows);
                return Team { shape: Shape { threads, lanes }, rows, span, spans, rounds };
            }
            spans += 1;
        }
    }

    /// For a norm over `width` values: one sum a workgroup, always through workgroup memory.
    pub fn norm(&self, width: u32) -> Shape {
        let lanes = match self.class {
            ShapeClass::Software => 1,
            ShapeClass::Hardware => 128.min((width / 8).max(1).next_power_of_two()),
        };
        Shape { threads: lanes, lanes }
    }

    /// For the mixers, with `d_state` N; `fused`: for one token, where a workgroup makes B and C itself.
    pub fn mixer(&self, d_state: u32, fused: bool) -> Shape {
        match self.class {
            ShapeClass::Software => Shape { threads: 32, lanes: 1 },
            ShapeClass::Hardware => {
                let lanes = self.most_lanes.min((d_state / 4).next_power_of_two());
                Shape { threads: if fused { 256 } else { 128 }, lanes }
            }
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

/// What every WebGPU device allows in a workgroup.
const MOST_THREADS: u32 = 256;
/// And of workgroup memory, bytes.
const MOST_WORKGROUP_MEMORY: u32 = 16384;

type Key = (&'static str, Reduction, Vec<(&'static str, u64)>);
type Scope = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Pipelines of one device, each made once.
pub struct Pipelines {
    gpu: Gpu,
    shapes: Shapes,
    made: RefCell<HashMap<Key, Rc<wgpu::ComputePipeline>>>,
    modules: RefCell<HashMap<(&'static str, Reduction), Rc<wgpu::ShaderModule>>>,
    unheard: RefCell<Vec<(&'static str, Scope)>>,
}

impl Pipelines {
    /// An empty cache.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            shapes: Shapes::new(gpu),
            made: RefCell::default(),
            modules: RefCell::default(),
            unheard: RefCell::default(),
        }
    }

    /// The shapes that suit the device.
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// How many pipelines have been made.
    pub fn count(&self) -> usize {
        self.made.borrow().len()
    }

    /// The pipeline of a kernel with these override constants. What is wrong with it is told by [`Pipelines::finish`].
    pub fn get(
        &self,
        kernel: &'static Kernel,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
    ) -> Rc<wgpu::ComputePipeline> {
        let key = (kernel.name, reduction, constants.iter().map(|(n, v)| (*n, v.to_bits())).collect());
        if let Some(pipeline) = self.made.borrow().get(&key) {
            return pipeline.clone();
        }
        let pipeline = Rc::new(self.make(kernel.name, &self.module(kernel, reduction), constants));
        self.made.borrow_mut().insert(key, pipeline.clone());
        pipeline
    }

    fn module(&self, kernel: &'static Kernel, reduction: Reduction) -> Rc<wgpu::ShaderModule> {
        let mut modules = self.modules.borrow_mut();
        let module = modules.entry((kernel.name, reduction)).or_insert_with(|| {
            let scope = self.gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(kernel.source(reduction, cfg!(target_arch = "wasm32")).into()),
            };
            #[expect(unsafe_code, reason = "checks on every access cost half of a token's time")]
            // SAFETY: the sources are our own and the same for every model. Indices come from override constants, the part
            // tables and the grids, which are made from shapes that the checkpoint's reader has compared with its bytes; token
            // ids are compared with the vocabulary before a step. Every loop's bound is one of these numbers, no divisor is
            // zero. In a browser the call is `create_shader_module`: there the checks stay.
            let module = unsafe {
                self.gpu.device().create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            };
            self.unheard.borrow_mut().push((kernel.name, Box::pin(scope.pop())));
            Rc::new(module)
        });
        module.clone()
    }

    fn make(
        &self,
        name: &'static str,
        module: &wgpu::ShaderModule,
        constants: &[(&'static str, f64)],
    ) -> wgpu::ComputePipeline {
        let scope = self.gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let pipeline = self.gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.unheard.borrow_mut().push((name, Box::pin(scope.pop())));
        pipeline
    }

    /// Hears what the device says of the pipelines made since the last call.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the kernel's name: a browser would otherwise say nothing, and outputs would stay zero.
    pub async fn finish(&self) -> Result<()> {
        let unheard = std::mem::take(&mut *self.unheard.borrow_mut());
        for (name, scope) in unheard {
            if let Some(error) = scope.await {
                return Err(match translate(error) {
                    Error::Gpu { detail } => Error::Gpu { detail: format!("kernel {name}: {detail}") },
                    other => other,
                });
            }
        }
        self.gpu.check()
    }
}
