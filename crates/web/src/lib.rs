//! The browser's door to the runtime: a thin shell that a worker drives through wasm-bindgen.
//! Everything asynchronous is a promise, every failure an `Error` with a `code`.
#![cfg(target_arch = "wasm32")]

mod access;
mod adapters;
mod convert;
mod grammars;
mod quantize;
mod requests;
mod source;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::{Array, Function};
use peregrine::checkpoint::{Checkpoint, Source};
use peregrine::gpu::{Reduction, ShapeClass};
use peregrine::inspect::{Comparison, spread_ids};
use peregrine::selfcheck;
use peregrine::session::{Engine, Session, expected_speed};
use peregrine_openai::response::{Model, Models};
use peregrine_workbench::check::{check, halves};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

use access::WebAccess;
use convert::{
    CheckReport, DeviceInfo, Info, LoadingInfo, MemoryInfo, ModelInfo, Progress, Stage, Verdict, Wanted, to_js,
    to_js_error,
};
use grammars::{JsGrammars, WebVocabulary};
use requests::WebRequest;
use source::JsSource;

/// Panics are bugs; this makes the console say where.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// A model on its device; sessions share it.
#[wasm_bindgen]
pub struct WebEngine {
    engine: Rc<Engine>,
    info: RefCell<Info>,
    /// The first conversation's session, made while the model was loaded.
    first: Cell<Option<Session>>,
}

/// The files `{ name, size, read(offset, length) }`, in order.
fn sources_of(files: &Array) -> Result<Vec<Rc<dyn Source>>, JsValue> {
    files.iter().map(|file| Ok(Rc::new(JsSource::new(&file)?) as Rc<dyn Source>)).collect()
}

