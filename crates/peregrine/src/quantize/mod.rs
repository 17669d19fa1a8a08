//! Conversion to GGUF: from a Hugging Face folder, with every multiplier put into the weights, or from another GGUF
//! file. The files are those of llama.cpp's converter and quantiser: same names, same choice of formats, same fields.
//!
//! One difference, where the field's files are wrong: of a model whose embedding is also its LM head, both matrices
//! are written when their multipliers differ. A single matrix cannot carry both, and logits would be off by a factor.

pub(crate) mod fields;

use std::io::Write;
use std::str::FromStr;

use self::fields::Description;
use crate::checkpoint::gguf_write::{ALIGNMENT, GgufHeader};
use crate::checkpoint::names::{Bake, Expected, expected};
use crate::checkpoint::{Checkpoint, Container, TensorInfo};
use crate::config::Config;
use crate::format::Format;
use crate::{Error, Result};

/// Values that are converted at a time: bounds the memory, whatever the tensor.
const PIECE: u64 = 1 << 22;

/// What a file is quantised to. The names are those of llama.cpp; matrices get the format, small tensors stay F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum QuantType {
    /// Everything in F32.
    F32,
    /// Matrices in F16.
    F16,
    /// Matrices in BF16.
    BF16,
    /// Matrices in Q8_0.
    Q8_0,
    /// Matrices in Q4_0, the LM head in Q6_K.
    Q4_0,
    /// Matrices in Q4_1, the LM head in Q6_K.
    Q4_1,
    /// Matrices in Q5_0, the LM head in Q6_K.
    Q5_0,
    /// Matrices in Q5_1, the LM head in Q6_K.
    Q5_1,
    /// Matrices in Q4_K; the LM head, and in half of the layers V and down, in Q6_K.
    Q4_K_M,
    /// As Q4_K_M, with Q5_K.
    Q5_K_M,
    /// Matrices in Q6_K.
    Q6_K,
}

impl QuantType {
    /// All of them, for a help text.
    pub const ALL: &[Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6_K,
        Self::Q5_K_M,
        Self::Q4_K_M,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
    ];

    /// llama.cpp's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_K_M => "Q4_K_M",
            Self::Q5_K_M => "Q5_K_M",
            other => other.base().spec().name,
        }
    }

    /// The format of most matrices.
    fn base(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::BF16 => Format::BF16,
            Self::Q8_0 => Format::Q8_0,
            Self::Q4_0 => Format::Q4_0,
            Self::Q4_1 => Format::Q4_1,
            Self::Q5_0 => Format::Q5_0,
            Self::Q5_1 => Format::Q5_1,
            Self::Q4_K_M => Format::Q4_K,
            Self::Q5_K_M => Format::Q5_K,
            Self::Q6_K => Format::Q6_K,
        }
    }

    /// llama.cpp's number, for `general.file_type`.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4_1 => 3,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q4_K_M => 15,
            Self::Q5_K_M => 17,
            Self::Q6_K => 18,
            Self::BF16 => 32,
        }
    }
}

impl FromStr for QuantType {
    type Err = Error;

    /// Case does not matter; `Q4_K` means `Q4_K_M`, `Q5_K` `Q5_K_M`.
    fn from_str(text: &str) -> Result<Self> {
        let upper = match text.to_ascii_uppercase().as_str() {
            short @ ("Q4_K" | "Q5_K") => format!("{short}_M"),
            other => other.to_string(),
        };
        Self::ALL.iter().copied().find(|ty| ty.name() == upper).ok_or_else(|| Error::Argument {
            field: "type".into(),
            expected: format!("one of {}", Self::ALL.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(", ")),
            found: text.into(),
        })
    }
}

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
}

