//! Making pipelines: one by one, or natively in several threads while the weights are on their way.

use super::{Kernel, Key, Pipelines};
use crate::error::Result;
use crate::gpu::{Alter, Gpu, Instant, Reduction};
use crate::state::KvType;

pub(super) fn module(
    device: &wgpu::Device,
    kernel: &'static Kernel,
    reduction: Reduction,
    kv: KvType,
    alter: Option<Alter>,
) -> wgpu::ShaderModule {
    let source = kernel.source(reduction, kv, cfg!(target_arch = "wasm32"));
    let source = match alter {
        Some(alter) => alter(kernel.name, source),
        None => source,
    };
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(source.into()) };
    #[expect(unsafe_code, reason = "checks on every access cost half of a token's time")]
    // SAFETY: the sources are our own and the same for every model. Indices come from override
    // constants, the part tables and the grids, which are made from shapes that the checkpoint's
    // reader has compared with its bytes; token ids are compared with the vocabulary before a step.
    // Every loop's bound is one of these numbers, no divisor is zero. In a browser the call is
    // `create_shader_module`: there the checks stay.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

pub(super) fn pipeline(
    device: &wgpu::Device,
    name: &'static str,
    module: &wgpu::ShaderModule,
    constants: &[(&'static str, f64)],
) -> wgpu::ComputePipeline {
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: None,
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants,
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    })
}

/// Pipelines that are being made.
pub(crate) struct Making {
    wanted: Vec<Key>,
    #[cfg(not(target_arch = "wasm32"))]
    threads: Vec<std::thread::JoinHandle<Vec<(usize, wgpu::ComputePipeline, f64)>>>,
}

impl Making {
    #[cfg(target_arch = "wasm32")]
    pub(super) fn start(_: &Gpu, _: KvType, wanted: Vec<Key>) -> Self {
        Self { wanted }
    }

    /// Threads of their own. What goes wrong in them is not told there: [`Making::finish`] makes
    /// those pipelines again to hear it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn start(gpu: &Gpu, kv: KvType, wanted: Vec<Key>) -> Self {
        use std::collections::HashMap;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::sync::{Arc, Mutex, OnceLock};

        type Modules = HashMap<(&'static Kernel, Reduction), Arc<OnceLock<wgpu::ShaderModule>>>;
        let most = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        let next = Arc::new(AtomicUsize::new(0));
        let modules = Arc::new(Mutex::new(Modules::new()));
        let keys = Arc::new(wanted.clone());
        let threads = (0..most.min(wanted.len()))
            .map(|_| {
                let (device, next, modules, keys) = (gpu.device().clone(), next.clone(), modules.clone(), keys.clone());
                let alter = gpu.alter();
                std::thread::spawn(move || {
                    let mut made = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((kernel, reduction, constants)) = keys.get(at) else { return made };
                        let start = Instant::now();
                        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
                        let slot = match modules.lock() {
                            Ok(mut modules) => modules.entry((*kernel, *reduction)).or_default().clone(),
                            Err(_) => return made,
                        };
                        let module = slot.get_or_init(|| module(&device, kernel, *reduction, kv, alter));
                        let constants: Vec<_> = constants.iter().map(|(n, v)| (*n, f64::from_bits(*v))).collect();
                        let pipeline = pipeline(&device, kernel.name, module, &constants);
                        if !heard(scope.pop()) {
                            made.push((at, pipeline, Instant::now().since(start)));
                        }
                    }
                })
            })
            .collect();
        Self { wanted, threads }
    }

    /// Puts them into the cache, and gives the seconds that were spent on them, of all threads
    /// together. `progress` hears how many are there, and how many there will be: one by one in a
    /// browser, which makes each while the next has not been asked for.
    ///
    /// # Errors
    /// As [`Pipelines::finish`].
    #[cfg_attr(target_arch = "wasm32", expect(unused_mut, reason = "there are no threads"))]
    pub(crate) async fn finish(mut self, pipelines: &Pipelines, progress: &mut dyn FnMut(u32, u32)) -> Result<f64> {
        let mut seconds = 0.0;
        let total = self.wanted.len() as u32;
        progress(0, total);
        #[cfg(not(target_arch = "wasm32"))]
        for thread in std::mem::take(&mut self.threads) {
            let made = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (at, pipeline, time) in made {
                pipelines.made.borrow_mut().insert(self.wanted[at].clone(), std::rc::Rc::new(pipeline));
                seconds += time;
            }
        }
        let start = Instant::now();
        for (done, (kernel, reduction, constants)) in (1..).zip(&self.wanted) {
            let constants: Vec<_> = constants.iter().map(|(n, v)| (*n, f64::from_bits(*v))).collect();
            pipelines.get(kernel, *reduction, &constants);
            pipelines.finish().await?;
            progress(done, total);
        }
        Ok(seconds + Instant::now().since(start))
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Making {
    /// Where loading failed: a program that ends while a driver compiles may crash.
    fn drop(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether a scope has an error to tell. Natively it knows at once.
#[cfg(not(target_arch = "wasm32"))]
fn heard(scope: impl Future<Output = Option<wgpu::Error>>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    !matches!(std::pin::pin!(scope).poll(&mut context), std::task::Poll::Ready(None))
}
