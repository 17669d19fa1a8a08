//! The one thread that owns the GPU: it answers what comes from the queue, one request after the other, with one session.
//!
//! One session is enough for many conversations: it keeps places of each to go back to, and reads only what is new.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peregrine::session::{Engine, Session};
use peregrine_openai::response::event;
use peregrine_openai::{ApiError, Code, Done, answer};
use pollster::block_on;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::metrics::Metrics;
use super::queue::{Job, Queue, Told, stopping};
use crate::failure::Outcome;
use crate::terminal::note;

/// How long a client may not take what is written for it, while all others wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a client that does not read.
const PAUSE: Duration = Duration::from_millis(5);

/// What makes engines and sessions: at the start, and again when the GPU was lost.
pub trait Loads {
    fn engine(&self) -> Outcome<Rc<Engine>>;
    fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session>;
}

pub struct Worker<L> {
    pub loads: L,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    /// Whether requests can be answered.
    pub healthy: Arc<AtomicBool>,
    pub session: Option<Session>,
}

impl<L: Loads> Worker<L> {
    /// Answers until the queue ends.
    pub fn run(mut self) {
        while let Some(job) = self.queue.next() {
            if job.told.is_closed() {
                self.metrics.cancelled();
                continue;
            }
            let told = job.told.clone();
            // A fault in one answer ends that answer.
            let answered = catch_unwind(AssertUnwindSafe(|| self.answer(job)));
            let error = match answered {
                Ok(Ok(done)) => {
                    self.metrics.answered(&done.usage, &done.finishes);
                    if done.is_cancelled() && self.queue.is_aborted() {
                        // Without waiting: whoever does not read now is cut off.
                        send_within(&told, Told::Failed(stopping()), &|| true, Duration::ZERO);
                    }
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => ApiError::new(Code::Internal, "internal error, please report it"),
            };
            self.metrics.failed();
            self.recover(error.code);
            let queue = self.queue.clone();
            send(&told, Told::Failed(error), &move || queue.is_aborted());
        }
    }

    fn answer(&mut self, job: Job) -> Result<Done, ApiError> {
        let Job { request, head, told } = job;
        let queue = self.queue.clone();
        let session = self.ready()?;
        let listener = told.clone();
        let stops = move || listener.is_closed() || queue.is_aborted();
        let cancel = Rc::new(stops);
        let asked = cancel.clone();
        let mut on_event = |chunk| match event(&chunk) {
            Ok(text) => send(&told, Told::Event(text), &*asked),
            Err(_) => false,
        };
        let done = block_on(answer(session, &request, &head, &mut on_event, Some(cancel.clone())))?;
        let last = match &done.whole {
            Some(whole) => {
                let json = serde_json::to_string(whole);
                Told::Whole(json.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?)
            }
            None => Told::Done,
        };
        if !done.is_cancelled() {
            send(&told, last, &*cancel);
        }
        Ok(done)
    }

    /// The session; a new one after a fault, a new engine after the GPU was lost.
    fn ready(&mut self) -> Result<&mut Session, ApiError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let lost = |failure: crate::failure::Failure| {
                    ApiError::new(
                        Code::DeviceLost,
                        format!("the GPU was lost, and the model cannot be loaded again: {}", failure.message()),
                    )
                };
                let engine = self.loads.engine().map_err(lost)?;
                self.loads.session(&engine).map_err(|error| ApiError::of(&error, "messages"))?
            }
        };
        self.healthy.store(true, Ordering::Relaxed);
        Ok(self.session.insert(session))
    }

    /// After an error.
    fn recover(&mut self, code: Code) {
        match code {
            Code::DeviceLost => {
                note("the GPU was lost; the next request loads the model again");
                self.healthy.store(false, Ordering::Relaxed);
                self.session = None;
            }
            Code::Gpu | Code::OutOfMemory | Code::Internal => {
                // What it has read may be wrong.
                if let Some(session) = &mut self.session {
                    session.reset();
                }
            }
            _ => {}
        }
    }
}

/// Waits for a client that reads slowly, but not for ever. `false`: it has gone, or takes too long.
fn send(to: &Sender<Told>, told: Told, stops: &dyn Fn() -> bool) -> bool {
    send_within(to, told, stops, PATIENCE)
}

fn send_within(to: &Sender<Told>, mut told: Told, stops: &dyn Fn() -> bool, patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        told = match to.try_send(told) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(told)) => told,
        };
        if stops() || begun.elapsed() >= patience {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use peregrine::checkpoint::Checkpoint;
    use peregrine::gpu::{Gpu, GpuOptions};
    use peregrine::model::LoadOptions;
    use peregrine_openai::{Head, Request};
    use serde_json::json;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::failure::Failure;

    /// Loads the embedded model, but for the second time.
    struct Tiny(Cell<u32>);

    impl Loads for Tiny {
        fn engine(&self) -> Outcome<Rc<Engine>> {
            if self.0.replace(self.0.get() + 1) == 1 {
                return Err(Failure::run("no usable GPU"));
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
            let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap()))?;
            let gpu = block_on(Gpu::new(&GpuOptions::default()))?;
            let options = LoadOptions { context_length: Some(64), ..LoadOptions::default() };
            Ok(block_on(Engine::load(&gpu, &checkpoint, &options, &mut |_| {}))?)
        }

        fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session> {
            Session::new(engine)
        }
    }

    fn ask(queue: &Queue) -> Receiver<Told> {
        let (told, heard) = channel(8);
        let request = Request::completion(&json!({ "prompt": "Once", "max_tokens": 2, "ignore_eos": true })).unwrap();
        let head = Head { id: "1".into(), created: 0, model: "m".into(), seed: 0 };
        assert!(queue.push(Job { request, head, told }).is_ok());
        heard
    }

    #[test]
    fn after_a_loss_the_model_is_loaded_again() {
        let loads = Tiny(Cell::new(0));
        let session = loads.session(&loads.engine().unwrap()).unwrap();
        let (queue, healthy) = (Arc::new(Queue::new(1)), Arc::new(AtomicBool::new(true)));
        let mut worker = Worker {
            loads,
            queue: queue.clone(),
            metrics: Arc::default(),
            healthy: healthy.clone(),
            session: Some(session),
        };
        worker.recover(Code::DeviceLost);
        let client = std::thread::spawn(move || {
            let told = [(); 3].map(|()| (healthy.load(Ordering::Relaxed), ask(&queue).blocking_recv()));
            queue.stop();
            told
        });
        worker.run();
        let [lost, whole, more] = client.join().unwrap();
        assert!(matches!(lost, (false, Some(Told::Failed(error))) if error.message.contains("no usable GPU")));
        assert!(matches!(whole, (false, Some(Told::Whole(_)))));
        assert!(matches!(more, (true, Some(Told::Whole(_)))));
    }

    #[test]
    fn a_client_that_does_not_read_is_given_up() {
        let (to, mut from) = channel(1);
        let word = || Told::Event("x".into());
        assert!(send_within(&to, word(), &|| false, Duration::ZERO));
        assert!(!send_within(&to, word(), &|| false, Duration::ZERO));
        assert!(!send_within(&to, word(), &|| true, Duration::MAX));
        assert!(from.try_recv().is_ok());
        assert!(send_within(&to, word(), &|| false, Duration::ZERO));
        drop(from);
        assert!(!send_within(&to, word(), &|| false, Duration::MAX));
    }
}
