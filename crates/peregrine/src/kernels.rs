//! The kernels: one row each in [`KERNELS`], and the cache of pipelines made from them.
//!
//! A kernel's source is the concatenation of its pieces, plain WGSL files. Numbers are `override`s; the way lanes are summed is
//! one of two pieces with the same function, the way keys and values are kept one of three; the block formats are all in the source, and the overrides `FORMAT_0..3` say
//! which of them a pipeline keeps, so no source text depends on the file being loaded.

mod making;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use self::making::{Making, module, pipeline};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Reduction, ShapeClass, translate};
use crate::state::KvType;
use crate::weights::GpuMatrix;

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/", $name, ".wgsl"))
    };
}

/// Files that come before a kernel's own.
pub enum Piece {
    /// The same ones always.
    Same(&'static [&'static str]),
    /// Those for the way in which keys and values are kept.
    Cache {
        /// [`KvType::F16`]
        f16: &'static [&'static str],
        /// [`KvType::F32`]
        f32: &'static [&'static str],
        /// [`KvType::Q8`]
        q8: &'static [&'static str],
    },
}

/// A kernel: a name and the pieces of its source, in order.
pub struct Kernel {
    /// The name of its WGSL file and of its CPU twin in [`crate::reference`].
    pub name: &'static str,
    /// Pieces before the kernel itself.
    pub pieces: &'static [Piece],
    /// Whether it sums over lanes, and so needs a reduction piece in front.
    pub reduces: bool,
    /// The kernel's own file.
    pub body: &'static str,
}

const STEP: Piece = Piece::Same(&[shader!("step")]);
/// A matrix of weights in any block format.
const MATRIX: Piece = Piece::Same(&[
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
]);
/// The KV cache: read, and also written.
const KV: Piece = Piece::Cache {
    f16: &[shader!("kv"), shader!("kv/f16")],
    f32: &[shader!("kv"), shader!("kv/f32")],
    q8: &[shader!("kv"), shader!("kv/q8")],
};
const KV_APPEND: Piece = Piece::Cache {
    f16: &[shader!("kv"), shader!("kv/f16"), shader!("kv/f16_append")],
    f32: &[shader!("kv"), shader!("kv/f32"), shader!("kv/f32_append")],
    q8: &[shader!("kv"), shader!("kv/q8"), shader!("kv/q8_append")],
};
const CANDIDATE: Piece = Piece::Same(&[shader!("candidate")]);
const DRAWING: Piece = Piece::Same(&[shader!("drawing")]);
const SCAN: Piece = Piece::Same(&[shader!("scan")]);
const NEXT_TOKEN: Piece = Piece::Same(&[shader!("next_token")]);
const COLUMNS: Piece = Piece::Same(&[shader!("columns")]);
const SSD: Piece = Piece::Same(&[shader!("ssd")]);
const SSD_COOPERATIVE: Piece = Piece::Same(&[shader!("ssd_cooperative")]);
/// Natively only: see `GpuOptions::cooperative`.
const COOPERATIVE: Piece = Piece::Same(&[shader!("cooperative")]);
const EPILOGUE: Piece = Piece::Same(&[shader!("epilogue")]);
/// Linear layers where the CPU computes.
const TWO_ROWS: &[Piece] = &[STEP, TOKENS, MATRIX, EPILOGUE, Piece::Same(&[shader!("two_rows")])];
const TOKENS: Piece = Piece::Same(&[shader!("tokens")]);

