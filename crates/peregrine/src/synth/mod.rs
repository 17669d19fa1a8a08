//! Random checkpoints of the official shapes, as GGUF files: to measure and to test where no weights are at hand.
//!
//! Such a model speaks noise, but its numbers are like a trained model's: logits with a standard deviation of 2, a
//! residual stream near 1 at any depth, SSM states that decay. The formats are those that [`crate::quantize`] chooses.
//!
//! What a row is drawn to be depends on the seed, its tensor's name and its place, not on what was drawn before.
//! Quantising every weight of a large model would take many minutes, so a row is put together from ready blocks.

mod sizes;
mod vocabulary;
mod weights;

use std::io::Write;

pub use self::sizes::Size;
use self::weights::Weights;
use crate::checkpoint::gguf_write::{ALIGNMENT, GgufHeader};
use crate::checkpoint::names::expected;
use crate::config::Config;
use crate::quantize::fields::{self, Description};
use crate::quantize::{QuantType, choose};
use crate::{Error, Result};

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
}

impl SynthOptions {
    /// The shape as it is.
    pub fn new(size: Size, target: QuantType, seed: u64) -> Self {
        Self { size, target, seed, layers: None }
    }

    fn config(&self) -> Result<Config> {
        let config = self.size.config();
        match self.layers {
            None => Ok(config),
            Some(num_hidden_layers @ 1..=1024) => Ok(Config { num_hidden_layers, ..config }),
            Some(other) => {
                Err(Error::Argument { field: "layers".into(), expected: "1 to 1024".into(), found: other.to_string() })
            }
        }
    }
}

/// Writes a random model as a GGUF file: always the same bytes for the same options. `progress` gets the bytes of
/// tensors written, and of all. Memory is bounded, whatever the size.
///
/// # Errors
/// [`Error::Argument`] for a wrong number of layers; [`Error::Io`] of `out`.
pub fn synth(out: &mut dyn Write, options: &SynthOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let config = options.config()?;
    let mut header = GgufHeader::default();
    let description = Description {
        name: &format!("Falcon-H1 {} with random weights, seed {}", options.size.name(), options.seed),
        license: None,
        config: &config,
        target: options.target,
        tokenizer: &vocabulary::tokenizer(config.vocab_size),
        chat_template: Some(vocabulary::CHAT_TEMPLATE),
    };
    fields::write(&mut header, &description)?;
    let mut jobs = Vec::new();
    for tensor in expected(&config) {
        let format = choose(&tensor, &config, options.target);
        let bytes = header.tensor(&tensor.gguf, &tensor.dims(), format).ok_or_else(|| Error::TensorShape {
            name: options.size.name().into(),
            tensor: tensor.gguf.clone(),
            expected: vec![format.spec().block.into()],
            found: tensor.shape.clone(),
        })?;
        jobs.push((tensor, format, bytes));
    }
    let io = |source| Error::Io { name: "the output".into(), source };
    out.write_all(&header.bytes()).map_err(io)?;
    let total = jobs.iter().map(|(.., bytes)| bytes).sum();
    let mut done = 0;
    progress(done, total);
    let mut weights = Weights::new(options.seed, &config);
    let mut piece = Vec::new();
    for (tensor, format, bytes) in jobs {
        let rows: u64 = tensor.shape.iter().rev().skip(1).product();
        for row in 0..rows {
            weights.row(&tensor, format, row, &mut piece);
            if piece.len() >= PIECE || row + 1 == rows {
                done += piece.len() as u64;
                if row + 1 == rows {
                    piece.resize(piece.len() + (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize, 0);
                }
                out.write_all(&piece).map_err(io)?;
                piece.clear();
                progress(done, total);
            }
        }
    }
    out.flush().map_err(io)
}

/// As [`synth`], to a file. It gets its name only when it is complete.
///
/// # Errors
/// As [`synth`].
#[cfg(not(target_arch = "wasm32"))]
pub fn synth_to_file(path: &std::path::Path, options: &SynthOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let mut file = crate::checkpoint::PartFile::create(path)?;
    let written = synth(file.out(), options, progress);
    file.finish(written)
}
