//! From a body to an answer: what is wrong is reported before anything waits.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{EXPECT, RETRY_AFTER};
use axum::response::Response;
use peregrine_openai::{ApiError, Code, Head, Request, adapters};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::channel;
use tokio::time::timeout;

use super::body;
use super::connection::ClientConnection;
use super::events::{Piece, SIGN_OF_LIFE, events};
use super::http::{Shared, failed, now, typed};
use super::job::{Job, Reply, stopping};
use super::queue::Refused;

/// Chunks that may wait for a client that reads slowly.
pub const CHUNKS: usize = 1024;

type Parse = fn(&Value) -> Result<Request, ApiError>;

pub async fn chat(
    state: State<Shared>,
    client: Extension<ClientConnection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(state.0, client.0, &headers, body, Request::chat).await
}

pub async fn complete(
    state: State<Shared>,
    client: Extension<ClientConnection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(state.0, client.0, &headers, body, Request::completion).await
}

async fn answer(shared: Shared, client: ClientConnection, headers: &HeaderMap, body: Body, parse: Parse) -> Response {
    // Whom there is no room for need not send.
    if let Err(error) = shared.queue.room() {
        if error != Refused::Stopping && !headers.contains_key(EXPECT) {
            body::discard(body);
        }
        return refused(&error);
    }
    // What arrives when the server stops is not waited for.
    let checked = tokio::select! {
        checked = read(&shared, body, parse) => checked,
        () = shared.stopped() => Err(stopping()),
    };
    match checked {
        Ok((request, memory)) => queued(&shared, request, client, memory).await,
        Err(error) if error.code == Code::Busy => refused_for(&error, 1),
        Err(error) => failed(&error),
    }
}

/// A request that can be answered, as far as anybody can tell without the GPU.
async fn read(shared: &Shared, body: Body, parse: Parse) -> Result<(Request, OwnedSemaphorePermit), ApiError> {
    let body::Read { bytes, memory } =
        body::read(body, body::most(shared.admission.context_length()), &shared.memory).await?;
    let shared = shared.clone();
    // Megabytes of it would keep all other connections waiting; two threads do it, so that what it
    // makes is bounded, too.
    let checking = tokio::task::spawn_blocking(move || {
        let body = peregrine_openai::request::json(&bytes)?;
        drop(bytes);
        let request = parse(&body)?;
        drop(body);
        shared.admission.check(&request)?;
        Ok((request, memory))
    });
    checking.await.unwrap_or_else(|_| Err(ApiError::new(Code::Internal, "internal error, please report it")))
}

async fn queued(shared: &Shared, request: Request, client: ClientConnection, memory: OwnedSemaphorePermit) -> Response {
    let (replies, mut heard) = channel(CHUNKS);
    let stream = request.generation().stream;
    let adapter = adapters::as_model(&request, shared.admission.adapters());
    let head = Head {
        id: format!("{:016x}{:016x}", random(), random()),
        created: now(),
        model: adapter.map_or(&shared.model.id, |adapter| &adapter.name).clone(),
        seed: random(),
    };
    if let Err(error) = shared.queue.push(Job { request, head, replies, client, _memory: Some(memory) }) {
        return refused(&error);
    }
    if stream {
        // What fails before the first word has a status of its own; but nobody is left without a
        // sign of life.
        return match timeout(SIGN_OF_LIFE, heard.recv()).await {
            Ok(Some(Reply::Failed(error))) => failed(&error),
            Ok(Some(first)) => events(Piece::Reply(first), heard),
            Ok(None) => broken(),
            Err(_) => events(Piece::Waiting, heard),
        };
    }
    match heard.recv().await {
        Some(Reply::Whole(json)) => typed("application/json", json),
        Some(Reply::Failed(error)) => failed(&error),
        _ => broken(),
    }
}

fn broken() -> Response {
    failed(&ApiError::new(Code::Internal, "the answer was broken off"))
}

fn refused(error: &Refused) -> Response {
    match error {
        Refused::Stopping => failed(&stopping()),
        Refused::Full(seconds) => {
            let message = format!("too many requests are waiting; try again in {seconds} s");
            refused_for(&ApiError::new(Code::Busy, message), *seconds)
        }
    }
}

fn refused_for(error: &ApiError, seconds: u64) -> Response {
    let mut response = failed(error);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// 64 bits that nobody knows before.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
