//! Natively: threads of our own.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use super::{module, pipeline, values};
use crate::gpu::{Gpu, Instant};
use crate::kernels::{Key, Pipelines, Source, source_of};
use crate::state::KvType;

type Modules = HashMap<Source, Arc<OnceLock<wgpu::ShaderModule>>>;
/// Which one, the pipeline, and the seconds that it took.
type Made = (usize, wgpu::ComputePipeline, f64);

/// Threads that make pipelines.
pub(super) struct Threads(Vec<JoinHandle<Vec<Made>>>);

impl Threads {
    /// What goes wrong in them is not told there: [`super::Making::finish`] makes those pipelines
    /// again to hear it.
    pub(super) fn start(gpu: &Gpu, kv: KvType, wanted: &[Key]) -> Self {
        let most = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        let next = Arc::new(AtomicUsize::new(0));
        let modules = Arc::new(Mutex::new(Modules::new()));
        let keys = Arc::new(wanted.to_vec());
        let threads = (0..most.min(wanted.len()))
            .map(|_| {
                let (device, next, modules, keys) = (gpu.device().clone(), next.clone(), modules.clone(), keys.clone());
                let alter = gpu.alter();
                std::thread::spawn(move || {
                    let mut made = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(key) = keys.get(at) else { return made };
                        let of = source_of(key);
                        let start = Instant::now();
                        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
                        let slot = match modules.lock() {
                            Ok(mut modules) => modules.entry(of).or_default().clone(),
                            Err(_) => return made,
                        };
                        let module = slot.get_or_init(|| module(&device, of, kv, alter));
                        let pipeline = pipeline(&device, key.0.name, module, &values(&key.2));
                        if !heard(scope.pop()) {
                            made.push((at, pipeline, Instant::now().since(start)));
                        }
                    }
                })
            })
            .collect();
        Self(threads)
    }

    /// Puts what they have made into the cache, and gives the seconds that it took them together.
    pub(super) fn collect(mut self, pipelines: &Pipelines, wanted: &[Key]) -> f64 {
        let mut seconds = 0.0;
        for thread in std::mem::take(&mut self.0) {
            let made = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (at, pipeline, time) in made {
                pipelines.made.borrow_mut().insert(wanted[at].clone(), Rc::new(pipeline));
                seconds += time;
            }
        }
        seconds
    }
}

impl Drop for Threads {
    /// Where loading failed: a program that ends while a driver compiles may crash.
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether a scope has an error to tell. Natively it knows at once.
fn heard(scope: impl Future<Output = Option<wgpu::Error>>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    !matches!(std::pin::pin!(scope).poll(&mut context), std::task::Poll::Ready(None))
}
