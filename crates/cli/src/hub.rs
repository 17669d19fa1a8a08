//! Models from the Hugging Face hub: an id becomes files on this disk, in the cache that all of Hugging Face's tools share.
//!
//! The crate `hf-hub` knows the cache's place and layout. The transfers are ours: they have time limits, continue after a cut, and
//! a file gets its name only when it has its length and is what its ETag says. The environment is the field's: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_TOKEN`, `HF_HUB_OFFLINE`.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, CacheRepo};
use peregrine::checkpoint::hub::{HubFiles, HubId, shards};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::Response;

use crate::common::bytes_bar;
use crate::failure::{Failure, Outcome};

/// Redirects that are followed for one file: within the hub, then to where it keeps large files.
const MAX_REDIRECTS: usize = 8;
/// The longest list of files that is read.
const MAX_LIST: u64 = 64 << 20;

/// A file or folder on this disk, to be opened as a model, with the model's files fetched where they were not there yet.
pub fn fetch(id: &HubId) -> Outcome<PathBuf> {
    let cache = cache()?;
    let hub = Hub {
        endpoint: variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into()).trim_end_matches('/').into(),
        token: variable("HF_TOKEN").or_else(|| cache.token()),
        cached: cache.model(id.repo.clone()),
        repo: &id.repo,
        agent: ureq::Agent::config_builder()
            .http_status_as_error(false)
            // By hand: the hub's own answers have headers that count, and the token is for the hub only.
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .into(),
    };
    let offline =
        variable("HF_HUB_OFFLINE").is_some_and(|v| !matches!(v.to_lowercase().as_str(), "0" | "no" | "false"));
    let listed = if offline { Err(Failure::input("HF_HUB_OFFLINE is set")) } else { hub.list() };
    let (commit, files) = match listed {
        Ok(listed) => listed,
        // Without the hub, what is in the cache will do.
        Err(error) if offline || matches!(error, Failure::Run(_)) => {
            return hub
                .in_cache(id)
                .ok_or_else(|| error.with(&format!("; {} is not in the cache of downloads", id.repo)));
        }
        Err(error) => return Err(error),
    };
    let chosen = id.choose(&files)?;
    let snapshot = hub.cached.pointer_path(&commit);
    match chosen {
        HubFiles::Gguf(parts) => {
            parts.iter().try_for_each(|part| hub.file(part, &commit))?;
            hub.remember(&commit)?;
            Ok(parts.first().map_or(snapshot.clone(), |first| snapshot.join(first)))
        }
        HubFiles::Folder { mut files, index } => {
            if let Some(index) = index {
                hub.file(&index, &commit)?;
                let path = snapshot.join(&index);
                let bytes = std::fs::read(&path).map_err(Failure::writing(&path.display().to_string()))?;
                files.extend(shards(&format!("{}: {index}", id.repo), &bytes)?);
            }
            files.iter().try_for_each(|file| hub.file(file, &commit))?;
            hub.remember(&commit)?;
            Ok(snapshot)
        }
    }
}

/// An environment variable that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn cache() -> Outcome<Cache> {
    if let Some(path) = variable("HF_HUB_CACHE") {
        return Ok(Cache::new(path.into()));
    }
    if variable("HF_HOME").is_none() && std::env::home_dir().is_none() {
        return Err(Failure::input("there is no home directory for the cache of downloads: set HF_HOME"));
    }
    Ok(Cache::from_env())
}

/// A repository, and how to talk about it with the hub.
struct Hub<'a> {
    endpoint: String,
    token: Option<String>,
    cached: CacheRepo,
    repo: &'a str,
    agent: ureq::Agent,
}

/// What the hub says about a file.
struct About {
    /// Where its bytes are, after all redirects.
    url: String,
    /// The name of its content.
    etag: String,
    bytes: u64,
}

