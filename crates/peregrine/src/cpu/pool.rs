//! Who computes: natively the threads of all cores, in a browser the one thread that there is.
//! Kernels share their work out with rayon's iterators, or with what has their names and goes
//! through everything in order.

#[cfg(target_arch = "wasm32")]
mod alone;
#[cfg(not(target_arch = "wasm32"))]
mod threads;

#[cfg(target_arch = "wasm32")]
pub use alone::{prelude, run, threads};
#[cfg(not(target_arch = "wasm32"))]
pub use rayon::prelude;
#[cfg(not(target_arch = "wasm32"))]
pub use threads::{run, threads};
