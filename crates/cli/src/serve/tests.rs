//! Connections without a GPU: a test plays its thread, so that it decides what has happened by
//! when.

mod clients;
mod limits;
mod stopping;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peregrine::checkpoint::Checkpoint;
use peregrine_openai::Admission;
use peregrine_openai::response::Model;
use pollster::block_on;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::guard::Origins;
use super::hosts::Hosts;
use super::http::{Server, Shared, router};
use super::job::{Job, Reply};
use super::metrics::{Metrics, Now};
use super::queue::{Next, Queue, Running};
use super::{body, listen};

/// Longer than anything takes here: a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// A server on this machine, without a key.
struct Local {
    address: SocketAddr,
    shared: Shared,
    stop: watch::Sender<bool>,
    answered: watch::Sender<bool>,
    connections: JoinHandle<std::io::Result<()>>,
}

impl Local {
    fn start(queue: usize) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
        let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::default());
        let (stop, stopping) = watch::channel(false);
        let (answered, last_answer) = watch::channel(false);
        let shared = Arc::new(Server {
            queue: Arc::new(Queue::new(queue, metrics.clone())),
            metrics,
            healthy: Arc::new(AtomicBool::new(true)),
            admission: Admission::new(&checkpoint, 128).unwrap(),
            memory: body::memory(),
            key: None,
            hosts: Some(Hosts::local("127.0.0.1")),
            origins: Origins::None,
            model: Model::new("tiny", 0, 128),
            stopping,
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, serving) = (listener.local_addr().unwrap(), shared.clone());
        let connections = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
            let router = router(serving.clone());
            runtime.unwrap().block_on(listen::serve(listener, router, serving, last_answer, DEADLINE))
        });
        Self { address, shared, stop, answered, connections }
    }

    /// A connection on which this was sent.
    fn raw(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// A request whose answer nobody reads yet.
    fn ask(&self, body: &Value) -> TcpStream {
        self.raw(&post(&body.to_string()))
    }

    fn get(&self, path: &str, headers: &str) -> String {
        rest(self.raw(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")))
    }

    /// What the GPU is to do.
    fn take(&self) -> (Box<Job>, Running) {
        match self.shared.queue.next(Some(DEADLINE)) {
            Next::Job(job, running) => (job, running),
            _ => panic!("nobody has asked"),
        }
    }

    /// Waits until this is so; it shows what is instead when it does not come.
    fn until<T: PartialEq + std::fmt::Debug>(&self, expected: T, what: impl Fn(&Self) -> T) {
        let begun = Instant::now();
        loop {
            let found = what(self);
            if found == expected {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "expected {expected:?}, found {found:?}");
            std::thread::yield_now();
        }
    }

    fn connections(&self) -> String {
        let text = self.shared.metrics.text(&Now { running: 0, waiting: 0 });
        text.lines().find_map(|line| line.strip_prefix("peregrine_connections ")).unwrap().to_string()
    }

    fn waiting(&self) -> usize {
        self.shared.queue.counts().1
    }

    /// As a signal does it.
    fn stop(&self) {
        self.stop.send_replace(true);
        self.shared.queue.stop();
    }

    /// Stops, with nothing left to answer.
    fn end(self) {
        self.stop();
        self.answered.send_replace(true);
        self.connections.join().unwrap().unwrap();
    }
}

/// A short completion.
fn brief() -> Value {
    json!({ "prompt": "Once", "max_tokens": 2 })
}

fn head(length: usize) -> String {
    format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n")
}

fn post(body: &str) -> String {
    format!("{}\r\n{body}", head(body.len()))
}

/// All that comes until the connection is closed; one that is cut may lose the end.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn whole(text: &str) -> Reply {
    Reply::Whole(text.into())
}

#[test]
fn what_is_wrong_is_reported_while_the_gpu_is_busy() {
    let local = Local::start(4);
    let running = local.ask(&brief());
    let (job, slot) = local.take();
    // None of these waits for the answer that is being made, and none is left in the queue.
    for (body, code) in [
        (json!({ "prompt": "Once", "stream": true, "logit_bias": { "4000000000": 1 } }), "invalid_value"),
        (json!({ "prompt": [4_000_000_000u32], "stream": true }), "invalid_value"),
        (json!({ "prompt": "word ".repeat(500), "stream": true }), "context_length_exceeded"),
        (json!({ "prompt": ["Once", "word ".repeat(500)], "stream": true }), "context_length_exceeded"),
        (json!({ "prompt": "Once", "nonsense": 1 }), "unknown_parameter"),
    ] {
        let answer = rest(local.ask(&body));
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    assert_eq!(local.shared.queue.counts(), (1, 0));
    slot.done(true);
    assert!(job.replies.try_send(whole("{}")).is_ok());
    drop(job);
    let answer = rest(running);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
    local.end();
}

#[test]
fn a_page_whose_name_leads_here_is_refused() {
    let local = Local::start(1);
    let port = local.address.port();
    for own in ["localhost".into(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answer = local.get("/health", &format!("Host: {own}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{own}: {answer}");
    }
    for strange in ["evil.example".to_string(), format!("evil.example:{port}"), "localhost.evil.example".into()] {
        for path in ["/health", "/v1/models", "/nowhere"] {
            let answer = local.get(path, &format!("Host: {strange}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("host_not_allowed"), "{strange}: {answer}");
        }
    }
    let answer = local.get("http://evil.example/health", "Host: localhost\r\n");
    assert!(answer.contains("host_not_allowed"), "{answer}");
    let answer = local.get("/health", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("origin_not_allowed"), "{answer}");
    // What the router itself would refuse in its own words.
    let answer = local.get("/v1/models/%FF", "Host: localhost\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"param\":\"model\""), "{answer}");
    local.end();
}
