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
mod remembered;
pub mod safetensors;
pub mod source;
pub mod split;
mod tokenizer_data;
mod tokenizer_files;

use std::collections::HashMap;
use std::rc::Rc;

#[cfg(all(feature = "http", not(target_arch = "wasm32")))]
pub use self::http::HttpSource;
use self::names::{Expected, expected};
#[cfg(not(target_arch = "wasm32"))]
pub use self::source::FileSource;
pub use self::source::{LocalFuture, MemorySource, Source};
pub use self::tokenizer_data::{PRE_TOKENIZERS, TokenizerData};
use crate::config::Config;
use crate::format::Format;
use crate::{Error, Result};

/// The kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One or more files; multipliers are in the weights.
    Gguf,
    /// A Hugging Face folder; multipliers are in the configuration.
    Safetensors,
}

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

/// A tensor as a container lists it; the shape has the slowest dimension first.
struct Found {
    stored_name: String,
    shape: Vec<u64>,
    format: Format,
    source: usize,
    offset: u64,
    bytes: u64,
}

/// Files that are no models, and that say so.
fn refuse_other_kinds(metadata: &gguf_value::Metadata) -> Result<()> {
    let kind = metadata.get("general.type").map(ToString::to_string);
    let (expected, found) = match kind.as_deref() {
        None | Some("model") => return Ok(()),
        Some("adapter") => {
            ("a whole model; an adapter runs beside its base model (--lora, engine.lora.load)", "a LoRA adapter")
        }
        Some("mmproj") => ("the language model: take the other file", "the part of a model that reads images"),
        Some("imatrix") => ("a model", "a table of how important weights are"),
        Some(other) => ("a model", other),
    };
    Err(Error::Unsupported {
        name: metadata.file().into(),
        field: "general.type".into(),
        expected: expected.into(),
        found: found.into(),
    })
}

impl Checkpoint {
    /// Opens a GGUF file: reads its header and nothing else, in growing pieces.
    ///
    /// # Errors
    /// Whatever is wrong with the header, by name; or the source's.
    pub async fn open_gguf(source: Rc<dyn Source>) -> Result<Self> {
        Self::open_gguf_parts(vec![source]).await
    }

    /// Opens a model in several GGUF files, given in order: see [`split`].
    ///
    /// # Errors
    /// As [`Checkpoint::open_gguf`], and [`Error::Malformed`] when the files do not belong
    /// together.
    pub async fn open_gguf_parts(sources: Vec<Rc<dyn Source>>) -> Result<Self> {
        let (mut header, found) = split::read(&sources).await?;
        let file = header.metadata.file().to_string();
        let kept = header.metadata.take_raw();
        let metadata = &header.metadata;
        refuse_other_kinds(metadata)?;
        let by_name = |name: &str| found.iter().find(|t| t.stored_name == name);

        // Another architecture is a better message than a tensor that it does not have.
        let architecture = metadata.str("general.architecture")?;
        let embedding = by_name("token_embd.weight");
        if architecture == crate::config::ARCHITECTURE && embedding.is_none() {
            return Err(Error::MissingTensor { name: file, tensor: "token_embd.weight".into() });
        }
        let vocab = embedding.map_or(1, |t| t.shape.iter().rev().nth(1).copied().unwrap_or(1));
        let vocab = u32::try_from(vocab).unwrap_or(u32::MAX);
        let config = Config::from_gguf(
            metadata,
            vocab,
            by_name("output.weight").is_some(),
            by_name("blk.0.ssm_norm.weight").is_some(),
        )?;
        let tokenizer = tokenizer_data::from_gguf(metadata, config.vocab_size)?;
        let shown = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let default = file.rsplit('/').next().unwrap_or(&file).to_string();
        let mut checkpoint = Self {
            // Whatever is there, even if it is no text: nothing but a person needs it.
            name: metadata.get("general.name").map_or(default, ToString::to_string),
            container: Container::Gguf,
            tokenizer,
            chat_template: metadata.str_opt("tokenizer.chat_template")?.map(Into::into),
            named_tokens: tokenizer_data::named(metadata)?,
            metadata: shown.collect(),
            kept,
            file,
            sources,
            tensors: Vec::new(),
            remembered: Default::default(),
            index: HashMap::new(),
            config,
        };
        checkpoint.fill(found)?;
        Ok(checkpoint)
    }

