//! Bodies of requests: bounded in size and time, and all of them together in memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use peregrine_openai::{ApiError, Code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes for a token of the context: several times what a text has, since a conversation may be
/// longer than what is read of it.
const PER_TOKEN: usize = 32;

/// Most bytes, whatever the context. What JSON makes of them in memory is about sixteen times as
/// much at worst, for two at a time.
const MOST: usize = 8 << 20;

/// At least so many.
const LEAST: usize = 1 << 20;

/// Of all requests that are read or wait.
const MEMORY: usize = 64 << 20;

/// What is thrown away of a body that is refused, so that a client that is still sending gets to
/// read the answer.
const DISCARDED: usize = 32 << 20;

/// For a whole body.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of one body.
pub fn most(context_length: u32) -> usize {
    (context_length as usize).saturating_mul(PER_TOKEN).clamp(LEAST, MOST)
}

/// Room for bodies, KiB.
pub fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MEMORY >> 10))
}

/// What was read, and its part of the memory.
pub struct Read {
    pub bytes: Vec<u8>,
    pub memory: OwnedSemaphorePermit,
}

/// The body. What is left of one that is refused is thrown away in the background.
pub async fn read(mut body: Body, most: usize, memory: &Arc<Semaphore>) -> Result<Read, ApiError> {
    let error = match timeout(PATIENCE, bytes(&mut body, most, memory)).await {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(ApiError::new(
                Code::TooSlow,
                format!("the body did not arrive in {} seconds", PATIENCE.as_secs()),
            ));
        }
    };
    discard(body);
    Err(error)
}

async fn bytes(body: &mut Body, most: usize, memory: &Arc<Semaphore>) -> Result<Read, ApiError> {
    let too_large =
        || ApiError::new(Code::TooLarge, format!("the body is larger than {} KiB, enough for the context", most >> 10));
    let no_room = || ApiError::new(Code::Busy, "the requests that wait fill the memory for them; try again in 1 s");
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut held = memory.clone().try_acquire_many_owned(0).map_err(|_| no_room())?;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let frame = frame.map_err(|_| ApiError::new(Code::InvalidJson, "the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > most {
            return Err(too_large());
        }
        let more = length.div_ceil(1024).saturating_sub(held.num_permits());
        // At most 8 Mi of them.
        held.merge(memory.clone().try_acquire_many_owned(more as u32).map_err(|_| no_room())?);
        bytes.extend_from_slice(&data);
    }
    Ok(Read { bytes, memory: held })
}

/// Throws a body away while its answer is sent. One that says it is endless is not even begun.
pub fn discard(mut body: Body) {
    if body.size_hint().lower() > DISCARDED as u64 {
        return;
    }
    tokio::spawn(timeout(PATIENCE, async move {
        let mut discarded = 0;
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            discarded += frame.data_ref().map_or(0, |data| data.len());
            if discarded > DISCARDED {
                break;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_have_what_a_context_needs() {
        assert_eq!([most(1), most(128), most(32_768), most(65_536)], [1 << 20, 1 << 20, 1 << 20, 2 << 20]);
        assert_eq!([most(262_144), most(u32::MAX)], [8 << 20, 8 << 20]);
    }

    #[test]
    fn all_bodies_share_the_memory() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let memory = Arc::new(Semaphore::new(8));
            let body = |length: usize| Body::from("x".repeat(length));
            let first = read(body(5000), 10_000, &memory).await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((first.bytes.len(), first.memory.num_permits(), memory.available_permits()), (5000, 5, 3));
            let code = |read: Result<Read, ApiError>| read.map(|_| ()).map_err(|error| error.code);
            assert_eq!(code(read(body(4000), 10_000, &memory).await), Err(Code::Busy));
            assert_eq!(code(read(body(10_001), 10_000, &memory).await), Err(Code::TooLarge));
            assert_eq!((code(read(body(3000), 10_000, &memory).await), memory.available_permits()), (Ok(()), 3));
            drop(first);
            assert_eq!((code(read(body(8000), 10_000, &memory).await), memory.available_permits()), (Ok(()), 8));
        });
    }
}
