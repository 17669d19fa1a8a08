//! The device: adapter, limits, buffers, errors, and in `gpu/reading.rs` read-back and waiting.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};

mod cooperative;
#[cfg(target_arch = "wasm32")]
mod messages;
mod options;
mod reading;
pub(crate) mod streaming;

#[doc(hidden)]
pub use cooperative::COOPERATIVE_WORKGROUP_BYTES;
pub use options::{AdapterSummary, Alter, DeviceKind, GpuOptions, Reduction, ShapeClass};
#[doc(hidden)]
pub use reading::{Fence, Reading};

struct Inner {
    device: wgpu::Device,
    /// Somebody else's: it stays when this goes.
    shared: bool,
    queue: wgpu::Queue,
    name: String,
    identity: String,
    alter: Option<Alter>,
    software: bool,
    processor: bool,
    why: Option<String>,
    subgroup_min_size: Option<u32>,
    reduction: Reduction,
    shapes: ShapeClass,
    cooperative: bool,
    max_binding: u64,
    max_invocations: u32,
    failure: Arc<Mutex<Option<Error>>>,
    /// What the processor keeps waiting.
    #[cfg(target_arch = "wasm32")]
    messages: messages::Messages,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Frees every buffer at once, also those that JavaScript's collector would free much later.
        if !self.shared {
            self.device.destroy();
        }
    }
}

/// A device and its queue. Cheap to clone; the device goes when the last clone does.
#[derive(Clone)]
pub struct Gpu(Rc<Inner>);

/// A way to devices. In a browser it is the `navigator.gpu` of the moment in which it was made;
/// natively drivers are loaded when an adapter is first asked for, which the processor never needs.
pub struct Access(Option<OnceCell<wgpu::Instance>>);

impl Access {
    /// To those of this machine, or of this page or worker. A browser must have WebGPU.
    #[expect(clippy::new_without_default, reason = "in a browser it asks for something that may be missing")]
    pub fn new() -> Self {
        let access = Self(Some(OnceCell::new()));
        if cfg!(target_arch = "wasm32") {
            access.instance();
        }
        access
    }

    /// To no adapter: where a browser has no WebGPU, the processor is still there.
    pub fn without_gpus() -> Self {
        Self(None)
    }

    fn instance(&self) -> Option<&wgpu::Instance> {
        let made = || wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        self.0.as_ref().map(|instance| instance.get_or_init(made))
    }

    /// Whether adapters have been asked for.
    #[doc(hidden)]
    pub fn is_used(&self) -> bool {
        self.0.as_ref().is_some_and(|instance| instance.get().is_some())
    }
}

/// The adapters of this machine (native). In a browser there is one, which [`Gpu::new`] asks for.
pub async fn adapters() -> Vec<AdapterSummary> {
    let access = Access::new();
    let Some(instance) = access.instance() else { return Vec::new() };
    let all = instance.enumerate_adapters(wgpu::Backends::all()).await;
    all.iter()
        .map(|a| {
            let info = a.get_info();
            AdapterSummary { software: is_software(&info), backend: format!("{:?}", info.backend), name: info.name }
        })
        .collect()
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu || info.name.to_lowercase().contains("swiftshader")
}

impl Gpu {
    /// Opens what the options ask for: by default the fastest adapter, or the processor where there
    /// is none that computes itself. [`Gpu::is_processor`] says which it is, and [`Gpu::why`] the
    /// reason.
    ///
    /// # Errors
    /// [`Error::NoGpu`] when a GPU is asked for and there is none, none of that name, or it refuses
    /// the device; [`Error::Argument`] for the processor with options that are about GPUs.
    pub async fn new(options: &GpuOptions) -> Result<Self> {
        Self::open(&Access::new(), options).await
    }

