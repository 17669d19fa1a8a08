//! What an adapter's file says of itself, without its base model.

use std::collections::BTreeMap;
use std::path::Path;

use super::Kind;
use super::open::{folder_of, open_folder};
use super::peft_config::PeftConfig;
use crate::checkpoint::{FileSource, TensorInfo, safetensors};
use crate::error::Result;

/// A description of an adapter.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The name of its folder or file.
    pub name: String,
    /// Which kind of file.
    pub kind: Kind,
    /// The model that it was made for, where it says so.
    pub base: Option<String>,
    /// `lora_alpha`, or `adapter.lora.alpha`; single modules may have another.
    pub alpha: f64,
    /// Divided by the rank's root instead of the rank.
    pub use_rslora: bool,
    /// The smallest and the largest.
    pub ranks: (u64, u64),
    /// By module (`q_proj`, or GGUF's `attn_q`), in how many layers.
    pub targets: BTreeMap<String, usize>,
    /// Values in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
}

impl Summary {
    /// Whether a path on this disk is an adapter: a folder of PEFT, either of its files, or a GGUF
    /// file that says so.
    pub async fn is_adapter(path: &Path) -> bool {
        if let Some(folder) = folder_of(path) {
            // Whole models may have an adapter beside them.
            let has = |file: &str| folder.join(file).exists();
            return has("adapter_config.json") && !has("model.safetensors") && !has("model.safetensors.index.json");
        }
        let Ok(source) = FileSource::open(path) else { return false };
        let Ok(header) = crate::checkpoint::gguf::read_header(&source).await else { return false };
        header.metadata.get("general.type").is_some_and(|kind| kind.to_string() == "adapter")
    }

    /// Reads headers only.
    ///
    /// # Errors
    /// What is wrong with them, by file and field.
    pub async fn read(path: &Path) -> Result<Self> {
        let name = super::open::name_of(path);
        if let Some(folder) = folder_of(path) {
            let folder = open_folder(folder).await?;
            let described = PeftConfig::parse(&folder.config.0, &folder.config.1)?;
            let tensors = safetensors::list(&*folder.tensors).await?;
            let mut summary = Self::of(name, Kind::Peft, described.alpha, &tensors);
            summary.use_rslora = described.use_rslora;
            let base = folder.config.1.get("base_model_name_or_path").and_then(|base| base.as_str());
            summary.base = base.filter(|base| !base.is_empty()).map(str::to_string);
            return Ok(summary);
        }
        let described = super::gguf::describe(&FileSource::open(path)?).await?;
        let tensors: Vec<TensorInfo> = described.header.tensors.iter().map(super::gguf::info).collect();
        let mut summary = Self::of(name, Kind::Gguf, described.alpha, &tensors);
        let base = described.header.metadata.get("general.base_model.0.name");
        summary.base = base.map(ToString::to_string);
        Ok(summary)
    }

    fn of(name: String, kind: Kind, alpha: f64, tensors: &[TensorInfo]) -> Self {
        let mut targets: BTreeMap<String, usize> = BTreeMap::new();
        let mut ranks = (u64::MAX, 0);
        for tensor in tensors {
            let module = tensor.stored_name.split_once(".lora_A.").map(|(module, _)| module);
            let weight = tensor.stored_name.strip_suffix(".weight.lora_a");
            if let (Some(path), Some(rank)) = (module.or(weight), tensor.shape.first()) {
                let last = path.rsplit('.').next().unwrap_or(path);
                *targets.entry(last.to_string()).or_default() += 1;
                ranks = (ranks.0.min(*rank), ranks.1.max(*rank));
            }
        }
        Self {
            name,
            kind,
            base: None,
            alpha,
            use_rslora: false,
            ranks: (ranks.0.min(ranks.1), ranks.1),
            targets,
            parameters: tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum(),
            bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
        }
    }
}
