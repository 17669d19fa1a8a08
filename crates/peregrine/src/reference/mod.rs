//! The CPU twin: the same kernels under the same names, and the same page, in plain loops over f32 or f64.
//!
//! It exists to be right and to be read: tests and `peregrine check` compare the GPU with it in f32, kernel by kernel; `peregrine
//! fidelity` compares logits with it in f64. It shares no code with the shaders, and its weights come straight from the file's blocks,
//! not from the repacked planes.

pub mod kernels;
pub mod model;
mod real;

pub use real::Real;
