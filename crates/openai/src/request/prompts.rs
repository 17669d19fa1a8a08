//! `prompt` of a plain completion: a text, token ids, or a list of either.

use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::MOST_ANSWERS;
use super::check::{Body, list, missing, mistyped, token, wrong};
use crate::error::{ApiError, Code};

const EXPECTED: &str = "a text, a list of token ids, or a list of either";

/// Something to go on with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Its token ids.
    Ids(Vec<u32>),
}

/// As OpenAI has it: a single prompt stands without a list.
pub(super) fn one_or_many<S: Serializer>(prompts: &[Prompt], serializer: S) -> Result<S::Ok, S::Error> {
    match prompts {
        [prompt] => prompt.serialize(serializer),
        prompts => prompts.serialize(serializer),
    }
}

pub(super) fn read(body: &Body<'_>) -> Result<Vec<Prompt>, ApiError> {
    let (path, value) = body.get("prompt").ok_or_else(|| missing("prompt", EXPECTED))?;
    if let Some(text) = value.as_str() {
        return Ok(vec![Prompt::Text(text.into())]);
    }
    let items = list(path, EXPECTED, value)?;
    match items.first() {
        None => Err(wrong(path, EXPECTED, value)),
        Some(Value::Number(_)) => Ok(vec![Prompt::Ids(ids(path, items)?)]),
        Some(_) if items.len() > MOST_ANSWERS as usize => {
            let message = format!("expected at most {MOST_ANSWERS} prompts, found {}", items.len());
            Err(ApiError::at(Code::InvalidValue, path, &message))
        }
        Some(_) => items.iter().enumerate().map(|(i, item)| one(&format!("{path}[{i}]"), item)).collect(),
    }
}

fn one(path: &str, value: &Value) -> Result<Prompt, ApiError> {
    match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(items) if items.is_empty() => Err(wrong(path, "at least one token id", value)),
        Value::Array(items) => ids(path, items).map(Prompt::Ids),
        _ => Err(mistyped(path, "a text or a list of token ids", value)),
    }
}

fn ids(path: &str, items: &[Value]) -> Result<Vec<u32>, ApiError> {
    // There may be a hundred thousand: a path only for what is wrong.
    let plain = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let one = |(i, item)| plain(item).map_or_else(|| token(&format!("{path}[{i}]"), item), Ok);
    items.iter().enumerate().map(one).collect()
}
