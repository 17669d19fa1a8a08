//! A Hugging Face folder: safetensors (one file or shards), `config.json`, and the tokenizer's
//! files.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::safetensors::{is_buffer, malformed, read_header};
use super::source::{Source, read_whole, refuse_stand_in};
use super::{Checkpoint, Container, Found, gptq, tokenizer_files};
use crate::config::Config;
use crate::config::json::lenient;
use crate::{Error, Result};

const CONFIG: &str = "config.json";

/// The longest of the files beside the weights that is read: a tokenizer of 261,120 tokens has some
/// 20 MB.
const MAX_FILE: u64 = if cfg!(target_arch = "wasm32") { 64 << 20 } else { 1 << 30 };

/// Opens a file of a folder, if it is there.
type Find<'a> = Box<dyn Fn(&str) -> Result<Option<Rc<dyn Source>>> + 'a>;

/// The files of a folder, wherever their bytes come from.
pub(crate) struct Folder<'a> {
    /// Its path, for messages.
    path: String,
    /// What it is called.
    name: String,
    find: Find<'a>,
}

impl<'a> Folder<'a> {
    /// A folder on the disk.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn at(path: &'a std::path::Path) -> Self {
        let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let name = absolute.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned());
        let find = move |file: &str| {
            let path = path.join(file);
            let open = || Ok(Rc::new(super::FileSource::open(&path)?) as Rc<dyn Source>);
            path.exists().then(open).transpose()
        };
        Self { path: path.display().to_string(), name, find: Box::new(find) }
    }

    /// The folder that these files are in, whose names are their paths: that with the `config.json`
    /// of the fewest parts. None where there is no `config.json`.
    pub fn of(files: &'a [Rc<dyn Source>]) -> Option<Self> {
        let folders = files.iter().filter_map(|file| file.name().strip_suffix(CONFIG));
        let path = folders
            .filter(|path| path.is_empty() || path.ends_with('/'))
            .min_by_key(|path| path.matches('/').count())?
            .trim_end_matches('/');
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("model").to_string();
        let find = move |wanted: &str| {
            let wanted = join(path, wanted);
            Ok(files.iter().find(|file| file.name() == wanted).cloned())
        };
        Some(Self { path: path.into(), name, find: Box::new(find) })
    }

    /// What a message calls a file of the folder.
    pub fn path_of(&self, file: &str) -> String {
        join(&self.path, file)
    }

    /// A file, if it is there.
    pub fn find(&self, file: &str) -> Result<Option<Rc<dyn Source>>> {
        (self.find)(file)
    }

    /// A file that must be there.
    pub fn open(&self, file: &str) -> Result<Rc<dyn Source>> {
        self.find(file)?.ok_or_else(|| {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the file is missing");
            Error::Io { name: self.path_of(file), source }
        })
    }

    /// All bytes of a file, if it is there.
    pub async fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        match self.find(file)? {
            Some(source) => read_text(&*source).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a file of JSON says, if it is there.
    pub async fn json(&self, file: &str) -> Result<Option<Value>> {
        let bytes = self.read(file).await?;
        bytes.map(|bytes| lenient(&self.path_of(file), &bytes)).transpose()
    }
}

fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.into() } else { format!("{}/{file}", folder.trim_end_matches('/')) }
}

/// All bytes of a file that is no weights.
pub(super) async fn read_text(source: &dyn Source) -> Result<Vec<u8>> {
    if source.len() > MAX_FILE {
        return Err(malformed(source.name(), "the file", format!("at most {MAX_FILE} bytes"), source.len()));
    }
    let bytes = read_whole(source, 0, source.len()).await?;
    refuse_stand_in(source.name(), &bytes, "the file itself")?;
    Ok(bytes)
}

/// Names of files, and for shards which tensor is to be in which.
type Shards = (Vec<String>, Option<HashMap<String, String>>);