    /// Opens a Hugging Face folder: `config.json`, `model.safetensors` or its shards,
    /// `tokenizer.json`, and where
    /// they are there `generation_config.json`, `tokenizer_config.json`, `chat_template.jinja`.
    /// Layers of GPTQ (4 and 8 bits) appear as tensors of a block format with the same values.
    ///
    /// # Errors
    /// Whatever is wrong with one of them, by file and field.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn open_folder(path: &std::path::Path) -> Result<Self> {
        folder::open(&folder::Folder::at(path)).await
    }

    /// Opens a model from its files, in whatever way their bytes are had: a Hugging Face folder,
    /// where one of them is a `config.json`, else GGUF files in order. Names are paths: of a
    /// folder's files with its name in front, with `/` between.
    ///
    /// # Errors
    /// As [`Checkpoint::open_folder`] and [`Checkpoint::open_gguf_parts`].
    pub async fn open_files(files: Vec<Rc<dyn Source>>) -> Result<Self> {
        if let Some(folder) = folder::Folder::of(&files) {
            return folder::open(&folder).await;
        }
        Self::open_gguf_parts(files).await
    }

    /// Opens what the user names: a GGUF file, a folder, or an http(s) address of a GGUF file. Of a
    /// model in several files, any of them.
    ///
    /// # Errors
    /// As [`Checkpoint::open_gguf`] and [`Checkpoint::open_folder`]; [`Error::Unsupported`] for a
    /// hub id, and for an address where the crate was built without its feature `http`.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn open(model: &str) -> Result<Self> {
        let parts = split::names(model).unwrap_or_else(|| vec![model.into()]);
        if model.starts_with("http://") || model.starts_with("https://") {
            return Self::open_addresses(model, &parts).await;
        }
        let path = std::path::Path::new(model);
        if path.is_dir() {
            return Self::open_folder(path).await;
        }
        #[cfg(feature = "hub")]
        if !path.exists() && hub::HubId::parse(model).is_some() {
            return Err(Error::Unsupported {
                name: model.into(),
                field: "model".into(),
                expected: "a GGUF file, a Hugging Face folder, or an http(s) address of a GGUF file; there is no \
                           such path here"
                    .into(),
                found: "an id on the Hugging Face hub".into(),
            });
        }
        let sources = parts.iter().map(|part| Ok(Rc::new(FileSource::open(part)?) as Rc<dyn Source>));
        Self::open_gguf_parts(sources.collect::<Result<_>>()?).await
    }

    #[cfg(all(feature = "http", not(target_arch = "wasm32")))]
    async fn open_addresses(_: &str, parts: &[String]) -> Result<Self> {
        let sources = parts.iter().map(|part| Ok(Rc::new(HttpSource::open(part)?) as Rc<dyn Source>));
        Self::open_gguf_parts(sources.collect::<Result<_>>()?).await
    }

    #[cfg(all(not(feature = "http"), not(target_arch = "wasm32")))]
    async fn open_addresses(model: &str, _: &[String]) -> Result<Self> {
        Err(Error::Unsupported {
            name: model.into(),
            field: "model".into(),
            expected: "a file or a folder; addresses need the feature `http` of the crate peregrine".into(),
            found: "an address".into(),
        })
    }

    /// Matches the file's tensors with those of the architecture.
    fn fill(&mut self, found: Vec<Found>) -> Result<()> {
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

    /// Reads `buf.len()` bytes of a tensor, from its byte `offset` on.
    ///
    /// # Errors
    /// [`Error::Truncated`] past the tensor's end; the source's.
    pub async fn read(&self, tensor: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (needed, what) = (buf.len() as u64, &tensor.stored_name);
        source::check_range(&self.file, what, offset, needed, tensor.bytes)?;
        // `source` and the sum were checked when the tensor was listed.
        if self.remembered.copy_to(&tensor.name, offset, buf) {
            return Ok(());
        }
        self.sources[tensor.source].read(tensor.offset + offset, buf).await?;
        self.remembered.add(&tensor.name, offset, buf);
        Ok(())
    }

    /// Keeps rows of a tensor when they are read the next time, so that reading them again costs
    /// nothing. A tensor that the model does not have has none.
    pub(crate) fn remember(&self, hf_name: &str, rows: std::ops::Range<u64>) {
        if let Some(tensor) = self.get(hf_name) {
            let end = rows.end.min(tensor.rows()) * tensor.row_bytes();
            self.remembered.want(hf_name, rows.start * tensor.row_bytes()..end);
        }
    }

    /// Gives back the memory of what was remembered.
    pub(crate) fn forget(&self) {
        self.remembered.forget();
    }

    /// A whole tensor in f32. For small tensors, and for the CPU twin.
    ///
    /// `shape` is checked; dimensions of 1 do not count.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], or the source's.
    pub async fn read_f32(&self, hf_name: &str, shape: &[u64]) -> Result<Vec<f32>> {
        let tensor = self.tensor(hf_name)?;
        let big = |&d: &u64| d != 1;
        if !shape.iter().copied().filter(big).eq(tensor.shape.iter().copied().filter(big)) {
            return Err(Error::TensorShape {
                name: self.file.clone(),
                tensor: tensor.stored_name.clone(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        self.read_rows_f32(tensor, 0, tensor.rows()).await
    }

    /// [`Error::Malformed`] where a weight among `bytes`, which begin at a row of the tensor, is
    /// NaN or infinite.
    pub(crate) fn check_finite(&self, tensor: &TensorInfo, first_row: u64, bytes: &[u8]) -> Result<()> {
        let spec = tensor.format.spec();
        let Some(block) = spec.first_not_finite(bytes) else {
            return Ok(());
        };
        let row = first_row + block as u64 * u64::from(spec.bytes) / tensor.row_bytes().max(1);
        Err(Error::Malformed {
            name: self.file.clone(),
            field: format!("tensor {}", tensor.stored_name),
            expected: "finite weights".into(),
            found: format!("NaN or an infinity in row {row}"),
        })
    }

    /// Rows `first_row..first_row + rows` of a tensor in f32, row-major.
    ///
    /// # Errors
    /// [`Error::Truncated`] past the last row; [`Error::Malformed`] for NaN and infinities; the
    /// source's.
    pub async fn read_rows_f32(&self, tensor: &TensorInfo, first_row: u64, rows: u64) -> Result<Vec<f32>> {
        let what = format!("rows of {}", tensor.stored_name);
        source::check_range(&self.file, &what, first_row, rows, tensor.rows())?;
        // The tensor lies inside its file, so these products are at most a small multiple of the
        // file's length.
        let row_bytes = tensor.row_bytes();
        let size = |n: u64| {
            usize::try_from(n).ok().filter(|&n| n < isize::MAX as usize / 4).ok_or_else(|| Error::OutOfMemory {
                what: what.clone(),
                bytes: Some(n),
                limit: Some(isize::MAX as u64),
            })
        };
        let mut bytes = vec![0; size(rows * row_bytes)?];
        let mut values = vec![0.0; size(rows * tensor.cols())?];
        self.read(tensor, first_row * row_bytes, &mut bytes).await?;
        self.check_finite(tensor, first_row, &bytes)?;
        tensor.format.spec().dequantize_blocks(&bytes, &mut values);
        Ok(values)
    }

    /// A = -exp(A_log) of one layer, one negative number for each of H heads.
    ///
    /// # Errors
    /// As [`Checkpoint::read_f32`].
    pub async fn mamba_a(&self, layer: u32) -> Result<Vec<f32>> {
        let shape = [self.config.mamba_n_heads.into()];
        match self.container {
            Container::Gguf => self.read_f32(&format!("model.layers.{layer}.mamba.A"), &shape).await,
            Container::Safetensors => {
                let name = format!("model.layers.{layer}.mamba.A_log");
                let mut a = self.read_f32(&name, &shape).await?;
                a.iter_mut().for_each(|a| *a = names::a_of_log(*a));
                Ok(a)
            }
        }
    }

    /// What to call the file in a message.
    pub fn file(&self) -> &str {
        &self.file
    }
}
