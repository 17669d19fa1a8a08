//! Ids of the hub, against a server here that speaks the hub's layout, and can misbehave.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn tiny() -> Vec<u8> {
    std::fs::read(here("models/tiny/peregrine-tiny-chat-Q4_0.gguf")).unwrap()
}

/// What the server does besides what it should.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Half of every body, until told otherwise.
    Cuts,
    /// 200 and everything, whatever is asked.
    IgnoresRange,
    /// A name that would lie outside the cache.
    EvilEtag,
    OtherCommit,
    NoLocation,
    RedirectsForEver,
    /// Large files are on another host, at this port.
    Elsewhere(u16),
    Fails,
    /// One byte of every body is another.
    Spoils,
    /// Names that are no digests.
    OwnNames,
}

type Files = HashMap<String, Vec<u8>>;

struct Hub {
    address: String,
    manner: Arc<Mutex<Manner>>,
    log: Arc<Mutex<Vec<String>>>,
    home: tempfile::TempDir,
}

impl Hub {
    /// A hub with one repository, `org/repo`.
    fn new(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (manner, log) = (Arc::new(Mutex::new(Manner::Honest)), Arc::new(Mutex::new(Vec::new())));
        let (shared, seen) = (manner.clone(), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let manner = *shared.lock().unwrap();
                // The client may have gone.
                let _ = answer(&stream.unwrap(), &files, manner, &seen);
            }
        });
        Self { address, manner, log, home: tempfile::tempdir().unwrap() }
    }

    fn gguf(names: &[&str]) -> Self {
        Self::new(names.iter().map(|name| (name.to_string(), tiny())).collect())
    }

    fn behaves(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peregrine"));
        command.args(args).stdin(Stdio::null()).env("HF_ENDPOINT", &self.address).env("HF_HOME", self.home.path());
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn info(&self, model: &str) -> serde_json::Value {
        let output = self.run(&["info", model, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, model: &str, status: i32, words: &[&str]) {
        told(&self.run(&["info", model]), status, words);
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

/// One line, with these words.
fn told(output: &Output, status: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1 && !stderr.contains("internal"), "{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{word:?} is not in: {stderr}"));
}

fn answer(mut stream: &TcpStream, files: &Files, manner: Manner, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    let (mut range, mut token) = (None, false);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(span) = line.strip_prefix("range: bytes=") {
            range = span.split_once('-').map(|(a, b)| (a.parse().unwrap_or(0), b.parse().unwrap_or(usize::MAX)));
        }
        token |= line.starts_with("authorization: bearer secret");
        if line.is_empty() {
            break;
        }
    }
    let span = range.map(|(a, b): (usize, usize)| format!(" {a}-{b}")).unwrap_or_default();
    log.lock().unwrap().push(format!("{path}{span}{}", if token { " token" } else { "" }));
    let mut send = |status: &str, headers: &str, body: &[u8], sent: usize| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]))
    };
    if manner == Manner::Fails {
        return send("503 Service Unavailable", "", b"", 0);
    }
    if path == "/api/models/org/repo" {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let list = serde_json::json!({"id": "org/repo", "sha": COMMIT, "siblings": siblings}).to_string();
        return send("200 OK", "", list.as_bytes(), list.len());
    }
    let commit = if manner == Manner::OtherCommit { "feedbeef" } else { COMMIT };
    let named = |name: &str| match manner {
        Manner::EvilEtag => "../../../evil".into(),
        Manner::OwnNames => format!("v1-{}", name.replace('.', "-")),
        _ => etag(name, &files[name]),
    };
    // Large files are elsewhere, small ones here, as on the hub.
    let resolve = path.strip_prefix("/org/repo/resolve/main/").filter(|name| files.contains_key(*name));
    if let Some(name) = resolve.filter(|name| !name.ends_with(".json")) {
        let etag = named(name);
        let to = match manner {
            Manner::NoLocation => String::new(),
            Manner::RedirectsForEver => format!("Location: {path}\r\n"),
            Manner::Elsewhere(port) => format!("Location: http://127.0.0.1:{port}/elsewhere/{name}?signed=1\r\n"),
            _ => format!("Location: /elsewhere/{name}?signed=1\r\n"),
        };
        let headers = format!("X-Repo-Commit: {commit}\r\nX-Linked-Etag: \"{etag}\"\r\nETag: \"other\"\r\n{to}");
        return send("302 Found", &headers, b"", 0);
    }
    let elsewhere = path.strip_prefix("/elsewhere/").and_then(|path| path.strip_suffix("?signed=1"));
    let Some((name, bytes)) = resolve.or(elsewhere).and_then(|name| files.get_key_value(name)) else {
        let status = if path.starts_with("/api/models/private/") { "401 Unauthorized" } else { "404 Not Found" };
        return send(status, "", b"{}", 2);
    };
    let about = format!("X-Repo-Commit: {commit}\r\nETag: \"{}\"\r\n", named(name));
    let mut bytes = bytes.clone();
    if let (Manner::Spoils, Some(byte)) = (manner, bytes.last_mut()) {
        *byte ^= 1;
    }
    match range.filter(|_| manner != Manner::IgnoresRange) {
        None => send("200 OK", &about, &bytes, bytes.len()),
        Some((first, _)) if first >= bytes.len() => {
            let headers = format!("{about}Content-Range: bytes */{}\r\n", bytes.len());
            send("416 Range Not Satisfiable", &headers, b"", 0)
        }
        Some((first, last)) => {
            let body = &bytes[first..=last.min(bytes.len() - 1)];
            let headers = format!("{about}Content-Range: bytes {first}-{}/{}\r\n", first + body.len() - 1, bytes.len());
            let sent = if manner == Manner::Cuts && body.len() > 1 { body.len() / 2 } else { body.len() };
            send("206 Partial Content", &headers, body, sent)
        }
    }
}