    /// [`Gpu::new`] by a way that is there already.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn open(access: &Access, options: &GpuOptions) -> Result<Self> {
        if options.device == DeviceKind::Cpu {
            return Self::processor(options, None);
        }
        let adapter = match Self::choose(access, options).await {
            Err(Error::NoGpu { detail }) if options.takes_processor() => {
                return Self::processor(options, Some(format!("no GPU was found: {detail}")));
            }
            adapter => adapter?,
        };
        let software = options.software.unwrap_or_else(|| is_software(&adapter.get_info()));
        if software && options.takes_processor() {
            let name = adapter.get_info().name;
            let why = format!("no GPU was found, only {name}, an adapter in software, which is slower");
            return Self::processor(options, Some(why));
        }
        let info = adapter.get_info();
        let offered = adapter.limits();
        let mut limits = wgpu::Limits::defaults();
        let mut features = wgpu::Features::empty();
        if !options.baseline {
            // NVIDIA's drivers name 2^32 - 1 or so; a binding of exactly 2 GiB fails there.
            limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size.min((1 << 31) - 4);
            limits.max_buffer_size = offered.max_buffer_size;
            // Rows of up to 96 strips in one round of `matvec_team`; larger workgroups were slower.
            // Not on Metal, nor in a browser, which may stand on it: there what a pipeline may have
            // depends on its registers, and only the default is sure.
            if matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Dx12) {
                limits.max_compute_invocations_per_workgroup = offered.max_compute_invocations_per_workgroup.min(384);
                limits.max_compute_workgroup_size_x = offered.max_compute_workgroup_size_x.min(384);
            }
            features |= adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY);
        }
        if options.cooperative {
            cooperative::demand(&adapter)?;
            features |= cooperative::FEATURES;
            limits.max_compute_workgroup_storage_size = offered.max_compute_workgroup_storage_size;
        }
        let made = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("peregrine"),
                required_features: features,
                required_limits: limits.clone(),
                experimental_features: if options.cooperative {
                    cooperative::experimental()
                } else {
                    Default::default()
                },
                ..Default::default()
            })
            .await
            .map_err(|e| Error::NoGpu { detail: format!("{} refused a device: {e}", info.name) });
        let (device, queue) = match made {
            // It is there, and has less than every WebGPU device offers.
            Err(error) if options.takes_processor() => return Self::processor(options, Some(error.to_string())),
            made => made?,
        };

        Self::made(info, device, queue, &limits, features, false, options)
    }

    #[cfg(feature = "cpu")]
    pub(crate) fn processor(options: &GpuOptions, why: Option<String>) -> Result<Self> {
        // `auto` is not here with any of these.
        if options.is_about_gpus() {
            return Err(Error::Argument {
                field: "device".into(),
                expected: "a GPU beside adapter, baseline, cooperative, reduction or shapes".into(),
                found: "cpu".into(),
            });
        }
        let crate::cpu::Opened { info, device, queue, limits, features } = crate::cpu::open();
        // It has kernels of one kind, and what a browser knows of an adapter is not about it.
        let options = GpuOptions {
            software: None,
            name: None,
            identity: None,
            reduction: Some(Reduction::Workgroup),
            shapes: Some(ShapeClass::Software),
            cooperative: false,
            ..options.clone()
        };
        let mut gpu = Self::made(info, device, queue, &limits, features, false, &options)?;
        if let Some(inner) = Rc::get_mut(&mut gpu.0) {
            inner.why = why;
        }
        Ok(gpu)
    }

    #[cfg(not(feature = "cpu"))]
    pub(crate) fn processor(_: &GpuOptions, _: Option<String>) -> Result<Self> {
        Err(Error::NoGpu { detail: "this build has no CPU device; it needs the cargo feature `cpu`".into() })
    }

    /// A device of an app's own, which goes on to use it: the model's buffers and dispatches are on
    /// the same queue as the app's, and an app can bind what the runtime has made. Options about
    /// which adapter to take say nothing here.
    ///
    /// Ask for the adapter's limits for storage buffers and buffers when making the device, else
    /// only small models fit; with the features `SUBGROUP`, and `TIMESTAMP_QUERY` for profiles,
    /// where the adapter has them. The device's handlers of errors and of its loss become the
    /// runtime's: an error that the app makes on this device is told by the next call of the
    /// engine.
    ///
    /// # Errors
    /// [`Error::NoGpu`] where the device lacks what the options ask for.
    pub fn shared(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &GpuOptions,
    ) -> Result<Self> {
        let (limits, features) = (device.limits(), device.features());
        if options.cooperative && !features.contains(cooperative::FEATURES) {
            let detail = format!("the device was made without the features {:?}", cooperative::FEATURES - features);
            return Err(Error::NoGpu { detail });
        }
        Self::made(adapter.get_info(), device, queue, &limits, features, true, options)
    }

    fn made(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        limits: &wgpu::Limits,
        features: wgpu::Features,
        shared: bool,
        options: &GpuOptions,
    ) -> Result<Self> {
        let software = options.software.unwrap_or_else(|| is_software(&info));
        let max_invocations = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
        let max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let max_binding = max_binding.min((1 << 31) - 4).min(options.max_binding.unwrap_or(u64::MAX));
        let processor = is_processor(&device);
        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| note(&slot, translate(error))));
        let slot = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            note(&slot, Error::DeviceLost { detail: format!("{message} ({reason:?})") });
        });

        let subgroups = !options.baseline
            && options.subgroups
            && (features.contains(wgpu::Features::SUBGROUP) || cfg!(target_arch = "wasm32"))
            && info.subgroup_min_size >= 4;
        let shapes = options.shapes.unwrap_or(if software { ShapeClass::Software } else { ShapeClass::Hardware });
        let reduction = match options.reduction {
            Some(Reduction::Subgroup) if !subgroups => {
                return Err(Error::NoGpu { detail: format!("{} has no subgroups", info.name) });
            }
            Some(r) => r,
            None if subgroups && shapes == ShapeClass::Hardware && info.subgroup_min_size >= 8 => Reduction::Subgroup,
            None => Reduction::Workgroup,
        };
        let name = options.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| {
            if info.name.is_empty() { "GPU (the browser does not say which)".into() } else { info.name.clone() }
        });
        let identity = [&name, &info.driver, &info.driver_info].map(|s| s.trim()).join(" ");
        let identity = options.identity.clone().unwrap_or_else(|| format!("{} {:?}", identity.trim(), info.backend));
        Ok(Self(Rc::new(Inner {
            device,
            shared,
            queue,
            name,
            identity,
            alter: options.alter,
            software,
            processor,
            why: None,
            subgroup_min_size: subgroups.then_some(info.subgroup_min_size),
            reduction,
            shapes,
            cooperative: options.cooperative,
            max_binding,
            max_invocations,
            failure,
            #[cfg(target_arch = "wasm32")]
            messages: messages::Messages::new(),
        })))
    }

    async fn choose(access: &Access, options: &GpuOptions) -> Result<wgpu::Adapter> {
        let Some(instance) = access.instance() else {
            return Err(Error::NoGpu { detail: "there is no WebGPU here".into() });
        };
        if let Some(wanted) = &options.adapter {
            let all = instance.enumerate_adapters(wgpu::Backends::all()).await;
            let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
            return all
                .into_iter()
                .find(|a| a.get_info().name.to_lowercase().contains(&wanted.to_lowercase()))
                .ok_or_else(|| Error::NoGpu { detail: format!("no adapter is called {wanted:?}; found {names:?}") });
        }
        let power =
            if options.low_power { wgpu::PowerPreference::LowPower } else { wgpu::PowerPreference::HighPerformance };
        instance
            .request_adapter(&wgpu::RequestAdapterOptions { power_preference: power, ..Default::default() })
            .await
            .map_err(|e| Error::NoGpu { detail: e.to_string() })
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Adapter, driver and interface, as far as they are told: what a self-check holds for.
    pub fn identity(&self) -> &str {
        &self.0.identity
    }

    /// What tests do to the source of a kernel.
    pub(crate) fn alter(&self) -> Option<Alter> {
        self.0.alter
    }

    /// Whether the CPU computes.
    pub fn is_software(&self) -> bool {
        self.0.software
    }

    /// What computes: a GPU, or an adapter in software; or the processor, by kernels of its own.
    pub fn kind(&self) -> DeviceKind {
        if self.0.processor { DeviceKind::Cpu } else { DeviceKind::Gpu }
    }

    /// Whether it is the processor, by kernels of its own.
    pub fn is_processor(&self) -> bool {
        self.0.processor
    }

    /// Why it is the processor, where nobody asked for that: no GPU was found, or none that is
    /// right.
    pub fn why(&self) -> Option<&str> {
        self.0.why.as_deref()
    }

    /// The way sums over lanes are made on this device.
    pub fn reduction(&self) -> Reduction {
        self.0.reduction
    }

    /// The class of workgroup shapes chosen for this device.
    pub fn shapes(&self) -> ShapeClass {
        self.0.shapes
    }

    /// Whether many tokens are multiplied with cooperative matrices.
    pub fn cooperative(&self) -> bool {
        self.0.cooperative
    }

    /// The smallest subgroup the adapter may run, where subgroups may be used.
    pub fn subgroup_min_size(&self) -> Option<u32> {
        self.0.subgroup_min_size
    }

    /// The largest storage binding, bytes: no matrix slab and no cache is larger.
    pub fn max_binding(&self) -> u64 {
        self.0.max_binding
    }

    /// Most invocations of a workgroup.
    pub(crate) fn max_invocations(&self) -> u32 {
        self.0.max_invocations
    }

    /// Gives the device up, as when a driver ends: for tests.
    #[doc(hidden)]
    pub fn lose(&self) {
        self.0.device.destroy();
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// What a storage buffer of `bytes` bytes takes.
    #[doc(hidden)]
    pub fn storage_bytes(bytes: u64) -> u64 {
        bytes.max(16).next_multiple_of(16)
    }

    /// Bytes that the driver has given out for buffers, where it says so (natively, Vulkan and
    /// DirectX).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn allocated_bytes(&self) -> Option<u64> {
        Some(self.0.device.generate_allocator_report()?.total_allocated_bytes)
    }

    /// Bytes that can still be had, where that is known: on the processor, of the system's memory.
    pub(crate) fn available_bytes(&self) -> Option<u64> {
        if self.is_processor() { available() } else { None }
    }

    /// A storage buffer of `bytes` bytes (rounded up to 16), zero at first.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it exceeds the adapter's limits; a failed allocation shows at
    /// the next [`Gpu::check`].
    #[doc(hidden)]
    pub fn storage(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let size = Self::storage_bytes(bytes);
        let limit = self.max_binding();
        if size > limit {
            return Err(Error::OutOfMemory { what: label.into(), bytes: Some(size), limit: Some(limit) });
        }
        Ok(self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        }))
    }

    /// A storage buffer that holds `values`.
    ///
    /// # Errors
    /// As [`Gpu::storage`].
    #[doc(hidden)]
    pub fn storage_of(&self, label: &str, values: &[f32]) -> Result<wgpu::Buffer> {
        let buffer = self.storage(label, 4 * values.len() as u64)?;
        self.write(&buffer, 0, bytemuck::cast_slice(values));
        Ok(buffer)
    }

    /// A uniform buffer of `bytes` bytes.
    #[doc(hidden)]
    pub fn uniform(&self, label: &str, bytes: &[u8]) -> wgpu::Buffer {
        let buffer = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.write(&buffer, 0, bytes);
        buffer
    }

    /// Queues a write; offset and length are multiples of 4.
    #[doc(hidden)]
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.0.queue.write_buffer(buffer, offset, bytes);
    }

    /// The first thing that the device has reported and nobody has heard of yet.
    ///
    /// # Errors
    /// That report.
    pub fn check(&self) -> Result<()> {
        match self.0.failure.lock() {
            Ok(mut slot) => slot.take().map_or(Ok(()), Err),
            Err(_) => Err(Error::Gpu { detail: "the error handler failed".into() }),
        }
    }
}

