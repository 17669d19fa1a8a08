//! From the GPU's thread to a connection: a reply waits for a client that reads slowly, but not for
//! ever.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::connection::ClientConnection;
use super::job::{Job, Reply};
use super::queue::Queue;

/// Between two looks at a client that does not read.
const PAUSE: Duration = Duration::from_millis(5);

/// So many in all for one request, while all others wait: ten seconds.
pub const PAUSES: u32 = 2000;

/// Tells one request its answer.
pub struct ReplySender {
    to: Sender<Reply>,
    client: ClientConnection,
    queue: Arc<Queue>,
    /// Pauses that its client may still cost.
    left: Cell<u32>,
    /// It cost more.
    given_up: Cell<bool>,
    pause: Box<dyn Fn()>,
}

impl ReplySender {
    pub fn new(job: &Job, queue: Arc<Queue>, pauses: u32) -> Self {
        let (to, client) = (job.replies.clone(), job.client.clone());
        let pause = Box::new(|| std::thread::sleep(PAUSE));
        Self { to, client, queue, left: Cell::new(pauses), given_up: Cell::new(false), pause }
    }

    /// Whether the answer is to end.
    pub fn stops(&self) -> bool {
        self.given_up.get() || self.to.is_closed() || self.queue.is_aborted()
    }

    /// `false`: the client has gone, or has cost all others too much time; its connection is cut
    /// then.
    pub fn send(&self, mut reply: Reply) -> bool {
        if self.given_up.get() {
            return false;
        }
        loop {
            reply = match self.to.try_send(reply) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(reply)) => reply,
            };
            if self.stops() {
                return false;
            }
            match self.left.get().checked_sub(1) {
                Some(left) => self.left.set(left),
                None => {
                    self.given_up.set(true);
                    self.client.cut();
                    return false;
                }
            }
            (self.pause)();
        }
    }

    /// The same without waiting: whoever does not read now is cut off.
    pub fn send_now(&self, reply: Reply) {
        if self.to.try_send(reply).is_err() {
            self.client.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::sync::mpsc::Receiver;

    use super::super::job::tests::job;
    use super::*;

    fn sender(pauses: u32) -> (ReplySender, Receiver<Reply>, Arc<Queue>, ClientConnection) {
        let (queue, (job, heard)) = (Arc::new(Queue::new(1, Arc::default())), job(1));
        (ReplySender::new(&job, queue.clone(), pauses), heard, queue, job.client)
    }

    fn word() -> Reply {
        Reply::Event("x".into())
    }

    fn is_cut(client: &ClientConnection) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::ZERO, client.is_cut()).await.is_ok() })
    }

    #[test]
    fn what_a_client_may_cost_is_counted_over_its_whole_answer() {
        let (mut sender, heard, _queue, client) = sender(3);
        let heard = Rc::new(RefCell::new(heard));
        // It hears one word in each pause.
        let slow = heard.clone();
        sender.pause = Box::new(move || assert!(slow.borrow_mut().try_recv().is_ok()));
        assert_eq!((0..10).take_while(|_| sender.send(word())).count(), 4);
        assert!(sender.stops() && is_cut(&client));
        // Then it is over, even if it reads.
        assert!(heard.borrow_mut().try_recv().is_ok() && !sender.send(word()));
    }

    #[test]
    fn who_has_gone_costs_nothing() {
        let (sender, heard, _queue, client) = sender(u32::MAX);
        assert!(sender.send(word()));
        drop(heard);
        assert!(!sender.send(word()) && sender.stops() && !is_cut(&client));
        // Nor does anybody when the program ends.
        let (sender, _heard, queue, client) = self::sender(u32::MAX);
        assert!(sender.send(word()));
        queue.abort();
        assert!(!sender.send(word()) && !is_cut(&client));
        sender.send_now(word());
        assert!(is_cut(&client));
    }
}
