//! Random checkpoints of the official shapes, as GGUF files: to measure and to test where no
//! weights are at hand.
//!
//! Such a model speaks noise, but its numbers are like a trained model's: logits with a standard
//! deviation of 2, a residual stream near 1 at any depth, SSM states that decay. The formats are
//! those that [`crate::quantize`] chooses.
//!
//! What a row is sampled to be depends on the seed, its tensor's name and its place, not on what
//! was sampled before. Quantizing every weight of a large model would take many minutes, so a row
//! is put together from ready blocks.

#[cfg(not(target_arch = "wasm32"))]
mod adapter;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
mod sizes;
mod vocabulary;
mod weights;

use std::io::Write;

#[cfg(not(target_arch = "wasm32"))]
pub use self::adapter::synth_adapter;
#[cfg(not(target_arch = "wasm32"))]
pub use self::folder::{Store, synth_folder};
pub use self::sizes::Size;
use self::weights::Weights;
use crate::gguf::{ALIGNMENT, Field, GgufHeader};
use crate::quantize::fields::{self, Description};
use crate::quantize::{QuantType, choose};
use peregrine::checkpoint::names::{Bake, Expected, expected};
use peregrine::config::Config;
use peregrine::format::Format;
use peregrine::{Error, Result};

/// Bytes that are made at a time, up to a row more.
const PIECE: usize = 1 << 20;

/// What to make.
#[derive(Clone, Debug)]
pub struct SynthOptions {
    /// The shape.
    pub size: Size,
    /// The type, as for [`crate::quantize::quantize`].
    pub target: QuantType,
    /// Another seed, other weights.
    pub seed: u64,
    /// Layers, 1 to 1024, where not the shape's own.
    pub layers: Option<u32>,
    /// Other sizes than the shape's own, by the names of `config.json`: see [`Size::with`].
    pub sizes: Vec<(String, u32)>,
    /// Every matrix in the target's own format, not in the field's mix.
    pub pure: bool,
    /// Files that the model is cut into, 1 to 99; more than one for [`synth_to_file`] only.
    pub files: u32,
}

impl SynthOptions {
    /// The shape as it is.
    pub fn new(size: Size, target: QuantType, seed: u64) -> Self {
        Self { size, target, seed, layers: None, sizes: Vec::new(), pure: false, files: 1 }
    }

    fn config(&self) -> Result<Config> {
        let config = self.size.with(&self.sizes)?;
        if config.vocab_size < vocabulary::least() {
            return Err(argument("vocab_size", &format!("at least {}", vocabulary::least()), config.vocab_size));
        }
        match self.layers {
            None => Ok(config),
            Some(num_hidden_layers @ 1..=1024) => Ok(Config { num_hidden_layers, ..config }),
            Some(other) => Err(argument("layers", "1 to 1024", other)),
        }
    }
}

/// One tensor to be written, and the bytes that it will take.
type Job = (Expected, Format, u64);

/// The headers of all files, each with the tensors that are in it.
fn plan(options: &SynthOptions, config: &Config) -> Result<Vec<(GgufHeader, Vec<Job>)>> {
    if !(1..=99).contains(&options.files) {
        return Err(argument("files", "1 to 99", options.files));
    }
    let description = Description {
        name: &format!("Falcon-H1 {} with random weights, seed {}", options.size.name(), options.seed),
        license: None,
        config,
        target: options.target,
        tokenizer: &vocabulary::tokenizer(config.vocab_size),
        chat_template: Some(vocabulary::CHAT_TEMPLATE),
        kept: &[],
    };
    let all = expected(config);
    let count = all.len();
    let mut files = Vec::new();
    for (number, tensors) in all.chunks(count.div_ceil(options.files as usize)).enumerate() {
        let mut header = GgufHeader::default();
        if number == 0 {
            fields::write(&mut header, &description)?;
        }
        if options.files > 1 {
            header.field("split.no", Field::U32(number as u32));
            header.field("split.count", Field::U32(options.files));
            header.field("split.tensors.count", Field::U32(count as u32));
        }
        let mut jobs = Vec::new();
        for tensor in tensors {
            let small = matches!(tensor.bake, Bake::Small | Bake::A);
            let format = match options.pure && !small {
                true => options.target.base(),
                false => choose(tensor, config, options.target),
            };
            let bytes = header.tensor(&tensor.gguf, &tensor.dims(), format).ok_or_else(|| Error::TensorShape {
                name: options.size.name().into(),
                tensor: tensor.gguf.clone(),
                expected: vec![format.spec().block.into()],
                found: tensor.shape.clone(),
            })?;
            jobs.push((tensor.clone(), format, bytes));
        }
        files.push((header, jobs));
    }
    Ok(files)
}