impl Hub<'_> {
    /// The commit that `main` is, and the names of its files.
    fn list(&self) -> Outcome<(String, Vec<String>)> {
        let url = format!("{}/api/models/{}", self.endpoint, self.repo);
        let response = self.follow(&url, None, &mut |_| {})?.1;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(self.refused(status, &url));
        }
        let bad = |what: &str| Failure::run(format!("{url}: the answer has no {what}"));
        let bytes = response.into_body().with_config().limit(MAX_LIST).read_to_vec();
        let bytes = bytes.map_err(|error| Failure::run(format!("{url}: {error}")))?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| bad("JSON"))?;
        let commit = json["sha"].as_str().filter(|sha| is_word(sha)).ok_or_else(|| bad("sha"))?;
        let siblings = json["siblings"].as_array().ok_or_else(|| bad("list of files"))?;
        let names = siblings.iter().filter_map(|file| file["rfilename"].as_str());
        Ok((commit.into(), names.map(Into::into).collect()))
    }

    /// Sees to it that a file is in the snapshot of `commit`.
    fn file(&self, name: &str, commit: &str) -> Outcome {
        let snapshot = self.cached.pointer_path(commit);
        let place = snapshot.join(name);
        if place.exists() {
            return Ok(());
        }
        let about = self.about(name, commit)?;
        // REPOSITORY/blobs/ETAG, and REPOSITORY/snapshots/COMMIT/NAME, which leads there.
        let blobs = snapshot.ancestors().nth(2).unwrap_or(&snapshot).join("blobs");
        create(&blobs)?;
        let blob = blobs.join(&about.etag);
        if !blob.exists() {
            self.download(name, &about, &blob)?;
        }
        create(place.parent().unwrap_or(&place))?;
        link(&blob, &place, name).map_err(Failure::writing(&place.display().to_string()))
    }

    /// Asks for a file's first byte.
    fn about(&self, name: &str, commit: &str) -> Outcome<About> {
        let asked = format!("{}/{}/resolve/main/{}", self.endpoint, self.repo, escaped(name));
        let (mut found, mut linked, mut etag) = (None, None, None);
        let mut note = |response: &Response<ureq::Body>| {
            let header =
                |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok().map(String::from));
            found = found.take().or_else(|| header("x-repo-commit"));
            linked = linked.take().or_else(|| header("x-linked-etag"));
            etag = etag.take().or_else(|| header("etag"));
        };
        let (url, response) = self.follow(&asked, Some(0..1), &mut note)?;
        let status = response.status().as_u16();
        // An empty file has no first byte: 416, and it says how long the file is.
        if !matches!(status, 200 | 206 | 416) {
            return Err(self.refused(status, &asked));
        }
        let bad = |what: &str| Failure::run(format!("{asked}: the answer has no usable {what}"));
        if found.as_deref() != Some(commit) {
            let found = found.unwrap_or("none".into());
            return Err(Failure::run(format!("{asked}: expected commit {commit}, found {found}; run it again")));
        }
        // A weak or quoted name is still a name.
        let etag = linked.or(etag).map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_string());
        let etag = etag.filter(|etag| is_word(etag)).ok_or_else(|| bad("ETag"))?;
        let bytes = match status {
            200 => response.body().content_length(),
            _ => range(&response).and_then(|(_, total)| total),
        };
        Ok(About { url, etag, bytes: bytes.ok_or_else(|| bad("length"))? })
    }

    /// Fetches a file to `blob`, from where an earlier try ended.
    fn download(&self, name: &str, about: &About, blob: &Path) -> Outcome {
        let part = blob.with_file_name(format!("{}.part", about.etag));
        let io = |error: std::io::Error| Failure::run(format!("{}: {error}", part.display()));
        let mut file = File::options().read(true).append(true).create(true).open(&part).map_err(io)?;
        // Another process may be fetching the same file; then wait for it.
        file.lock().map_err(io)?;
        if blob.exists() {
            return Ok(());
        }
        let mut have = file.seek(SeekFrom::End(0)).map_err(io)?;
        if have > about.bytes {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        let bar = bytes_bar(name.to_string());
        bar.set_length(about.bytes);
        if have < about.bytes {
            let (_, response) = self.follow(&about.url, Some(have..about.bytes), &mut |_| {})?;
            match (response.status().as_u16(), range(&response)) {
                (206, Some((first, total))) if first == have && total == Some(about.bytes) => {}
                (206, _) => return Err(Failure::run(format!("{}: the answer has another Content-Range", about.url))),
                // The whole file, though a part was asked for.
                (200, _) => {
                    file.set_len(0).map_err(io)?;
                    have = 0;
                }
                (status, _) => return Err(self.refused(status, &about.url)),
            }
            bar.set_position(have);
            let mut body = response.into_body().into_reader().take(about.bytes - have);
            let mut buffer = vec![0; 1 << 18];
            loop {
                let read = match body.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(cut(name, have, about.bytes, &error.to_string())),
                };
                file.write_all(&buffer[..read]).map_err(io)?;
                have += read as u64;
                bar.set_position(have);
            }
        }
        bar.finish_and_clear();
        if have < about.bytes {
            return Err(cut(name, have, about.bytes, "the answer ended"));
        }
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        if let Some(found) = other_digest(&mut file, about).map_err(io)? {
            // What is wrong once stays wrong: the next try begins from nothing.
            drop(file);
            std::fs::remove_file(&part).map_err(io)?;
            let expected = &about.etag;
            let what = "what was downloaded is not what the hub has";
            return Err(Failure::run(format!("{name}: {what}: expected {expected}, found {found}; run it again")));
        }
        file.sync_all().and_then(|()| std::fs::rename(&part, blob)).map_err(io)
    }

    /// The answer at the end of all redirects, and its address. `note` sees every answer of the hub's own host.
    fn follow(
        &self,
        url: &str,
        bytes: Option<std::ops::Range<u64>>,
        note: &mut dyn FnMut(&Response<ureq::Body>),
    ) -> Outcome<(String, Response<ureq::Body>)> {
        let mut url = url.to_string();
        for _ in 0..=MAX_REDIRECTS {
            let own = host(&url) == host(&self.endpoint);
            // A compressed answer would have other byte positions.
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if let Some(bytes) = &bytes {
                request = request.header("Range", format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1)));
            }
            if let Some(token) = self.token.as_ref().filter(|_| own) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                    Failure::input(format!("{url}: {error}; see HF_ENDPOINT"))
                }
                error => Failure::run(format!("{url}: {error}")),
            })?;
            if own {
                note(&response);
            }
            let location = response.headers().get("location").and_then(|to| to.to_str().ok());
            let Some(location) = location.filter(|_| matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308))
            else {
                return Ok((url, response));
            };
            url = match location.strip_prefix('/') {
                Some(_) => format!("{}{location}", host(&url)),
                None if location.starts_with("http://") || location.starts_with("https://") => location.into(),
                None => return Err(Failure::run(format!("{url}: a redirect to {location:?} cannot be followed"))),
            };
        }
        Err(Failure::run(format!("{url}: more than {MAX_REDIRECTS} redirects")))
    }

    /// What an error status means for the user.
    fn refused(&self, status: u16, url: &str) -> Failure {
        let why = match status {
            // The hub does not tell strangers which private repositories there are.
            401 | 403 if self.token.is_none() => "there is none of this name, or it asks for a token: set HF_TOKEN",
            401 | 403 => "the token of HF_TOKEN, or of the cache, has no access to it",
            404 => "there is no such repository or file",
            _ => return Failure::run(format!("{url}: the hub answered status {status}")),
        };
        Failure::input(format!("{}: no such path here, and on the hub {why} ({url}: status {status})", self.repo))
    }

    /// Makes `commit` the one that the cache has for `main`.
    fn remember(&self, commit: &str) -> Outcome {
        self.cached.create_ref(commit).map_err(Failure::writing("the cache of the hub"))
    }

    /// The model as the cache has it, if it is all there.
    fn in_cache(&self, id: &HubId) -> Option<PathBuf> {
        let snapshot = self.cached.get(".")?;
        let mut names = Vec::new();
        list_files(&snapshot, "", &mut names);
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

/// The digest of a file whose ETag is one, where it is another. The hub names large files by SHA-256, and the others as git does: SHA-1 of
/// "blob LENGTH", a zero and the bytes. Other servers name files as they like; then there is nothing to compare.
fn other_digest(file: &mut File, about: &About) -> std::io::Result<Option<String>> {
    let hex = about.etag.bytes().all(|b| b.is_ascii_hexdigit());
    let found = match about.etag.len() {
        64 if hex => digest(Sha256::new(), file)?,
        40 if hex => digest(Sha1::new_with_prefix(format!("blob {}\0", about.bytes)), file)?,
        _ => return Ok(None),
    };
    Ok((!found.eq_ignore_ascii_case(&about.etag)).then_some(found))
}

/// In hexadecimal.
fn digest<D: Digest>(mut digest: D, file: &mut File) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn cut(name: &str, have: u64, all: u64, why: &str) -> Failure {
    Failure::run(format!("{name}: the download broke after {have} of {all} bytes ({why}); run it again to continue"))
}

/// First byte and whole length in `Content-Range: bytes 0-0/123`; of `bytes */0` the length.
fn range(response: &Response<ureq::Body>) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get("content-range")?.to_str().ok()?;
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first = span.split('-').next().and_then(|first| first.parse().ok()).unwrap_or(0);
    Some((first, total.parse().ok()))
}

