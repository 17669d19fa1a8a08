//! The browser's door to the runtime: a thin shell that a worker drives through wasm-bindgen. Everything asynchronous is a
//! promise, every failure an `Error` with a `code`.
#![cfg(target_arch = "wasm32")]

mod convert;
mod source;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::Function;
use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{Gpu, Reduction};
use peregrine::session::{Engine, GenerateOptions, Session};
use wasm_bindgen::prelude::*;

use convert::{ChatRequest, ChatResult, DeviceInfo, Info, LoadOptions, ModelInfo, Progress, to_js, to_js_error};
use source::JsSource;

/// Panics are bugs; this makes the console say where.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// A model on the GPU and one conversation with it.
#[wasm_bindgen]
pub struct WebEngine {
    engine: Rc<Engine>,
    /// Not there while a call uses it, or after one that failed.
    session: Cell<Option<Session>>,
    info: Info,
}

/// "Q4_0 ×56, Q6_K ×1": the formats of the matrices, the most frequent first.
fn formats(checkpoint: &Checkpoint) -> String {
    let mut counts = BTreeMap::new();
    for tensor in checkpoint.tensors().filter(|t| t.shape.len() == 2 && !t.name.contains("conv1d")) {
        *counts.entry(tensor.format.spec().name).or_insert(0_u32) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    counts.iter().map(|(name, count)| format!("{name} ×{count}")).collect::<Vec<_>>().join(", ")
}

#[wasm_bindgen]
impl WebEngine {
    /// Loads the model of `size` bytes that `read(offset, length)` gives out; `report` hears the progress.
    pub async fn load(
        name: String,
        size: f64,
        read: Function,
        options: JsValue,
        report: Function,
    ) -> Result<WebEngine, JsValue> {
        let options: LoadOptions = serde_wasm_bindgen::from_value(options)?;
        let gpu = options.gpu().map_err(to_js_error)?;
        let load = peregrine::model::LoadOptions { context_length: options.context_length, ..Default::default() };
        let checkpoint =
            Checkpoint::open_gguf(Rc::new(JsSource::new(name, size as u64, read))).await.map_err(to_js_error)?;
        let gpu = Gpu::new(&gpu).await.map_err(to_js_error)?;
        let mut progress = |now: peregrine::model::Progress| {
            // A page that throws in its progress bar does not stop the loading.
            let _ = to_js(&Progress::from(now)).and_then(|value| report.call1(&JsValue::NULL, &value));
        };
        let engine = Engine::load(&gpu, &checkpoint, &load, &mut progress).await.map_err(to_js_error)?;
        let info = Info {
            model: ModelInfo {
                name: checkpoint.name.clone(),
                parameters: checkpoint.parameters() as f64,
                bytes: size,
                formats: formats(&checkpoint),
                vocab_size: engine.config().vocab_size,
                layers: engine.config().num_hidden_layers,
                context_length: engine.model().context_length(),
            },
            device: DeviceInfo {
                name: gpu.name().to_string(),
                software: gpu.is_software(),
                reduction: match gpu.reduction() {
                    Reduction::Workgroup => "workgroup",
                    Reduction::Subgroup => "subgroup",
                },
            },
        };
        let session = Session::new(&engine).map_err(to_js_error)?;
        Ok(Self { engine, session: Cell::new(Some(session)), info })
    }

    /// What is loaded, and where it runs.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        to_js(&self.info)
    }

    /// Answers a conversation; what of it was read before is not read again. `on_piece(token, text)` hears every token;
    /// `is_cancelled()` is asked between steps.
    pub async fn chat(&self, request: JsValue, on_piece: Function, is_cancelled: Function) -> Result<JsValue, JsValue> {
        let request: ChatRequest = serde_wasm_bindgen::from_value(request)?;
        let mut session = match self.session.take() {
            Some(session) => session,
            // The call before failed half-way: what its session has read is not known.
            None => Session::new(&self.engine).map_err(to_js_error)?,
        };
        let mut told = 0;
        let mut on_piece = |piece: peregrine::session::Piece| {
            told += piece.text.len();
            on_piece.call2(&JsValue::NULL, &piece.token.into(), &piece.text.into()).is_ok()
        };
        let cancel = Rc::new(move || is_cancelled.call0(&JsValue::NULL).is_ok_and(|value| value.is_truthy()));
        let options = GenerateOptions { cancel: Some(cancel), ..request.options() };
        let generated = session.chat(&request.messages, &options, &mut on_piece).await.map_err(to_js_error)?;
        self.session.set(Some(session));
        to_js(&ChatResult::new(generated, told))
    }

    /// Token ids of a text.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, JsValue> {
        self.engine.tokenizer().encode(text, add_bos).map_err(to_js_error)
    }

    /// Text of token ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, JsValue> {
        self.engine.tokenizer().decode(ids, false).map_err(to_js_error)
    }
}
