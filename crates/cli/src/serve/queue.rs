//! Requests on their way to the one thread that owns the GPU: so many may wait, and those whose client has gone do not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use peregrine_openai::{ApiError, Code, Head, Request};
use tokio::sync::mpsc::Sender;

/// What the GPU's thread tells a connection. Where the channel ends without an end of the answer, the answer was broken off.
pub enum Told {
    /// A server-sent event.
    Event(String),
    /// A whole response, as JSON.
    Whole(String),
    /// All of a stream was told.
    Done,
    /// Nothing more comes.
    Failed(ApiError),
}

/// A request that waits for its answer.
pub struct Job {
    pub request: Request,
    pub head: Head,
    /// Closed as soon as the client has gone.
    pub told: Sender<Told>,
}

/// Why a request may not wait.
pub enum Refused {
    /// There is no room; try again after so many seconds.
    Full(u64),
    /// The program is about to end.
    Stopping,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// When the answer that is being made was begun.
    running: Option<Instant>,
    /// What an answer takes, seconds: a running mean.
    pace: f64,
    stopping: bool,
}

/// First come, first served.
pub struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// The answer that is being made is to end now.
    aborted: AtomicBool,
    /// How many may wait beside the one that is answered.
    most: usize,
}

impl Queue {
    pub fn new(most: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), aborted: AtomicBool::new(false), most }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits from now on.
    pub fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.state();
        if state.stopping {
            return Err(Refused::Stopping);
        }
        state.waiting.retain(|job| !job.told.is_closed());
        let room = self.most + usize::from(state.running.is_none());
        if state.waiting.len() >= room {
            let ahead = (state.waiting.len() + 1) as f64;
            return Err(Refused::Full((ahead * state.pace).ceil().clamp(1.0, 60.0) as u64));
        }
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// The next one, as soon as there is one; `None` when the program ends. The one before it is done then.
    pub fn next(&self) -> Option<Job> {
        let mut state = self.state();
        if let Some(begun) = state.running.take() {
            let seconds = begun.elapsed().as_secs_f64();
            state.pace = if state.pace == 0.0 { seconds } else { state.pace * 0.8 + seconds * 0.2 };
        }
        loop {
            if state.stopping {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.running = Some(Instant::now());
                return Some(job);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many are answered (0 or 1), and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        let waiting = state.waiting.iter().filter(|job| !job.told.is_closed()).count();
        (usize::from(state.running.is_some()), waiting)
    }

    /// Takes nothing more. The answer that is being made goes on, those that wait are refused.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for job in state.waiting.drain(..) {
            // There is room in a fresh channel; or the client has gone.
            let _ = job.told.try_send(Told::Failed(stopping()));
        }
        self.wake.notify_all();
    }

    /// The answer that is being made ends now, too.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }
}

/// What clients are told by a program that ends.
pub fn stopping() -> ApiError {
    ApiError::new(Code::Stopping, "the server is stopping")
}

#[cfg(test)]
mod tests {
    use peregrine_openai::Request;
    use serde_json::json;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    fn job() -> (Job, Receiver<Told>) {
        let (told, heard) = channel(1);
        let request = Request::completion(&json!({ "prompt": "x" })).unwrap();
        let head = Head { id: "1".into(), created: 0, model: "m".into(), seed: 0 };
        (Job { request, head, told }, heard)
    }

    #[test]
    fn so_many_may_wait_and_who_has_gone_does_not() {
        let queue = Queue::new(1);
        let (first, _first) = job();
        assert!(queue.push(first).is_ok());
        let running = queue.next();
        assert!(running.is_some());
        let (second, heard) = job();
        assert!(queue.push(second).is_ok());
        assert_eq!(queue.counts(), (1, 1));
        let (third, _third) = job();
        assert!(matches!(queue.push(third), Err(Refused::Full(1..=60))));
        drop(heard);
        assert_eq!(queue.counts(), (1, 0));
        let (fourth, mut told) = job();
        assert!(queue.push(fourth).is_ok());
        queue.stop();
        assert!(matches!(told.try_recv(), Ok(Told::Failed(error)) if error.code == Code::Stopping));
        let (fifth, _fifth) = job();
        assert!(matches!(queue.push(fifth), Err(Refused::Stopping)));
        assert!(queue.next().is_none());
    }

    #[test]
    fn without_a_queue_one_is_answered() {
        let queue = Queue::new(0);
        let (first, _first) = job();
        assert!(queue.push(first).is_ok());
        let (second, _second) = job();
        assert!(matches!(queue.push(second), Err(Refused::Full(_))));
        assert!(queue.next().is_some());
        let (third, _third) = job();
        assert!(matches!(queue.push(third), Err(Refused::Full(_))));
    }
}
