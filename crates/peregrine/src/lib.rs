//! Falcon-H1 inference on WebGPU: the runtime, the same on native and wasm.

pub mod chat;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod format;
pub mod gpu;
pub mod kernels;
pub mod model;
pub mod plan;
pub mod quantize;
pub mod reference;
pub mod sampling;
pub mod session;
pub mod state;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, LocalFuture, Result};
