//! Conversion to GGUF: from a Hugging Face folder, with every multiplier put into the weights, or
//! from another GGUF file. The files are those of llama.cpp's converter and quantizer: same names,
//! same choice of formats, same fields.
//!
//! One difference, where the field's files are wrong: of a model whose embedding is also its LM
//! head, both matrices are written when their multipliers differ. A single matrix cannot carry
//! both, and logits would be off by a factor.

pub(crate) mod fields;
mod types;

use std::io::Write;

use self::fields::Description;
pub use self::types::QuantType;
pub(crate) use self::types::choose;
use crate::gguf::{ALIGNMENT, GgufHeader};
use peregrine::adapter::{Adapter, Delta, Projection};
use peregrine::checkpoint::names::{Bake, Expected, a_of_log, expected, multipliers};
use peregrine::checkpoint::{Checkpoint, Container, TensorInfo};
use peregrine::config::Config;
use peregrine::format::{Format, FormatSpec};
use peregrine::{Error, Result};

/// Values that are converted at a time: bounds the memory, whatever the tensor.
const PIECE: u64 = 1 << 22;

/// What to write.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// The type.
    pub target: QuantType,
    /// `general.name`; by default the input's name.
    pub name: Option<String>,
    /// `general.license`; by default that of a GGUF input.
    pub license: Option<String>,
}

impl QuantizeOptions {
    /// Only a type.
    pub fn new(target: QuantType) -> Self {
        Self { target, name: None, license: None }
    }
}

/// One tensor to be written.
struct Job<'a> {
    from: &'a TensorInfo,
    bake: Bake,
    format: Format,
    bytes: u64,
    /// What adapters add to its rows, each times its scale.
    deltas: Vec<(&'a Delta, f32)>,
}

/// Writes `input` as a GGUF file. `progress` gets the bytes of tensors written, and of all.
///
/// # Errors
/// The input's; [`Error::Io`] of `out`; [`Error::Unsupported`] for a tokenizer that GGUF cannot
/// express; [`Error::Malformed`] for a weight that is not finite or too large for the format.
pub async fn quantize(
    input: &Checkpoint,
    out: &mut dyn Write,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    merge(input, &[], out, options, progress).await
}

/// The same with adapters added to the weights, each times its scale: W + scale B A, in f32 before
/// it is rounded to the new format.
///
/// # Errors
/// As [`quantize`].
pub async fn merge(
    input: &Checkpoint,
    adapters: &[(Adapter, f32)],
    out: &mut dyn Write,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let mut header = GgufHeader::default();
    fields::write(&mut header, &describe(input, options))?;
    let mut jobs = Vec::new();
    for (wanted, from) in tensors(input)? {
        let format = choose(&wanted, &input.config, options.target);
        let bytes = header.tensor(&wanted.gguf, &wanted.dims(), format);
        let bytes = bytes.ok_or_else(|| malformed(input, from, "whole blocks", &wanted.shape))?;
        let of = |(adapter, scale)| Some((adapter_delta(adapter, &wanted.hf)?, scale));
        let deltas = adapters.iter().map(|(adapter, scale)| (adapter, *scale)).filter_map(of).collect();
        jobs.push(Job { from, bake: wanted.bake, format, bytes, deltas });
    }
    let io = |source| Error::Io { name: "the output".into(), source };
    out.write_all(&header.bytes()).map_err(io)?;
    let total = jobs.iter().map(|job| job.bytes).sum();
    let mut done = 0;
    progress(done, total);
    for job in jobs {
        let rows_at_once = (PIECE / job.from.cols()).max(1);
        let mut row = 0;
        while row < job.from.rows() {
            let rows = rows_at_once.min(job.from.rows() - row);
            let bytes = convert(input, &job, row, rows).await?;
            out.write_all(&bytes).map_err(io)?;
            done += bytes.len() as u64;
            row += rows;
            progress(done, total);
        }
        let padding = job.bytes.next_multiple_of(ALIGNMENT) - job.bytes;
        out.write_all(&[0; ALIGNMENT as usize][..padding as usize]).map_err(io)?;
    }
    out.flush().map_err(io)
}

/// As [`quantize`], to a file. It gets its name only when it is complete.
///
/// # Errors
/// As [`quantize`].
#[cfg(not(target_arch = "wasm32"))]
pub async fn quantize_to_file(
    input: &Checkpoint,
    path: &std::path::Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    merge_to_file(input, &[], path, options, progress).await
}

/// As [`merge`], to a file. It gets its name only when it is complete.
///
/// # Errors
/// As [`merge`].
#[cfg(not(target_arch = "wasm32"))]
pub async fn merge_to_file(
    input: &Checkpoint,
    adapters: &[(Adapter, f32)],
    path: &std::path::Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let mut file = crate::part_file::PartFile::create(path)?;
    let written = merge(input, adapters, file.out(), options, progress).await;
    file.finish(written)
}

/// What an adapter adds to the weight of this name.
fn adapter_delta<'a>(adapter: &'a Adapter, weight: &str) -> Option<&'a Delta> {
    let (layer, module) = weight.strip_prefix("model.layers.")?.strip_suffix(".weight")?.split_once('.')?;
    let projection = Projection::ALL.into_iter().find(|projection| projection.module() == module)?;
    adapter.delta(layer.parse().ok()?, projection)
}

