//! Adapters from files that somebody else has opened, as a browser gives them.

use std::rc::Rc;

use serde_json::Value;

use super::pairs::{malformed, unsupported};
use super::peft::{self, Folder};
use super::{Adapter, Base, gguf};
use crate::checkpoint::Source;
use crate::config::json::lenient;
use crate::error::{Error, Result};

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const TENSORS: &str = "adapter_model.safetensors";

/// The longest description: they have some kilobytes.
const MAX_JSON: u64 = 16 << 20;

impl Adapter {
    /// Reads an adapter for a model: the files of a folder of PEFT, among others, or one GGUF file.
    /// The last part of a file's name says what it is. `name` is what the adapter is called.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub async fn read(name: &str, files: &[Rc<dyn Source>], base: &Base<'_>) -> Result<Self> {
        let called = |wanted: &str| files.iter().find(|file| last_part(file.name()) == wanted);
        if let Some(config) = called(CONFIG) {
            let config = (config.name().to_string(), json(&**config).await?);
            let Some(tensors) = called(TENSORS) else {
                return Err(without_tensors(name, called("adapter_model.bin").is_some()));
            };
            let base_config = match called("config.json") {
                Some(file) => Some((file.name().to_string(), json(&**file).await?)),
                None => None,
            };
            let folder = Folder { name: name.into(), config, tensors: tensors.clone(), base: base_config };
            return peft::read(folder, base).await;
        }
        match files {
            // Its bytes say whether it is one.
            [file] if last_part(file.name()) != TENSORS && !last_part(file.name()).ends_with(".json") => {
                gguf::read(name.into(), file.clone(), base).await
            }
            _ => Err(Error::MissingField { name: name.into(), field: CONFIG.into() }),
        }
    }
}

/// Why there is no adapter without its tensors.
pub(super) fn without_tensors(name: &str, pickled: bool) -> Error {
    if pickled {
        let expected = "adapter_model.safetensors: save the adapter anew with safe_serialization=True";
        return unsupported(name, "adapter_model.bin", expected, "a pickle, which can run programs,");
    }
    Error::MissingField { name: name.into(), field: TENSORS.into() }
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

async fn json(source: &dyn Source) -> Result<Value> {
    if source.len() > MAX_JSON {
        return Err(malformed(source.name(), "the file", format!("at most {MAX_JSON} bytes"), source.len()));
    }
    let mut bytes = vec![0; source.len() as usize];
    source.read(0, &mut bytes).await?;
    lenient(source.name(), &bytes)
}