/// A session that need not do anything for the first time.
async fn warm(engine: &Rc<Engine>) -> peregrine::Result<Session> {
    let mut session = Session::new(engine)?;
    session.warm_up().await?;
    Ok(session)
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
    /// Loads a model onto the device that `access` and the options lead to, from GGUF files or
    /// those of a Hugging Face folder: `files` are objects `{ name, size, read(offset, length) }`,
    /// in order; `report` hears the progress.
    pub async fn load(
        access: WebAccess,
        files: Array,
        options: JsValue,
        report: Function,
    ) -> Result<WebEngine, JsValue> {
        let Wanted { load, gpu, mut outcomes } = Wanted::from_js(options)?;
        let sources = sources_of(&files)?;
        let bytes: u64 = sources.iter().map(|source| source.len()).sum();
        let checkpoint = Checkpoint::open_files(sources).await.map_err(to_js_error)?;
        // A page that throws in its progress bar does not stop the loading.
        let tell = |now: Progress| {
            let _ = to_js(&now).and_then(|value| report.call1(&JsValue::NULL, &value));
        };
        let checked = selfcheck::load(
            access.way(),
            &gpu,
            &checkpoint,
            &load,
            &mut outcomes,
            &mut |now| tell(Progress::from(now)),
            &mut |verdict| tell(Progress::Check(verdict.into())),
        )
        .await
        .map_err(to_js_error)?;
        let engine = checked.engine;
        let gpu = engine.model().gpu().clone();
        let needed = engine.model().footprint();
        let info = Info {
            model: ModelInfo {
                name: checkpoint.name.clone(),
                parameters: checkpoint.parameters() as f64,
                bytes: bytes as f64,
                formats: formats(&checkpoint),
                vocab_size: engine.config().vocab_size,
                layers: engine.config().num_hidden_layers,
                context_length: engine.model().context_length(),
                longest_context: engine.model().longest_context(),
            },
            device: DeviceInfo {
                kind: if gpu.is_processor() { "cpu" } else { "gpu" },
                tokens_per_second: match gpu.is_processor() {
                    // Where there is no room to measure it, it is not told.
                    true => expected_speed(&engine).await.ok(),
                    false => None,
                },
                name: gpu.name().to_string(),
                software: gpu.is_software(),
                reduction: match gpu.reduction() {
                    Reduction::Workgroup => "workgroup",
                    Reduction::Subgroup => "subgroup",
                },
                shapes: match gpu.shapes() {
                    ShapeClass::Software => "software",
                    ShapeClass::Hardware => "hardware",
                },
            },
            memory: MemoryInfo {
                weights: engine.model().weight_bytes() as f64,
                needed: needed.total() as f64,
                snapshots: needed.snapshots as f64,
                snapshots_host: load.snapshot_host_budget.unwrap_or(0) as f64,
            },
            loading: LoadingInfo::from(engine.model().load_times()),
            self_check: checked.verdicts.iter().map(Verdict::from).collect(),
        };
        // Where there is no room for it, whoever asks for a session is told.
        let first = Cell::new(warm(&engine).await.ok());
        Ok(Self { engine, info: RefCell::new(info), first })
    }

    /// Compares every dispatch and every state with the CPU while `tokens` tokens are read, half of
    /// them at once and the rest one by one. `files` are those of the model; `report` hears how
    /// many comparisons there were after each; `lora`: adapters beside the model.
    pub async fn check(&self, files: Array, tokens: u32, report: Function, lora: JsValue) -> Result<JsValue, JsValue> {
        let checkpoint = Checkpoint::open_files(sources_of(&files)?).await.map_err(to_js_error)?;
        let mut session = adapters::session(&self.engine, lora).await?;
        let tokens = tokens.clamp(2, 2 * self.engine.model().chunk());
        let ids = spread_ids(checkpoint.config.vocab_size, tokens);
        let mut results = Vec::new();
        let mut hear = |comparison: &Comparison| {
            results.push(comparison.clone());
            let _ = report.call1(&JsValue::NULL, &JsValue::from(results.len() as u32));
        };
        check(&mut session, &checkpoint, &ids, &halves(tokens), &mut hear).await.map_err(to_js_error)?;
        to_js(&CheckReport::new(&results))
    }

    /// What is loaded, and where it runs.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        to_js(&*self.info.borrow())
    }

    /// Lets conversations have at least so many tokens, those that there are as well.
    #[wasm_bindgen(js_name = growContext)]
    pub fn grow_context(&self, tokens: u32) -> Result<(), JsValue> {
        let context_length = self.engine.grow_context(tokens).map_err(to_js_error)?;
        let (mut info, needed) = (self.info.borrow_mut(), self.engine.model().footprint());
        info.model.context_length = context_length;
        info.memory.needed = needed.total() as f64;
        info.memory.snapshots = needed.snapshots as f64;
        Ok(())
    }

    /// What `GET /v1/models` answers, as JSON. `created`: seconds since 1970.
    pub fn models(&self, created: f64) -> Result<String, JsValue> {
        let model = Model::new(&self.info.borrow().model.name, created as u64, self.engine.model().context_length());
        let adapters: Vec<_> = self.engine.adapters().iter().map(|(_, name, _)| model.adapter(name)).collect();
        let models = Models::all([vec![model], adapters].concat());
        serde_json::to_string(&models).map_err(|error| JsValue::from_str(&error.to_string()))
    }

    /// A conversation of its own.
    pub fn session(&self) -> Result<WebSession, JsValue> {
        let session = match self.first.take() {
            Some(session) => session,
            None => Session::new(&self.engine).map_err(to_js_error)?,
        };
        Ok(WebSession { engine: self.engine.clone(), session: Cell::new(Some(session)) })
    }

    /// Token ids of a text.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, JsValue> {
        self.engine.tokenizer().encode(text, add_bos).map_err(to_js_error)
    }

    /// Token ids of a text in which nothing is a control token.
    #[wasm_bindgen(js_name = encodePlain)]
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, JsValue> {
        self.engine.tokenizer().encode_plain(text).map_err(to_js_error)
    }

    /// What grammars need of the tokenizer.
    pub fn vocabulary(&self) -> WebVocabulary {
        WebVocabulary::of(self.engine.tokenizer())
    }

    /// Text of token ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, JsValue> {
        self.engine.tokenizer().decode(ids, false).map_err(to_js_error)
    }

    /// Logits after each of the last `last` of `ids`, one row after the other, from a session of
    /// its own. The last `one_by_one` tokens are read one by one, as in an answer, those before
    /// them in chunks of `chunk`; with 0 of as many as the model takes. `lora`: adapters beside the
    /// model.
    pub async fn logits(
        &self,
        ids: Vec<u32>,
        last: u32,
        one_by_one: u32,
        chunk: u32,
        lora: JsValue,
    ) -> Result<Vec<f32>, JsValue> {
        let mut session = adapters::session(&self.engine, lora).await?;
        let (one_by_one, last) = ((one_by_one as usize).min(ids.len()), (last as usize).min(ids.len()));
        let (chunked, stepped) = ids.split_at(ids.len() - one_by_one);
        let most = self.engine.model().chunk();
        let mut rows = Vec::new();
        for (ids, chunk, last) in [
            (chunked, if chunk == 0 { most } else { chunk.min(most) }, last.saturating_sub(one_by_one)),
            (stepped, 1, last.min(one_by_one)),
        ] {
            if !ids.is_empty() {
                let mut on_row = |row: &[f32]| rows.extend_from_slice(row);
                session.forward(ids, chunk, last as u32, &mut on_row).await.map_err(to_js_error)?;
            }
        }
        Ok(rows)
    }

    /// Where a step's time goes: of one token, or of `tokens` at once, with these adapters. An
    /// error where the device has no clock.
    pub async fn profile(&self, tokens: u32, lora: JsValue) -> Result<JsValue, JsValue> {
        let mut session = adapters::session(&self.engine, lora).await?;
        let tokens = tokens.clamp(1, self.engine.model().chunk());
        let stages = peregrine_workbench::profile::profile(&mut session, tokens, 5).await.map_err(to_js_error)?;
        to_js(&stages.iter().map(Stage::from).collect::<Vec<_>>())
    }
}

