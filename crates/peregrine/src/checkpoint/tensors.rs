//! The directory of a checkpoint's tensors: what a container lists, matched with what the
//! architecture needs.

use std::collections::HashMap;

use super::names::{Expected, expected};
use super::{Checkpoint, Container};
use crate::config::Config;
use crate::format::Format;
use crate::{Error, Result};

/// Where one tensor lies.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Hugging Face's name, the same for both containers. One exception: a GGUF file holds
    /// A = -exp(A_log), so there the name ends in `mamba.A`, not `mamba.A_log`;
    /// [`Checkpoint::mamba_a`] reads either.
    pub name: String,
    /// Name in the file.
    pub stored_name: String,
    /// `[out, in]`, or `[n]`; the convolution is `[channels, taps]`.
    pub shape: Vec<u64>,
    /// Block format.
    pub format: Format,
    /// Which source, in the order of the shards.
    pub source: usize,
    /// First byte in the source.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Values in a row: the last dimension.
    pub fn cols(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: 1 for a vector.
    pub fn rows(&self) -> u64 {
        self.shape.iter().rev().skip(1).product()
    }

    /// Bytes of a row in the file.
    pub fn row_bytes(&self) -> u64 {
        // Opening has checked that rows are whole blocks.
        self.format.row_bytes(self.cols()).unwrap_or(0)
    }
}

/// A tensor as a container lists it; the shape has the slowest dimension first.
pub(super) struct Found {
    pub stored_name: String,
    pub shape: Vec<u64>,
    pub format: Format,
    pub source: usize,
    pub offset: u64,
    pub bytes: u64,
}

impl Checkpoint {
    /// Matches the file's tensors with those of the architecture.
    pub(super) fn fill(&mut self, found: Vec<Found>) -> Result<()> {
        let gguf = self.container == Container::Gguf;
        let stored = |e: &Expected| if gguf { e.gguf.clone() } else { e.hf.clone() };
        // With fewer tensors than layers something is missing, and a table of all layers would be
        // memory for a lie.
        let layers = u32::try_from(found.len() + 1).unwrap_or(u32::MAX);
        let all =
            expected(&Config { num_hidden_layers: self.config.num_hidden_layers.min(layers), ..self.config.clone() });
        let places: HashMap<String, usize> = all.iter().enumerate().map(|(place, e)| (stored(e), place)).collect();
        let mut slots: Vec<Option<TensorInfo>> = vec![None; all.len()];
        for tensor in found {
            let Some(&place) = places.get(&tensor.stored_name) else {
                if self.is_harmless(&tensor.stored_name) {
                    continue;
                }
                return Err(Error::Unsupported {
                    name: self.file.clone(),
                    field: format!("tensor {}", tensor.stored_name),
                    expected: "only tensors of a Falcon-H1 model with this configuration".into(),
                    found: format!("an extra tensor of shape {:?}", tensor.shape),
                });
            };
            let wanted = &all[place];
            if !wanted.accepts(&tensor.shape) {
                return Err(Error::TensorShape {
                    name: self.file.clone(),
                    tensor: tensor.stored_name,
                    expected: wanted.shape.clone(),
                    found: tensor.shape,
                });
            }
            let info = TensorInfo {
                name: match gguf {
                    true => wanted.hf.replace(".A_log", ".A"),
                    false => wanted.hf.clone(),
                },
                stored_name: tensor.stored_name,
                shape: wanted.shape.clone(),
                format: tensor.format,
                source: tensor.source,
                offset: tensor.offset,
                bytes: tensor.bytes,
            };
            // A vector stored as [n, 1] has rows of one value, which only a float format can have;
            // as [n] the rows are whole blocks again or the length differs.
            let size = info.row_bytes().checked_mul(info.rows());
            if size != Some(info.bytes) {
                return Err(Error::Malformed {
                    name: self.file.clone(),
                    field: format!("tensor {}", info.stored_name),
                    expected: format!("{size:?} bytes of {}", info.format),
                    found: format!("{} bytes", info.bytes),
                });
            }
            slots[place] = Some(info);
        }
        for (slot, wanted) in slots.into_iter().zip(&all) {
            let Some(info) = slot else {
                return Err(Error::MissingTensor { name: self.file.clone(), tensor: stored(wanted) });
            };
            self.index.insert(info.name.clone(), self.tensors.len());
            self.tensors.push(info);
        }
        Ok(())
    }

    /// Extra tensors that change nothing: tables of rotary frequencies (θ says the same), and the
    /// copy of a tied embedding.
    fn is_harmless(&self, stored: &str) -> bool {
        stored == "rope_freqs.weight"
            || stored.ends_with(".inv_freq")
            || stored == "lm_head.weight" && self.config.tie_word_embeddings
    }
}