/// Scheme and host of an address.
fn host(url: &str) -> &str {
    let from = url.find("://").map_or(0, |at| at + 3);
    url[from..].find('/').map_or(url, |at| &url[..from + at])
}

/// A file's name in an address.
fn escaped(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Commits and ETags become names of files.
fn is_word(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain && !text.is_empty() && text.len() <= 128
}

fn create(folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder).map_err(Failure::writing(&folder.display().to_string()))
}

/// Puts a blob under its name in a snapshot: by a link where the system has links, so that commits share it.
fn link(blob: &Path, place: &Path, name: &str) -> std::io::Result<()> {
    // Relative, so that the cache can be moved.
    #[cfg(unix)]
    let linked = {
        let up = "../".repeat(2 + name.matches('/').count());
        std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default()), place)
    };
    #[cfg(not(unix))]
    let linked = {
        let _ = name;
        std::fs::hard_link(blob, place).or_else(|_| std::fs::copy(blob, place).map(drop))
    };
    match linked {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && place.exists() => Ok(()),
        linked => linked,
    }
}

/// Files below a folder, by their names from there, `/` between.
fn list_files(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path() {
            path if path.is_dir() => list_files(&path, &format!("{name}/"), names),
            path if path.exists() => names.push(name),
            _ => {}
        }
    }
}
