//! Opening: from files, a folder or an address to a [`Checkpoint`].

use std::collections::HashMap;
use std::rc::Rc;

#[cfg(not(target_arch = "wasm32"))]
use super::FileSource;
#[cfg(all(feature = "http", not(target_arch = "wasm32")))]
use super::HttpSource;
#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
use super::hub;
use super::{Checkpoint, Container, Source, folder, gguf_value, split, tokenizer_data};
use crate::config::Config;
use crate::{Error, Result};

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
}
