//! Formats, readers, the writer: all without a GPU.

mod addresses;
pub mod allocation;
mod fields;
mod file;
mod flips;
mod folder;
mod formats;
mod gguf;
mod http;
mod hub;
mod lies;
mod lies_fields;
mod low;
mod quantize;
pub mod seeds;
mod split;
pub mod toy;
