//! Bodies of requests: bounded in size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use peregrine_openai::{ApiError, Code};
use serde_json::Value;
use tokio::time::timeout;

/// Most bytes: a conversation of a quarter of a million tokens has one.
const MOST: usize = 8 << 20;

/// What is read and thrown away after that, so that a client that is still sending gets to read the answer.
const DISCARDED: usize = 32 << 20;

/// For a whole body.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body as JSON.
pub async fn json(body: Body) -> Result<Value, ApiError> {
    let late = |_| ApiError::new(Code::TooSlow, format!("the body did not arrive in {} seconds", PATIENCE.as_secs()));
    let bytes = timeout(PATIENCE, bytes(body)).await.map_err(late)??;
    peregrine_openai::request::json(&bytes)
}

async fn bytes(mut body: Body) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("the body is larger than {} MiB", MOST >> 20));
    let told = body.size_hint().lower();
    if told > (MOST + DISCARDED) as u64 {
        return Err(too_large());
    }
    let (mut all, mut discarded) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::new(Code::InvalidJson, "the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        if discarded == 0 && all.len() + data.len() <= MOST {
            all.extend_from_slice(&data);
            continue;
        }
        all = Vec::new();
        discarded += data.len();
        if discarded > DISCARDED {
            break;
        }
    }
    if discarded > 0 { Err(too_large()) } else { Ok(all) }
}
