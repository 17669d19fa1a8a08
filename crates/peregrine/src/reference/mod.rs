//! The CPU twin: the same kernels under the same names, and the same page, in plain loops over f32
//! or f64.
//!
//! It exists to be right and to be read: tests and `peregrine check` compare the GPU with it in
//! f32, kernel by kernel; `peregrine fidelity` compares logits with it in f64. It shares no code
//! with the shaders, and its weights come straight from the file's blocks, not from the repacked
//! planes.

pub mod model;
mod real;

pub use real::Real;
pub(crate) use real::each;

/// The twins of all operations: slices are row-major, shapes as in the heads of the WGSL files.
/// Weights are f32, which every format's values are exactly; what is computed from them is in
/// [`Real`].
pub mod kernels {
    pub use crate::ops::attention::reference::*;
    pub use crate::ops::embed::reference::*;
    pub use crate::ops::linear::reference::*;
    pub use crate::ops::mixers::reference::*;
    pub use crate::ops::norm::reference::*;
    pub use crate::ops::ssm::reference::*;
}