/// As the hub names files: large ones by SHA-256, the others as git does.
fn etag(name: &str, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|b| format!("{b:02x}")).collect();
    match name.ends_with(".json") {
        true => hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize()),
        false => hex(&Sha256::digest(bytes)),
    }
}

#[test]
fn the_names_of_files_are_those_of_git_and_sha256sum() {
    // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
    assert_eq!(etag("x.json", b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!(etag("x", b"hello\n"), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

#[test]
fn a_file_is_fetched_once() {
    let hub = Hub::gguf(&["tiny-Q4_0.gguf", "tiny-Q4_K_M.gguf"]);
    assert_eq!(hub.info("org/repo:tiny-Q4_0.gguf")["parameters"], 31_000_256);
    let requests = hub.requests();
    assert_eq!(requests[0], "/api/models/org/repo");
    assert_eq!(requests[1], "/org/repo/resolve/main/tiny-Q4_0.gguf 0-0");
    assert_eq!(requests[2], "/elsewhere/tiny-Q4_0.gguf?signed=1 0-0");
    assert_eq!(requests[3], format!("/elsewhere/tiny-Q4_0.gguf?signed=1 0-{}", tiny().len() - 1));
    assert_eq!(requests.len(), 4);
    // The second time only the list is asked for; then not even that.
    hub.info("org/repo:q4_0");
    assert_eq!(hub.requests(), ["/api/models/org/repo"]);
    hub.behaves(Manner::Fails);
    hub.info("org/repo:Q4_0");
    let offline = hub.command(&["info", "org/repo:Q4_0"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(offline.status.code(), Some(0));
    assert_eq!(hub.requests().len(), 1);
    // Laid out as the field's tools do.
    let repo = hub.home.path().join("hub/models--org--repo");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read(repo.join("blobs").join(etag("tiny-Q4_0.gguf", &tiny()))).unwrap(), tiny());
    assert_eq!(std::fs::read_dir(repo.join("blobs")).unwrap().count(), 1, "nothing unfinished stays");
    let link = repo.join("snapshots").join(COMMIT).join("tiny-Q4_0.gguf");
    assert_eq!(std::fs::read_link(link).unwrap(), Path::new("../../blobs").join(etag("tiny-Q4_0.gguf", &tiny())));
    // Without a file Q4_K_M is meant.
    hub.behaves(Manner::Honest);
    hub.info("org/repo");
    assert!(hub.requests().iter().all(|request| !request.contains("Q4_0")));
}

#[test]
fn every_command_takes_an_id() {
    let hub = Hub::gguf(&["a/tiny-Q4_0.gguf"]);
    let output = hub.run(&["tokenize", "org/repo:Q4_0", "--text", "Hello"]);
    assert_eq!(output.stdout, b"634\n", "{}", String::from_utf8_lossy(&output.stderr));
    for command in ["generate", "chat", "bench", "check", "logits", "quantize"] {
        let rest: &[&str] = match command {
            "generate" => &["--prompt", "x"],
            "logits" => &["--ids", "x", "--out", "y"],
            "quantize" => &["y", "--type", "F16"],
            _ => &[],
        };
        told(&hub.run(&[&[command, "org/repo:Q9"], rest].concat()), 2, &["Q9", "a/tiny-Q4_0.gguf"]);
    }
}

#[test]
fn a_folder_comes_with_its_tokenizer() {
    let mut files = Files::new();
    for entry in std::fs::read_dir(here("tests/golden/hf-folder")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap());
    }
    files.insert("README.md".into(), b"never asked for".to_vec());
    let hub = Hub::new(files);
    let info = hub.info("org/repo");
    assert_eq!((&info["container"], &info["chat_template"]), (&"safetensors".into(), &true.into()));
    let name = info["name"].as_str().unwrap();
    assert!(!name.contains(COMMIT), "{name}");
    assert!(!hub.requests().iter().any(|request| request.contains("README")));
    hub.info("org/repo");
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_cut_download_continues() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let all = tiny().len();
    hub.behaves(Manner::Cuts);
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &format!("{} of {all} bytes", all / 2), "again"]);
    hub.behaves(Manner::Honest);
    hub.requests();
    hub.info("org/repo:Q4_0");
    let last = hub.requests().pop().unwrap();
    assert!(last.ends_with(&format!(" {}-{}", all / 2, all - 1)), "{last}");
    let blob = hub.home.path().join("hub/models--org--repo/blobs").join(etag("x-Q4_0.gguf", &tiny()));
    assert_eq!(std::fs::read(&blob).unwrap(), tiny());

    // A complete file that did not get its name, one that is too long, and a server that sends everything again.
    let part = blob.with_file_name(format!("{}.part", etag("x-Q4_0.gguf", &tiny())));
    for (bytes, manner) in [
        (tiny(), Manner::Honest),
        ([tiny(), vec![0]].concat(), Manner::Honest),
        (tiny()[..1000].to_vec(), Manner::IgnoresRange),
    ] {
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&part, bytes).unwrap();
        hub.behaves(manner);
        hub.info("org/repo:Q4_0");
        assert!(std::fs::read(&blob).unwrap() == tiny());
        assert!(!part.exists());
    }
}

#[test]
fn what_is_not_what_it_says_is_named_and_forgotten() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::Spoils);
    let (right, mut spoiled) = (etag("x", &tiny()), tiny());
    *spoiled.last_mut().unwrap() ^= 1;
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &right, &etag("x", &spoiled), "again"]);
    let blobs = hub.home.path().join("hub/models--org--repo/blobs");
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0, "nothing of it stays");
    // A part that was spoiled on the disk: found at the end, and then everything is fetched again.
    let part = blobs.join(format!("{right}.part"));
    std::fs::write(&part, vec![7; 1000]).unwrap();
    hub.behaves(Manner::Honest);
    hub.fails("org/repo:Q4_0", 1, &["x-Q4_0.gguf", &right]);
    hub.info("org/repo:Q4_0");
    assert!(std::fs::read(blobs.join(&right)).unwrap() == tiny());

    // Small files, named as git names them.
    let mut files = Files::new();
    for entry in std::fs::read_dir(here("tests/golden/hf-folder")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap());
    }
    let hub = Hub::new(files);
    hub.behaves(Manner::Spoils);
    hub.fails("org/repo", 1, &[".json", "expected"]);
    // Names of another kind are not taken for digests.
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    hub.behaves(Manner::OwnNames);
    hub.info("org/repo:Q4_0");
}