/// Writes `input` as a GGUF file. `progress` gets the bytes of tensors written, and of all.
///
/// # Errors
/// The input's; [`Error::Io`] of `out`; [`Error::Unsupported`] for a tokenizer that GGUF cannot express;
/// [`Error::Malformed`] for a weight that is not finite or too large for the format.
pub async fn quantize(
    input: &Checkpoint,
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
        jobs.push(Job { from, bake: wanted.bake, format, bytes });
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
    let mut file = crate::checkpoint::PartFile::create(path)?;
    let written = quantize(input, file.out(), options, progress).await;
    file.finish(written)
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

/// The format of one tensor, by the rules of llama.cpp's quantiser.
pub(crate) fn choose(tensor: &Expected, config: &Config, target: QuantType) -> Format {
    let base = target.base();
    let (layer, layers) = (layer_of(&tensor.hf), config.num_hidden_layers);
    let more = layer < layers / 8 || layer >= 7 * layers / 8 || layer.wrapping_sub(layers / 8) % 3 == 2;
    let head = tensor.bake == Bake::LmHead
        || tensor.bake == Bake::Embedding
            && config.tie_word_embeddings
            && config.embedding_multiplier == config.lm_head_multiplier;
    let sensitive = tensor.hf.ends_with("v_proj.weight") || tensor.bake == Bake::Down;
    let format = match target {
        _ if matches!(tensor.bake, Bake::Small | Bake::A) => return Format::F32,
        QuantType::Q4_0 | QuantType::Q4_1 | QuantType::Q5_0 | QuantType::Q5_1 if head => Format::Q6_K,
        QuantType::Q4_K_M | QuantType::Q5_K_M if head || sensitive && more => Format::Q6_K,
        _ => base,
    };
    // Rows that are not whole blocks of 256 fall back to blocks of 32.
    let smaller = match format {
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        _ => Format::Q8_0,
    };
    let cols = tensor.shape.last().copied().unwrap_or(1);
    let fits = |format: &Format| format.row_bytes(cols).is_some();
    [format, smaller].into_iter().find(fits).unwrap_or(Format::F16)
}

/// The layer in "model.layers.7.…"; 0 elsewhere.
fn layer_of(hf: &str) -> u32 {
    hf.split('.').nth(2).and_then(|layer| layer.parse().ok()).unwrap_or(0)
}

/// The multipliers of a row of a tensor, to be applied one after the other in f32, as the field's converter does.
fn multipliers(config: &Config, bake: Bake, row: u64) -> [f32; 2] {
    match bake {
        Bake::Embedding => [config.embedding_multiplier, 1.0],
        Bake::LmHead => [config.lm_head_multiplier, 1.0],
        Bake::AttentionIn => [config.attention_in_multiplier, 1.0],
        Bake::Key => [config.key_multiplier, config.attention_in_multiplier],
        Bake::AttentionOut => [config.attention_out_multiplier, 1.0],
        Bake::SsmOut => [config.ssm_out_multiplier, 1.0],
        Bake::Gate => [config.mlp_multipliers[0], 1.0],
        Bake::Down => [config.mlp_multipliers[1], 1.0],
        Bake::A | Bake::Matrix | Bake::Small => [1.0, 1.0],
        Bake::SsmIn => {
            let (inner, state) = (config.mamba_d_ssm, config.mamba_n_groups * config.mamba_d_state);
            let mut end = 0;
            let section = [inner, inner, state, state].into_iter().position(|rows| {
                end += u64::from(rows);
                row < end
            });
            [config.ssm_in_multiplier, config.ssm_multipliers[section.unwrap_or(4)]]
        }
    }
}

/// Rows of one tensor: read, multiplied, in the new format.
async fn convert(input: &Checkpoint, job: &Job<'_>, row: u64, rows: u64) -> Result<Vec<u8>> {
    let mut values = input.read_rows_f32(job.from, row, rows).await?;
    let cols = job.from.cols() as usize;
    for (values, row) in values.chunks_exact_mut(cols).zip(row..) {
        let [first, second] = multipliers(&input.config, job.bake, row);
        for value in values {
            *value = match job.bake {
                Bake::A => -value.exp(),
                _ => *value * first * second,
            };
        }
    }
    let most = match job.format {
        Format::F32 | Format::BF16 => f32::MAX,
        // The scales of blocks are halves.
        _ => 65_504.0,
    };
    if let Some(value) = values.iter().find(|value| value.is_nan() || value.abs() > most) {
        let expected = format!("finite values up to {most:e}, as {} needs", job.format);
        return Err(malformed(input, job.from, &expected, value));
    }
    let spec = job.format.spec();
    let mut bytes = vec![0; values.len() / spec.block as usize * spec.bytes as usize];
    if !spec.quantise_blocks(&values, &mut bytes) {
        return Err(malformed(input, job.from, "a format that can be written", job.format));
    }
    Ok(bytes)
}
