//! Writing GGUF files.

mod header;
mod tokenizer;

pub use self::header::{ALIGNMENT, Field, GgufHeader};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::tokenizer::LLAMA3_SPLIT;
pub(crate) use self::tokenizer::to_gguf;