/// Bytes of the system's memory that can be had, where it says so and the processor computes.
#[cfg(feature = "cpu")]
fn available() -> Option<u64> {
    crate::cpu::available()
}

#[cfg(not(feature = "cpu"))]
fn available() -> Option<u64> {
    None
}

/// Whether a device is the processor's.
#[cfg(feature = "cpu")]
pub(crate) fn is_processor(device: &wgpu::Device) -> bool {
    crate::cpu::is_processor(device)
}

#[cfg(not(feature = "cpu"))]
pub(crate) fn is_processor(_: &wgpu::Device) -> bool {
    false
}

fn note(slot: &Mutex<Option<Error>>, error: Error) {
    if let Ok(mut slot) = slot.lock() {
        // The first one is the cause; a lost device explains whatever came before it.
        if slot.is_none() || matches!(error, Error::DeviceLost { .. }) {
            *slot = Some(error);
        }
    }
}

pub(crate) fn translate(error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::OutOfMemory { what: "an allocation on the device".into(), bytes: None, limit: None }
        }
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Gpu { detail: description }
        }
    }
}

/// A moment, to measure spans with: the system's clock natively, the page's in a browser, where std
/// has none.
#[derive(Clone, Copy, Debug)]
pub struct Instant(web_time::Instant);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        Self(web_time::Instant::now())
    }

    /// Seconds from `earlier` to this moment.
    pub fn since(self, earlier: Self) -> f64 {
        self.0.duration_since(earlier.0).as_secs_f64()
    }
}
