//! Whose turn it is: sessions of one model compute in the same scratch memory.
//!
//! A step is mostly submitted at once, and the device keeps the order. One that goes to the device
//! in parts is waited for in between, and so is one that `check` looks at: no other session's step
//! may begin there.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The turns of a model's sessions.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// A turn; dropping it ends it.
pub(crate) struct Turn(Rc<Turns>);

impl Turns {
    /// Waits until it is nobody's turn. It stays so until the caller waits for something.
    pub async fn free(&self) {
        poll_fn(|context| {
            if !self.taken.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Takes a turn, to be called where it is nobody's.
    pub fn take(self: &Rc<Self>) -> Turn {
        self.taken.set(true);
        Turn(self.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_second_session_waits_for_the_first_and_is_woken() {
        let turns = Rc::new(Turns::default());
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let turn = turns.take();
        let mut second = pin!(turns.free());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(turn);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
