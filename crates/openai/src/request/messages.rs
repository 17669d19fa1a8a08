//! The messages of a conversation.

use peregrine::chat::Message;
use serde_json::{Map, Value};

use super::calls::{self, Open};
use super::check::{Body, list, missing, mistyped, object, text, wrong};
use super::fields::{ANSWER, ASSISTANT, MESSAGE, PART};
use crate::error::{ApiError, Code};

const ROLES: &str = "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"";

/// `messages`
pub fn read(body: &mut Body<'_>) -> Result<Vec<Message>, ApiError> {
    const EXPECTED: &str = "a list of at least one message";
    let (path, value) = body.get("messages").ok_or_else(|| missing("messages", EXPECTED))?;
    let items = list(path, EXPECTED, value)?;
    if items.is_empty() {
        return Err(wrong(path, EXPECTED, value));
    }
    let mut messages = Vec::with_capacity(items.len());
    let mut open = Open::default();
    for (i, item) in items.iter().enumerate() {
        messages.push(message(body, &format!("{path}[{i}]"), item, &mut open)?);
    }
    Ok(messages)
}

fn message(body: &mut Body<'_>, path: &str, value: &Value, open: &mut Open) -> Result<Message, ApiError> {
    let fields = object(path, value)?;
    let role = role(&format!("{path}.role"), fields.get("role"))?;
    let known = match role {
        "assistant" => &ASSISTANT,
        "tool" => &ANSWER,
        _ => &MESSAGE,
    };
    body.sift(path, fields, known)?;
    let content = content(body, &format!("{path}.content"), fields, role)?;
    let message = Message::new(role, content);
    if role == "tool" {
        let (id, name) = open.answer(path, fields)?;
        return Ok(message.with("tool_call_id", id.into()).with("name", name.into()));
    }
    open.close()?;
    if role != "assistant" {
        return Ok(message);
    }
    let calls = calls::read(body, path, fields)?;
    open.begin(path, &calls);
    Ok(if calls.is_empty() { message } else { message.with("tool_calls", Value::Array(calls)) })
}

/// `developer` is what OpenAI's newer models call `system`; templates know the older name.
fn role(path: &str, value: Option<&Value>) -> Result<&'static str, ApiError> {
    let value = value.filter(|value| !value.is_null()).ok_or_else(|| missing(path, ROLES))?;
    match value.as_str() {
        None => Err(mistyped(path, ROLES, value)),
        Some("system" | "developer") => Ok("system"),
        Some("user") => Ok("user"),
        Some("assistant") => Ok("assistant"),
        Some("tool") => Ok("tool"),
        Some("function") => {
            let message = "\"function\" is not supported: what a tool has answered has the role \"tool\"";
            Err(ApiError::at(Code::Unsupported, path, message))
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
            let message = format!("{kind} is not supported: the model reads text only");
            return Err(ApiError::at(Code::Unsupported, &at, &message));
        }
        Some(_) => return Err(wrong(&at, "\"text\"", kind)),
    }
    body.sift(path, fields, &PART)?;
    let at = format!("{path}.text");
    let content = fields.get("text").filter(|content| !content.is_null());
    text(&at, content.ok_or_else(|| missing(&at, "a text"))?)
}
