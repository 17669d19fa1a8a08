//! The socket of a connection, on which no byte may wait for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connection::ClientConnection;

/// How long nothing at all of what is written may go out.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream whose writes end with an error where they take too long.
pub struct Timed<S> {
    stream: S,
    client: ClientConnection,
    patience: Duration,
    /// Since nothing goes out.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Timed<S> {
    pub fn new(stream: S, client: ClientConnection) -> Self {
        Self { stream, client, patience: PATIENCE, late: None }
    }

    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let done = write(Pin::new(&mut self.stream), context);
        self.client.set_blocked(done.is_pending());
        if done.is_ready() {
            self.late = None;
            return done;
        }
        let patience = self.patience;
        ready!(self.late.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.timed(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.timed(context, |stream, context| stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.timed(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.timed(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes a byte every other time.
    #[derive(Default)]
    struct Slow {
        takes: bool,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            self.takes = !self.takes;
            if self.takes {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.taken.push(bytes[0]);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_write_ends_where_nothing_goes_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let client = ClientConnection::default();
            let mut io = Timed::new(Slow::default(), client.clone());
            for byte in b"abc" {
                let written = poll_fn(|context| Pin::new(&mut io).poll_write(context, &[*byte])).await;
                assert_eq!((written.unwrap(), client.is_idle(), io.late.is_none()), (1, true, true));
            }
            assert_eq!(io.stream.taken, b"abc");
            io.patience = Duration::ZERO;
            let flushed = poll_fn(|context| Pin::new(&mut io).poll_flush(context)).await;
            assert_eq!((flushed.unwrap_err().kind(), client.is_idle()), (ErrorKind::TimedOut, false));
        });
    }
}
