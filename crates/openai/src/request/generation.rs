//! What chat and plain completions have in common.

use std::collections::BTreeMap;

use peregrine::sampling::SamplingOptions;
use peregrine::session::GenerateOptions;
use serde::Serialize;
use serde_json::Value;

use super::MOST_ANSWERS;
use super::check::{Body, boolean, list, missing, mistyped, number, object, show, text, whole, wrong};
use super::fields::STREAM_OPTIONS;
use super::format::ResponseFormat;
use super::lora::Lora;
use crate::error::{ApiError, Code};

/// Most texts that end an answer.
const MOST_STOPS: usize = 4;

/// Fields of both kinds of request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename = "GenerationParams"))]
pub struct Generation {
    /// An adapter's name answers with it. Any other name changes nothing, and is named in
    /// `warnings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub model: Option<String>,
    /// Chunks as they come (true), or the whole answer at the end.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub stream: bool,
    /// What comes with a stream.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub stream_options: StreamOptions,
    /// 0 to 2; 0 always takes the likeliest token. Default 1.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub temperature: f64,
    /// 0 to 1: only the likeliest tokens that have this share of the probability. Default 1: off.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub top_p: f64,
    /// Not OpenAI's: only the k likeliest tokens. Default 0: off.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub top_k: u32,
    /// Not OpenAI's: drops tokens less likely than this share of the likeliest. Default 0: off.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub min_p: f64,
    /// -2 to 2: taken off the logit of every token that the answer has already. Default 0.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub presence_penalty: f64,
    /// -2 to 2: taken off a token's logit for each time that the answer has it already. Default 0.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub frequency_penalty: f64,
    /// Not OpenAI's: above 1 makes tokens that are already there less likely. Default 1: off.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub repetition_penalty: f64,
    /// Token ids and what is added to their logits, -100 to 100.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::LogitBias>"))]
    pub logit_bias: BTreeMap<u32, f64>,
    /// Up to four texts that end the answer; it comes without them.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::Stop>"))]
    pub stop: Vec<String>,
    /// The same seed gives the same answer on the same device. A fresh one when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable))]
    pub seed: Option<i64>,
    /// What the answers must look like; a text where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::Format>"))]
    pub response_format: Option<ResponseFormat>,
    /// Not OpenAI's: adapters beside the model. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, ts(optional = nullable, as = "Option<crate::types::Loras>"))]
    pub lora: Vec<Lora>,
    /// How many answers, 1 to 128: made one after the other, with seeds that follow each other.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub n: u32,
    /// Not OpenAI's: goes on after the model's end token, up to `max_tokens`; for measurements.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub ignore_eos: bool,
    /// Not OpenAI's: adds `token_ids` to the choices.
    #[cfg_attr(test, ts(optional = nullable, as = "Option<_>"))]
    pub return_token_ids: bool,
    /// What was let through though nothing is done with it.
    #[serde(skip)]
    #[cfg_attr(test, ts(skip))]
    pub warnings: Vec<String>,
}

/// `stream_options`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StreamOptions {
    /// A last chunk with the counts, `usage`.
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub include_usage: bool,
}

