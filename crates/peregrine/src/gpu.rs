//! The device: adapter, limits, buffers, read-back, errors. With the byte sources, the only file that knows whether it runs
//! natively or in a browser.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use crate::error::{Error, Result};

mod options;

pub use options::{AdapterSummary, GpuOptions, Reduction, ShapeClass};

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    software: bool,
    subgroup_min_size: Option<u32>,
    reduction: Reduction,
    shapes: ShapeClass,
    max_binding: u64,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Frees every buffer at once, also those that JavaScript's collector would free much later.
        self.device.destroy();
    }
}

/// A read-back on its way.
pub struct Reading {
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    receiver: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// A device and its queue. Cheap to clone; the device goes when the last clone does.
#[derive(Clone)]
pub struct Gpu(Rc<Inner>);

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// The adapters of this machine (native). In a browser there is one, which [`Gpu::new`] asks for.
pub async fn adapters() -> Vec<AdapterSummary> {
    let all = instance().enumerate_adapters(wgpu::Backends::all()).await;
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
    /// Opens the adapter that the options ask for, the fastest otherwise.
    ///
    /// # Errors
    /// [`Error::NoGpu`] when there is none, none of that name, or it refuses the device.
    pub async fn new(options: &GpuOptions) -> Result<Self> {
        let instance = instance();
        let adapter = Self::choose(&instance, options).await?;
        let info = adapter.get_info();
        let software = options.software.unwrap_or_else(|| is_software(&info));

        let offered = adapter.limits();
        let mut limits = wgpu::Limits::defaults();
        let mut features = wgpu::Features::empty();
        if !options.baseline {
            // NVIDIA's drivers name 2^32 - 1 or so; a binding of exactly 2 GiB fails there.
            limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size.min((1 << 31) - 4);
            limits.max_buffer_size = offered.max_buffer_size;
            features |= adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY);
        }
        let max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let max_binding = max_binding.min(options.max_binding.unwrap_or(u64::MAX));
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("peregrine"),
                required_features: features,
                required_limits: limits,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::NoGpu { detail: format!("{} refused a device: {e}", info.name) })?;

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
        Ok(Self(Rc::new(Inner {
            device,
            queue,
            name,
            software,
            subgroup_min_size: subgroups.then_some(info.subgroup_min_size),
            reduction,
            shapes,
            max_binding,
            failure,
        })))
    }

    async fn choose(instance: &wgpu::Instance, options: &GpuOptions) -> Result<wgpu::Adapter> {
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

    /// Whether the CPU computes.
    pub fn is_software(&self) -> bool {
        self.0.software
    }

    /// The way sums over lanes are made on this device.
    pub fn reduction(&self) -> Reduction {
        self.0.reduction
    }

    /// The class of workgroup shapes chosen for this device.
    pub fn shapes(&self) -> ShapeClass {
        self.0.shapes
    }

    /// The smallest subgroup the adapter may run, where subgroups may be used.
    pub fn subgroup_min_size(&self) -> Option<u32> {
        self.0.subgroup_min_size
    }

    /// The largest storage binding, bytes: no matrix slab and no cache is larger.
    pub fn max_binding(&self) -> u64 {
        self.0.max_binding
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// What a storage buffer of `bytes` bytes takes.
    pub fn storage_bytes(bytes: u64) -> u64 {
        bytes.max(16).next_multiple_of(16)
    }

    /// Bytes that the driver has given out for buffers, where it says so (natively, Vulkan and DirectX).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn allocated_bytes(&self) -> Option<u64> {
        Some(self.0.device.generate_allocator_report()?.total_allocated_bytes)
    }

    /// A storage buffer of `bytes` bytes (rounded up to 16), zero at first.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it exceeds the adapter's limits; a failed allocation shows at the next [`Gpu::check`].
    pub fn storage(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let size = Self::storage_bytes(bytes);
        let limit = self.max_binding();
        if size > limit {
            return Err(Error::OutOfMemory { what: label.into(), bytes: size, limit: Some(limit) });
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
    pub fn storage_of(&self, label: &str, values: &[f32]) -> Result<wgpu::Buffer> {
        let buffer = self.storage(label, 4 * values.len() as u64)?;
        self.write(&buffer, 0, bytemuck::cast_slice(values));
        Ok(buffer)
    }

    /// A uniform buffer of `bytes` bytes.
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
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.0.queue.write_buffer(buffer, offset, bytes);
    }

    /// Reads `len` f32 from float `first` of a buffer, after all work queued so far.
    ///
    /// # Errors
    /// What the device has reported since the last check, or a lost device.
    pub async fn read(&self, buffer: &wgpu::Buffer, first: u64, len: u64) -> Result<Vec<f32>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let staging = self.staging(4 * len);
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 4 * first, &staging, 0, 4 * len);
        self.arrive(self.submit_reading(encoder, staging)).await.map(|(values, _)| values)
    }

    /// Reads pieces of buffers (buffer, first byte, bytes; multiples of 4) one after the other, after all work queued so far.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub(crate) async fn read_places(&self, places: &[(wgpu::Buffer, u64, u64)]) -> Result<Vec<u8>> {
        let total = places.iter().map(|(_, _, bytes)| bytes).sum();
        if total == 0 {
            return Ok(Vec::new());
        }
        let staging = self.staging(total);
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (buffer, first, bytes) in places {
            encoder.copy_buffer_to_buffer(buffer, *first, &staging, at, *bytes);
            at += bytes;
        }
        self.arrive(self.submit_reading(encoder, staging)).await.map(|(bytes, _)| bytes)
    }

    /// Seconds that one pass takes on the GPU, by its own clock; `None` where the device has no timestamps.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn timed(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<Option<f64>> {
        let device = &self.0.device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("timed"),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        record(&mut pass);
        drop(pass);
        encoder.resolve_query_set(&set, 0..2, &resolved, 0);
        let staging = self.staging(16);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, 16);
        let (ticks, _) = self.arrive::<u64>(self.submit_reading(encoder, staging)).await?;
        let ticks = ticks[1].saturating_sub(ticks[0]);
        Ok(Some(ticks as f64 * f64::from(self.0.queue.get_timestamp_period()) * 1e-9))
    }

    /// A buffer to read back `bytes` bytes with.
    pub fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Submits work that fills `staging`, and asks for its content without waiting.
    pub fn submit_reading(&self, encoder: wgpu::CommandEncoder, staging: wgpu::Buffer) -> Reading {
        let submission = self.0.queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| {
            let _ = sender.send(outcome);
        });
        Reading { staging, submission, receiver }
    }

    /// The content of a read-back, once its work is done, and the buffer to use again.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn arrive<T: bytemuck::Pod>(&self, reading: Reading) -> Result<(Vec<T>, wgpu::Buffer)> {
        let Reading { staging, submission, receiver } = reading;
        self.wait(Some(submission))?;
        let outcome = receiver.await;
        self.check()?;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                return Err(Error::Gpu { detail: format!("read-back failed: {e}") });
            }
            Err(_) => {
                return Err(Error::DeviceLost { detail: "a read-back was never answered".into() });
            }
        }
        let view = staging.get_mapped_range(..).map_err(|e| Error::Gpu { detail: e.to_string() })?;
        let values = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        staging.unmap();
        Ok((values, staging))
    }

    /// Waits until the device has done everything queued so far.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn sync(&self) -> Result<()> {
        self.0.queue.submit([]);
        let (sender, receiver) = oneshot::channel();
        self.0.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        self.wait(None)?;
        let _ = receiver.await;
        self.check()
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

    /// Natively somebody must turn the crank, until that submission is done or all are; a browser does by itself.
    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        match self.0.device.poll(wgpu::PollType::Wait { submission_index, timeout: None }) {
            Ok(_) => Ok(()),
            Err(e) => {
                self.check()?;
                Err(Error::DeviceLost { detail: e.to_string() })
            }
        }
    }
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
            Error::OutOfMemory { what: "an allocation on the device".into(), bytes: 0, limit: None }
        }
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Gpu { detail: description }
        }
    }
}

/// A moment, to measure spans with: the system's clock natively, the page's in a browser, where std has none.
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
