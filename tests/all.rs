//! All integration tests in one binary.

mod chat;
mod sampling;
mod text;
mod vocabulary;
