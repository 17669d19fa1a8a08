//! Adapters by their path.

use std::path::Path;
use std::rc::Rc;

use super::files::{CONFIG, TENSORS, without_tensors};
use super::peft::{self, Folder};
use super::{Adapter, Base, gguf};
use crate::checkpoint::folder::Folder as Files;
use crate::checkpoint::{FileSource, Source};
use crate::error::{Error, Result};

impl Adapter {
    /// Opens an adapter for a model: a folder of PEFT, either of its files, or a GGUF file.
    ///
    /// # Errors
    /// Whatever is wrong with it, by file and field or tensor; what it has that cannot be run, by
    /// name.
    pub async fn open(path: &Path, base: &Base<'_>) -> Result<Self> {
        if let Some(folder) = folder_of(path) {
            return peft::read(open_folder(folder).await?, base).await;
        }
        let source: Rc<dyn Source> = Rc::new(FileSource::open(path)?);
        gguf::read(name_of(path), source, base).await
    }
}

/// The folder of PEFT that a path means.
pub(super) fn folder_of(path: &Path) -> Option<&Path> {
    if path.is_dir() {
        return Some(path);
    }
    let file = path.file_name()?;
    let parent = path.parent()?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    (file == CONFIG || file == TENSORS).then_some(parent)
}

pub(super) async fn open_folder(folder: &Path) -> Result<Folder> {
    let name = folder.display().to_string();
    let files = Files::at(folder);
    let Some(config) = files.json(CONFIG).await? else {
        let field = CONFIG.to_string();
        return Err(Error::MissingField { name, field });
    };
    if !folder.join(TENSORS).exists() && folder.join("adapter_model.bin").exists() {
        return Err(without_tensors(&name, true));
    }
    Ok(Folder {
        name: name_of(folder),
        config: (files.path_of(CONFIG), config),
        tensors: Rc::new(FileSource::open(folder.join(TENSORS))?),
        base: files.json("config.json").await?.map(|json| (files.path_of("config.json"), json)),
    })
}

/// The name of a folder, or of a file without its ending.
pub(super) fn name_of(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let name = if absolute.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    name.map_or("adapter".into(), |name| name.to_string_lossy().into_owned())
}
