//! What the hub is asked, and how a file comes from it. Transfers continue after a cut, and a file
//! gets its name only when it has its length and is what its ETag says.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use indicatif::ProgressBar;
use peregrine::checkpoint::http::{Answer, HttpClient};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::{Content, Repository};
use super::{advice, is_word};
use crate::common::bytes_bar;
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};

/// The longest list of files that is read.
const MAX_LIST: u64 = 64 << 20;

/// A repository, and how to talk about it with the hub.
pub struct Hub<'a> {
    pub environment: &'a Environment,
    pub client: Rc<HttpClient>,
    pub cached: &'a Repository,
    pub repo: &'a str,
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
    pub fn list(&self) -> Outcome<(String, Vec<String>)> {
        let url = format!("{}/api/models/{}", self.environment.endpoint, self.repo);
        let answer = self.client.get(&url, None, &mut |_| {})?;
        if answer.status != 200 {
            return Err(self.refused(&answer, &url));
        }
        let bad = |what: &str| {
            let whose = "this is no hub, or a page of your network came in between; see HF_ENDPOINT";
            Failure::run(format!("{url}: the answer has no {what}: {whose}"))
        };
        let mut bytes = Vec::new();
        let read = answer.into_reader().take(MAX_LIST).read_to_end(&mut bytes);
        read.map_err(|error| Failure::run(format!("{url}: {error}")))?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| bad("JSON"))?;
        let commit = json["sha"].as_str().filter(|sha| is_word(sha)).ok_or_else(|| bad("sha"))?;
        let siblings = json["siblings"].as_array().ok_or_else(|| bad("list of files"))?;
        let names = siblings.iter().filter_map(|file| file["rfilename"].as_str());
        Ok((commit.into(), names.map(Into::into).collect()))
    }

    /// Sees to it that a file is in the snapshot of `commit`.
    pub fn file(&self, name: &str, commit: &str) -> Outcome {
        if self.cached.snapshot(commit).join(name).exists() {
            return Ok(());
        }
        let about = self.about(name, commit)?;
        self.cached.add(commit, name, &about.etag, &mut |file| self.download(name, &about, file))
    }

    /// Asks for a file's first byte.
    fn about(&self, name: &str, commit: &str) -> Outcome<About> {
        let asked = format!("{}/{}/resolve/main/{}", self.environment.endpoint, self.repo, escaped(name));
        // The hub's own answer is the one that names a commit: a mirror may send on to it, and it
        // to where large files are.
        let (mut found, mut first) = (None, None);
        let mut note = |answer: &Answer| {
            let header = |name: &str| answer.header(name).map(String::from);
            let etag = header("x-linked-etag").or_else(|| header("etag"));
            if found.is_none() {
                found = header("x-repo-commit").map(|commit| (commit, etag.clone()));
            }
            first = first.take().or(etag);
        };
        let answer = self.client.get(&asked, Some((0, 0)), &mut note)?;
        // An empty file has no first byte: 416, and it says how long the file is.
        if !matches!(answer.status, 200 | 206 | 416) {
            return Err(self.refused(&answer, &asked));
        }
        let bad = |what: &str| Failure::run(format!("{asked}: the answer has no usable {what}"));
        let Some((found, etag)) = found else {
            let whose = "the server is no hub, or a mirror that leaves out the hub's headers; see HF_ENDPOINT";
            return Err(Failure::run(format!("{asked}: the answer names no commit (X-Repo-Commit): {whose}")));
        };
        if found != commit {
            return Err(Failure::run(format!("{asked}: expected commit {commit}, found {found}; run it again")));
        }
        // A weak or quoted name is still a name.
        let etag = etag.or(first).map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_string());
        let etag = etag.filter(|etag| is_word(etag)).ok_or_else(|| bad("ETag"))?;
        let bytes = match answer.status {
            200 => answer.length(),
            _ => range(&answer).and_then(|(_, total)| total),
        };
        Ok(About { url: answer.url, etag, bytes: bytes.ok_or_else(|| bad("length"))? })
    }

    /// Adds to `file` what is not there yet.
    fn download(&self, name: &str, about: &About, file: &mut File) -> Outcome<Content> {
        let io = |error: std::io::Error| Failure::run(format!("{name}, in the cache of downloads: {error}"));
        let mut have = file.seek(SeekFrom::End(0)).map_err(io)?;
        if have > about.bytes {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        let bar = if self.environment.no_bars { ProgressBar::hidden() } else { bytes_bar(name.to_string()) };
        bar.set_length(about.bytes);
        if have < about.bytes {
            let answer = self.client.get(&about.url, Some((have, about.bytes - 1)), &mut |_| {})?;
            match (answer.status, range(&answer)) {
                (206, Some((first, total))) if first == have && total == Some(about.bytes) => {}
                (206, _) => return Err(Failure::run(format!("{}: the answer has another Content-Range", about.url))),
                // The whole file, though a part was asked for.
                (200, _) => {
                    file.set_len(0).map_err(io)?;
                    have = 0;
                }
                _ => return Err(self.refused(&answer, &about.url)),
            }
            bar.set_position(have);
            let mut body = answer.into_reader().take(about.bytes - have);
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
        let Some(found) = other_digest(file, about).map_err(io)? else { return Ok(Content::Right) };
        let what = "what was downloaded is not what the hub has";
        let message = format!("{name}: {what}: expected {}, found {found}; run it again", about.etag);
        Ok(Content::Wrong(Failure::run(message)))
    }

    /// What an error status means for the user.
    fn refused(&self, answer: &Answer, url: &str) -> Failure {
        let status = answer.status;
        if status == 429 {
            let wait = answer.header("retry-after").map(|wait| format!(" (Retry-After: {wait})")).unwrap_or_default();
            return Failure::run(format!("{url}: the hub is asked too often, try again later{wait}"));
        }
        let said = answer.header("x-error-message").map(|text| format!("; the hub says: {text}")).unwrap_or_default();
        let gated = answer.header("x-error-code") == Some("GatedRepo");
        match advice(self.environment, status, gated.then_some(self.repo)) {
            Some(why) => Failure::input(format!(
                "{}: no such path here, and on the hub {why} ({url}: status {status}{said})",
                self.repo
            )),
            None => Failure::run(format!("{url}: the hub answered status {status}{said}")),
        }
    }
}

/// The digest of a file whose ETag is one, where it is another. The hub names large files by
/// SHA-256, and the others as git does: SHA-1 of "blob LENGTH", a zero and the bytes. Other servers
/// name files as they like; then there is nothing to compare.
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
fn range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let (span, total) = answer.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let first = span.split('-').next().and_then(|first| first.parse().ok()).unwrap_or(0);
    Some((first, total.parse().ok()))
}

/// A file's name in an address.
fn escaped(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
