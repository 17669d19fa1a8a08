//! Formats, readers, the writer: all without a GPU.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

pub mod allocation;
mod file;
mod flips;
mod folder;
mod formats;
mod gguf;
mod http;
mod lies;
mod lies_fields;
mod quantize;
mod toy;