/// What the metadata will say.
fn describe<'a>(input: &'a Checkpoint, options: &'a QuantizeOptions) -> Description<'a> {
    let inherited = input.metadata.iter().find(|(key, _)| key == "general.license").map(|(_, value)| value.as_str());
    Description {
        name: options.name.as_deref().unwrap_or(&input.name),
        license: options.license.as_deref().or(inherited.filter(|_| input.container == Container::Gguf)),
        config: &input.config,
        target: options.target,
        tokenizer: &input.tokenizer,
        chat_template: input.chat_template.as_deref(),
        kept: input.fields(),
    }
}

fn malformed(input: &Checkpoint, tensor: &TensorInfo, expected: &str, found: impl std::fmt::Debug) -> Error {
    Error::Malformed {
        name: input.file().into(),
        field: format!("tensor {}", tensor.stored_name),
        expected: expected.into(),
        found: format!("{found:?}"),
    }
}

/// What to write, and from which tensor of the input.
fn tensors(input: &Checkpoint) -> Result<Vec<(Expected, &TensorInfo)>> {
    let config = &input.config;
    let gguf = input.container == Container::Gguf;
    // See the head of this file.
    let split = config.tie_word_embeddings && config.embedding_multiplier != config.lm_head_multiplier;
    let tied = config.tie_word_embeddings && !split;
    let mut list = Vec::new();
    for mut wanted in expected(&Config { tie_word_embeddings: tied, ..config.clone() }) {
        let mut name = wanted.hf.clone();
        if gguf && wanted.bake == Bake::A {
            name = name.replace(".A_log", ".A");
            wanted.bake = Bake::Small;
        }
        if split && wanted.bake == Bake::LmHead {
            name = "model.embed_tokens.weight".into();
        }
        list.push((wanted, input.tensor(&name)?));
    }
    Ok(list)
}

/// Rows of one tensor: read, multiplied, in the new format.
async fn convert(input: &Checkpoint, job: &Job<'_>, row: u64, rows: u64) -> Result<Vec<u8>> {
    let mut values = input.read_rows_f32(job.from, row, rows).await?;
    let cols = job.from.cols() as usize;
    for (values, row) in values.chunks_exact_mut(cols).zip(row..) {
        let [first, second] = multipliers(&input.config, job.bake, row);
        for value in values {
            *value = match job.bake {
                Bake::A => a_of_log(*value),
                _ => *value * first * second,
            };
        }
    }
    for (delta, scale) in &job.deltas {
        add(delta, *scale, row as usize, cols, &mut values);
    }
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(malformed(input, job.from, "finite values", value));
    }
    let spec = job.format.spec();
    let mut bytes = vec![0; values.len() / spec.block as usize * spec.bytes as usize];
    if !quantize_rows(spec, &values, &mut bytes) {
        return Err(malformed(input, job.from, "a format that can be written", job.format));
    }
    // Halves end at 65,504: in F16 the values, in block formats only the scales.
    if let Some(block) = spec.first_not_finite(&bytes) {
        let size = spec.block as usize;
        let largest = values[block * size..][..size].iter().fold(0f32, |most, value| most.max(value.abs()));
        let expected = format!("values that {} can hold, whose halves end at 65504", job.format);
        return Err(malformed(input, job.from, &expected, largest));
    }
    Ok(bytes)
}

/// Adds rows of B A, from `first` on, to as many rows of `cols` values.
fn add(delta: &Delta, scale: f32, first: usize, cols: usize, values: &mut [f32]) {
    let rank = delta.rank as usize;
    for (values, b) in values.chunks_exact_mut(cols).zip(delta.b.chunks_exact(rank).skip(first)) {
        for (b, a) in b.iter().zip(delta.a.chunks_exact(cols)) {
            let factor = scale * b;
            values.iter_mut().zip(a).for_each(|(value, a)| *value += factor * a);
        }
    }
}

/// As [`FormatSpec::quantize_blocks`], on all cores where there are threads: the search for scales
/// takes longer than any disk.
fn quantize_rows(spec: &FormatSpec, values: &[f32], bytes: &mut [u8]) -> bool {
    #[cfg(target_arch = "wasm32")]
    let threads = 1;
    #[cfg(not(target_arch = "wasm32"))]
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Below that, starting a thread takes longer than the work.
    let blocks = (values.len() / spec.block as usize).div_ceil(threads).max(4096 / spec.block as usize);
    let pieces = values.chunks(blocks * spec.block as usize).zip(bytes.chunks_mut(blocks * spec.bytes as usize));
    if threads == 1 || pieces.len() < 2 {
        return spec.quantize_blocks(values, bytes);
    }
    std::thread::scope(|scope| {
        let work = pieces.map(|(values, bytes)| scope.spawn(|| spec.quantize_blocks(values, bytes)));
        let running: Vec<_> = work.collect();
        running.into_iter().all(|thread| thread.join().unwrap_or(false))
    })
}