/// One conversation with a model.
#[wasm_bindgen]
pub struct WebSession {
    engine: Rc<Engine>,
    /// Not there while a call uses it, or after one that failed.
    session: Cell<Option<Session>>,
}

#[wasm_bindgen]
impl WebSession {
    /// Answers a request; what of it was read before is not read again. `head`:
    /// `{ id, created, model, seed }`. `on_event(text)` hears
    /// the events of a stream as JSON; `is_cancelled()` is asked between steps; `grammars` are
    /// there where the request needs them. Gives `{ whole, usage, cancelled }`.
    pub async fn respond(
        &self,
        request: &WebRequest,
        head: JsValue,
        on_event: Function,
        is_cancelled: Function,
        grammars: Option<JsGrammars>,
    ) -> Result<JsValue, JsValue> {
        let mut session = self.take()?;
        let done = requests::respond(&mut session, request, head, &on_event, is_cancelled, grammars.as_ref()).await;
        if done.as_ref().err().is_none_or(|failed| failed.is_known) {
            self.session.set(Some(session));
        }
        done.map_err(|failed| failed.error)
    }

    /// Hands the conversation's state to `sink.take(bytes)`, piece by piece. The bytes lie in this
    /// module's memory: they are right until the call returns.
    pub async fn save(&self, sink: JsSink) -> Result<(), JsValue> {
        let mut session = self.take()?;
        let failed = |thrown: JsValue| {
            let message = convert::text_field(&thrown, "message").unwrap_or_else(|| format!("{thrown:?}"));
            peregrine::Error::Io { name: "the state".into(), source: std::io::Error::other(message) }
        };
        let mut put = |bytes: &[u8]| sink.take(bytes).map_err(failed);
        session.save(&mut put).await.map_err(to_js_error)?;
        self.session.set(Some(session));
        Ok(())
    }

    /// Becomes the conversation that was saved: `{ name, size, read(offset, length) }`, with the
    /// adapters `lora`, which must be those it was made with. After an error it has read nothing.
    pub async fn restore(&self, file: JsValue, lora: JsValue) -> Result<(), JsValue> {
        let source = JsSource::new(&file)?;
        let mut session = self.take()?;
        let restored = match adapters::choose(&mut session, lora).await {
            Ok(()) => session.restore(&source).await.map_err(to_js_error),
            Err(error) => Err(error),
        };
        self.session.set(Some(session));
        restored
    }

    fn take(&self) -> Result<Session, JsValue> {
        match self.session.take() {
            Some(session) => Ok(session),
            // The call before failed half-way: what its session has read is not known.
            None => Session::new(&self.engine).map_err(to_js_error),
        }
    }
}

#[wasm_bindgen]
extern "C" {
    /// What takes the pieces of a state.
    #[wasm_bindgen(typescript_type = "{ take(bytes: Uint8Array): void }")]
    pub type JsSink;

    #[wasm_bindgen(method, catch)]
    fn take(this: &JsSink, bytes: &[u8]) -> Result<(), JsValue>;
}

/// SHA-256 of bytes that come in pieces.
#[wasm_bindgen]
#[derive(Default)]
pub struct Hasher(Sha256);

#[wasm_bindgen]
impl Hasher {
    /// Before the first byte.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest in lower-case hexadecimal.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
