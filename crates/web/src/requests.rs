//! Requests of OpenAI's API: texts in, texts out, as over HTTP. What they mean is the
//! `peregrine-openai` crate's business.

use std::rc::Rc;

use js_sys::{Function, Reflect};
use peregrine::constraint::Compiler;
use peregrine::session::Session;
use peregrine_openai::request::json;
use peregrine_openai::response::Usage;
use peregrine_openai::{ApiError, Cancel, Code, Event, Head, Offered, Request, adapters, answer, read};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::convert::to_js;
use crate::grammars::JsGrammars;

/// A request that has been checked.
#[wasm_bindgen]
pub struct WebRequest {
    request: Request,
    /// Nothing is to be answered.
    only_read: bool,
}

#[wasm_bindgen]
impl WebRequest {
    /// `kind`: "chat" or "completion"; `body`: JSON, as it is posted; `adapters`: those that there
    /// are. An error names the field.
    #[wasm_bindgen(constructor)]
    pub fn new(kind: &str, body: &str, only_read: bool, adapters: Vec<String>) -> Result<WebRequest, JsValue> {
        let parse = if kind == "chat" { Request::chat } else { Request::completion };
        let request = json(body.as_bytes()).and_then(|body| parse(&body)).map_err(|error| to_js_error(&error))?;
        let offered: Vec<_> = adapters.into_iter().map(|name| Offered { name, scale: 1.0 }).collect();
        adapters::check(&request, &offered).map_err(|error| to_js_error(&error))?;
        Ok(Self { request, only_read })
    }

    /// Whether grammars are needed to answer it.
    #[wasm_bindgen(getter, js_name = needsGrammars)]
    pub fn needs_grammars(&self) -> bool {
        self.request.needs_grammars() && !self.only_read
    }

    /// Whether it cannot be answered without them.
    #[wasm_bindgen(getter, js_name = insistsOnGrammars)]
    pub fn insists_on_grammars(&self) -> bool {
        self.request.insists_on_grammars()
    }

    /// One line of its response's warnings.
    pub fn warn(&mut self, line: String) {
        self.request.generation_mut().warnings.push(line);
    }
}

/// What only JavaScript has.
#[derive(Deserialize)]
struct JsHead {
    id: String,
    /// Seconds since 1970.
    created: f64,
    model: String,
    /// A whole number below 2^53.
    seed: f64,
}

/// How it went.
#[derive(Serialize)]
struct Done {
    /// The response as JSON, where it was not streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
    usage: Usage,
    /// The caller stopped it.
    cancelled: bool,
}

/// A request that was not answered.
pub struct Failed {
    pub error: JsValue,
    /// What the session has read is known: it can go on.
    pub is_known: bool,
}

impl From<JsValue> for Failed {
    fn from(error: JsValue) -> Self {
        Self { error, is_known: false }
    }
}

/// Answers a request: `on_event(text)` hears each event of a stream as JSON, `is_cancelled()` is
/// asked between steps, `grammars` make what an answer must look like.
pub async fn respond(
    session: &mut Session,
    request: &WebRequest,
    head: JsValue,
    on_event: &Function,
    is_cancelled: Function,
    grammars: Option<&JsGrammars>,
) -> Result<JsValue, Failed> {
    let JsHead { id, created, model, seed } = serde_wasm_bindgen::from_value(head).map_err(JsValue::from)?;
    let offered = crate::adapters::offered(session.engine());
    let model = adapters::as_model(&request.request, &offered).map_or(model, |adapter| adapter.name.clone());
    let head = Head { id, created: created as u64, model, seed: seed as u64 };
    let cancel: Cancel = Rc::new(move || is_cancelled.call0(&JsValue::NULL).is_ok_and(|value| value.is_truthy()));
    let mut tell = |event: Event| match serde_json::to_string(&event) {
        Ok(text) => on_event.call1(&JsValue::NULL, &JsValue::from_str(&text)).is_ok(),
        Err(_) => false,
    };
    let compiler = grammars.map(|grammars| grammars as &dyn Compiler);
    let chosen = adapters::choose(session, &request.request, &offered).await;
    let done = match chosen {
        Err(error) => Err(error),
        Ok(()) if request.only_read => read(session, &request.request, Some(cancel)).await,
        Ok(()) => answer(session, &request.request, &head, &mut tell, Some(cancel), compiler).await,
    };
    // What is refused has been refused before anything was read.
    let done = done.map_err(|error| Failed { error: to_js_error(&error), is_known: error.status() < 500 })?;
    let broken = |error: serde_json::Error| to_js_error(&ApiError::new(Code::Internal, error.to_string()));
    let whole = done.whole.as_ref().map(serde_json::to_string).transpose().map_err(broken)?;
    Ok(to_js(&Done { whole, usage: done.usage, cancelled: done.is_cancelled() })?)
}

/// What of OpenAI's error object is not in an `Error`.
#[derive(Serialize)]
struct Api<'a> {
    status: u16,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

/// An `Error` with the package's `code`, and with `api`: what OpenAI's object has.
fn to_js_error(error: &ApiError) -> JsValue {
    let object = js_sys::Error::new(&error.message);
    let ApiError { code, param, .. } = error;
    let api = Api { status: error.status(), r#type: code.kind(), param: param.as_deref(), code: code.name() };
    // Setting a property of a fresh object cannot fail.
    let _ = Reflect::set(&object, &"code".into(), &error.engine_code().into());
    let _ = to_js(&api).and_then(|api| Reflect::set(&object, &"api".into(), &api));
    object.into()
}
