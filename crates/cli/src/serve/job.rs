//! A request on its way to the GPU, and what comes back.

use peregrine_openai::{ApiError, Code, Head, Request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Sender;

use super::connection::ClientConnection;

/// What the GPU's thread tells a connection. Where the channel ends without an end of the answer,
/// the answer was broken off.
pub enum Reply {
    /// A server-sent event.
    Event(String),
    /// A whole response, as JSON.
    Whole(String),
    /// All of a stream was sent.
    Done,
    /// Nothing more comes.
    Failed(ApiError),
}

/// A request that waits for its answer.
pub struct Job {
    pub request: Request,
    pub head: Head,
    /// Closed as soon as the client has gone.
    pub replies: Sender<Reply>,
    /// The connection that it came over.
    pub client: ClientConnection,
    /// What the request takes of the memory for all of them.
    pub _memory: Option<OwnedSemaphorePermit>,
}

/// What clients are told by a program that ends.
pub fn stopping() -> ApiError {
    ApiError::new(Code::Stopping, "the server is stopping")
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A short completion, with room for so many words of its answer.
    pub fn job(room: usize) -> (Job, Receiver<Reply>) {
        let (replies, heard) = channel(room);
        let request = Request::completion(&json!({ "prompt": "Once", "max_tokens": 2, "ignore_eos": true })).unwrap();
        let head = Head { id: "1".into(), created: 0, model: "m".into(), seed: 0 };
        (Job { request, head, replies, client: ClientConnection::default(), _memory: None }, heard)
    }
}
