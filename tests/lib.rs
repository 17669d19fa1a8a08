//! What the integration tests share: golden files, adapters, comparison.

#![allow(clippy::unwrap_used)] // helpers of tests may unwrap like tests

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use peregrine::checkpoint::Checkpoint;
use peregrine::format::FORMATS;
use peregrine::gpu::{DeviceKind, Gpu, GpuOptions, Reduction};
use peregrine::kernels::{Formats, KERNELS, Kernel};
use peregrine::model::LoadOptions;
use peregrine::session::{Engine, Session};
use peregrine::state::KvType;
use peregrine_workbench::gguf::{Field, GgufHeader};
use pollster::block_on;

/// A file under `tests/golden`.
pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// The embedded model.
pub fn tiny_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny/peregrine-tiny-chat-Q4_0.gguf")
}

/// The embedded model with two of its eight layers. What sessions do with steps, samples and texts
/// is the same at any depth, and on an adapter in software it takes a third of the time.
pub fn two_layers() -> Checkpoint {
    let mut file = checkpoint(&tiny_model());
    file.config.num_hidden_layers = 2;
    file
}

/// Opens a checkpoint file or folder.
pub fn checkpoint(path: &Path) -> Checkpoint {
    block_on(Checkpoint::open(path.to_str().unwrap())).unwrap()
}

/// A GPU, or an adapter in software: where shaders are the subject. Without any the test fails, as
/// it must; the processor will not do.
pub fn gpu(options: &GpuOptions) -> Gpu {
    let options = GpuOptions { device: DeviceKind::Gpu, ..options.clone() };
    let gpu =
        block_on(Gpu::new(&options)).expect("tests need a Vulkan adapter; mesa-vulkan-drivers has one in software");
    assert!(!gpu.is_processor(), "{} is no GPU", gpu.name());
    gpu
}

/// What a user gets: for tests that are about anything but devices. Without a GPU it is the
/// processor, faster than an adapter in software.
pub fn device(options: &GpuOptions) -> Gpu {
    block_on(Gpu::new(options)).expect("the processor is always there")
}

/// The processor as a device of its own.
pub fn processor() -> Gpu {
    let gpu = device(&GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() });
    assert!(gpu.is_processor());
    gpu
}

/// Keys and values as they are computed: the numbers of the golden files are closer than f16 is.
/// Logits of whole chunks.
pub fn exact() -> LoadOptions {
    LoadOptions { kv: KvType::F32, logit_rows: Some(u32::MAX), ..LoadOptions::default() }
}

/// A session over a checkpoint on a device.
pub fn session(gpu: &Gpu, checkpoint: &Checkpoint, options: &LoadOptions) -> Session {
    let engine: Rc<Engine> = block_on(Engine::load(gpu, checkpoint, options, &mut |_| {})).unwrap();
    Session::new(&engine).unwrap()
}

/// The fields of a GGUF file of this architecture, with these sizes and a toy vocabulary of `vocab`
/// tokens.
pub fn gguf_header(sizes: &[(&str, u32)], vocab: u32) -> GgufHeader {
    let mut header = GgufHeader::default();
    header.field("general.architecture", Field::Str("falcon-h1"));
    for (key, value) in sizes {
        header.field(&format!("falcon-h1.{key}"), Field::U32(*value));
    }
    header.field("falcon-h1.attention.layer_norm_rms_epsilon", Field::F32(1e-5));
    header.field("falcon-h1.rope.freq_base", Field::F32(1e11));
    let tokens: Vec<String> =
        ["a", "b", "ab"].into_iter().map(String::from).chain((3..vocab).map(|id| format!("t{id}"))).collect();
    header.field("tokenizer.ggml.model", Field::Str("gpt2"));
    header.field("tokenizer.ggml.pre", Field::Str("falcon-h1"));
    header.field("tokenizer.ggml.tokens", Field::Strs(&tokens));
    header.field("tokenizer.ggml.merges", Field::Strs(&["a b".to_string()]));
    header
}

/// The expected values of one golden case: `tests/golden/README.md` says what they are.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// `CASE.safetensors`.
    pub fn open(case: &str) -> Self {
        Self { bytes: std::fs::read(golden_path(&format!("{case}.safetensors"))).unwrap() }
    }

    fn words(&self, name: &str) -> Option<Vec<[u8; 4]>> {
        let file = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).ok()?;
        Some(tensor.data().chunks_exact(4).map(|c| c.try_into().unwrap()).collect())
    }

    /// A tensor of f32, if it is there.
    pub fn get(&self, name: &str) -> Option<Vec<f32>> {
        Some(self.words(name)?.into_iter().map(f32::from_le_bytes).collect())
    }

    /// A tensor of f32.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.get(name).unwrap_or_else(|| panic!("the golden file has no {name}"))
    }

    /// A tensor of ids.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name).unwrap().into_iter().map(u32::from_le_bytes).collect()
    }
}

/// The seed of a test that draws its cases: the same in every run, so that what fails once fails
/// again. proptest's own variable, `PROPTEST_RNG_SEED`, chooses another.
pub fn seed(usual: u64) -> u64 {
    let chosen = std::env::var("PROPTEST_RNG_SEED").ok();
    chosen.map_or(usual, |seed| seed.parse().expect("PROPTEST_RNG_SEED: a whole number below 2^64"))
}

