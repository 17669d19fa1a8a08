//! An answer as server-sent events, while it is made.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use hyper::body::Frame;
use peregrine_openai::response::{DONE, event};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::job::Reply;

/// How often a client that waits for a word hears that it still does.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// A stream that has begun.
pub fn events(first: Piece, heard: Receiver<Reply>) -> Response {
    let mut signs = interval(SIGN_OF_LIFE);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    signs.reset();
    let body = Body::new(Events { first: Some(first), heard, signs, ended: false });
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What comes next in a stream.
pub enum Piece {
    Reply(Reply),
    /// Nothing yet.
    Waiting,
}

/// The body of a stream. Dropped, it closes the channel, and the answer stops.
struct Events {
    first: Option<Piece>,
    heard: Receiver<Reply>,
    signs: Interval,
    ended: bool,
}

impl Events {
    /// Its text; an error where the answer is not whole, so that clients do not take it for one.
    fn text(&mut self, reply: Option<Reply>) -> std::io::Result<String> {
        self.ended = !matches!(reply, Some(Reply::Event(_)));
        match reply {
            Some(Reply::Event(text)) => Ok(text),
            Some(Reply::Done) => Ok(DONE.into()),
            Some(Reply::Failed(error)) => event(&error).map_err(std::io::Error::other),
            Some(Reply::Whole(_)) | None => Err(std::io::Error::other("the answer was broken off")),
        }
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = match self.first.take() {
            Some(first) => first,
            None => match self.heard.poll_recv(context) {
                Poll::Ready(Some(reply)) => Piece::Reply(reply),
                Poll::Ready(None) => return Poll::Ready(Some(self.text(None).map(|text| Frame::data(text.into())))),
                Poll::Pending => {
                    ready!(self.signs.poll_tick(context));
                    Piece::Waiting
                }
            },
        };
        let text = match next {
            Piece::Waiting => Ok(": waiting\n\n".into()),
            Piece::Reply(reply) => {
                self.signs.reset();
                self.text(Some(reply))
            }
        };
        Poll::Ready(Some(text.map(|text| Frame::data(text.into()))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::serve::job::stopping;

    /// The text of a stream in which these replies came, and whether it came to its end.
    fn stream(first: Piece, replies: Vec<Reply>) -> (String, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (to, heard) = channel(8);
            for word in replies {
                assert!(to.try_send(word).is_ok());
            }
            drop(to);
            let (mut body, mut text) = (events(first, heard).into_body(), String::new());
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                let Ok(frame) = frame else { return (text, false) };
                text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
            (text, true)
        })
    }

    #[test]
    fn only_a_whole_answer_has_an_end() {
        let word = |text: &str| Reply::Event(text.into());
        let whole = stream(Piece::Reply(word("a")), vec![word("b"), Reply::Done, word("never")]);
        assert_eq!(whole, ("abdata: [DONE]\n\n".into(), true));
        let (text, ended) = stream(Piece::Waiting, vec![word("a"), Reply::Failed(stopping())]);
        assert!(text.starts_with(": waiting\n\nadata: {\"error\":{") && !text.contains("[DONE]") && ended);
        assert_eq!(stream(Piece::Reply(word("a")), vec![]), ("a".into(), false));
        assert_eq!(stream(Piece::Reply(Reply::Done), vec![]), ("data: [DONE]\n\n".into(), true));
    }
}
