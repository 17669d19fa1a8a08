//! What crosses the border: plain objects in both directions, errors as `Error` objects with a
//! `code`.

use peregrine::options::{GpuOptions, LoadOptions};
use peregrine::selfcheck::Outcomes;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;

/// What a page wants, and what JavaScript alone knows about the adapter.
#[derive(Deserialize)]
pub struct Wanted {
    /// How the model is loaded.
    pub load: LoadOptions,
    /// How the device is used.
    pub gpu: GpuOptions,
    /// Outcomes of earlier self-checks.
    pub outcomes: Outcomes,
}

impl Wanted {
    /// From a plain object.
    pub fn from_js(value: JsValue) -> Result<Self, JsValue> {
        serde_wasm_bindgen::from_value(value).map_err(|error| {
            let (field, expected) = ("options".into(), "what load-options.ts says".into());
            to_js_error(peregrine::Error::Argument { field, expected, found: error.to_string() })
        })
    }
}

/// Progress, in the shape of the protocol.
#[derive(Serialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Progress {
    /// Bytes on the GPU.
    Upload { loaded: f64, total: f64 },
    /// Bytes of tensors in the new format.
    Quantize { loaded: f64, total: f64 },
    /// Pipelines made.
    Compile { done: u32, total: u32 },
    /// A way to drive the device has been compared with the CPU.
    Check(Verdict),
}

/// How a way to drive the device did in its self-check.
#[derive(Clone, Serialize)]
pub struct Verdict {
    /// What its outcome is kept under, for the next run.
    pub key: String,
    pub variant: String,
    /// Results were compared, and are wrong.
    #[serde(rename = "isWrong")]
    pub is_wrong: bool,
    /// What was wrong, or why nothing could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Not there where the outcome was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl From<&peregrine::selfcheck::Verdict> for Verdict {
    fn from(verdict: &peregrine::selfcheck::Verdict) -> Self {
        let peregrine::selfcheck::Verdict { key, variant, failed, is_wrong, seconds } = verdict.clone();
        Self { key, variant, failed, is_wrong, seconds }
    }
}

/// What the comparison of every stage with the CPU found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    ok: bool,
    comparisons: usize,
    /// The first stage that differs, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    stages: Vec<CheckedStage>,
}

/// The worst comparison of a kind of stage.
#[derive(Serialize)]
struct CheckedStage {
    stage: String,
    count: usize,
    difference: f32,
    /// As a share of the largest value.
    relative: f32,
    /// Where.
    worst: String,
    ok: bool,
}

impl CheckReport {
    /// Of all comparisons.
    pub fn new(results: &[peregrine::inspect::Comparison]) -> Self {
        let differs = results.iter().find(|r| !r.is_close());
        let stages = peregrine_workbench::check::worst(results).into_iter().map(|(worst, count)| CheckedStage {
            stage: worst.kind().to_string(),
            count,
            difference: worst.difference,
            relative: worst.relative(),
            worst: worst.stage.clone(),
            ok: results.iter().all(|r| r.kind() != worst.kind() || r.is_close()),
        });
        Self {
            ok: differs.is_none(),
            comparisons: results.len(),
            first: differs.map(peregrine::inspect::Comparison::describe),
            stages: stages.collect(),
        }
    }
}

impl From<peregrine::model::Progress> for Progress {
    fn from(progress: peregrine::model::Progress) -> Self {
        match progress {
            peregrine::model::Progress::Upload { done, total } => {
                Self::Upload { loaded: done as f64, total: total as f64 }
            }
            peregrine::model::Progress::Compile { done, total } => Self::Compile { done, total },
        }
    }
}

/// What `info` answers.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub model: ModelInfo,
    pub device: DeviceInfo,
    pub memory: MemoryInfo,
    pub loading: LoadingInfo,
    /// What was tried, in order; the last one is used.
    pub self_check: Vec<Verdict>,
}

/// The loaded model.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    pub name: String,
    pub parameters: f64,
    pub bytes: f64,
    pub formats: String,
    pub vocab_size: u32,
    pub layers: u32,
    pub context_length: u32,
    pub longest_context: u32,
}

/// Seconds of loading, by what the engine's thread did in them.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadingInfo {
    pub read: f64,
    pub lay_out: f64,
    pub upload: f64,
    pub pipelines: f64,
}

impl From<&peregrine::model::LoadTimes> for LoadingInfo {
    fn from(times: &peregrine::model::LoadTimes) -> Self {
        let peregrine::model::LoadTimes { read, repack, upload, pipelines } = *times;
        Self { read, lay_out: repack, upload, pipelines }
    }
}

/// The device it runs on.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    pub kind: &'static str,
    /// Of an answer, where that can be told before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    pub name: String,
    pub software: bool,
    pub reduction: &'static str,
    pub shapes: &'static str,
}

/// What lies on the device.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryInfo {
    pub weights: f64,
    /// With activations, and states, caches and snapshots of a conversation that is full.
    pub needed: f64,
    /// Most of it that may be snapshots.
    pub snapshots: f64,
    /// And of the browser's own memory.
    pub snapshots_host: f64,
}

/// One stage of the profile.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    name: &'static str,
    dispatches: u32,
    seconds: f64,
    weight_bytes: f64,
}

impl From<&peregrine_workbench::profile::StageTime> for Stage {
    fn from(stage: &peregrine_workbench::profile::StageTime) -> Self {
        Self {
            name: stage.name(),
            dispatches: stage.dispatches,
            seconds: stage.seconds,
            weight_bytes: stage.weight_bytes as f64,
        }
    }
}

/// A JavaScript number. Exact up to 2^53: no file is longer.
pub fn to_js_number(value: u64) -> JsValue {
    JsValue::from_f64(value as f64)
}

/// A plain object.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(serde_wasm_bindgen::to_value(value)?)
}

/// The text in a field of a JavaScript value, if there is one.
pub fn text_field(value: &JsValue, field: &str) -> Option<String> {
    js_sys::Reflect::get(value, &field.into()).ok()?.as_string()
}

/// By how much a model does not fit, and what would.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fit {
    needed: f64,
    budget: f64,
    context_length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_context: Option<u32>,
}

/// An `Error` with a `code`; of a model that does not fit with `fit`.
pub fn to_js_error(error: peregrine::Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&object, &"code".into(), &error.code().into());
    if let peregrine::Error::DoesNotFit { needed, budget, context_length, largest_context, .. } = error {
        let fit = Fit { needed: needed as f64, budget: budget as f64, context_length, largest_context };
        let _ = to_js(&fit).and_then(|fit| js_sys::Reflect::set(&object, &"fit".into(), &fit));
    }
    object.into()
}