/// Does it, and asserts that its thread has computed for no longer than `most`. That is not the
/// time on the clock, in which other programs may have had the processor; where the system does not
/// tell it, nothing is asserted.
pub fn computes_within<T>(most: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let computed = || {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    let begun = computed();
    let done = work();
    if let (Some(begun), Some(ended)) = (begun, computed()) {
        assert!(ended - begun < most, "{what}: {:?} of the processor, at most {most:?} expected", ended - begun);
    }
    done
}

/// Asserts that no value differs by more than `tolerance`, and that all are numbers; says where the
/// worst one is.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    assert!(!expected.is_empty(), "{what}: nothing to compare");
    let mut worst = (0.0, 0);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let difference = if f.is_finite() && e.is_finite() { (f - e).abs() } else { f32::INFINITY };
        if difference > worst.0 {
            worst = (difference, i);
        }
    }
    let (difference, i) = worst;
    assert!(
        difference <= tolerance,
        "{what}: differs by {difference} at {i}: found {}, expected {}; tolerance {tolerance}",
        found[i],
        expected[i]
    );
}

/// Index of the largest value; the first among equals.
pub fn argmax(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The states of a session, keys and values with them, as bits: for comparisons bit by bit.
pub fn states(session: &Session) -> Vec<u32> {
    let (state, gpu) = (session.state(), session.engine().model().gpu());
    let c = session.engine().config();
    let read = |buffer, len| block_on(gpu.read(buffer, 0, len)).unwrap();
    let mut all = vec![state.position];
    for (i, layer) in state.layers.iter().enumerate() {
        let [keys, cached] = block_on(state.keys_and_values(gpu, i, 0, state.position)).unwrap();
        assert_eq!(keys.len(), (c.kv_dim() * state.position) as usize);
        for values in [
            keys,
            cached,
            read(&layer.ssm, u64::from(c.mamba_d_ssm * c.mamba_d_state)),
            block_on(state.conv_columns(gpu, c, i, state.position)).unwrap(),
        ] {
            all.extend(values.iter().map(|v| v.to_bits()));
        }
    }
    all
}

/// Says only the first difference: states are long.
pub fn assert_same(found: &[u32], expected: &[u32], what: &str) {
    assert_eq!((found.len(), found[0]), (expected.len(), expected[0]), "{what}: length and position");
    let differs = found.iter().zip(expected).position(|(f, e)| f != e);
    if let Some(at) = differs {
        let [f, e] = [found[at], expected[at]].map(f32::from_bits);
        panic!("{what}: value {at} of {} is {f:e}, expected {e:e}", found.len());
    }
}

/// Block formats that stand in one matrix of real files, beside each format alone: what our
/// quantizer and llama.cpp's make of the fused matrices, also where rows are no multiple of 256;
/// and as many as a matrix may have.
pub const MIXES: &[&[&str]] = &[
    &["Q4_K", "Q6_K"],
    &["Q5_K", "Q6_K"],
    &["Q3_K", "Q4_K"],
    &["Q3_K", "Q5_K"],
    &["Q2_K", "Q3_K"],
    &["Q2_K", "Q4_K"],
    &["IQ4_NL", "Q5_K"],
    &["IQ4_XS", "Q5_K"],
    &["Q5_0", "Q8_0"],
    &["Q5_0", "Q6_K", "Q8_0"],
    &["F16", "F32"],
    &["Q4_K", "Q5_K", "Q6_K", "Q8_0"],
];

/// What a kernel's source follows from.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Which kernel.
    pub kernel: &'static Kernel,
    /// How it sums.
    pub reduction: Reduction,
    /// How keys and values are kept.
    pub kv: KvType,
    /// Block formats of the matrix.
    pub formats: Formats,
}

impl Variant {
    /// The source for a browser or for naga.
    pub fn source(&self, web: bool) -> String {
        self.kernel.source(self.reduction, self.kv, self.formats, web)
    }

    /// As "matvec_team Subgroup Q4_K+Q6_K": what does not matter is left out.
    pub fn name(&self) -> String {
        let formats = self.formats.names().map(str::to_uppercase).collect::<Vec<_>>().join("+");
        let reduction = if self.kernel.reduces { format!(" {:?}", self.reduction) } else { String::new() };
        let kv = if self.kernel.has_cache() { format!(" {}", self.kv.name()) } else { String::new() };
        let formats = if self.kernel.has_matrix() { format!(" {formats}") } else { String::new() };
        [self.kernel.name, &reduction, &kv, &formats].concat()
    }
}

/// Every source that differs from the others: of kernels with a matrix those of each format alone,
/// of [`MIXES`], and of all formats.
pub fn variants() -> Vec<Variant> {
    let alone = FORMATS.iter().map(|spec| Formats::of([spec.name]));
    let mixed = MIXES.iter().map(|names| Formats::of(names.iter().copied()));
    let sets: Vec<Formats> = alone.chain(mixed).map(Option::unwrap).chain([Formats::all()]).collect();
    let (sums, kvs) = ([Reduction::Workgroup, Reduction::Subgroup], KvType::ALL);
    let mut variants = Vec::new();
    for kernel in KERNELS.iter().copied() {
        for reduction in sums.into_iter().take(if kernel.reduces { 2 } else { 1 }) {
            for kv in kvs.into_iter().take(if kernel.has_cache() { kvs.len() } else { 1 }) {
                for formats in sets.iter().copied().take(if kernel.has_matrix() { sets.len() } else { 1 }) {
                    variants.push(Variant { kernel, reduction, kv, formats });
                }
            }
        }
    }
    variants
}
