//! Calls that an assistant has made, and what tools have answered.

use serde_json::{Map, Value, json};

use super::check::{Body, list, missing, text, wrong};
use super::fields::{CALL, CALLED};
use super::tools::{function, name};
use crate::error::{ApiError, Code};

/// `tool_calls` of the message at `path`, as in OpenAI's API.
pub fn read(body: &mut Body<'_>, path: &str, fields: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let path = format!("{path}.tool_calls");
    let Some(value) = fields.get("tool_calls").filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let mut calls: Vec<Value> = Vec::new();
    for (i, item) in list(&path, "a list of calls", value)?.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let function = function(body, &path, item, &CALL)?;
        let id = id(&format!("{path}.id"), item.get("id"))?;
        if calls.iter().any(|call| call["id"] == id) {
            return Err(wrong(&format!("{path}.id"), "an id that no other call has", &id.into()));
        }
        let path = format!("{path}.function");
        body.sift(&path, function, &CALLED)?;
        let name = name(&format!("{path}.name"), function.get("name"))?;
        let at = format!("{path}.arguments");
        let arguments = function.get("arguments").filter(|value| !value.is_null());
        let arguments = text(&at, arguments.ok_or_else(|| missing(&at, "a text that holds JSON"))?)?;
        calls.push(json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }));
    }
    Ok(calls)
}

fn id<'a>(path: &str, value: Option<&'a Value>) -> Result<&'a str, ApiError> {
    let value = value.filter(|value| !value.is_null()).ok_or_else(|| missing(path, "the id of a call"))?;
    match text(path, value)? {
        "" => Err(wrong(path, "the id of a call", value)),
        id => Ok(id),
    }
}

/// The calls of the last assistant's message: every one is answered, once, before anybody else
/// speaks.
#[derive(Default)]
pub struct Open {
    path: String,
    /// Id, name, and whether it was answered.
    calls: Vec<(String, String, bool)>,
}

impl Open {
    /// An assistant has made calls.
    pub fn begin(&mut self, path: &str, calls: &[Value]) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        self.path = format!("{path}.tool_calls");
        self.calls = calls.iter().map(|call| (text(&call["id"]), text(&call["function"]["name"]), false)).collect();
    }

    /// A tool has answered: which call, and whose name that was.
    pub fn answer(&mut self, path: &str, fields: &Map<String, Value>) -> Result<(String, String), ApiError> {
        const EXPECTED: &str = "the id of a call in the assistant's message before, which nothing has answered yet";
        let at = format!("{path}.tool_call_id");
        let found = id(&at, fields.get("tool_call_id"))?;
        match self.calls.iter_mut().find(|(id, _, answered)| id == found && !answered) {
            Some((id, name, answered)) => {
                *answered = true;
                Ok((id.clone(), name.clone()))
            }
            None => Err(wrong(&at, EXPECTED, &found.into())),
        }
    }

    /// Somebody else speaks.
    pub fn close(&mut self) -> Result<(), ApiError> {
        match self.calls.drain(..).position(|(_, _, answered)| !answered) {
            None => Ok(()),
            Some(i) => {
                let message = "expected a message with the role \"tool\" that answers it, before any other";
                Err(ApiError::at(Code::InvalidValue, &format!("{}[{i}].id", self.path), message))
            }
        }
    }
}