fn argument(field: &str, expected: &str, found: impl ToString) -> Error {
    Error::Argument { field: field.into(), expected: expected.into(), found: found.to_string() }
}

/// Writes one file of the plan. `progress` hears how many bytes of tensors were written.
fn write(
    out: &mut dyn Write,
    (header, jobs): &(GgufHeader, Vec<Job>),
    weights: &mut Weights<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let io = |source| Error::Io { name: "the output".into(), source };
    out.write_all(&header.bytes()).map_err(io)?;
    let mut piece = Vec::new();
    for (tensor, format, bytes) in jobs {
        let rows: u64 = tensor.shape.iter().rev().skip(1).product();
        for row in 0..rows {
            weights.row(tensor, *format, row, &mut piece);
            if piece.len() >= PIECE || row + 1 == rows {
                let written = piece.len() as u64;
                if row + 1 == rows {
                    piece.resize(piece.len() + (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize, 0);
                }
                out.write_all(&piece).map_err(io)?;
                piece.clear();
                progress(written);
            }
        }
    }
    out.flush().map_err(io)
}

/// Adds up what [`write`] tells.
fn total(files: &[(GgufHeader, Vec<Job>)]) -> u64 {
    files.iter().flat_map(|(_, jobs)| jobs).map(|(.., bytes)| bytes).sum()
}

/// Writes a random model as a GGUF file: always the same bytes for the same options. `progress`
/// gets the bytes of tensors written, and of all. Memory is bounded, whatever the size.
///
/// # Errors
/// [`Error::Argument`] for a wrong number of layers or files, and for sizes that do not go
/// together; [`Error::Io`] of `out`.
pub fn synth(out: &mut dyn Write, options: &SynthOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let config = options.config()?;
    let files = plan(options, &config)?;
    let [file] = files.as_slice() else {
        return Err(argument("files", "1 for a single output", options.files));
    };
    let (mut done, total) = (0, total(&files));
    progress(done, total);
    write(out, file, &mut Weights::new(options.seed, &config), &mut |bytes| {
        done += bytes;
        progress(done, total);
    })
}

/// As [`synth`], to a file. It gets its name only when it is complete. Several files are called as
/// [`peregrine::checkpoint::split::names`] says: `path` without its ending, `-00001-of-00003.gguf`
/// and so on. The result is the name of the first.
///
/// # Errors
/// As [`synth`].
#[cfg(not(target_arch = "wasm32"))]
pub fn synth_to_file(
    path: &std::path::Path,
    options: &SynthOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<std::path::PathBuf> {
    let config = options.config()?;
    let files = plan(options, &config)?;
    let (mut done, total) = (0, total(&files));
    progress(done, total);
    let mut weights = Weights::new(options.seed, &config);
    let stem = path.with_extension("");
    let mut names = Vec::new();
    // All get their names at the end: some of the files are no model.
    let mut parts = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = match files.len() {
            1 => path.to_path_buf(),
            count => format!("{}-{:05}-of-{count:05}.gguf", stem.display(), number + 1).into(),
        };
        let mut part = crate::part_file::PartFile::create(&name)?;
        let written = write(part.out(), file, &mut weights, &mut |bytes| {
            done += bytes;
            progress(done, total);
        });
        match written {
            Ok(()) => parts.push(part),
            error => part.finish(error)?,
        }
        names.push(name);
    }
    parts.into_iter().try_for_each(|part| part.finish(Ok(())))?;
    Ok(names.into_iter().next().unwrap_or_else(|| path.to_path_buf()))
}
