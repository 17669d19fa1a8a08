//! Opening a device: which adapter, with which limits and features, or the processor.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

#[cfg(target_arch = "wasm32")]
use super::messages;
use super::{
    AdapterSummary, DeviceKind, Gpu, GpuOptions, Inner, Reduction, ShapeClass, cooperative, is_processor, translate,
};
use crate::error::{Error, Result};
use crate::ops::target::invocations;

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
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn is_used(&self) -> bool {
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
            let most = |offered| invocations(info.backend, offered);
            limits.max_compute_invocations_per_workgroup = most(offered.max_compute_invocations_per_workgroup);
            limits.max_compute_workgroup_size_x = most(offered.max_compute_workgroup_size_x);
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
            alter: options.altering(),
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
}

fn note(slot: &Mutex<Option<Error>>, error: Error) {
    if let Ok(mut slot) = slot.lock() {
        // The first one is the cause; a lost device explains whatever came before it.
        if slot.is_none() || matches!(error, Error::DeviceLost { .. }) {
            *slot = Some(error);
        }
    }
}
