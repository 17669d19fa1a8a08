//! A Hugging Face folder: safetensors (one file or shards), `config.json`, and the tokenizer's files.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use safetensors::{Dtype, tensor::TensorInfo as Entry};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::source::{FileSource, Source, check_range, refuse_stand_in};
use super::{Checkpoint, Container, Found, TensorInfo, gptq, tokenizer_files};
use crate::config::Config;
use crate::config::json::lenient;
use crate::format::Format;
use crate::{Error, Result};

/// The longest header that the safetensors format allows.
const MAX_HEADER: u64 = 100_000_000;

fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// The entries of a JSON object in order, repeats included: `serde_json`'s own map would hide them.
struct Entries(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// What one file lists.
struct Listed {
    floats: Vec<Found>,
    /// Of I32; their format says only that a value has 4 bytes.
    ints: Vec<Found>,
}

/// The floats of one safetensors file, under their names there.
///
/// # Errors
/// Whatever is wrong with the header; [`Error::Unsupported`] for a type that no model here has.
pub async fn list(source: &dyn Source) -> Result<Vec<TensorInfo>> {
    let found = read_header(source, 0).await?.floats;
    let info = |Found { stored_name, shape, format, source, offset, bytes }| TensorInfo {
        name: String::clone(&stored_name),
        stored_name,
        shape,
        format,
        source,
        offset,
        bytes,
    };
    Ok(found.into_iter().map(info).collect())
}

/// Reads and checks the header of one safetensors file: u64 length, JSON, data.
async fn read_header(source: &dyn Source, index: usize) -> Result<Listed> {
    let (name, len) = (source.name(), source.len());
    let mut begin = vec![0; len.min(64) as usize];
    source.read(0, &mut begin).await?;
    refuse_stand_in(name, &begin, "the weights themselves")?;
    let mut length = [0; 8];
    check_range(name, "the length of the header", 0, 8, len)?;
    source.read(0, &mut length).await?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        let expected = format!("at most {MAX_HEADER}");
        return Err(malformed(name, "the length of the header", expected, length));
    }
    check_range(name, "the header", 8, length, len)?;
    let mut header = vec![0; length as usize];
    source.read(8, &mut header).await?;
    let Entries(entries) =
        serde_json::from_slice(&header).map_err(|e| malformed(name, "the header", "a JSON object", e))?;

    let data = 8 + length;
    let (mut floats, mut ints): (Vec<Found>, Vec<Found>) = Default::default();
    let mut seen = BTreeSet::new();
    for (tensor, value) in entries {
        if tensor == "__metadata__" {
            continue;
        }
        let field = format!("tensor {tensor}");
        if !seen.insert(tensor.clone()) {
            return Err(malformed(name, &field, "one tensor of this name", "two"));
        }
        // By the name first: their types are often none that weights have.
        if is_buffer(&tensor) {
            continue;
        }
        let Entry { dtype, shape, data_offsets: (first, end) } =
            serde_json::from_value(value).map_err(|e| malformed(name, &field, "dtype, shape and data_offsets", e))?;
        let format = match dtype {
            Dtype::F32 | Dtype::I32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            other => {
                return Err(Error::Unsupported {
                    name: name.into(),
                    field,
                    expected: "F32, F16 or BF16 (and I32 in GPTQ layers)".into(),
                    found: format!("dtype {other:?}"),
                });
            }
        };
        let shape: Vec<u64> = shape.into_iter().map(|d| d as u64).collect();
        let size = u64::from(format.spec().bytes);
        let bytes = shape.iter().try_fold(size, |bytes, &d| bytes.checked_mul(d));
        let Some(bytes) = bytes.filter(|&bytes| bytes > 0) else {
            let expected = "dimensions above 0 with a product below 2^64";
            return Err(malformed(name, &field, expected, format!("{shape:?}")));
        };
        if (end as u64).checked_sub(first as u64) != Some(bytes) {
            let expected = format!("data_offsets {bytes} bytes apart, as {shape:?} {format} needs");
            return Err(malformed(name, &field, expected, format!("[{first}, {end}]")));
        }
        let offset = (first as u64).saturating_add(data);
        check_range(name, &field, offset, bytes, len)?;
        let kind = if dtype == Dtype::I32 { &mut ints } else { &mut floats };
        kind.push(Found { stored_name: tensor, shape, format, source: index, offset, bytes });
    }
    let mut order: Vec<&Found> = floats.iter().chain(&ints).collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let field = format!("tensor {}", pair[1].stored_name);
            let found = format!("an overlap with {}", pair[0].stored_name);
            return Err(malformed(name, &field, "a place of its own", found));
        }
    }
    Ok(Listed { floats, ints })
}

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

/// Tables that older versions of transformers saved, and that no version reads: they follow from the configuration.
pub(super) fn is_buffer(tensor: &str) -> bool {
    let last = tensor.rsplit('.').next().unwrap_or_default();
    ["position_ids", "inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "masked_bias"].contains(&last)
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
            expected: "a whole model; an adapter runs beside its base model, natively (--lora)".into(),
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
