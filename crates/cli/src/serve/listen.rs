//! Connections: so many at a time, each with a limit on the time that a request's head may take; closed one by one at the end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::http::Shared;

/// Connections at a time; others wait until one is closed.
const MOST: usize = 512;

/// For the head of a request, and until the next one.
const HEAD: Duration = Duration::from_secs(30);

/// What the last words may take when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until `stop` says so, and closes what is open. `grace`: what the answer that is being made may still take.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shared: Shared,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MOST)));
    loop {
        tokio::select! {
            // The sender is gone only when the program is, too.
            _ = stop.wait_for(|stop| *stop) => break,
            (stream, permit) = accept(&listener, &room) => {
                open(stream, permit, &graceful, router.clone(), shared.clone());
            }
        }
    }
    drop(listener);
    let closed = graceful.shutdown();
    tokio::pin!(closed);
    if timeout(grace, &mut closed).await.is_err() {
        shared.queue.abort();
        // Who still does not read is cut off.
        let _ = timeout(LAST_WORDS, closed).await;
    }
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

fn open(
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    graceful: &GracefulShutdown,
    router: Router,
    shared: Shared,
) {
    // Words are to be seen as they come. Without it they come a little later.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        // A client that breaks off is no news.
        let _ = connection.await;
        shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        drop(permit);
    });
}
