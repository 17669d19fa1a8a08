//! Paths: what OpenAI's clients call, `/health` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use peregrine_openai::response::{Model, Models};
use peregrine_openai::{Admission, ApiError, Code};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use super::answers::{chat, complete};
use super::guard::{Key, Origins, guard};
use super::hosts::Hosts;
use super::job::stopping;
use super::metrics::{Metrics, Now};
use super::queue::Queue;

const PATHS: &str = "/v1/chat/completions, /v1/completions, /v1/models, /health, /metrics";

/// What all requests share.
pub type Shared = Arc<Server>;

pub struct Server {
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    pub healthy: Arc<AtomicBool>,
    pub admission: Admission,
    /// KiB for bodies and the requests that were made of them.
    pub memory: Arc<Semaphore>,
    pub key: Option<Key>,
    /// Where it may have few names: on this machine only, without a key.
    pub hosts: Option<Hosts>,
    pub origins: Origins,
    pub model: Model,
    /// Whether it is to end.
    pub stopping: watch::Receiver<bool>,
}

impl Server {
    /// The model, and each adapter beside it.
    fn models(&self) -> Vec<Model> {
        let adapters = self.admission.adapters().iter().map(|adapter| self.model.adapter(&adapter.name));
        std::iter::once(self.model.clone()).chain(adapters).collect()
    }

    /// Waits until it is to end.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // Whoever would say so is gone only when the program is, too.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }
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

async fn models(State(shared): State<Shared>) -> Response {
    as_json(StatusCode::OK, &Models::all(shared.models()))
}

async fn model(State(shared): State<Shared>, id: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = id else {
        let message = "the model's name is not UTF-8";
        return failed(&ApiError { param: Some("model".into()), ..ApiError::new(Code::InvalidValue, message) });
    };
    let models = shared.models();
    if let Some(model) = models.iter().find(|model| model.id == id) {
        return as_json(StatusCode::OK, model);
    }
    let id: String = id.chars().take(80).collect();
    let names: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let message = format!("there is no model {id}; there is {}", names.join(", "));
    failed(&ApiError { param: Some("model".into()), ..ApiError::new(Code::UnknownModel, message) })
}

async fn health(State(shared): State<Shared>) -> Response {
    if shared.queue.is_stopping() {
        return failed(&stopping());
    }
    if !shared.healthy.load(Ordering::Relaxed) {
        return failed(&ApiError::new(Code::DeviceLost, "the GPU was lost; the model is being loaded again"));
    }
    as_json(StatusCode::OK, &json!({ "status": "ok", "model": shared.model.id }))
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

fn as_json(status: StatusCode, value: &impl Serialize) -> Response {
    // What this program makes can be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    (status, typed("application/json", text)).into_response()
}

/// A response of this kind.
pub fn typed(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

/// An error as OpenAI's object.
pub fn failed(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = as_json(status, error);
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
