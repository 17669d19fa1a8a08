//! A checkpoint: configuration, tokenizer data and a directory of tensors, read from a GGUF file or
//! from a Hugging Face folder. Opening reads headers only; weights are read in pieces by whoever
//! wants them.
//!
//! Every tensor that the architecture needs is known to be there, in its shape and inside the file,
//! once a [`Checkpoint`] exists. Nothing that a header says is believed before it is checked
//! against the file's length.

pub(crate) mod folder;
pub mod gguf;
pub mod gguf_value;
mod gptq;
#[cfg(all(feature = "http", not(target_arch = "wasm32")))]
pub mod http;
#[cfg(feature = "hub")]
pub mod hub;
pub mod names;
mod open;
mod read;
mod remembered;
pub mod safetensors;
pub mod source;
pub mod split;
mod tensors;
mod tokenizer_data;
mod tokenizer_files;

use std::collections::HashMap;
use std::rc::Rc;

#[cfg(all(feature = "http", not(target_arch = "wasm32")))]
pub use self::http::HttpSource;
#[cfg(not(target_arch = "wasm32"))]
pub use self::source::FileSource;
pub use self::source::{LocalFuture, MemorySource, Source};
use self::tensors::Found;
pub use self::tensors::TensorInfo;
pub use self::tokenizer_data::{PRE_TOKENIZERS, TokenizerData};
use crate::config::Config;
use crate::{Error, Result};

/// The kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One or more files; multipliers are in the weights.
    Gguf,
    /// A Hugging Face folder; multipliers are in the configuration.
    Safetensors,
}

/// An opened model.
pub struct Checkpoint {
    /// The numbers.
    pub config: Config,
    /// The model's name: `general.name`, or the folder's.
    pub name: String,
    /// GGUF or safetensors.
    pub container: Container,
    /// Vocabulary, merges and special tokens, in the container's own form.
    pub tokenizer: TokenizerData,
    /// Jinja source, where there is one.
    pub chat_template: Option<String>,
    /// Texts of the special tokens that have a name, as a chat template calls them: `bos_token`,
    /// `pad_token`.
    pub named_tokens: Vec<(String, String)>,
    /// Fields to show to a person: key and value; arrays only by their count.
    pub metadata: Vec<(String, String)>,
    /// A GGUF file's fields as they are there, but for the vocabulary: for a file that is made from
    /// this one.
    pub(crate) kept: Vec<(String, Vec<u8>)>,
    file: String,
    sources: Vec<Rc<dyn Source>>,
    tensors: Vec<TensorInfo>,
    /// What a caller will want again.
    remembered: remembered::Remembered,
    index: HashMap<String, usize>,
}

impl Checkpoint {
    /// A GGUF file's fields, but for the vocabulary: their names and their bytes as they are there.
    pub fn fields(&self) -> &[(String, Vec<u8>)] {
        &self.kept
    }

    /// All tensors, in the order of use.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// Values in all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum()
    }

    /// The tensor with this HF name, if the model has it.
    pub fn get(&self, hf_name: &str) -> Option<&TensorInfo> {
        self.index.get(hf_name).map(|&index| &self.tensors[index])
    }

    /// The tensor with this HF name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, hf_name: &str) -> Result<&TensorInfo> {
        self.get(hf_name).ok_or_else(|| Error::MissingTensor { name: self.file.clone(), tensor: hf_name.into() })
    }

    /// What to call the file in a message.
    pub fn file(&self) -> &str {
        &self.file
    }
}
