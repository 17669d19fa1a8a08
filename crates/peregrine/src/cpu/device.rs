//! wgpu's interface to the processor: devices, queues, pipelines; [`commands`] has what is recorded
//! and run, [`unused`] what the runtime never asks for.

mod commands;
mod faults;
mod unused;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use web_time::Instant;
use wgpu::custom as wg;

use self::commands::{Commands, Encoder};
use self::faults::Faults;
#[cfg(target_arch = "wasm32")]
pub(super) use self::unused::never;
use super::kernels::{Program, program};
use super::memory::Buffer;
use crate::state::KvType;

/// What a device and its queue share.
#[derive(Debug)]
pub struct Processor {
    pub(super) faults: Faults,
    submitted: AtomicU64,
    lost: AtomicBool,
    on_lost: LostCallback,
    start: Instant,
}

/// Who wants to hear that the device is gone.
struct LostCallback(Mutex<Option<wg::BoxDeviceLostCallback>>);

impl std::fmt::Debug for LostCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LostCallback")
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            submitted: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            on_lost: LostCallback(Mutex::default()),
            start: Instant::now(),
        }
    }
}

/// The device.
#[derive(Debug)]
pub struct Device(pub Arc<Processor>);

/// Its queue.
#[derive(Debug)]
pub struct Queue(pub Arc<Processor>);

/// A kernel's name, and how keys and values are kept: all that a source is here.
#[derive(Debug)]
pub struct Module {
    kernel: String,
    kv: Option<KvType>,
}

/// A kernel with its constants.
#[derive(Debug)]
pub struct Pipeline(Result<Arc<Program>, String>);

/// The buffers of a group, by their bindings.
#[derive(Clone, Debug)]
pub struct Group(Arc<Vec<Buffer>>);

/// Layouts follow from the kernel.
#[derive(Debug)]
pub struct Layout;

/// Moments, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Queries(Arc<Mutex<Vec<u64>>>);

impl wg::BindGroupInterface for Group {}
impl wg::BindGroupLayoutInterface for Layout {}
impl wg::PipelineLayoutInterface for Layout {}

impl wg::QuerySetInterface for Queries {
    fn destroy(&self) {}
}

impl wg::ShaderModuleInterface for Module {
    fn get_compilation_info(&self) -> std::pin::Pin<Box<dyn wg::ShaderCompilationInfoFuture>> {
        Box::pin(std::future::ready(wgpu::CompilationInfo { messages: Vec::new() }))
    }
}

impl wg::ComputePipelineInterface for Pipeline {
    fn get_bind_group_layout(&self, _index: u32) -> wg::DispatchBindGroupLayout {
        wg::DispatchBindGroupLayout::custom(Layout)
    }
}

impl Device {
    fn pipeline(&self, desc: &wgpu::ComputePipelineDescriptor<'_>) -> Result<Arc<Program>, String> {
        let module = desc.module.as_custom::<Module>().ok_or("a shader module of another device")?;
        program(&module.kernel, desc.compilation_options.constants, module.kv).map(Arc::new)
    }

    pub(super) fn module(&self, desc: &wgpu::ShaderModuleDescriptor<'_>) -> Module {
        let kv = match &desc.source {
            wgpu::ShaderSource::Wgsl(source) => KvType::ALL.into_iter().find(|kv| kv.name() == source.as_ref()),
            _ => None,
        };
        Module { kernel: desc.label.unwrap_or_default().into(), kv }
    }

