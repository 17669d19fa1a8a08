//! Connections: so many at a time, each with limits on what a request's head and a write may take;
//! closed one by one at the end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::connection::{ClientConnection, Written};
use super::http::Shared;
use super::io::Timed;
use super::metrics::Connection;

/// Connections at a time; others wait until one is closed.
pub const MOST: u32 = 512;

/// Most requests that may wait: each has a connection, and some are left for `/health` and for
/// saying no.
pub const MOST_WAITING: u32 = MOST - 32;

/// For the head of a request, and until the next one.
const HEAD: Duration = Duration::from_secs(30);

/// What the last words may take when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// When a connection on which nothing happens is tried, and how often until it counts as lost.
const QUIET: Duration = Duration::from_secs(60);
const TRIED_EVERY: Duration = Duration::from_secs(15);

/// Serves until it is to stop, and closes what is open. `answered`: the last answer has been sent.
/// `grace`: what that may still take.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shared: Shared,
    mut answered: watch::Receiver<bool>,
    grace: Duration,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MOST as usize));
    loop {
        tokio::select! {
            () = shared.stopped() => break,
            (stream, permit) = accept(&listener, &room) => open(stream, permit, router.clone(), &shared),
        }
    }
    drop(listener);
    // Each connection gives its place back.
    let closed = room.acquire_many(MOST);
    tokio::pin!(closed);
    // Whoever would say so is gone: so is the answer.
    let mut last_answer = std::pin::pin!(async move { drop(answered.wait_for(|answered| *answered).await) });
    tokio::select! {
        _ = &mut closed => return Ok(()),
        () = &mut last_answer => {}
        () = sleep(grace) => {
            shared.queue.abort();
            // Between two steps of the device.
            let _ = timeout(LAST_WORDS, last_answer).await;
        }
    }
    // Who still does not read is cut off.
    let _ = timeout(LAST_WORDS, closed).await;
    Ok(())
}

/// The next connection, as soon as there is room for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // It is never closed.
    let permit = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // A client that left at once; or no more files may be open, which passes.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn open(stream: TcpStream, permit: Option<OwnedSemaphorePermit>, router: Router, shared: &Shared) {
    // Words are to be seen as they come. Without it they come a little later.
    let _ = stream.set_nodelay(true);
    // A client that has lost its power waits in the queue like others. Without it, a little longer.
    let alive = TcpKeepalive::new().with_time(QUIET).with_interval(TRIED_EVERY);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
    let client = ClientConnection::default();
    let (inner, of) = (TowerToHyperService::new(router), client.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(of.clone());
        let (busy, answering) = (of.busy(), inner.call(request));
        async move { answering.await.map(|response| response.map(|body| Written { body, _busy: busy })) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(Timed::new(stream, client.clone())), service);
    let counted = Connection::new(shared.metrics.clone());
    let shared = shared.clone();
    tokio::spawn(async move {
        // Given back in whatever way it ends.
        let _held = (counted, permit);
        tokio::pin!(connection);
        tokio::select! {
            // A client that breaks off is no news.
            _ = connection.as_mut() => return,
            () = client.is_cut() => return,
            () = shared.stopped() => {}
        }
        // Nobody waits for half a request: its other half is not waited for, either.
        if client.is_idle() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = client.is_cut() => {}
        }
    });
}
