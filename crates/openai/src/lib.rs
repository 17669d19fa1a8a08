//! OpenAI's API over a session of Peregrine, without any transport: the page's worker and the
//! program's server use the same code.
//!
//! - [`adapters`]: LoRA beside the model.
//! - [`admission`]: what can be said of a request before the GPU is needed.
//! - [`request`]: what may be asked for, with OpenAI's names, defaults and ranges; every refusal
//!   names the field.
//! - [`mod@answer`]: drives a [`Session`](peregrine::session::Session) for one request, and tells
//!   the answer whole or in chunks.
//! - [`response`]: what comes out, and its form as server-sent events.
//! - [`tools`]: calls of tools in what a model writes.
//! - [`error`]: OpenAI's error object and the HTTP status that goes with it.
//!
//! There is no clock here and nothing is random: the caller gives the time, the id and a seed
//! ([`answer::Head`]).

pub mod adapters;
pub mod admission;
pub mod answer;
pub mod error;
pub mod request;
pub mod response;
pub mod tools;

#[cfg(test)]
mod types;
mod writing;

pub use self::adapters::Offered;
pub use self::admission::Admission;
pub use self::answer::{Cancel, Done, Event, Head, answer, read};
pub use self::error::{ApiError, Code};
pub use self::request::{ChatRequest, CompletionRequest, Request};
