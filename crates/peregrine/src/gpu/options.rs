//! What can be asked of a device, and what is told of adapters.

use std::str::FromStr;

pub use peregrine_shaders::Reduction;
use serde::Deserialize;

pub use crate::options::GpuOptions;

/// Changes the source of the kernel of that name: for tests, which plant faults.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) type Alter = fn(&str, String) -> String;

impl GpuOptions {
    /// What tests do to the source of a kernel.
    pub(crate) fn altering(&self) -> Option<Alter> {
        #[cfg(feature = "internals")]
        return self.alter;
        #[cfg(not(feature = "internals"))]
        None
    }

    /// Whether anything here says which GPU, or how to drive it.
    pub(crate) fn is_about_gpus(&self) -> bool {
        self.adapter.is_some() || self.baseline || self.cooperative || self.reduction.is_some() || self.shapes.is_some()
    }

    /// Whether the processor will do where no GPU does: nothing here names one, and this build has
    /// kernels for the processor.
    pub fn takes_processor(&self) -> bool {
        self.device == DeviceKind::Auto && !self.is_about_gpus() && cfg!(feature = "cpu")
    }
}

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// An adapter of WebGPU, also one in software: that of the options, or the fastest.
    Gpu,
    /// The processor, by kernels of its own.
    Cpu,
    /// A GPU, where there is one that computes itself; the processor otherwise, which is faster
    /// than any adapter in software. Whoever says which adapter, or how to drive it, gets that or
    /// an error.
    #[default]
    Auto,
}

impl DeviceKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Auto => "auto",
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Gpu, Self::Cpu];
}

impl FromStr for DeviceKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or("auto, gpu or cpu is needed")
    }
}

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
