//! LoRA adapters beside a loaded model.

use std::rc::Rc;

use js_sys::Array;
use peregrine::Error;
use peregrine::adapter::Adapter;
use peregrine::session::{Engine, Session};
use peregrine_openai::Offered;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::convert::{to_js, to_js_error};
use crate::{WebEngine, sources_of};

/// An adapter, in the shape of the protocol.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoraInfo<'a> {
    id: &'a str,
    kind: String,
    bytes: f64,
    device_bytes: f64,
    ranks: [u32; 2],
    targets: Vec<Target>,
    notes: &'a [String],
}

/// A kind of linear layer, and in how many layers of the model it is changed.
#[derive(Serialize)]
struct Target {
    module: &'static str,
    layers: usize,
}

impl<'a> LoraInfo<'a> {
    fn new(id: &'a str, adapter: &'a Adapter, device_bytes: u64) -> Self {
        let (least, most) = adapter.ranks();
        let targets = adapter.targets().into_iter().map(|(module, layers)| Target { module, layers });
        Self {
            id,
            kind: adapter.kind().name().to_lowercase(),
            bytes: adapter.bytes() as f64,
            device_bytes: device_bytes as f64,
            ranks: [least, most],
            targets: targets.collect(),
            notes: adapter.notes(),
        }
    }
}

/// An adapter of a request, and how strongly it acts.
#[derive(Deserialize)]
struct Choice {
    id: String,
    scale: Option<f64>,
}

/// The adapters that an engine has, for requests.
pub fn offered(engine: &Engine) -> Vec<Offered> {
    engine.adapters().iter().map(|(_, name, _)| Offered { name: name.to_string(), scale: 1.0 }).collect()
}

/// A new session that uses these adapters: `[{ id, scale }]`.
pub async fn session(engine: &Rc<Engine>, lora: JsValue) -> Result<Session, JsValue> {
    let mut session = Session::new(engine).map_err(to_js_error)?;
    choose(&mut session, lora).await?;
    Ok(session)
}

/// The session uses these adapters from now on, and no others.
pub async fn choose(session: &mut Session, lora: JsValue) -> Result<(), JsValue> {
    let wanted: Vec<Choice> = serde_wasm_bindgen::from_value(lora)?;
    let engine = session.engine().clone();
    let find = |(at, Choice { id, scale }): (usize, Choice)| match engine.adapter(&id) {
        Some(adapter) => Ok((adapter, scale.unwrap_or(1.0) as f32)),
        None => {
            let names: Vec<_> = engine.adapters().iter().map(|(_, name, _)| name.to_string()).collect();
            let expected = match names.is_empty() {
                true => "the id of a loaded adapter, of which there are none".into(),
                false => format!("the id of a loaded adapter: {}", names.join(", ")),
            };
            Err(Error::Argument { field: format!("lora[{at}].id"), expected, found: format!("{id:?}") })
        }
    };
    let wanted: peregrine::Result<Vec<_>> = wanted.into_iter().enumerate().map(find).collect();
    let chosen = async { session.set_adapters(&wanted?).await };
    chosen.await.map_err(to_js_error)
}

/// The adapters of an engine that is given up, for the one after it.
#[wasm_bindgen]
pub struct WebAdapters(Vec<(Rc<str>, Rc<Adapter>)>);

#[wasm_bindgen]
impl WebEngine {
    /// Reads an adapter from its files, and takes it under a name of its own.
    #[wasm_bindgen(js_name = addAdapter)]
    pub async fn add_adapter(&self, id: String, files: Array) -> Result<JsValue, JsValue> {
        let engine = self.engine.clone();
        if id == self.info.borrow().model.name || engine.adapter(&id).is_some() {
            let expected = "a name that neither the model nor another adapter has".into();
            return Err(to_js_error(Error::Argument { field: "id".into(), expected, found: format!("{id:?}") }));
        }
        let adapter = Adapter::read(&id, &sources_of(&files)?, &engine.base()).await.map_err(to_js_error)?;
        let adapter = Rc::new(adapter);
        let added = engine.add_adapter(&id, adapter.clone()).map_err(to_js_error)?;
        to_js(&LoraInfo::new(&id, &adapter, engine.bytes_of_adapters(&[(added, 1.0)]).map_err(to_js_error)?))
    }

    /// Forgets an adapter; whether there was one.
    #[wasm_bindgen(js_name = removeAdapter)]
    pub fn remove_adapter(&self, id: &str) -> bool {
        self.engine.adapter(id).is_some_and(|id| self.engine.remove_adapter(id))
    }

    /// What another engine of the same model takes over.
    #[wasm_bindgen(js_name = keepAdapters)]
    pub fn keep_adapters(&self) -> WebAdapters {
        WebAdapters(self.engine.adapters().into_iter().map(|(_, id, adapter)| (id, adapter)).collect())
    }

    /// Takes them over; what they are on this device.
    #[wasm_bindgen(js_name = takeAdapters)]
    pub fn take_adapters(&self, adapters: WebAdapters) -> Result<JsValue, JsValue> {
        let take = |id: &str, adapter: &Rc<Adapter>| {
            let taken = self.engine.take_adapter(id, adapter.clone())?;
            self.engine.bytes_of_adapters(&[(taken, 1.0)])
        };
        let mut infos = Vec::new();
        for (id, adapter) in &adapters.0 {
            infos.push(LoraInfo::new(id, adapter, take(id, adapter).map_err(to_js_error)?));
        }
        to_js(&infos)
    }
}
