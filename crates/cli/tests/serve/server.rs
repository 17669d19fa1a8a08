//! The program as a server, and clients of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{model, program_after};

/// Longer than anything takes here: a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(300);

/// A response.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// Empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The chunks of a stream, and whether it has an end.
pub fn events(body: &str) -> (Vec<Value>, bool) {
    let (mut chunks, mut done) = (Vec::new(), false);
    for event in body.split_terminator("\n\n") {
        match event.strip_prefix("data: ") {
            Some("[DONE]") => done = true,
            Some(data) => chunks.push(serde_json::from_str(data).unwrap()),
            None => assert!(event.starts_with(':'), "{event:?}"),
        }
    }
    (chunks, done)
}

/// Chunks as they come. Dropped, it leaves.
pub struct Stream {
    lines: Box<dyn BufRead>,
    pub done: bool,
}

impl Iterator for Stream {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.done || self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().strip_prefix("data: ") {
                Some("[DONE]") => self.done = true,
                Some(data) => return Some(serde_json::from_str(data).unwrap()),
                None => {}
            }
        }
    }
}

/// The program. Ends with its test.
pub struct Server {
    child: Child,
    address: String,
    agent: ureq::Agent,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// With these variables in its environment.
    pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of(&model(), args, variables)
    }

    /// Of another model.
    pub fn of(model: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = program_after("");
        command.args(["serve", model.to_str().unwrap(), "--port", "0"]).args(args).stdin(Stdio::null());
        command.env_remove("PEREGRINE_API_KEY").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().to_string();
        assert!(address.starts_with("http://127.0.0.1:"), "{address:?}");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        Self { child, address, agent }
    }

    /// Without the scheme.
    pub fn host(&self) -> &str {
        self.address.strip_prefix("http://").unwrap()
    }

    fn response(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ureq::http::Response<ureq::Body> {
        let uri = format!("{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match method {
            "POST" => self.agent.run(request.body(body.to_string()).unwrap()),
            _ => self.agent.run(request.body(()).unwrap()),
        }
        .unwrap()
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut response = self.response(method, path, headers, body);
        let text = |value: &ureq::http::HeaderValue| value.to_str().unwrap().to_string();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Answer { status: response.status().as_u16(), headers, body: response.body_mut().read_to_string().unwrap() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    /// A stream that has begun.
    pub fn stream(&self, path: &str, body: &Value) -> Stream {
        let response = self.response("POST", path, &[], &body.to_string());
        assert_eq!(response.status().as_u16(), 200);
        Stream { lines: Box::new(BufReader::new(response.into_body().into_reader())), done: false }
    }

    /// A connection on which this was sent.
    pub fn raw(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// A request whose answer nobody reads yet.
    pub fn ask(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    pub fn metric(&self, name: &str) -> u64 {
        self.metric_with(name, &[])
    }

    /// A number of `/metrics`; 0 where it is not there yet.
    pub fn metric_with(&self, name: &str, headers: &[(&str, &str)]) -> u64 {
        let text = self.send("GET", "/metrics", headers, "").body;
        let found =
            text.lines().find_map(|line| line.strip_prefix("peregrine_")?.strip_prefix(name)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse().unwrap())
    }

    /// Asks until the metric has this value; it shows the last one when that does not come.
    pub fn until(&self, name: &str, value: u64) {
        let begun = Instant::now();
        loop {
            let found = self.metric(name);
            if found == value {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "expected {name} to be {value}, found {found}");
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How it has ended.
    pub fn status(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
