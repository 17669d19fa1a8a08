//! Paths: what OpenAI's clients call, `/health` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use peregrine_openai::response::{Model, Models};
use peregrine_openai::{ApiError, Code, Head, Request};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;
use tokio::time::timeout;

use super::body;
use super::events::{Piece, SIGN_OF_LIFE, events};
use super::guard::{Key, Origins, guard};
use super::metrics::{Metrics, Now};
use super::queue::{Job, Queue, Refused, Told, stopping};

/// Chunks that may wait for a client that reads slowly.
const CHUNKS: usize = 1024;

const PATHS: &str = "/v1/chat/completions, /v1/completions, /v1/models, /health, /metrics";

/// What all requests share.
pub type Shared = Arc<Server>;

pub struct Server {
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    pub healthy: Arc<AtomicBool>,
    pub key: Option<Key>,
    pub origins: Origins,
    pub model: Model,
}

/// Everything that there is.
pub fn router(shared: Shared) -> Router {
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(complete))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(shared.clone(), guard))
        .layer(from_fn_with_state(shared.clone(), count));
    match shared.origins.layer() {
        Some(layer) => router.layer(layer),
        None => router,
    }
    .with_state(shared)
}

/// Counts responses. Paths that there are not have one name: there are too many.
async fn count(State(shared): State<Shared>, request: HttpRequest, next: Next) -> Response {
    const KNOWN: [&str; 5] = ["/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics"];
    let asked = request.uri().path();
    let known =
        KNOWN.into_iter().find(|path| *path == asked || (*path == "/v1/models" && asked.starts_with("/v1/models/")));
    let response = next.run(request).await;
    shared.metrics.response(known.unwrap_or("other"), response.status().as_u16());
    response
}

async fn chat(State(shared): State<Shared>, body: Body) -> Response {
    answer(&shared, body, Request::chat).await
}

async fn complete(State(shared): State<Shared>, body: Body) -> Response {
    answer(&shared, body, Request::completion).await
}

async fn answer(shared: &Shared, body: Body, parse: fn(&Value) -> Result<Request, ApiError>) -> Response {
    match body::json(body).await.and_then(|body| parse(&body)) {
        Ok(request) => queued(shared, request).await,
        Err(error) => failed(&error),
    }
}

async fn queued(shared: &Shared, request: Request) -> Response {
    let (told, mut heard) = channel(CHUNKS);
    let stream = request.generation().stream;
    let head = Head {
        id: format!("{:016x}{:016x}", random(), random()),
        created: now(),
        model: shared.model.id.clone(),
        seed: random(),
    };
    match shared.queue.push(Job { request, head, told }) {
        Ok(()) => {}
        Err(Refused::Stopping) => return failed(&stopping()),
        Err(Refused::Full(seconds)) => {
            let message = format!("too many requests are waiting; try again in {seconds} s");
            let mut response = failed(&ApiError::new(Code::Busy, message));
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            return response;
        }
    }
    if stream {
        // What is refused before the first word has a status of its own; but nobody is left without a sign of life.
        return match timeout(SIGN_OF_LIFE, heard.recv()).await {
            Ok(Some(Told::Failed(error))) => failed(&error),
            Ok(Some(first)) => events(Piece::Told(first), heard),
            Ok(None) => broken(),
            Err(_) => events(Piece::Waiting, heard),
        };
    }
    match heard.recv().await {
        Some(Told::Whole(json)) => typed("application/json", json),
        Some(Told::Failed(error)) => failed(&error),
        _ => broken(),
    }
}

fn broken() -> Response {
    failed(&ApiError::new(Code::Internal, "the answer was broken off"))
}

async fn models(State(shared): State<Shared>) -> Response {
    told(StatusCode::OK, &Models::one(shared.model.clone()))
}

async fn model(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if id == shared.model.id {
        return told(StatusCode::OK, &shared.model);
    }
    let id: String = id.chars().take(80).collect();
    let message = format!("there is no model {id}; there is {}", shared.model.id);
    failed(&ApiError { param: Some("model".into()), ..ApiError::new(Code::UnknownModel, message) })
}

async fn health(State(shared): State<Shared>) -> Response {
    if shared.queue.is_stopping() {
        return failed(&stopping());
    }
    if !shared.healthy.load(Ordering::Relaxed) {
        return failed(&ApiError::new(Code::DeviceLost, "the GPU was lost; the next request loads the model again"));
    }
    told(StatusCode::OK, &json!({ "status": "ok", "model": shared.model.id }))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let (running, waiting) = shared.queue.counts();
    typed("text/plain; version=0.0.4; charset=utf-8", shared.metrics.text(&Now { running, waiting }))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let right = if uri.path().ends_with("completions") { "POST" } else { "GET" };
    failed(&ApiError::new(Code::Method, format!("{method} {}: use {right}", short(&uri))))
}

async fn unknown_path(method: Method, uri: Uri) -> Response {
    failed(&ApiError::new(
        Code::UnknownPath,
        format!("{method} {}: there is no such path; there are {PATHS}", short(&uri)),
    ))
}

fn short(uri: &Uri) -> String {
    uri.path().chars().take(80).collect()
}

fn told(status: StatusCode, value: &impl Serialize) -> Response {
    // What this program makes can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    (status, typed("application/json", text)).into_response()
}

fn typed(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

/// An error as OpenAI's object.
pub fn failed(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = told(status, error);
    if error.code == Code::InvalidKey {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// 64 bits that nobody knows before.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
