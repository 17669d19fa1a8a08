//! A server that speaks the hub's layout, and can misbehave; and the program that asks it.

#![allow(dead_code)] // each binary of tests uses a part

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub fn tiny() -> Vec<u8> {
    std::fs::read(here("models/tiny/peregrine-tiny-chat-Q4_0.gguf")).unwrap()
}

/// What the server does besides what it should.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    Honest,
    /// Half of every body, until told otherwise.
    Cuts,
    /// 200 and everything, whatever is asked.
    IgnoresRange,
    /// A name that would lie outside the cache.
    EvilEtag,
    OtherCommit,
    /// Without the hub's own headers.
    NoCommit,
    NoLocation,
    RedirectsForEver,
    /// Large files are on another host, at this port.
    Elsewhere(u16),
    /// All files are another hub's, at this port.
    MirrorOf(u16),
    Fails,
    /// One byte of every body is another.
    Spoils,
    /// Names that are no digests.
    OwnNames,
    /// Nothing without the token.
    Asks,
    /// Terms must be accepted first.
    Gated,
    /// Too many requests.
    Busy,
}

pub type Files = HashMap<String, Vec<u8>>;

/// What was asked for.
#[derive(Default)]
struct Log {
    requests: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn add(&self, request: String) {
        self.requests.lock().unwrap().push(request);
        self.grown.notify_all();
    }
}

pub struct Hub {
    pub address: String,
    pub port: u16,
    pub home: tempfile::TempDir,
    manner: Arc<Mutex<Manner>>,
    log: Arc<Log>,
    agents: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// A hub with one repository, `org/repo`.
    pub fn new(files: Files) -> Self {
        Self::start("http", files, |stream| Ok(Box::new(stream)))
    }

    /// The same where every connection becomes what `wrap` makes of it.
    pub fn start(
        scheme: &str,
        files: Files,
        wrap: impl Fn(TcpStream) -> std::io::Result<Box<dyn Stream>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (manner, log) = (Arc::new(Mutex::new(Manner::Honest)), Arc::new(Log::default()));
        let agents = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen, named) = (manner.clone(), log.clone(), agents.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let manner = *shared.lock().unwrap();
                // The client may have gone.
                let _ = wrap(stream.unwrap()).and_then(|mut stream| {
                    answer(&mut *stream, &files, manner, &seen, &named)?;
                    stream.flush()
                });
            }
        });
        let address = format!("{scheme}://127.0.0.1:{port}");
        Self { address, port, manner, log, agents, home: tempfile::tempdir().unwrap() }
    }

    pub fn gguf(names: &[&str]) -> Self {
        Self::new(names.iter().map(|name| (name.to_string(), tiny())).collect())
    }

    pub fn behaves(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Nothing of this process's environment is in it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peregrine"));
        command.args(args).stdin(Stdio::null()).env_clear().env("HOME", self.home.path());
        command.env("HF_ENDPOINT", &self.address).env("HF_HOME", self.home.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Opens a model with these variables.
    pub fn with(&self, model: &str, variables: &[(&str, &str)]) -> Output {
        self.command(&["info", model, "--json"]).envs(variables.iter().copied()).output().unwrap()
    }

    pub fn info(&self, model: &str) -> serde_json::Value {
        opened(&self.with(model, &[]))
    }

    pub fn fails(&self, model: &str, status: i32, words: &[&str]) {
        told(&self.run(&["info", model]), status, words);
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.requests.lock().unwrap())
    }

    /// Waits until there are so many requests since the last call.
    pub fn wait_for(&self, count: usize) {
        let requests = self.log.requests.lock().unwrap();
        // A program that asks for nothing is not waited for until somebody ends the tests.
        let patience = Duration::from_secs(120);
        let (requests, waited) =
            self.log.grown.wait_timeout_while(requests, patience, |all| all.len() < count).unwrap();
        assert!(!waited.timed_out(), "{requests:?}");
    }

    /// Who has asked since the last call.
    pub fn agents(&self) -> Vec<String> {
        std::mem::take(&mut *self.agents.lock().unwrap())
    }
}

/// What `info` says of a model that it has opened.
pub fn opened(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line, with these words.
pub fn told(output: &Output, status: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1 && !stderr.contains("internal"), "{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{word:?} is not in: {stderr}"));
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The head of a request or an answer.
pub fn head(stream: &mut (impl Read + ?Sized)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn answer(
    stream: &mut dyn Stream,
    files: &Files,
    manner: Manner,
    log: &Log,
    agents: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let head = head(stream)?;
    let mut lines = head.lines();
    let path = lines.next().and_then(|request| request.split(' ').nth(1)).unwrap_or_default().to_string();
    let (mut range, mut token) = (None, false);
    for line in lines {
        let line = line.to_ascii_lowercase();
        if let Some(span) = line.strip_prefix("range: bytes=") {
            range = span.split_once('-').map(|(a, b)| (a.parse().unwrap_or(0), b.parse().unwrap_or(usize::MAX)));
        }
        if let Some(agent) = line.strip_prefix("user-agent: ") {
            agents.lock().unwrap().push(agent.into());
        }
        token |= line == "authorization: bearer secret";
    }
    let span = range.map(|(a, b): (usize, usize)| format!(" {a}-{b}")).unwrap_or_default();
    log.add(format!("{path}{span}{}", if token { " token" } else { "" }));
    let mut send = |status: &str, headers: &str, body: &[u8], sent: usize| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]))
    };
    match manner {
        Manner::Fails => return send("503 Service Unavailable", "", b"", 0),
        Manner::Busy => return send("429 Too Many Requests", "Retry-After: 17\r\n", b"", 0),
        Manner::Asks if !token => return send("401 Unauthorized", "", b"{}", 2),
        Manner::Gated => {
            let headers = "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted\r\n";
            return send("403 Forbidden", headers, b"{}", 2);
        }
        _ => {}
    }
    if path == "/api/models/org/repo" {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let list = serde_json::json!({"id": "org/repo", "sha": COMMIT, "siblings": siblings}).to_string();
        return send("200 OK", "", list.as_bytes(), list.len());
    }
    if let Manner::MirrorOf(port) = manner {
        return send("308 Permanent Redirect", &format!("Location: http://127.0.0.1:{port}{path}\r\n"), b"", 0);
    }
    let commit = match manner {
        Manner::OtherCommit => "X-Repo-Commit: feedbeef\r\n".into(),
        Manner::NoCommit => String::new(),
        _ => format!("X-Repo-Commit: {COMMIT}\r\n"),
    };
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
        let headers = format!("{commit}X-Linked-Etag: \"{etag}\"\r\nETag: \"other\"\r\n{to}");
        return send("302 Found", &headers, b"", 0);
    }
    let elsewhere = path.strip_prefix("/elsewhere/").and_then(|path| path.strip_suffix("?signed=1"));
    let Some((name, bytes)) = resolve.or(elsewhere).and_then(|name| files.get_key_value(name)) else {
        let status = if path.starts_with("/api/models/private/") { "401 Unauthorized" } else { "404 Not Found" };
        return send(status, "", b"{}", 2);
    };
    // What is elsewhere has names of its own.
    let about = match elsewhere {
        Some(_) => "ETag: \"elsewhere\"\r\n".into(),
        None => format!("{commit}ETag: \"{}\"\r\n", named(name)),
    };
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
pub fn etag(name: &str, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|b| format!("{b:02x}")).collect();
    match name.ends_with(".json") {
        true => hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize()),
        false => hex(&Sha256::digest(bytes)),
    }
}
