//! All integration tests in one binary.

mod chat;
mod checkpoint;
mod limits;
mod model;
mod sampling;
mod text;
mod vocabulary;
