//! How the engine comes to its GPU.

use peregrine::gpu::Access;
use wasm_bindgen::prelude::*;

/// A way to devices: by the `navigator.gpu` of the moment in which it is made, which happens
/// without a pause.
#[wasm_bindgen]
pub struct WebAccess(Access);

#[wasm_bindgen]
impl WebAccess {
    /// There must be a `navigator.gpu`, in a page or in a worker.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self(Access::new())
    }

    /// To the processor alone.
    #[wasm_bindgen(js_name = withoutGpus)]
    pub fn without_gpus() -> Self {
        Self(Access::without_gpus())
    }
}

impl WebAccess {
    /// For the runtime.
    pub(crate) fn way(&self) -> &Access {
        &self.0
    }
}
