//! The processor as a device of its own: [`wgpu`]'s interface over host memory, where a dispatch
//! calls a Rust function.
//!
//! The runtime is the same as on a GPU: the page of the model, plans, states, snapshots, sampling.
//! [`open`] gives an ordinary [`wgpu::Device`] and its queue, whose buffers lie in host memory
//! ([`memory`]), whose shader modules are the names of kernels, and whose pipelines are the
//! functions of [`kernels`] with their override constants bound. Work is done when it is submitted:
//! natively by all cores, in a browser by the thread that submits it, with WebAssembly's SIMD128.
//! Weights stay in the strips that GPUs have, activations are f32, and sums are too, or lose as
//! little (`simd/digits.rs`): results are as a GPU's.

#![allow(clippy::extra_unused_type_parameters, reason = "bodies for all instructions have the same parameters")]
#![allow(clippy::needless_range_loop, reason = "loops over lanes of several vectors")]

mod available;
mod device;
mod kernels;
mod memory;
mod pool;
mod simd;

use std::sync::Arc;

pub(crate) use available::available;
pub(crate) use device::Processor;

/// The largest binding: as large as a GPU's may be; in wasm32 no object has 2 GiB.
const MOST_BYTES: u64 = if cfg!(target_arch = "wasm32") { 1 << 30 } else { (1 << 31) - 4 };

/// What the device says of itself.
pub(crate) struct Opened {
    pub info: wgpu::AdapterInfo,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub limits: wgpu::Limits,
    pub features: wgpu::Features,
}

/// Opens the processor.
#[cfg_attr(target_arch = "wasm32", expect(clippy::arc_with_non_send_sync, reason = "threads share it natively"))]
pub(crate) fn open() -> Opened {
    let processor = Arc::new(Processor::default());
    Opened {
        info: info(),
        device: wgpu::Device::from_custom(device::Device(processor.clone())),
        queue: wgpu::Queue::from_custom(device::Queue(processor)),
        limits: limits(),
        features: FEATURES,
    }
}

/// Whether a device is [`open`]'s.
pub(crate) fn is_processor(device: &wgpu::Device) -> bool {
    device.as_custom::<device::Device>().is_some()
}

/// Profiles want a clock.
const FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY;

fn limits() -> wgpu::Limits {
    wgpu::Limits { max_storage_buffer_binding_size: MOST_BYTES, max_buffer_size: u64::MAX, ..wgpu::Limits::defaults() }
}

fn info() -> wgpu::AdapterInfo {
    wgpu::AdapterInfo {
        name: match pool::threads() {
            1 => format!("CPU (1 thread, {})", simd::name()),
            threads => format!("CPU ({threads} threads, {})", simd::name()),
        },
        vendor: 0,
        device: 0,
        device_type: wgpu::DeviceType::Cpu,
        device_pci_bus_id: String::new(),
        driver: "peregrine".into(),
        driver_info: env!("CARGO_PKG_VERSION").into(),
        backend: wgpu::Backend::Noop,
        // Nothing here sums over lanes.
        subgroup_min_size: 4,
        subgroup_max_size: 4,
        transient_saves_memory: None,
        limit_bucket: None,
    }
}
