//! In a browser: `createComputePipelineAsync` for all at once, which the browser answers from
//! threads of its own. wgpu knows only `createComputePipeline`, and the browser would make one
//! after the other for it while everything else waits: so it is given those that are there.

use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::{pipeline, source, values};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, translate};
use crate::kernels::{Key, Pipelines, Scope, Source, of_kernel, source_of};
use crate::state::KvType;

#[wasm_bindgen]
extern "C" {
    /// What wgpu's own binding of `GPUDevice` does not give out.
    type Device;
    #[wasm_bindgen(catch, method, js_name = createShaderModule)]
    fn create_shader_module(this: &Device, descriptor: &Object) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, method, js_name = createComputePipelineAsync)]
    fn create_compute_pipeline_async(this: &Device, descriptor: &Object) -> std::result::Result<Promise, JsValue>;
}

/// An answer of the browser, with the place of what was asked for.
type Answer = std::pin::Pin<Box<dyn Future<Output = (usize, std::result::Result<JsValue, JsValue>)>>>;

/// Pipelines that the browser has been asked for.
pub(super) struct Asked {
    /// Of the modules: what the device says of each.
    scopes: Vec<(&'static str, Scope)>,
    answers: FuturesUnordered<Answer>,
}

impl Asked {
    /// Asks for all of them. What throws at once is made by wgpu later, and heard of then.
    pub(super) fn start(gpu: &Gpu, kv: KvType, wanted: &[Key]) -> Self {
        let mut asked = Self { scopes: Vec::new(), answers: FuturesUnordered::new() };
        let Some(device) = gpu.device().as_webgpu() else { return asked };
        let device: &Device = device.unchecked_ref();
        let mut modules: Vec<(Source, JsValue)> = Vec::new();
        for (at, key) in wanted.iter().enumerate() {
            let ((kernel, _, constants), of) = (key, source_of(key));
            let module = match modules.iter().find(|(other, _)| *other == of) {
                Some((_, module)) => module.clone(),
                None => {
                    let code = source(of, kv, gpu.alter());
                    let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
                    let descriptor = object([("label", kernel.name.into()), ("code", code.into())]);
                    let module = device.create_shader_module(&descriptor).unwrap_or_default();
                    asked.scopes.push((kernel.name, Box::pin(scope.pop())));
                    modules.push((of, module.clone()));
                    module
                }
            };
            let constants = object(values(constants).into_iter().map(|(name, value)| (name, value.into())));
            let stage = [("module", module), ("entryPoint", "main".into()), ("constants", constants.into())];
            let descriptor =
                [("label", kernel.name.into()), ("layout", "auto".into()), ("compute", object(stage).into())];
            if let Ok(promise) = device.create_compute_pipeline_async(&object(descriptor)) {
                let answer = JsFuture::from(promise);
                asked.answers.push(Box::pin(async move { (at, answer.await) }));
            }
        }
        asked
    }

    /// Puts them into the cache, each as it is ready; `tell` hears how many are there. Gives the
    /// seconds of other threads: nobody says them.
    ///
    /// # Errors
    /// As [`Pipelines::finish`].
    pub(super) async fn collect(
        mut self,
        pipelines: &Pipelines,
        wanted: &[Key],
        tell: &mut dyn FnMut(u32),
    ) -> Result<f64> {
        let device = pipelines.gpu.device();
        // wgpu wants to see a module where it asks for a pipeline. The one that it gets has its
        // own.
        let empty = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl("".into()) };
        let empty = device.create_shader_module(empty);
        let mut done = 0;
        while let Some((at, answer)) = self.answers.next().await {
            let key = &wanted[at];
            let made = match answer {
                Ok(made) => made,
                Err(thrown) => return Err(self.error(&pipelines.gpu, key.0.name, &thrown).await),
            };
            if let Some(pipeline) = handed(device, made, || pipeline(device, key.0.name, &empty, &[])) {
                pipelines.made.borrow_mut().insert(key.clone(), Rc::new(pipeline));
            }
            done += 1;
            tell(done);
        }
        Ok(0.0)
    }

    /// What is wrong where a pipeline was refused. What is wrong with a module is said of the
    /// module, and of its pipelines only that they have none.
    async fn error(self, gpu: &Gpu, name: &str, thrown: &JsValue) -> Error {
        for (name, scope) in self.scopes {
            if let Some(error) = scope.await {
                return of_kernel(name, translate(error));
            }
        }
        // Of a lost device this may be what is heard first.
        if let Err(error) = gpu.sync().await {
            return error;
        }
        let detail = Reflect::get(thrown, &"message".into()).ok().and_then(|text| text.as_string());
        of_kernel(name, Error::Gpu { detail: detail.unwrap_or_else(|| format!("{thrown:?}")) })
    }
}

/// Runs `ask`, which asks wgpu for a pipeline, so that wgpu is given the one that is there. The
/// device is our own, and nobody else sees it meanwhile. `None` where it allows no such thing.
fn handed(
    device: &wgpu::Device,
    made: JsValue,
    ask: impl FnOnce() -> wgpu::ComputePipeline,
) -> Option<wgpu::ComputePipeline> {
    let device: &Object = device.as_webgpu()?.unchecked_ref();
    let name = JsValue::from_str("createComputePipeline");
    let give = Closure::<dyn Fn() -> JsValue>::new(move || made.clone());
    let descriptor = object([("value", give.as_ref().clone()), ("configurable", true.into())]);
    // Only one of its own stands in the way; the prototype's comes back by itself.
    if Object::has_own(device, &name) || !Reflect::define_property(device, &name, &descriptor).ok()? {
        return None;
    }
    let pipeline = ask();
    Reflect::delete_property(device, &name).ok()?;
    Some(pipeline)
}

/// A plain object.
fn object(fields: impl IntoIterator<Item = (&'static str, JsValue)>) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object
}