impl Generation {
    /// Reads its fields, and takes the warnings.
    pub(super) fn parse(body: &mut Body<'_>) -> Result<Self, ApiError> {
        let stream_options = stream_options(body)?;
        let lora = super::lora::read(body)?;
        let within =
            |name, default, min, max| body.get(name).map_or(Ok(default), |(path, value)| number(path, value, min, max));
        let count = |name, default: u32, min, max: u32| match body.get(name) {
            None => Ok(default),
            Some((path, value)) => whole(path, value, min, max.into()).map(|found| found as u32),
        };
        let flag = |name| body.get(name).map_or(Ok(false), |(path, value)| boolean(path, value));
        let seed = body.get("seed").map(|(path, value)| whole(path, value, i64::MIN, i64::MAX as u64));
        Ok(Self {
            model: body.get("model").map(|(path, value)| text(path, value)).transpose()?.map(str::to_string),
            stream: flag("stream")?,
            stream_options,
            temperature: within("temperature", 1.0, 0.0, 2.0)?,
            top_p: within("top_p", 1.0, 0.0, 1.0)?,
            top_k: count("top_k", 0, 0, u32::MAX)?,
            min_p: within("min_p", 0.0, 0.0, 1.0)?,
            presence_penalty: within("presence_penalty", 0.0, -2.0, 2.0)?,
            frequency_penalty: within("frequency_penalty", 0.0, -2.0, 2.0)?,
            repetition_penalty: within("repetition_penalty", 1.0, 0.01, 10.0)?,
            logit_bias: body
                .get("logit_bias")
                .map_or_else(|| Ok(BTreeMap::new()), |(path, value)| biases(path, value))?,
            stop: body.get("stop").map_or_else(|| Ok(Vec::new()), |(path, value)| stops(path, value))?,
            seed: seed.transpose()?.map(|seed| seed as i64),
            response_format: body.get("response_format").map_or(Ok(None), |(_, value)| ResponseFormat::parse(value))?,
            lora,
            n: count("n", 1, 1, MOST_ANSWERS)?,
            ignore_eos: flag("ignore_eos")?,
            return_token_ids: flag("return_token_ids")?,
            warnings: std::mem::take(&mut body.warnings),
        })
    }

    /// The runtime's options for an answer with this seed.
    pub fn options(&self, seed: u64, max_tokens: u32) -> GenerateOptions {
        GenerateOptions {
            max_tokens,
            sampling: SamplingOptions {
                temperature: self.temperature as f32,
                top_k: self.top_k,
                // 0 keeps the likeliest token, as the smallest share of the probability does.
                top_p: (self.top_p as f32).max(1e-30),
                min_p: self.min_p as f32,
                repetition_penalty: self.repetition_penalty as f32,
                presence_penalty: self.presence_penalty as f32,
                frequency_penalty: self.frequency_penalty as f32,
                logit_bias: self.logit_bias.iter().map(|(token, bias)| (*token, *bias as f32)).collect(),
                seed,
                ..SamplingOptions::default()
            },
            stop: self.stop.clone(),
            ignore_end: self.ignore_eos,
            ..GenerateOptions::default()
        }
    }
}

fn stream_options(body: &mut Body<'_>) -> Result<StreamOptions, ApiError> {
    let Some((path, value)) = body.get("stream_options") else { return Ok(StreamOptions::default()) };
    let fields = object(path, value)?;
    body.sift(path, fields, &STREAM_OPTIONS)?;
    let usage = fields.get("include_usage").filter(|value| !value.is_null());
    let include_usage = usage.map_or(Ok(false), |value| boolean("stream_options.include_usage", value))?;
    Ok(StreamOptions { include_usage })
}

fn stops(path: &str, value: &Value) -> Result<Vec<String>, ApiError> {
    const EXPECTED: &str = "a text or up to four, none of them empty";
    if let Some(stop) = value.as_str() {
        return if stop.is_empty() { Err(wrong(path, EXPECTED, value)) } else { Ok(vec![stop.to_string()]) };
    }
    let items = list(path, EXPECTED, value)?;
    if items.len() > MOST_STOPS {
        let message = format!("expected {EXPECTED}, found {}", items.len());
        return Err(ApiError::at(Code::InvalidValue, path, &message));
    }
    let one = |(i, item): (usize, &Value)| {
        let path = format!("{path}[{i}]");
        match text(&path, item)? {
            "" => Err(wrong(&path, "a text that is not empty", item)),
            stop => Ok(stop.to_string()),
        }
    };
    items.iter().enumerate().map(one).collect()
}

fn biases(path: &str, value: &Value) -> Result<BTreeMap<u32, f64>, ApiError> {
    let one = |(token, bias): (&String, &Value)| {
        let name = Value::from(token.as_str());
        let path = format!("{path}[{}]", show(&name));
        let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
        let id = token.parse().ok().filter(|_| digits);
        let id = id.ok_or_else(|| wrong(&path, "a token id as the key", &name))?;
        if bias.is_null() {
            return Err(missing(&path, "a number from -100 to 100"));
        }
        Ok((id, number(&path, bias, -100.0, 100.0)?))
    };
    let fields = value.as_object().ok_or_else(|| mistyped(path, "an object of token ids and numbers", value))?;
    fields.iter().map(one).collect()
}
