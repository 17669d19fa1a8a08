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
use crate::gpu::{Gpu, Reduction, translate};
use crate::plan::Call;
use crate::state::KvType;

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

const STEP: Piece = Piece::Same(&[shader!("common/step")]);
/// A matrix of weights in any block format.
const MATRIX: Piece = Piece::Same(&[
    shader!("linear/matrix"),
    shader!("formats/f32"),
    shader!("formats/f16"),
    shader!("formats/bf16"),
    shader!("formats/q4_0"),
    shader!("formats/q4_1"),
    shader!("formats/q5_0"),
    shader!("formats/q5_1"),
    shader!("formats/q8_0"),
    shader!("formats/q2_k"),
    shader!("formats/q3_k"),
    shader!("formats/q4_k"),
    shader!("formats/q5_k"),
    shader!("formats/q6_k"),
    shader!("formats/iq4_nl"),
    shader!("formats/iq4_xs"),
]);
/// The KV cache: read, and also written.
const KV: Piece = Piece::Cache {
    f16: &[shader!("kv/kv"), shader!("kv/f16")],
    f32: &[shader!("kv/kv"), shader!("kv/f32")],
    q8: &[shader!("kv/kv"), shader!("kv/q8")],
};
const KV_APPEND: Piece = Piece::Cache {
    f16: &[shader!("kv/kv"), shader!("kv/f16"), shader!("kv/f16_append")],
    f32: &[shader!("kv/kv"), shader!("kv/f32"), shader!("kv/f32_append")],
    q8: &[shader!("kv/kv"), shader!("kv/q8"), shader!("kv/q8_append")],
};
const CANDIDATE: Piece = Piece::Same(&[shader!("sample/candidate")]);
const DRAWING: Piece = Piece::Same(&[shader!("sample/drawing")]);
const SCAN: Piece = Piece::Same(&[shader!("sample/scan")]);
const NEXT_TOKEN: Piece = Piece::Same(&[shader!("sample/next_token")]);
const COLUMNS: Piece = Piece::Same(&[shader!("ssm/columns")]);
const SSD: Piece = Piece::Same(&[shader!("ssm/ssd")]);
const SSD_COOPERATIVE: Piece = Piece::Same(&[shader!("ssm/ssd_cooperative")]);
/// Natively only: see `GpuOptions::cooperative`.
const COOPERATIVE: Piece = Piece::Same(&[shader!("common/cooperative")]);
const EPILOGUE: Piece = Piece::Same(&[shader!("linear/epilogue")]);
/// Linear layers where the CPU computes.
const TWO_ROWS: &[Piece] = &[STEP, TOKENS, MATRIX, EPILOGUE, Piece::Same(&[shader!("linear/two_rows")])];
const TOKENS: Piece = Piece::Same(&[shader!("common/tokens")]);