/// Every kernel there is.
pub static KERNELS: &[Kernel] = &[
    Kernel { name: "embed", pieces: &[STEP, MATRIX], reduces: false, body: shader!("embed") },
    Kernel { name: "rmsnorm", pieces: &[STEP], reduces: true, body: shader!("rmsnorm") },
    Kernel { name: "matvec", pieces: TWO_ROWS, reduces: false, body: shader!("matvec") },
    Kernel { name: "matvec_team", pieces: &[STEP, MATRIX, EPILOGUE], reduces: true, body: shader!("matvec_team") },
    Kernel { name: "matmul", pieces: TWO_ROWS, reduces: false, body: shader!("matmul") },
    Kernel {
        name: "matmul_tile",
        pieces: &[STEP, TOKENS, MATRIX, EPILOGUE],
        reduces: false,
        body: shader!("matmul_tile"),
    },
    Kernel {
        name: "matmul_cooperative",
        pieces: &[COOPERATIVE, STEP, TOKENS, MATRIX, EPILOGUE],
        reduces: false,
        body: shader!("matmul_cooperative"),
    },
    Kernel { name: "prepare", pieces: &[STEP, KV_APPEND], reduces: false, body: shader!("prepare") },
    Kernel { name: "attention", pieces: &[STEP, KV], reduces: false, body: shader!("attention") },
    Kernel { name: "attention_tile", pieces: &[STEP, KV], reduces: false, body: shader!("attention_tile") },
    Kernel {
        name: "attention_cooperative",
        pieces: &[COOPERATIVE, STEP, KV],
        reduces: false,
        body: shader!("attention_cooperative"),
    },
    Kernel { name: "selective_scan", pieces: &[STEP, COLUMNS], reduces: false, body: shader!("selective_scan") },
    Kernel { name: "ssd_states", pieces: &[STEP, SSD], reduces: false, body: shader!("ssd_states") },
    Kernel { name: "ssd_pass", pieces: &[STEP, COLUMNS], reduces: false, body: shader!("ssd_pass") },
    Kernel { name: "ssd_output", pieces: &[STEP, SSD], reduces: false, body: shader!("ssd_output") },
    Kernel {
        name: "ssd_states_cooperative",
        pieces: &[COOPERATIVE, STEP, SSD_COOPERATIVE],
        reduces: false,
        body: shader!("ssd_states_cooperative"),
    },
    Kernel {
        name: "ssd_output_cooperative",
        pieces: &[COOPERATIVE, STEP, SSD_COOPERATIVE],
        reduces: false,
        body: shader!("ssd_output_cooperative"),
    },
    Kernel { name: "mixer_step", pieces: &[STEP, KV_APPEND], reduces: true, body: shader!("mixer_step") },
    Kernel { name: "merge", pieces: &[STEP], reduces: false, body: shader!("merge") },
    Kernel { name: "candidates", pieces: &[CANDIDATE], reduces: false, body: shader!("candidates") },
    Kernel { name: "sample", pieces: &[CANDIDATE, NEXT_TOKEN], reduces: false, body: shader!("sample") },
    Kernel { name: "weigh", pieces: &[CANDIDATE, DRAWING], reduces: false, body: shader!("weigh") },
    Kernel { name: "gather", pieces: &[CANDIDATE, DRAWING, SCAN], reduces: false, body: shader!("gather") },
    Kernel { name: "draw", pieces: &[CANDIDATE, DRAWING, SCAN, NEXT_TOKEN], reduces: false, body: shader!("draw") },
    Kernel { name: "probe", pieces: &[], reduces: false, body: shader!("probe") },
    Kernel { name: "gated_norm", pieces: &[], reduces: true, body: shader!("gated_norm") },
];

impl Kernel {
    /// The kernel of that name.
    pub fn named(name: &str) -> Option<&'static Kernel> {
        KERNELS.iter().find(|k| k.name == name)
    }

    /// The whole source. `kv`: how keys and values are kept. `web`: for Tint, which wants `enable subgroups;` in front where naga rejects the line.
    pub fn source(&self, reduction: Reduction, kv: KvType, web: bool) -> String {
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
        for piece in self.pieces {
            let files = match (piece, kv) {
                (Piece::Same(files), _) => files,
                (Piece::Cache { f16, .. }, KvType::F16) => f16,
                (Piece::Cache { f32, .. }, KvType::F32) => f32,
                (Piece::Cache { q8, .. }, KvType::Q8) => q8,
            };
            source.extend(files.iter().copied());
        }
        source.push_str(self.body);
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
    /// Whether each invocation has a second row, so that the workgroup has twice as many.
    pub paired: bool,
    /// Strips of the input in workgroup memory at a time.
    pub span: u32,
    /// How often.
    pub spans: u32,
    /// Strips of a span that an invocation multiplies.
    pub rounds: u32,
}

