//! The cache of downloads that all of Hugging Face's tools share, laid out as huggingface_hub does
//! (`tests/hub/layout.json`): `models--ORG--REPO/blobs/ETAG` are contents, `snapshots/COMMIT/NAME`
//! lead to them, `refs/main` says which commit was the last. Whoever adds something holds a lock;
//! whoever finds everything writes nothing, so that a cache may be read-only.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use peregrine::Error;
use peregrine::checkpoint::hub::{HubFiles, HubId, shards};
use peregrine_workbench::part_file::PartFile;

use super::is_word;
use crate::failure::{Failure, Outcome};

/// Programs that make backups know by it that there is nothing to keep.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Models from the Hugging Face hub, which can be fetched again.\n";

/// A repository in the cache.
pub struct Repository {
    cache: PathBuf,
    folder: String,
    /// Every file is in a snapshot itself, for who asks for it.
    no_links: bool,
}

impl Repository {
    pub fn new(cache: PathBuf, repo: &str, no_links: bool) -> Self {
        Self { cache, folder: format!("models--{}", repo.replace('/', "--")), no_links }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    /// Where the files of a commit are, by their names.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    /// Puts a file into a snapshot. Where its content is not there yet, `download` adds it to what
    /// an earlier try has left.
    pub fn add(
        &self,
        commit: &str,
        name: &str,
        etag: &str,
        download: &mut dyn FnMut(&mut File) -> Outcome<Content>,
    ) -> Outcome {
        let place = self.snapshot(commit).join(name);
        let blobs = self.root().join("blobs");
        create(&blobs)?;
        create(place.parent().unwrap_or(&place))?;
        let tag = self.cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            // A cache without it is one, too.
            let _ = std::fs::write(tag, TAG);
        }
        // Another process, of any program, may be fetching the same file; then wait for it.
        let _lock = self.lock(etag)?;
        if place.exists() {
            return Ok(());
        }
        let blob = blobs.join(etag);
        let new = !blob.exists();
        if new {
            let part = blobs.join(format!("{etag}.incomplete"));
            let io = writing(&part);
            let mut file = File::options().read(true).append(true).create(true).open(&part).map_err(&io)?;
            let content = download(&mut file)?;
            if let Content::Wrong(failure) = content {
                // What is wrong once stays wrong: the next try begins from nothing.
                drop(file);
                std::fs::remove_file(&part).map_err(io)?;
                return Err(failure);
            }
            file.sync_all().and_then(|()| std::fs::rename(&part, &blob)).map_err(io)?;
        }
        self.link(&blob, &place, name, new)
    }

    /// The lock that huggingface_hub takes, too.
    fn lock(&self, etag: &str) -> Outcome<File> {
        let folder = self.cache.join(".locks").join(&self.folder);
        create(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let open = || File::options().read(true).append(true).create(true).open(&path).map_err(writing(&path));
        loop {
            let file = open()?;
            match file.lock() {
                // Some systems of files have none; contents are compared with their names at the
                // end.
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(writing(&path)(error)),
                _ => {}
            }
            // Who had it may have taken the file away.
            if is_same(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// Puts a blob under its name in a snapshot, by a link where there are links, so that commits
    /// share it.
    fn link(&self, blob: &Path, place: &Path, name: &str, new: bool) -> Outcome {
        // Of an earlier try, to a blob that is gone.
        let _ = std::fs::remove_file(place);
        // Relative, so that the cache can be moved.
        let up = "../".repeat(2 + name.matches('/').count());
        let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
        #[cfg(unix)]
        let link = |target: &Path| std::os::unix::fs::symlink(target, place);
        #[cfg(windows)]
        let link = |target: &Path| std::os::windows::fs::symlink_file(target, place);
        if !self.no_links && link(&target).is_ok() {
            return Ok(());
        }
        match new {
            true => std::fs::rename(blob, place).map_err(writing(place)),
            // Others may lead to it.
            false => copy(blob, place),
        }
    }

    /// Makes `commit` the last one. It is not worth an error: everything is there.
    pub fn remember(&self, commit: &str) {
        let path = self.root().join("refs/main");
        if std::fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return;
        }
        let write = || {
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::Builder::new().prefix("main.").suffix(".tmp").tempfile_in(folder)?;
            file.write_all(commit.as_bytes())?;
            readable(file.as_file())?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        let _: std::io::Result<()> = write();
    }

    /// The model of the last commit, if it is all there.
    pub fn find(&self, id: &HubId) -> Option<PathBuf> {
        let commit = std::fs::read_to_string(self.root().join("refs/main")).ok()?;
        let snapshot = self.snapshot(Some(commit.trim()).filter(|commit| is_word(commit))?);
        let mut names = Vec::new();
        list(&snapshot, "", &mut names);
        match id.choose(&names).ok()? {
            HubFiles::Gguf(parts) => parts.first().map(|first| snapshot.join(first)),
            HubFiles::Folder { index: None, .. } => Some(snapshot),
            HubFiles::Folder { index: Some(index), .. } => {
                let shards = shards(&index, &std::fs::read(snapshot.join(&index)).ok()?).ok()?;
                shards.iter().all(|shard| names.contains(shard)).then_some(snapshot)
            }
        }
    }
}

/// A copy that has its name only when it is whole: what is there is never looked at again.
fn copy(from: &Path, to: &Path) -> Outcome {
    let copied = || {
        let mut part = PartFile::create(to)?;
        let written = File::open(from).and_then(|mut from| std::io::copy(&mut from, part.out()));
        let name = from.display().to_string();
        part.finish(written.map(drop).map_err(|source| Error::Io { name, source }))
    };
    copied().map_err(|error| match error {
        Error::Io { source, .. } => writing(to)(source),
        other => other.into(),
    })
}

/// What a download turned out to be.
pub enum Content {
    Right,
    Wrong(Failure),
}

/// As any other file of the cache, which people may share.
fn readable(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let _ = file;
    Ok(())
}

fn is_same(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: std::io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        id(file.metadata()) == id(std::fs::metadata(path))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

fn writing(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| {
        let advice = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "; the cache of downloads cannot be written: name another in HF_HUB_CACHE"
            }
            _ => "",
        };
        Failure::run(format!("{}: {error}{advice}", path.display()))
    }
}

fn create(folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder).map_err(writing(folder))
}

/// Files below a folder, by their names from there, `/` between.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path() {
            path if path.is_dir() => list(&path, &format!("{name}/"), names),
            path if path.exists() => names.push(name),
            _ => {}
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
