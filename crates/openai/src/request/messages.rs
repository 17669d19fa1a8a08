//! The messages of a conversation.

use peregrine::chat::Message;
use serde_json::{Map, Value};

use super::check::{Body, list, missing, mistyped, object, show, text, wrong};
use super::fields::{MESSAGE, PART};
use crate::error::{ApiError, Code};

const ROLES: &str = "\"system\", \"developer\", \"user\" or \"assistant\"";

/// `messages`
pub fn read(body: &mut Body<'_>) -> Result<Vec<Message>, ApiError> {
    const EXPECTED: &str = "a list of at least one message";
    let (path, value) = body.get("messages").ok_or_else(|| missing("messages", EXPECTED))?;
    let items = list(path, EXPECTED, value)?;
    if items.is_empty() {
        return Err(wrong(path, EXPECTED, value));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        messages.push(message(body, &format!("{path}[{i}]"), item)?);
    }
    Ok(messages)
}

fn message(body: &mut Body<'_>, path: &str, value: &Value) -> Result<Message, ApiError> {
    let fields = object(path, value)?;
    let role = role(&format!("{path}.role"), fields.get("role"))?;
    body.sift(path, fields, &MESSAGE)?;
    let content = content(body, &format!("{path}.content"), fields, role)?;
    Ok(Message::new(role, content))
}

/// `developer` is what OpenAI's newer models call `system`; templates know the older name.
fn role(path: &str, value: Option<&Value>) -> Result<&'static str, ApiError> {
    let value = value.filter(|value| !value.is_null()).ok_or_else(|| missing(path, ROLES))?;
    match value.as_str() {
        None => Err(mistyped(path, ROLES, value)),
        Some("system" | "developer") => Ok("system"),
        Some("user") => Ok("user"),
        Some("assistant") => Ok("assistant"),
        Some("tool" | "function") => {
            let message = format!("{} is not supported in this version: tools are not", show(value));
            Err(ApiError::at(Code::Unsupported, path, &message))
        }
        Some(_) => Err(wrong(path, ROLES, value)),
    }
}

fn content(body: &mut Body<'_>, path: &str, fields: &Map<String, Value>, role: &str) -> Result<String, ApiError> {
    const EXPECTED: &str = "a text or a list of parts";
    match fields.get("content") {
        // What an assistant who only called tools has said.
        None | Some(Value::Null) if role == "assistant" => Ok(String::new()),
        None | Some(Value::Null) => Err(missing(path, EXPECTED)),
        Some(Value::String(content)) => Ok(content.clone()),
        Some(value) => {
            let items = list(path, EXPECTED, value)?;
            if items.is_empty() {
                return Err(wrong(path, "at least one part", value));
            }
            let mut texts = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                texts.push(part(body, &format!("{path}[{i}]"), item)?);
            }
            // Templates take one text; parts are paragraphs of it.
            Ok(texts.join("\n"))
        }
    }
}

fn part<'a>(body: &mut Body<'_>, path: &str, value: &'a Value) -> Result<&'a str, ApiError> {
    let fields = object(path, value)?;
    let at = format!("{path}.type");
    let kind = fields.get("type").filter(|kind| !kind.is_null()).ok_or_else(|| missing(&at, "\"text\""))?;
    match kind.as_str() {
        None => return Err(mistyped(&at, "\"text\"", kind)),
        Some("text") => {}
        Some("image_url" | "input_audio" | "file" | "refusal" | "video_url" | "audio_url") => {
            let message = format!("{} is not supported: the model reads text only", show(kind));
            return Err(ApiError::at(Code::Unsupported, &at, &message));
        }
        Some(_) => return Err(wrong(&at, "\"text\"", kind)),
    }
    body.sift(path, fields, &PART)?;
    let at = format!("{path}.text");
    let content = fields.get("text").filter(|content| !content.is_null());
    text(&at, content.ok_or_else(|| missing(&at, "a text"))?)
}