#[test]
fn what_goes_wrong_is_one_line() {
    let hub = Hub::gguf(&["x-Q4_0.gguf", "x-Q8_0.gguf"]);
    hub.fails("org/other", 2, &["org/other", "no such", "404"]);
    hub.fails("private/repo", 2, &["private/repo", "HF_TOKEN", "401"]);
    hub.fails("org/repo:none.gguf", 2, &["org/repo", "none.gguf", "x-Q4_0.gguf, x-Q8_0.gguf"]);
    hub.fails("org/repo", 2, &["Q4_K_M", "x-Q8_0.gguf"]);
    hub.fails("org/repo:../x.gguf", 2, &["org/repo:../x.gguf"]);
    for (manner, word) in [
        (Manner::EvilEtag, "ETag"),
        (Manner::OtherCommit, "feedbeef"),
        (Manner::RedirectsForEver, "redirects"),
        (Manner::Fails, "503"),
        (Manner::NoLocation, "302"),
    ] {
        hub.behaves(manner);
        hub.fails("org/repo:Q8_0", 1, &[word]);
    }
    let offline = hub.command(&["info", "org/repo:Q8_0"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    told(&offline, 2, &["HF_HUB_OFFLINE", "not in the cache"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = hub.command(&["info", "org/repo"]).env("HF_ENDPOINT", format!("http://{closed}")).output().unwrap();
    told(&gone, 1, &[&closed.to_string(), "not in the cache"]);
    let odd = hub.command(&["info", "org/repo"]).env("HF_ENDPOINT", "no address").output().unwrap();
    told(&odd, 2, &["HF_ENDPOINT"]);
}

#[test]
fn a_path_comes_first() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("org")).unwrap();
    std::fs::write(folder.path().join("org/repo"), tiny()).unwrap();
    let output = hub.command(&["info", "org/repo"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(hub.requests().is_empty());
}

#[test]
fn the_token_is_for_the_hub() {
    let (hub, other) = (Hub::gguf(&["x-Q4_0.gguf"]), Hub::gguf(&["x-Q4_0.gguf"]));
    let port = other.address.rsplit(':').next().unwrap().parse().unwrap();
    hub.behaves(Manner::Elsewhere(port));
    let output = hub.command(&["info", "org/repo:Q4_0"]).env("HF_TOKEN", "secret").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let (here, there) = (hub.requests(), other.requests());
    assert!(here.len() == 2 && here.iter().all(|request| request.ends_with(" token")), "{here:?}");
    assert!(there.len() == 2 && !there.iter().any(|request| request.contains("token")), "{there:?}");
}
