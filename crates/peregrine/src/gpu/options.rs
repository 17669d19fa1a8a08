//! What can be asked of a device, and what is told of adapters.

pub use peregrine_shaders::Reduction;
use serde::Deserialize;

pub use crate::options::GpuOptions;

/// Changes the source of the kernel of that name: for tests, which plant faults.
#[doc(hidden)]
pub type Alter = fn(&str, String) -> String;

/// Which adapters a kernel's workgroup shape is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ShapeClass {
    /// The CPU computes: barriers are dear, coalescing means nothing.
    Software,
    /// A GPU.
    Hardware,
}

/// An adapter as [`super::adapters`] lists it.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// Name as the driver says it.
    pub name: String,
    /// Vulkan, Metal, Dx12 or BrowserWebGpu.
    pub backend: String,
    /// True when the CPU computes.
    pub software: bool,
}
