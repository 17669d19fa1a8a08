//! Making pipelines: one by one, or all at once while the weights are on their way; natively in
//! several threads, in a browser in those that it has for it.

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
mod threads;

#[cfg(target_arch = "wasm32")]
use self::browser::Asked;
#[cfg(not(target_arch = "wasm32"))]
use self::threads::Threads;
use super::{Key, Pipelines, Source};
use crate::error::Result;
use crate::gpu::{Alter, Gpu, Instant, is_processor};
use crate::state::KvType;

fn source((kernel, reduction, formats): Source, kv: KvType, alter: Option<Alter>) -> String {
    let source = kernel.source(reduction, kv, formats, cfg!(target_arch = "wasm32"));
    match alter {
        Some(alter) => alter(kernel.name, source),
        None => source,
    }
}

pub(super) fn module(device: &wgpu::Device, of: Source, kv: KvType, alter: Option<Alter>) -> wgpu::ShaderModule {
    // The processor has kernels by their names, in a variant for each way to keep keys and values.
    let source = match is_processor(device) {
        true => kv.name().into(),
        false => source(of, kv, alter),
    };
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(of.0.name), source: wgpu::ShaderSource::Wgsl(source.into()) };
    #[expect(unsafe_code, reason = "checks on every access cost half of a token's time")]
    // SAFETY: the sources are our own. Indices come from override
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

/// The values of override constants from their bits.
fn values(constants: &[(&'static str, u64)]) -> Vec<(&'static str, f64)> {
    constants.iter().map(|(name, bits)| (*name, f64::from_bits(*bits))).collect()
}

/// Pipelines that are being made.
pub(crate) struct Making {
    wanted: Vec<Key>,
    #[cfg(not(target_arch = "wasm32"))]
    threads: Threads,
    #[cfg(target_arch = "wasm32")]
    asked: Asked,
}

impl Making {
    pub(super) fn start(gpu: &Gpu, kv: KvType, wanted: Vec<Key>) -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            threads: Threads::start(gpu, kv, &wanted),
            #[cfg(target_arch = "wasm32")]
            asked: Asked::start(gpu, kv, &wanted),
            wanted,
        }
    }

    /// Puts them into the cache, and gives the seconds that were spent on them: natively of all
    /// threads together, in a browser those in which there was nothing to do but to wait.
    /// `progress` hears how many are there, and how many there will be.
    ///
    /// # Errors
    /// As [`Pipelines::finish`].
    pub(crate) async fn finish(self, pipelines: &Pipelines, progress: &mut dyn FnMut(u32, u32)) -> Result<f64> {
        let total = self.wanted.len() as u32;
        progress(0, total);
        let mut most = 0;
        let mut tell = |done: u32| {
            if done > most {
                most = done;
                progress(done, total);
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        let seconds = self.threads.collect(pipelines, &self.wanted);
        let start = Instant::now();
        #[cfg(target_arch = "wasm32")]
        let seconds = self.asked.collect(pipelines, &self.wanted, &mut tell).await?;
        // What is there is found. What is not is made now, and the device says what is wrong with
        // it.
        for (done, (kernel, reduction, constants)) in (1..).zip(&self.wanted) {
            pipelines.get(kernel, *reduction, &values(constants));
            pipelines.finish().await?;
            tell(done);
        }
        Ok(seconds + Instant::now().since(start))
    }
}
