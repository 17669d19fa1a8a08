//! The cache of pipelines: each is made once, from a kernel of `shaders/` and its override
//! constants.

mod making;
mod typed;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

pub use peregrine_shaders::{Formats, KERNELS, Kernel};
pub use typed::{
    Atomic, Binding, Bound, Constant, Constants, Given, Signature, Space, Typed, Value, Wgsl, declare, given, push,
};
pub(crate) use typed::{constants, kernel, kernels, wgsl};

use self::making::{Making, module, pipeline};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::gpu::{Gpu, Reduction, translate};
use crate::plan::Call;
use crate::state::KvType;

/// A kernel, how it sums, and its override constants with the bits of their values.
type Key = (&'static Kernel, Reduction, Vec<(&'static str, u64)>);
/// What a source follows from: the kernel, how it sums, and the block formats of its matrix.
type Source = (&'static Kernel, Reduction, Formats);
type Scope = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Pipelines of one device, each made once.
pub struct Pipelines {
    gpu: Gpu,
    kv: KvType,
    made: RefCell<HashMap<Key, Rc<wgpu::ComputePipeline>>>,
    modules: RefCell<HashMap<Source, wgpu::ShaderModule>>,
    unheard: RefCell<Vec<(&'static str, Scope)>>,
}

impl Pipelines {
    /// An empty cache, for a model that keeps keys and values in this way.
    pub fn new(gpu: &Gpu, kv: KvType) -> Self {
        Self {
            gpu: gpu.clone(),
            kv,
            made: RefCell::default(),
            modules: RefCell::default(),
            unheard: RefCell::default(),
        }
    }

    /// How many pipelines have been made.
    pub fn count(&self) -> usize {
        self.made.borrow().len()
    }

    /// Makes the pipelines of these calls that are not there, each once and in this order: natively
    /// in threads of its own from now on, in a browser in its threads.
    pub(crate) fn make<'a>(&self, calls: impl IntoIterator<Item = &'a Call>) -> Making {
        let mut wanted = Vec::new();
        for call in calls {
            let key = key(call.kernel, call.reduction, &call.constants);
            if !wanted.contains(&key) && !self.made.borrow().contains_key(&key) {
                wanted.push(key);
            }
        }
        Making::start(&self.gpu, self.kv, wanted)
    }

    /// The pipeline of a kernel with these override constants. What is wrong with it is told by
    /// [`Pipelines::finish`].
    pub fn get(
        &self,
        kernel: &'static Kernel,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
    ) -> Rc<wgpu::ComputePipeline> {
        let key = key(kernel, reduction, constants);
        if let Some(pipeline) = self.made.borrow().get(&key) {
            return pipeline.clone();
        }
        let scope = self.gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self
            .modules
            .borrow_mut()
            .entry(source_of(&key))
            .or_insert_with_key(|of| module(self.gpu.device(), *of, self.kv, self.gpu.alter()))
            .clone();
        let pipeline = Rc::new(pipeline(self.gpu.device(), kernel.name, &module, constants));
        self.unheard.borrow_mut().push((kernel.name, Box::pin(scope.pop())));
        self.made.borrow_mut().insert(key, pipeline.clone());
        pipeline
    }

    /// The pipeline with its buffers as bind group 0.
    pub fn bound(
        &self,
        kernel: &'static Kernel,
        reduction: Reduction,
        constants: &[(&'static str, f64)],
        buffers: &[Bound],
    ) -> (Rc<wgpu::ComputePipeline>, wgpu::BindGroup) {
        let pipeline = self.get(kernel, reduction, constants);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.resource() })
            .collect();
        let bind_group = self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        (pipeline, bind_group)
    }

    /// Hears what the device says of the pipelines made since the last call.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the kernel's name: a browser would otherwise say nothing, and outputs
    /// would stay zero.
    pub async fn finish(&self) -> Result<()> {
        let unheard = std::mem::take(&mut *self.unheard.borrow_mut());
        for (name, scope) in unheard {
            if let Some(error) = scope.await {
                return Err(of_kernel(name, translate(error)));
            }
        }
        self.gpu.check()
    }
}

/// An error of the device with the name of the kernel that it is about.
fn of_kernel(name: &str, error: Error) -> Error {
    match error {
        Error::Gpu { detail } => Error::Gpu { detail: format!("kernel {name}: {detail}") },
        other => other,
    }
}

fn key(kernel: &'static Kernel, reduction: Reduction, constants: &[(&'static str, f64)]) -> Key {
    (kernel, reduction, constants.iter().map(|(n, v)| (*n, v.to_bits())).collect())
}

/// The source that a pipeline is made of: the constants say which formats it will meet.
fn source_of((kernel, reduction, constants): &Key) -> Source {
    let ids = constants.iter().filter(|(name, _)| kernel.has_matrix() && name.starts_with("FORMAT_"));
    let formats = ids.filter_map(|(_, bits)| Format::from_gguf_id(f64::from_bits(*bits) as u32));
    (kernel, *reduction, source_formats(formats))
}

/// Block formats as sources have them.
///
/// # Panics
/// Never: every row of [`FORMATS`](crate::format::FORMATS) has its file, as `tests/shaders.rs`
/// sees.
pub(crate) fn source_formats(formats: impl IntoIterator<Item = Format>) -> Formats {
    Formats::of(formats.into_iter().map(|format| format.spec().name)).expect("a file for every format")
}