    pub(super) fn group(&self, desc: &wgpu::BindGroupDescriptor<'_>) -> Group {
        let buffer = |entry: &wgpu::BindGroupEntry<'_>| match &entry.resource {
            wgpu::BindingResource::Buffer(binding) => binding.buffer.as_custom::<Buffer>().cloned(),
            _ => None,
        };
        let buffers = desc.entries.iter().map(|entry| buffer(entry).unwrap_or_else(Buffer::empty));
        Group(Arc::new(buffers.collect()))
    }

    pub(super) fn buffer(&self, desc: &wgpu::BufferDescriptor<'_>) -> Buffer {
        Buffer::new(desc.size).unwrap_or_else(|| {
            self.0.faults.out_of_memory();
            Buffer::empty()
        })
    }

    pub(super) fn compute_pipeline(&self, desc: &wgpu::ComputePipelineDescriptor<'_>) -> Pipeline {
        let made = self.pipeline(desc);
        if let Err(wrong) = &made {
            self.0.faults.invalid(wrong.clone());
        }
        Pipeline(made)
    }

    pub(super) fn encoder(&self) -> Encoder {
        Encoder::default()
    }
}

impl wg::QueueInterface for Queue {
    fn write_buffer(&self, buffer: &wg::DispatchBuffer, offset: wgpu::BufferAddress, data: &[u8]) {
        let put = buffer.as_custom::<Buffer>().is_some_and(|buffer| buffer.put(offset, data));
        if !put {
            self.0.faults.invalid(format!("a write of {} bytes at {offset} is outside of its buffer", data.len()));
        }
    }

    fn create_staging_buffer(&self, _size: wgpu::BufferSize) -> Option<wg::DispatchQueueWriteBuffer> {
        None
    }

    fn validate_write_buffer(
        &self,
        _buffer: &wg::DispatchBuffer,
        _offset: wgpu::BufferAddress,
        _size: wgpu::BufferSize,
    ) -> Option<()> {
        None
    }

    fn write_staging_buffer(
        &self,
        _buffer: &wg::DispatchBuffer,
        _offset: wgpu::BufferAddress,
        _staging: &wg::DispatchQueueWriteBuffer,
    ) {
    }

    fn write_texture(
        &self,
        _texture: wgpu::TexelCopyTextureInfo<'_>,
        _data: &[u8],
        _layout: wgpu::TexelCopyBufferLayout,
        _size: wgpu::Extent3d,
    ) {
        unused::never("textures")
    }

    #[cfg(target_arch = "wasm32")]
    fn copy_external_image_to_texture(
        &self,
        _source: &wgpu::CopyExternalImageSourceInfo,
        _destination: wgpu::CopyExternalImageDestInfo<&wgpu::Texture>,
        _size: wgpu::Extent3d,
    ) {
        unused::never("textures")
    }

    fn submit(&self, buffers: &mut dyn Iterator<Item = wg::DispatchCommandBuffer>) -> u64 {
        let all: Vec<_> = buffers.collect();
        let commands: Vec<&Commands> = all.iter().filter_map(|buffer| buffer.as_custom::<Commands>()).collect();
        if commands.iter().any(|commands| !commands.is_empty()) && !self.0.lost.load(Ordering::Relaxed) {
            super::pool::run(|| commands.iter().for_each(|commands| commands.run(&self.0)));
        }
        self.0.submitted.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn get_timestamp_period(&self) -> f32 {
        1.0
    }

    fn on_submitted_work_done(&self, callback: wg::BoxSubmittedWorkDoneCallback) {
        callback();
    }

    fn compact_blas(&self, _blas: &wg::DispatchBlas) -> (Option<u64>, wg::DispatchBlas) {
        unused::never("ray tracing")
    }

    fn present(&self, _detail: &wg::DispatchSurfaceOutputDetail) {
        unused::never("surfaces")
    }
}

impl Processor {
    /// Nanoseconds since it was opened.
    pub(super) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Nothing is computed any more.
    pub(super) fn lose(&self) {
        if self.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        let callback = self.on_lost.0.lock().ok().and_then(|mut callback| callback.take());
        if let Some(callback) = callback {
            callback(wgpu::DeviceLostReason::Destroyed, "the device was destroyed".into());
        }
    }

    pub(super) fn set_on_lost(&self, callback: wg::BoxDeviceLostCallback) {
        if let Ok(mut slot) = self.on_lost.0.lock() {
            *slot = Some(callback);
        }
    }
}
