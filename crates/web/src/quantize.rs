//! Models that are quantized in the browser.

use std::io::Write;

use js_sys::{Array, Function, Uint8Array};
use peregrine::checkpoint::Checkpoint;
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize};
use wasm_bindgen::prelude::*;

use crate::convert::{Progress, to_js, to_js_error};
use crate::sources_of;

/// Hands bytes on to JavaScript, which may keep them for later: it waits in the next read of the
/// input until they are written.
struct Sink<'a>(&'a Function);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let handed = self.0.call1(&JsValue::NULL, &Uint8Array::from(bytes));
        handed.map_err(|_| std::io::Error::other("the bytes were not taken"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Names of the types that a model can be quantized to.
#[wasm_bindgen(js_name = quantizeTypes)]
pub fn quantize_types() -> Vec<String> {
    QuantType::ALL.iter().map(|ty| ty.name().to_string()).collect()
}

/// Quantizes a model to a GGUF file: as `peregrine quantize` does, byte for byte. `files` are
/// objects
/// `{ name, size, read(offset, length) }`, as for `WebEngine.load`; `sink(bytes)` gets the file,
/// piece by piece; `report` hears the progress.
#[wasm_bindgen(js_name = quantize)]
pub async fn quantize_files(files: Array, target: String, sink: Function, report: Function) -> Result<(), JsValue> {
    let target: QuantType = target.parse().map_err(to_js_error)?;
    let checkpoint = Checkpoint::open_files(sources_of(&files)?).await.map_err(to_js_error)?;
    let mut tell = |done, total| {
        let now = Progress::Quantize { loaded: done as f64, total: total as f64 };
        let _ = to_js(&now).and_then(|value| report.call1(&JsValue::NULL, &value));
    };
    let options = QuantizeOptions::new(target);
    quantize(&checkpoint, &mut Sink(&sink), &options, &mut tell).await.map_err(to_js_error)
}
