//! What can be asked of a device, and what is told of adapters.

pub use peregrine_shaders::Reduction;

/// Changes the source of the kernel of that name: for tests, which plant faults.
#[doc(hidden)]
pub type Alter = fn(&str, String) -> String;

/// What the caller wants of the adapter, and what only the caller can know.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// A GPU, the processor, or whichever there is.
    pub device: DeviceKind,
    /// Part of the adapter's name (native; any adapter otherwise).
    pub adapter: Option<String>,
    /// Ask for WebGPU's default limits and no optional feature, as the poorest device would offer.
    pub baseline: bool,
    /// Browser: the page has added the feature `subgroups` to the device (wgpu's web backend does not ask for it).
    pub subgroups: bool,
    /// Browser: whether the adapter computes on the CPU, and what it is called; wgpu does not always see either.
    pub software: Option<bool>,
    /// See `software`.
    pub name: Option<String>,
    /// How sums over lanes are made; `None` chooses by adapter.
    pub reduction: Option<Reduction>,
    /// Use the kernel shapes of software adapters (few barriers, small workgroups) or of GPUs; `None` chooses by adapter.
    pub shapes: Option<ShapeClass>,
    /// Prefer the adapter that saves power over the fast one.
    pub low_power: bool,
    /// Multiply many tokens (prompts) with cooperative matrices, also called tensor cores: both factors are rounded to f16, sums
    /// stay f32. Natively, where the adapter has them for tiles of 16 x 16 x 16; browsers do not offer them.
    pub cooperative: bool,
    /// What a self-check on this device holds for; `None`: the adapter's and driver's own words, which browsers do not tell.
    pub identity: Option<String>,
    /// For tests: faults planted into kernels.
    #[doc(hidden)]
    pub alter: Option<Alter>,
    /// Bind at most so many bytes at once, though the adapter could bind more: tests cut small matrices into slabs with it.
    #[doc(hidden)]
    pub max_binding: Option<u64>,
}

impl GpuOptions {
    /// Whether the processor will do: nothing here is about a GPU, and this build has kernels for it.
    pub(crate) fn takes_processor(&self) -> bool {
        let about_gpus = self.adapter.is_some()
            || self.baseline
            || self.cooperative
            || self.reduction.is_some()
            || self.shapes.is_some();
        self.device == DeviceKind::Auto && !about_gpus && cfg!(all(feature = "cpu", not(target_arch = "wasm32")))
    }
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            device: DeviceKind::default(),
            adapter: None,
            baseline: false,
            subgroups: true,
            software: None,
            name: None,
            reduction: None,
            shapes: None,
            low_power: false,
            cooperative: false,
            identity: None,
            alter: None,
            max_binding: None,
        }
    }
}

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// An adapter of WebGPU, also one in software: that of the options, or the fastest.
    #[default]
    Gpu,
    /// The processor, by kernels of its own.
    Cpu,
    /// A GPU, where there is one that computes itself; the processor otherwise, which is faster than any adapter in software. Whoever
    /// says which adapter, or how to drive it, gets that or an error.
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

/// Which adapters a kernel's workgroup shape is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
