//! A Hugging Face folder: safetensors (one file or shards), `config.json`, and the tokenizer's files.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::safetensors::{malformed, read_header};
use super::source::{FileSource, Source, refuse_stand_in};
use super::{Checkpoint, Container, Found, gptq, tokenizer_files};
use crate::config::Config;
use crate::config::json::lenient;
use crate::{Error, Result};

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| Error::Io { name: name.clone(), source })?;
    refuse_stand_in(&name, &bytes, "the file itself")?;
    Ok(bytes)
}

/// A file of the folder; `None` if it is not there.
pub(super) fn read_optional(folder: &Path, file: &str) -> Result<Option<Vec<u8>>> {
    let path = folder.join(file);
    if path.exists() { read(&path).map(Some) } else { Ok(None) }
}

pub(crate) fn json_file(folder: &Path, file: &str) -> Result<Option<Value>> {
    let bytes = read_optional(folder, file)?;
    bytes.map(|bytes| lenient(&folder.join(file).display().to_string(), &bytes)).transpose()
}

/// Names of files, and for shards which tensor is to be in which.
type Shards = (Vec<String>, Option<HashMap<String, String>>);

/// The safetensors files of the folder.
fn shards(folder: &Path) -> Result<Shards> {
    const INDEX: &str = "model.safetensors.index.json";
    let Some(index) = json_file(folder, INDEX)? else {
        return Ok((vec!["model.safetensors".into()], None));
    };
    let name = folder.join(INDEX).display().to_string();
    let map = index
        .get("weight_map")
        .ok_or_else(|| Error::MissingField { name: name.clone(), field: "weight_map".into() })?;
    let map: HashMap<String, String> = serde_json::from_value(map.clone())
        .map_err(|e| malformed(&name, "weight_map", "names of files by name of tensor", e))?;
    let files: BTreeSet<&String> = map.values().collect();
    if let Some(path) = files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
        // An index must not reach outside its folder.
        return Err(malformed(&name, "weight_map", "names of files in the folder", path));
    }
    Ok((files.into_iter().cloned().collect(), Some(map)))
}

/// See [`Checkpoint::open_folder`].
pub(super) async fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let file = folder.display().to_string();
    let config_path = folder.join("config.json");
    if !config_path.exists() && folder.join("adapter_config.json").exists() {
        return Err(Error::Unsupported {
            name: file,
            field: "adapter_config.json".into(),
            expected: "a whole model; an adapter runs beside its base model (--lora, engine.lora.load)".into(),
            found: "a folder with a LoRA adapter".into(),
        });
    }
    let config_name = config_path.display().to_string();
    let config_json = lenient(&config_name, &read(&config_path)?)?;
    let mut config = Config::from_json(&config_name, &config_json)?;

    let (files, map) = shards(folder)?;
    let (mut sources, mut found, mut ints): (Vec<Rc<dyn Source>>, Vec<Found>, Vec<Found>) = Default::default();
    for name in &files {
        let source = FileSource::open(folder.join(name))?;
        let listed = read_header(&source, sources.len()).await?;
        let floats = listed.floats.len();
        for (at, tensor) in listed.floats.into_iter().chain(listed.ints).enumerate() {
            let field = format!("tensor {}", tensor.stored_name);
            match map.as_ref().map(|map| map.get(&tensor.stored_name)) {
                Some(Some(listed)) if listed != name => {
                    return Err(malformed(source.name(), &field, format!("it in {listed}"), "it here"));
                }
                Some(None) => {
                    return Err(malformed(source.name(), &field, "it in the index", "it only here"));
                }
                _ if at < floats => found.push(tensor),
                _ => ints.push(tensor),
            }
        }
        sources.push(Rc::new(source));
    }
    let quantised = config_json.get("quantization_config").filter(|value| !value.is_null());
    match (quantised, ints.first()) {
        (Some(scheme), _) => {
            let scheme = gptq::Scheme::from_json(&config_name, scheme)?;
            gptq::assemble(scheme, &mut found, ints, &mut sources).await?;
        }
        (None, None) => {}
        (None, Some(odd)) => {
            return Err(Error::Unsupported {
                name: sources[odd.source].name().into(),
                field: format!("tensor {}", odd.stored_name),
                expected: "F32, F16 or BF16, as config.json has no quantization_config".into(),
                found: "dtype I32".into(),
            });
        }
    }
    if config_json.get("tie_word_embeddings").is_none_or(Value::is_null) {
        config.tie_word_embeddings = !found.iter().any(|t| t.stored_name == "lm_head.weight");
    }
    if let Some(embedding) = found.iter().find(|t| t.stored_name == "model.embed_tokens.weight") {
        // Rows decide; a number of rows that is out of range fails as a shape.
        let rows = embedding.shape.first().and_then(|&rows| u32::try_from(rows).ok());
        config.vocab_size = rows.filter(|&rows| rows <= 1 << 24).unwrap_or(config.vocab_size);
    }
    let generation = json_file(folder, "generation_config.json")?.unwrap_or_default();
    let tokenizer = tokenizer_files::open(folder, &config_json, &generation)?;
    let mut checkpoint = Checkpoint {
        name: model_name(folder, &config_json),
        container: Container::Safetensors,
        tokenizer: tokenizer.data,
        chat_template: tokenizer.chat_template,
        named_tokens: tokenizer.named,
        kept: Vec::new(),
        metadata: shown(&config_json),
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

fn model_name(folder: &Path, config: &Value) -> String {
    let stated = config.get("_name_or_path").and_then(Value::as_str).unwrap_or("");
    let stated = stated.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    if !stated.is_empty() {
        return stated.into();
    }
    let absolute = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    absolute.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

/// The fields of `config.json`, for `info`.
fn shown(config: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let fields = config.as_object().into_iter().flatten();
    fields.map(|(key, value)| (key.clone(), text(value))).collect()
}