/// Every kernel there is.
pub static KERNELS: &[Kernel] = &[
    Kernel { name: "embed", pieces: &[STEP, MATRIX], reduces: false, body: shader!("embed/embed") },
    Kernel { name: "rmsnorm", pieces: &[STEP], reduces: true, body: shader!("norm/rmsnorm") },
    Kernel { name: "matvec", pieces: TWO_ROWS, reduces: false, body: shader!("linear/matvec") },
    Kernel { name: "matvec_team", pieces: &[STEP, MATRIX, EPILOGUE], reduces: true, body: shader!("linear/matvec_team") },
    Kernel { name: "matmul", pieces: TWO_ROWS, reduces: false, body: shader!("linear/matmul") },
    Kernel {
        name: "matmul_tile",
        pieces: &[STEP, TOKENS, MATRIX, EPILOGUE],
        reduces: false,
        body: shader!("linear/matmul_tile"),
    },
    Kernel {
        name: "matmul_cooperative",
        pieces: &[COOPERATIVE, STEP, TOKENS, MATRIX, EPILOGUE],
        reduces: false,
        body: shader!("linear/matmul_cooperative"),
    },
    Kernel { name: "prepare", pieces: &[STEP, KV_APPEND], reduces: false, body: shader!("mixers/prepare") },
    Kernel { name: "attention", pieces: &[STEP, KV], reduces: false, body: shader!("attention/attention") },
    Kernel { name: "attention_tile", pieces: &[STEP, KV], reduces: false, body: shader!("attention/attention_tile") },
    Kernel {
        name: "attention_cooperative",
        pieces: &[COOPERATIVE, STEP, KV],
        reduces: false,
        body: shader!("attention/attention_cooperative"),
    },
    Kernel { name: "selective_scan", pieces: &[STEP, COLUMNS], reduces: false, body: shader!("ssm/selective_scan") },
    Kernel { name: "ssd_states", pieces: &[STEP, SSD], reduces: false, body: shader!("ssm/ssd_states") },
    Kernel { name: "ssd_pass", pieces: &[STEP, COLUMNS], reduces: false, body: shader!("ssm/ssd_pass") },
    Kernel { name: "ssd_output", pieces: &[STEP, SSD], reduces: false, body: shader!("ssm/ssd_output") },
    Kernel {
        name: "ssd_states_cooperative",
        pieces: &[COOPERATIVE, STEP, SSD_COOPERATIVE],
        reduces: false,
        body: shader!("ssm/ssd_states_cooperative"),
    },
    Kernel {
        name: "ssd_output_cooperative",
        pieces: &[COOPERATIVE, STEP, SSD_COOPERATIVE],
        reduces: false,
        body: shader!("ssm/ssd_output_cooperative"),
    },
    Kernel { name: "mixer_step", pieces: &[STEP, KV_APPEND], reduces: true, body: shader!("mixers/mixer_step") },
    Kernel { name: "merge", pieces: &[STEP], reduces: false, body: shader!("attention/merge") },
    Kernel { name: "candidates", pieces: &[CANDIDATE], reduces: false, body: shader!("sample/candidates") },
    Kernel { name: "sample", pieces: &[CANDIDATE, NEXT_TOKEN], reduces: false, body: shader!("sample/sample") },
    Kernel { name: "weigh", pieces: &[CANDIDATE, DRAWING], reduces: false, body: shader!("sample/weigh") },
    Kernel { name: "gather", pieces: &[CANDIDATE, DRAWING, SCAN], reduces: false, body: shader!("sample/gather") },
    Kernel { name: "draw", pieces: &[CANDIDATE, DRAWING, SCAN, NEXT_TOKEN], reduces: false, body: shader!("sample/draw") },
    Kernel { name: "probe", pieces: &[], reduces: false, body: shader!("common/probe") },
    Kernel { name: "gated_norm", pieces: &[], reduces: true, body: shader!("norm/gated_norm") },
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
                Reduction::Workgroup => shader!("common/reduce_workgroup"),
                Reduction::Subgroup => shader!("common/reduce_subgroup"),
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

type Key = (&'static str, Reduction, Vec<(&'static str, u64)>);
type Scope = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Pipelines of one device, each made once.
pub struct Pipelines {
    gpu: Gpu,
    kv: KvType,
    made: RefCell<HashMap<Key, Rc<wgpu::ComputePipeline>>>,
    modules: RefCell<HashMap<(&'static str, Reduction), wgpu::ShaderModule>>,
    unheard: RefCell<Vec<(&'static str, Scope)>>,
}

impl Pipelines {
    /// An empty cache, for a model that keeps keys and values in this way.
    pub fn new(gpu: &Gpu, kv: KvType) -> Self {
        Self {
            gpu: gpu.clone(),
            kv,
            made: RefCell::default(),
            modules: RefCell::default(),
            unheard: RefCell::default(),
        }
    }

    /// How many pipelines have been made.
    pub fn count(&self) -> usize {
        self.made.borrow().len()
    }

    /// Makes the pipelines of these calls, each once and in this order: natively in threads of its own from now on, in a browser when
    /// [`Making::finish`] is called.
    pub(crate) fn make<'a>(&self, calls: impl IntoIterator<Item = &'a Call>) -> Making {
        let mut wanted = Vec::new();
        for call in calls {
            let key = key(call.kernel, call.reduction, &call.constants);
            if !wanted.contains(&key) {
                wanted.push(key);
            }
        }
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
            .or_insert_with(|| module(self.gpu.device(), kernel, reduction, self.kv))
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
