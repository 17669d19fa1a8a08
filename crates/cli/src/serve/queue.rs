//! Requests on their way to the one thread that owns the GPU: so many may wait, and those whose
//! client has gone do not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::{Job, Reply, stopping};
use super::metrics::Metrics;

/// Why a request may not wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room; try again after so many seconds.
    Full(u64),
    /// The program is about to end.
    Stopping,
}

/// What is to be done next.
pub enum Next {
    /// Answer this.
    Job(Box<Job>, Running),
    /// Nobody has asked in the time.
    Idle,
    /// The program ends.
    End,
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
    metrics: Arc<Metrics>,
}

impl Queue {
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), aborted: AtomicBool::new(false), most, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out those whose client has gone.
    fn sift(&self, state: &mut State) {
        state.waiting.retain(|job| {
            let gone = job.replies.is_closed();
            if gone {
                self.metrics.cancelled();
            }
            !gone
        });
    }

    fn has_room(&self, state: &mut State) -> Result<(), Refused> {
        if state.stopping {
            return Err(Refused::Stopping);
        }
        self.sift(state);
        match state.waiting.len() < self.most + usize::from(state.running.is_none()) {
            true => Ok(()),
            false => {
                let elapsed = state.running.map(|begun| begun.elapsed().as_secs_f64());
                Err(Refused::Full(seconds(state.pace, elapsed, state.waiting.len())))
            }
        }
    }

    /// Whether one more might wait: asked before its body is read.
    pub fn room(&self) -> Result<(), Refused> {
        self.has_room(&mut self.state())
    }

    /// Waits from now on.
    pub fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.state();
        self.has_room(&mut state)?;
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// The next one, as soon as there is one; with `patience`, nothing after that time.
    pub fn next(self: &Arc<Self>, patience: Option<Duration>) -> Next {
        // A time that no clock can tell never comes.
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.state();
        loop {
            if state.stopping {
                return Next::End;
            }
            self.sift(&mut state);
            if let Some(job) = state.waiting.pop_front() {
                state.running = Some(Instant::now());
                return Next::Job(Box::new(job), Running { queue: self.clone(), whole: false });
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Next::Idle,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// How many are answered (0 or 1), and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let mut state = self.state();
        self.sift(&mut state);
        (usize::from(state.running.is_some()), state.waiting.len())
    }

    /// Takes nothing more. The answer that is being made goes on, those that wait are refused.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for job in state.waiting.drain(..) {
            self.metrics.cancelled();
            // There is room in a fresh channel; or the client has gone.
            let _ = job.replies.try_send(Reply::Failed(stopping()));
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

/// There while an answer is made.
pub struct Running {
    queue: Arc<Queue>,
    whole: bool,
}

impl Running {
    /// It is made. `whole`: not broken off, so that it tells what others will take.
    pub fn done(mut self, whole: bool) {
        self.whole = whole;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if let (Some(begun), true) = (state.running.take(), self.whole) {
            let seconds = begun.elapsed().as_secs_f64();
            state.pace = if state.pace == 0.0 { seconds } else { state.pace * 0.8 + seconds * 0.2 };
        }
    }
}

/// When all that is there now will be answered: the rest of the one that is being made, and those
/// that wait.
fn seconds(pace: f64, elapsed: Option<f64>, waiting: usize) -> u64 {
    let rest = elapsed.map_or(0.0, |elapsed| (pace - elapsed).max(0.0));
    (rest + waiting as f64 * pace).ceil().clamp(1.0, 60.0) as u64
}

#[cfg(test)]
mod tests {
    use peregrine_openai::Code;

    use super::super::job::tests::job;
    use super::*;

    fn queue(most: usize) -> (Arc<Queue>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (Arc::new(Queue::new(most, metrics.clone())), metrics)
    }

    fn take(queue: &Arc<Queue>) -> Running {
        match queue.next(Some(Duration::ZERO)) {
            Next::Job(_, running) => running,
            _ => panic!("nobody has asked"),
        }
    }

    #[test]
    fn so_many_may_wait_and_who_has_gone_does_not() {
        let (queue, metrics) = queue(1);
        let (first, _first) = job(1);
        assert!(queue.push(first).is_ok());
        let running = take(&queue);
        let (second, heard) = job(1);
        assert!(queue.push(second).is_ok());
        assert_eq!(queue.counts(), (1, 1));
        let (third, _third) = job(1);
        assert!(matches!(queue.push(third), Err(Refused::Full(1..=60))));
        assert!(matches!(queue.room(), Err(Refused::Full(1..=60))));
        drop(heard);
        assert_eq!((queue.counts(), queue.room()), ((1, 0), Ok(())));
        let (fourth, mut heard) = job(1);
        assert!(queue.push(fourth).is_ok());
        queue.stop();
        assert!(matches!(heard.try_recv(), Ok(Reply::Failed(error)) if error.code == Code::Stopping));
        let (fifth, _fifth) = job(1);
        assert!(matches!(queue.push(fifth), Err(Refused::Stopping)));
        assert!(matches!(queue.next(None), Next::End));
        drop(running);
        assert_eq!(queue.counts(), (0, 0));
        // Who left and who was sent away are counted alike, each once.
        assert_eq!(metrics.answers("cancelled"), 2);
    }

    #[test]
    fn without_a_queue_one_is_answered() {
        let (queue, _) = queue(0);
        let (first, _first) = job(1);
        assert!(queue.push(first).is_ok());
        let (second, _second) = job(1);
        assert!(matches!(queue.push(second), Err(Refused::Full(_))));
        let running = take(&queue);
        let (third, _third) = job(1);
        assert!(matches!(queue.push(third), Err(Refused::Full(_))));
        // A panic while it is answered gives the place free, too.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _running = running;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());
        assert_eq!(queue.counts(), (0, 0));
        assert!(matches!(queue.next(Some(Duration::ZERO)), Next::Idle));
    }

    #[test]
    fn the_time_to_wait_is_what_is_left() {
        // Nothing known yet; half of an answer; one that takes longer than others do; three more
        // that wait.
        assert_eq!([seconds(0.0, Some(5.0), 3), seconds(10.0, Some(5.5), 0)], [1, 5]);
        assert_eq!([seconds(10.0, Some(25.0), 0), seconds(10.0, Some(4.0), 3)], [1, 36]);
        assert_eq!([seconds(10.0, None, 1), seconds(10.0, Some(0.0), 400)], [10, 60]);
    }

    #[test]
    fn only_whole_answers_set_the_pace() {
        let (queue, _) = queue(1);
        for (whole, learned) in [(false, false), (true, true)] {
            let (job, _heard) = job(1);
            assert!(queue.push(job).is_ok());
            take(&queue).done(whole);
            assert_eq!(queue.state().pace > 0.0, learned);
        }
    }
}
