//! Faults and losses, with the embedded model on what a user gets.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Instant;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{Gpu, GpuOptions};
use peregrine::model::LoadOptions;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::common::MOST_LOSSES;
use crate::serve::Ends;
use crate::serve::job::tests::job;

/// Loads the embedded model, but for the second time.
struct Tiny(Cell<u32>);

impl Loads for Tiny {
    fn engine(&self, _losses: u32) -> Outcome<Rc<Engine>> {
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

/// The GPU was lost.
fn worker(wait: Duration) -> Worker<Tiny> {
    let loads = Tiny(Cell::new(0));
    let session = loads.session(&loads.engine(0).unwrap()).unwrap();
    let metrics = Arc::new(Metrics::default());
    let mut worker = Worker {
        loads,
        queue: Arc::new(Queue::new(1, metrics.clone())),
        metrics,
        healthy: Arc::new(AtomicBool::new(true)),
        engine: Some(session.engine().clone()),
        session: Some(session),
        wait,
        losses: 0,
    };
    worker.recover(Code::DeviceLost);
    assert!(worker.engine.is_none() && !worker.healthy.load(Ordering::Relaxed));
    worker
}

fn ask(queue: &Queue) -> Receiver<Reply> {
    let (job, heard) = job(8);
    assert!(queue.push(job).is_ok());
    heard
}

#[test]
fn after_a_loss_a_request_loads_the_model_again() {
    let worker = worker(Duration::MAX);
    let (queue, metrics, healthy) = (worker.queue.clone(), worker.metrics.clone(), worker.healthy.clone());
    let client = std::thread::spawn(move || {
        let _ends = Ends(queue.clone());
        [(); 3].map(|()| {
            let well = healthy.load(Ordering::Relaxed);
            let answer = ask(&queue).blocking_recv();
            // Whoever has heard the last word finds it counted, and the place free.
            (well, answer, queue.counts(), ["failed", "length"].map(|ended| metrics.answers(ended)))
        })
    });
    worker.run();
    let [lost, whole, more] = client.join().unwrap();
    assert!(
        matches!(lost, (false, Some(Reply::Failed(error)), (0, 0), [1, 0]) if error.message.contains("no usable GPU"))
    );
    assert!(matches!(whole, (false, Some(Reply::Whole(_)), (0, 0), [1, 1])));
    assert!(matches!(more, (true, Some(Reply::Whole(_)), (0, 0), [1, 2])));
}

#[test]
fn after_a_loss_the_server_gets_well_without_being_asked() {
    let worker = worker(Duration::ZERO);
    let (queue, healthy) = (worker.queue.clone(), worker.healthy.clone());
    let client = std::thread::spawn(move || {
        let (_ends, begun) = (Ends(queue), Instant::now());
        while !healthy.load(Ordering::Relaxed) {
            assert!(begun.elapsed() < Duration::from_secs(120), "the model is not loaded again");
            std::thread::yield_now();
        }
    });
    worker.run();
    client.join().unwrap();
}

#[test]
fn after_a_fault_the_engine_stays_and_its_session_does_not() {
    /// Whose sessions are not to be had for the first time.
    struct Faulty(Tiny, Cell<bool>);

    impl Loads for Faulty {
        fn engine(&self, losses: u32) -> Outcome<Rc<Engine>> {
            self.0.engine(losses)
        }

        fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session> {
            assert!(self.1.replace(true), "a fault, for a test");
            self.0.session(engine)
        }
    }

    let loads = Faulty(Tiny(Cell::new(0)), Cell::new(false));
    let (engine, metrics) = (loads.engine(0).unwrap(), Arc::new(Metrics::default()));
    let queue = Arc::new(Queue::new(1, metrics.clone()));
    let mut worker = Worker {
        loads,
        queue: queue.clone(),
        metrics: metrics.clone(),
        healthy: Arc::new(AtomicBool::new(true)),
        engine: Some(engine.clone()),
        session: None,
        wait: Duration::MAX,
        losses: 0,
    };
    let mut answer = || {
        let mut heard = ask(&queue);
        let Next::Job(job, running) = queue.next(Some(Duration::ZERO)) else { panic!("somebody has asked") };
        worker.serve(&job, running);
        heard.try_recv()
    };
    assert!(matches!(answer(), Ok(Reply::Failed(error)) if error.code == Code::Internal));
    assert!(matches!(answer(), Ok(Reply::Whole(_))));
    assert_eq!((queue.counts(), metrics.answers("failed"), metrics.answers("length")), ((0, 0), 1, 1));
    assert!(worker.engine.is_some_and(|same| Rc::ptr_eq(&same, &engine)));
    assert_eq!(worker.loads.0.0.get(), 1);
}

/// A GPU that is lost in every answer is asked no more; one answer, and it would be trusted again.
#[test]
fn gpus_that_are_lost_again_and_again_are_given_up() {
    /// Whose devices go while they answer, but for those that are made after losses enough.
    struct Fragile(Tiny, RefCell<Vec<u32>>);

    impl Loads for Fragile {
        fn engine(&self, losses: u32) -> Outcome<Rc<Engine>> {
            self.1.borrow_mut().push(losses);
            self.0.0.set(0);
            self.0.engine(losses)
        }

        fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session> {
            match self.1.borrow().last() {
                Some(losses) if *losses < MOST_LOSSES => {
                    Err(peregrine::Error::DeviceLost { detail: "for a test".into() })
                }
                _ => self.0.session(engine),
            }
        }
    }

    let loads = Fragile(Tiny(Cell::new(0)), RefCell::default());
    let metrics = Arc::new(Metrics::default());
    let queue = Arc::new(Queue::new(1, metrics.clone()));
    let mut worker = Worker {
        engine: Some(loads.engine(0).unwrap()),
        loads,
        queue: queue.clone(),
        metrics,
        healthy: Arc::new(AtomicBool::new(true)),
        session: None,
        wait: Duration::MAX,
        losses: 0,
    };
    let mut answer = || {
        let mut heard = ask(&queue);
        let Next::Job(job, running) = queue.next(Some(Duration::ZERO)) else { panic!("somebody has asked") };
        worker.serve(&job, running);
        heard.try_recv()
    };
    for _ in 0..MOST_LOSSES {
        assert!(matches!(answer(), Ok(Reply::Failed(error)) if error.code == Code::DeviceLost));
    }
    assert!(matches!(answer(), Ok(Reply::Whole(_))));
    assert_eq!(worker.losses, 0);
    assert_eq!(*worker.loads.1.borrow(), [0, 1, MOST_LOSSES]);
}