impl Team {
    /// The override constants.
    pub fn constants(&self) -> [(&'static str, f64); 7] {
        let Shape { threads, lanes } = self.shape;
        [
            ("THREADS", threads.into()),
            ("LANES", lanes.into()),
            ("ROWS", self.rows.into()),
            ("PAIRED", f64::from(u8::from(self.paired))),
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
    most_threads: u32,
}

impl Shapes {
    fn new(gpu: &Gpu) -> Self {
        let most_lanes = match gpu.reduction() {
            Reduction::Subgroup => gpu.subgroup_min_size().unwrap_or(4).min(32),
            Reduction::Workgroup => 32,
        };
        // A size that is no power of two does not exist, but a driver's word is not ours.
        let most_lanes = if most_lanes.is_power_of_two() { most_lanes } else { 1 };
        Self { class: gpu.shapes(), most_lanes, most_threads: gpu.max_invocations() }
    }

    /// Invocations of `matvec` and `matmul`, the kernels of software adapters; each has two rows.
    pub fn linear(&self) -> u32 {
        16
    }

    /// For `matvec_team`. `together`: rows of the matrix that a workgroup may share; `pairs`: whether an invocation may have two.
    pub fn team(&self, matrix: &GpuMatrix, together: u32, pairs: bool) -> Team {
        let lanes = self.most_lanes;
        let strips = matrix.row_strips();
        let rows = together.min(4).min(lanes);
        // A pair halves what is read of the input, and the workgroups: where enough of them are left.
        let paired = pairs && together >= 2 * rows && matrix.rows >= 4096;
        let mut spans = 1;
        loop {
            let span = strips.div_ceil(spans);
            let rounds = (rows * span).div_ceil(self.most_threads);
            let threads = (rows * span.div_ceil(rounds)).next_multiple_of(lanes);
            // The staged input, the lanes' sums, and what a reduction through workgroup memory needs, in vec4s.
            if 8 * span + rows * (threads / lanes) + threads <= MOST_WORKGROUP_MEMORY / 16 {
                let rounds = span.div_ceil(threads / rows);
                return Team { shape: Shape { threads, lanes }, rows, paired, span, spans, rounds };
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

    /// For the mixers of one token on a GPU, with `d_state` N.
    pub fn step(&self, d_state: u32) -> Shape {
        Shape { threads: 256, lanes: self.most_lanes.min((d_state / 4).next_power_of_two()) }
    }

    /// For `candidates`.
    pub fn candidates(&self) -> u32 {
        match self.class {
            ShapeClass::Software => 16,
            ShapeClass::Hardware => 256,
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

/// What every WebGPU device allows of workgroup memory, bytes.
const MOST_WORKGROUP_MEMORY: u32 = 16384;

type Key = (&'static str, Reduction, Vec<(&'static str, u64)>);
type Scope = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Pipelines of one device, each made once.
pub struct Pipelines {
    gpu: Gpu,
    shapes: Shapes,
    kv: KvType,
    made: RefCell<HashMap<Key, Rc<wgpu::ComputePipeline>>>,
    modules: RefCell<HashMap<(&'static str, Reduction), wgpu::ShaderModule>>,
    unheard: RefCell<Vec<(&'static str, Scope)>>,
    /// Those that will be needed, in order; `None` while they are made when they are asked for.
    wanted: RefCell<Option<Vec<Key>>>,
}

impl Pipelines {
    /// An empty cache, for a model that keeps keys and values in this way.
    pub fn new(gpu: &Gpu, kv: KvType) -> Self {
        Self {
            gpu: gpu.clone(),
            shapes: Shapes::new(gpu),
            kv,
            made: RefCell::default(),
            modules: RefCell::default(),
            unheard: RefCell::default(),
            wanted: RefCell::default(),
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

    /// Notes the pipelines that `record` would ask for, and makes none of them: [`Pipelines::make_collected`] does.
    pub(crate) fn collect<T>(&self, record: impl FnOnce() -> T) {
        let before = self.wanted.borrow_mut().take().unwrap_or_default();
        *self.wanted.borrow_mut() = Some(before);
        record();
    }

    /// Whether pipelines are only noted; then this one is.
    pub(crate) fn collects(
        &self,
        kernel: &'static Kernel,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
    ) -> bool {
        let mut wanted = self.wanted.borrow_mut();
        let Some(wanted) = wanted.as_mut() else { return false };
        let key = key(kernel, reduction, constants);
        if !wanted.contains(&key) {
            wanted.push(key);
        }
        true
    }

    /// Makes what was collected: natively in threads of its own from now on, in a browser when [`Making::finish`] is called.
    pub(crate) fn make_collected(&self) -> Making {
        let wanted = self.wanted.borrow_mut().take().unwrap_or_default();
        Making::start(&self.gpu, self.kv, wanted)
    }

    /// The pipeline of a kernel with these override constants. What is wrong with it is told by [`Pipelines::finish`].
    pub fn get(
        &self,
        kernel: &'static Kernel,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
    ) -> Rc<wgpu::ComputePipeline> {
        let key = key(kernel, reduction, constants);
        if let Some(pipeline) = self.made.borrow().get(&key) {
            return pipeline.clone();
        }
        let scope = self.gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self
            .modules
            .borrow_mut()
            .entry((kernel.name, reduction))
            .or_insert_with(|| module(self.gpu.device(), kernel, reduction, self.kv, self.gpu.alter()))
            .clone();
        let pipeline = Rc::new(pipeline(self.gpu.device(), kernel.name, &module, constants));
        self.unheard.borrow_mut().push((kernel.name, Box::pin(scope.pop())));
        self.made.borrow_mut().insert(key, pipeline.clone());
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

fn key(kernel: &'static Kernel, reduction: Reduction, constants: &[(&'static str, f64)]) -> Key {
    (kernel.name, reduction, constants.iter().map(|(n, v)| (*n, v.to_bits())).collect())
}
