//! The device: what it is, buffers, errors; how it is opened in `gpu/opening.rs`, read-back and
//! waiting in `gpu/reading.rs`.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};

mod cooperative;
#[cfg(target_arch = "wasm32")]
mod messages;
mod opening;
mod options;
mod reading;
pub(crate) mod streaming;

#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) use cooperative::COOPERATIVE_WORKGROUP_BYTES;
pub use opening::{Access, adapters};
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) use options::Alter;
pub use options::{AdapterSummary, DeviceKind, GpuOptions, Reduction, ShapeClass};
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) use reading::{Fence, Reading};

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

impl Gpu {
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
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn storage_bytes(bytes: u64) -> u64 {
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
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn storage(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
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
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn storage_of(&self, label: &str, values: &[f32]) -> Result<wgpu::Buffer> {
        let buffer = self.storage(label, 4 * values.len() as u64)?;
        self.write(&buffer, 0, bytemuck::cast_slice(values));
        Ok(buffer)
    }

    /// A uniform buffer of `bytes` bytes.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn uniform(&self, label: &str, bytes: &[u8]) -> wgpu::Buffer {
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
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.0.queue.write_buffer(buffer, offset, bytes);
    }

    /// The first thing that the device has reported and nobody has heard of yet.
    ///
    /// # Errors
    /// That report.
    pub fn check(&self) -> Result<()> {
        // What is refused may be refused because the device is lost; natively that is said when it
        // is asked.
        #[cfg(not(target_arch = "wasm32"))]
        if self.0.failure.lock().is_ok_and(|slot| matches!(*slot, Some(Error::Gpu { .. }))) {
            let _ = self.0.device.poll(wgpu::PollType::Poll);
        }
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
