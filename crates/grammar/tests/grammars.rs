//! Grammars over the embedded model's vocabulary, without a model: what may come, what may not, and
//! what is refused.
#![allow(clippy::unwrap_used)]

#[path = "grammars/decisions.rs"]
mod decisions;
#[path = "grammars/generated.rs"]
mod generated;
#[path = "grammars/hostile.rs"]
mod hostile;
#[path = "grammars/schemas.rs"]
mod schemas;
#[path = "grammars/suite.rs"]
mod suite;
#[path = "grammars/walk.rs"]
mod walk;
