//! What is known of a connection: by its own task, by the requests that came over it, and by the
//! GPU's thread.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// A connection.
#[derive(Clone, Default)]
pub struct ClientConnection(Arc<State>);

#[derive(Default)]
struct State {
    /// Requests whose response is not written yet: 0 or 1.
    busy: AtomicUsize,
    /// What is written does not go out.
    blocked: AtomicBool,
    cut: Notify,
}

impl ClientConnection {
    /// Ends the connection at once, whatever is under way on it. From any thread.
    pub fn cut(&self) {
        self.0.cut.notify_one();
    }

    /// Waits until it is to be cut. Only the connection's own task does.
    pub async fn is_cut(&self) {
        self.0.cut.notified().await;
    }

    /// Nothing was asked that is not answered: no request has come, or only a part of one.
    pub fn is_idle(&self) -> bool {
        self.0.busy.load(Ordering::Relaxed) == 0 && !self.0.blocked.load(Ordering::Relaxed)
    }

    pub fn set_blocked(&self, blocked: bool) {
        self.0.blocked.store(blocked, Ordering::Relaxed);
    }

    /// A request has come.
    pub fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.0.clone())
    }
}

/// There while a request is answered.
pub struct Busy(Arc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that keeps its connection busy until it is written.
pub struct Written {
    pub body: Body,
    pub _busy: Busy,
}

impl HttpBody for Written {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
