//! The one thread that owns the GPU: it answers what comes from the queue, one request after the
//! other, with one session.
//!
//! One session is enough for many conversations: it keeps places of each to go back to, and reads
//! only what is new.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peregrine::constraint::Compiler;
use peregrine::session::{Engine, Session};
use peregrine_openai::response::event;
use peregrine_openai::{ApiError, Cancel, Code, Done, Head, Offered, Request, adapters, answer};
use pollster::block_on;

use super::job::{Job, Reply, stopping};
use super::metrics::Metrics;
use super::queue::{Next, Queue, Running};
use super::sender::{PAUSES, ReplySender};
use crate::failure::{Failure, Outcome};
use crate::terminal::note;

/// After a loss: before the model is loaded again while nobody asks, and the longest time between
/// two tries.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What makes engines and sessions: at the start, and again when the GPU was lost.
pub trait Loads {
    /// `losses`: of so many GPUs in a row none has answered before it was lost. From
    /// [`MOST_LOSSES`](crate::common::MOST_LOSSES) on the processor may be asked.
    fn engine(&self, losses: u32) -> Outcome<Rc<Engine>>;
    fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session>;
    /// The adapters that requests may ask for.
    fn adapters(&self) -> Vec<Offered> {
        Vec::new()
    }
    /// What makes grammars, where there is something.
    fn compiler(&self) -> Option<Arc<dyn Compiler + Send + Sync>> {
        None
    }
}

pub struct Worker<L> {
    pub loads: L,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    /// Whether requests can be answered.
    pub healthy: Arc<AtomicBool>,
    /// Not there after its device was lost.
    pub engine: Option<Rc<Engine>>,
    /// Not there after a fault.
    pub session: Option<Session>,
    /// Before the next try to have both again.
    pub wait: Duration,
    /// Engines lost since the last answer.
    pub losses: u32,
}

impl<L: Loads> Worker<L> {
    /// Answers until the queue ends.
    pub fn run(mut self) {
        loop {
            // Without a session there is something to do when nobody asks.
            match self.queue.next(self.session.is_none().then_some(self.wait)) {
                Next::Job(job, running) => self.serve(&job, running),
                Next::Idle => self.reload(),
                Next::End => break,
            }
        }
    }

    /// Answers a request. What others see of it (counts, a free place) is so before its client
    /// hears the last word.
    fn serve(&mut self, job: &Job, running: Running) {
        let sender = Rc::new(ReplySender::new(job, self.queue.clone(), PAUSES));
        // A fault in one answer ends that answer.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answered = self.answer(&job.request, &job.head, &sender);
            if let Err(error) = &answered {
                self.recover(error.code);
            }
            answered
        }));
        match answered {
            Ok(Ok((done, last))) => {
                self.metrics.answered(&done);
                self.losses = 0;
                running.done(!done.is_cancelled());
                match last {
                    Some(last) => {
                        sender.send(last);
                    }
                    None if self.queue.is_aborted() => sender.send_now(Reply::Failed(stopping())),
                    None => {}
                }
            }
            Ok(Err(error)) => self.failed(error, running, &sender),
            Err(_) => {
                // Nobody knows what state it is in, and to end it may be another fault.
                let session = self.session.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
                self.failed(ApiError::new(Code::Internal, "internal error, please report it"), running, &sender);
            }
        }
    }

    fn failed(&self, error: ApiError, running: Running, sender: &ReplySender) {
        self.metrics.failed();
        running.done(false);
        sender.send(Reply::Failed(error));
    }

    /// How it went, and the last word where it was not stopped.
    fn answer(
        &mut self,
        request: &Request,
        head: &Head,
        sender: &Rc<ReplySender>,
    ) -> Result<(Done, Option<Reply>), ApiError> {
        let compiler = self.loads.compiler();
        let compiler = compiler.as_deref().map(|compiler| compiler as &dyn Compiler);
        let offered = self.loads.adapters();
        let session = self.ready()?;
        block_on(adapters::choose(session, request, &offered))?;
        let asked = sender.clone();
        let cancel: Cancel = Rc::new(move || asked.stops());
        let mut on_event = |chunk| event(&chunk).is_ok_and(|text| sender.send(Reply::Event(text)));
        let done = block_on(answer(session, request, head, &mut on_event, Some(cancel), compiler))?;
        let last = match &done.whole {
            _ if done.is_cancelled() => None,
            None => Some(Reply::Done),
            Some(whole) => {
                let json = serde_json::to_string(whole);
                Some(Reply::Whole(json.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?))
            }
        };
        Ok((done, last))
    }

    /// The session; a new one after a fault, a new engine after the GPU was lost.
    fn ready(&mut self) -> Result<&mut Session, ApiError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let made = self.make();
                self.healthy.store(made.is_ok(), Ordering::Relaxed);
                made?
            }
        };
        Ok(self.session.insert(session))
    }

    fn make(&mut self) -> Result<Session, ApiError> {
        let lost = |failure: Failure| {
            let message = format!("the GPU was lost, and the model cannot be loaded again: {}", failure.message());
            ApiError::new(Code::DeviceLost, message)
        };
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => self.loads.engine(self.losses).map_err(lost)?,
        };
        let session = self.loads.session(self.engine.insert(engine));
        session.map_err(|error| ApiError::of(&error, "messages"))
    }

    /// After an error.
    fn recover(&mut self, code: Code) {
        match code {
            Code::DeviceLost => {
                if self.healthy.swap(false, Ordering::Relaxed) {
                    note("the GPU was lost; the model is loaded again");
                }
                self.session = None;
                self.losses += u32::from(self.engine.take().is_some());
            }
            // What it has read may be wrong.
            Code::Gpu | Code::OutOfMemory | Code::Internal => self.session = None,
            _ => {}
        }
    }

    /// Makes what is missing, so that the server gets well without being asked.
    fn reload(&mut self) {
        let made = catch_unwind(AssertUnwindSafe(|| match self.ready() {
            Ok(_) => Ok(()),
            Err(error) => {
                self.recover(error.code);
                Err(error.message)
            }
        }));
        match made.unwrap_or_else(|_| Err("internal error, please report it".into())) {
            Ok(()) => self.wait = FIRST_WAIT,
            Err(message) => {
                self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT);
                note(&format!("{message}; the next try is in {} s", self.wait.as_secs()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
