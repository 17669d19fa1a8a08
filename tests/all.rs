//! All integration tests in one binary.
#![allow(clippy::unwrap_used)] // helpers of tests may unwrap like tests

mod adapters;
mod backends;
mod chat;
mod checkpoint;
mod damage;
mod family;
mod fidelity;
mod footprint;
mod fuzz;
mod gptq;
mod gpu_sampling;
mod grammar;
mod jinja;
mod limits;
mod mixes;
mod model;
mod processor;
mod sampling;
mod saved;
mod selfcheck;
mod session;
mod shaders;
mod signatures;
mod snapshots;
mod source;
mod synth;
mod text;
mod tokens;
mod toy;
mod unchanged;
mod vocabulary;