/// The safetensors files of the folder.
async fn shards(folder: &Folder<'_>) -> Result<Shards> {
    const INDEX: &str = "model.safetensors.index.json";
    let Some(index) = folder.json(INDEX).await? else {
        return Ok((vec!["model.safetensors".into()], None));
    };
    let name = folder.path_of(INDEX);
    let map = index
        .get("weight_map")
        .ok_or_else(|| Error::MissingField { name: name.clone(), field: "weight_map".into() })?;
    let map: HashMap<String, String> = serde_json::from_value(map.clone())
        .map_err(|e| malformed(&name, "weight_map", "names of files by name of tensor", e))?;
    let files: BTreeSet<&String> = map.values().collect();
    // An index must not reach outside its folder.
    if let Some(path) = files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
        return Err(malformed(&name, "weight_map", "names of files in the folder", path));
    }
    Ok((files.into_iter().cloned().collect(), Some(map)))
}

/// See [`Checkpoint::open_folder`].
pub(super) async fn open(folder: &Folder<'_>) -> Result<Checkpoint> {
    if folder.find(CONFIG)?.is_none() && folder.find("adapter_config.json")?.is_some() {
        return Err(Error::Unsupported {
            name: folder.path.clone(),
            field: "adapter_config.json".into(),
            expected: "a whole model; an adapter runs beside its base model (--lora, engine.lora.load)".into(),
            found: "a folder with a LoRA adapter".into(),
        });
    }
    let config_name = folder.path_of(CONFIG);
    let config_json = lenient(&config_name, &read_text(&*folder.open(CONFIG)?).await?)?;
    let mut config = Config::from_json(&config_name, &config_json)?;

    let (files, map) = shards(folder).await?;
    let (mut sources, mut found, mut ints): (Vec<Rc<dyn Source>>, Vec<Found>, Vec<Found>) = Default::default();
    let mut missing = None;
    for name in &files {
        let source = folder.open(name)?;
        let listed = read_header(&*source, sources.len()).await?;
        let floats = listed.floats.len();
        let mut named: BTreeSet<&String> = map.iter().flatten().filter(|(_, at)| *at == name).map(|(t, _)| t).collect();
        for (at, tensor) in listed.floats.into_iter().chain(listed.ints).enumerate() {
            let field = format!("tensor {}", tensor.stored_name);
            named.remove(&tensor.stored_name);
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
        let lost = named.into_iter().find(|tensor| !is_buffer(tensor));
        missing = missing.or(lost.map(|tensor| (source.name().to_string(), tensor.clone())));
        sources.push(source);
    }
    // What is in another file has been told; this is in none, as where a file is one of another
    // model.
    if let Some((name, tensor)) = missing {
        return Err(Error::MissingTensor { name, tensor });
    }
    let quantized = config_json.get("quantization_config").filter(|value| !value.is_null());
    match (quantized, ints.first()) {
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
    let generation = folder.json("generation_config.json").await?.unwrap_or_default();
    let tokenizer = tokenizer_files::open(folder, &config_json, &generation).await?;
    let mut checkpoint = Checkpoint {
        name: model_name(folder, &config_json),
        container: Container::Safetensors,
        tokenizer: tokenizer.data,
        chat_template: tokenizer.chat_template,
        named_tokens: tokenizer.named,
        kept: Vec::new(),
        metadata: shown(&config_json),
        file: if folder.path.is_empty() { folder.name.clone() } else { folder.path.clone() },
        sources,
        tensors: Vec::new(),
        remembered: Default::default(),
        index: HashMap::new(),
        config,
    };
    checkpoint.fill(found)?;
    Ok(checkpoint)
}

fn model_name(folder: &Folder<'_>, config: &Value) -> String {
    let stated = config.get("_name_or_path").and_then(Value::as_str).unwrap_or("");
    let stated = stated.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    if stated.is_empty() { folder.name.clone() } else { stated.into() }
}

/// The fields of `config.json`, for `info`.
fn shown(config: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let fields = config.as_object().into_iter().flatten();
    fields.map(|(key, value)| (key.clone(), text(value))).collect()
}
