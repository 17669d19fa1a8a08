//! What has happened so far, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peregrine_openai::Done;

/// Counters. All of them only grow, but for `connections`.
#[derive(Default)]
pub struct Metrics {
    /// Responses by path and status.
    responses: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Answers by how they ended.
    answers: Mutex<BTreeMap<&'static str, u64>>,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    prefill_microseconds: AtomicU64,
    decode_microseconds: AtomicU64,
    connections: AtomicU64,
}

/// There while a connection is open.
pub struct Connection(Arc<Metrics>);

impl Connection {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self(metrics)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is so right now.
pub struct Now {
    pub running: usize,
    pub waiting: usize,
}

impl Metrics {
    pub fn response(&self, path: &'static str, status: u16) {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        *responses.entry((path, status)).or_insert(0) += 1;
    }

    /// `stop`, `length`, `cancelled` or `failed`.
    fn answer(&self, ended: &'static str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(ended).or_insert(0) += 1;
    }

    /// The engine failed, or refused it.
    pub fn failed(&self) {
        self.answer("failed");
    }

    /// A request that waited is not answered: its client has gone, or the server stops.
    pub fn cancelled(&self) {
        self.answer("cancelled");
    }

    /// A request has been answered, or stopped. What was read and written by then is counted either
    /// way.
    pub fn answered(&self, done: &Done) {
        for finish in &done.finishes {
            self.answer(finish.map_or("cancelled", |finish| finish.name()));
        }
        let usage = &done.usage;
        let microseconds = |ms: f64| (ms * 1000.0) as u64;
        for (counter, more) in [
            (&self.prompt_tokens, usage.prompt_tokens),
            (&self.cached_tokens, usage.prompt_tokens_details.cached_tokens),
            (&self.completion_tokens, usage.completion_tokens),
            (&self.prefill_microseconds, microseconds(usage.timings.prefill_ms)),
            (&self.decode_microseconds, microseconds(usage.timings.decode_ms)),
        ] {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How many answers have ended so.
    #[cfg(test)]
    pub fn answers(&self, ended: &str) -> u64 {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(ended).copied().unwrap_or(0)
    }

    /// All of it.
    pub fn text(&self, now: &Now) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP peregrine_{name} {help}\n# TYPE peregrine_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(out, "peregrine_{name}{labels} {value}");
            }
        };
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let responses: Vec<_> = responses
            .iter()
            .map(|((path, status), count)| (format!("{{path=\"{path}\",status=\"{status}\"}}"), count.to_string()))
            .collect();
        family("http_responses_total", "counter", "Responses.", &responses);
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers: Vec<_> =
            answers.iter().map(|(ended, count)| (format!("{{ended=\"{ended}\"}}"), count.to_string())).collect();
        family("answers_total", "counter", "Answers by how they ended.", &answers);
        let one = |value: String| [(String::new(), value)];
        let count = |counter: &AtomicU64| one(counter.load(Ordering::Relaxed).to_string());
        let seconds = |counter: &AtomicU64| one((counter.load(Ordering::Relaxed) as f64 / 1e6).to_string());
        family("prompt_tokens_total", "counter", "Tokens of prompts.", &count(&self.prompt_tokens));
        let help = "Tokens of prompts that had been read before.";
        family("cached_tokens_total", "counter", help, &count(&self.cached_tokens));
        family("completion_tokens_total", "counter", "Tokens of answers.", &count(&self.completion_tokens));
        let help = "Time until the first tokens.";
        family("prefill_seconds_total", "counter", help, &seconds(&self.prefill_microseconds));
        let help = "Time for the tokens after the first.";
        family("decode_seconds_total", "counter", help, &seconds(&self.decode_microseconds));
        family("requests_running", "gauge", "Requests that are answered now.", &one(now.running.to_string()));
        family("requests_waiting", "gauge", "Requests that wait.", &one(now.waiting.to_string()));
        family("connections", "gauge", "Open connections.", &count(&self.connections));
        out
    }
}
