//! The turns of a conversation, and what they carry beside their text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::calls::CallFormat;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
    /// What else templates read, by the names that they read it by: `tool_calls` of an assistant,
    /// as in OpenAI's API; `tool_call_id` of what a tool has answered.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// The field of the message that tells which tools there are.
const TOOLS: &str = "tools";
/// Of the same message: how calls are written, where the template is not asked.
const FORMAT: &str = "tool_call_format";
pub(super) const CALLS: &str = "tool_calls";

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), fields: Map::new() }
    }

    /// The tools that the assistant may call, as OpenAI's API lists them: the first message of a
    /// conversation that has any. It is no turn; templates get its tools as theirs.
    pub fn tools(tools: Vec<Value>) -> Self {
        Self::new("system", "").with(TOOLS, Value::Array(tools))
    }

    /// Of [`tools`](Self::tools): calls are written in this format, whatever the template says.
    #[must_use]
    pub fn with_call_format(self, format: CallFormat) -> Self {
        self.with(FORMAT, format.name().into())
    }

    /// The format that it asks for.
    pub(super) fn call_format(&self) -> Option<CallFormat> {
        self.fields.get(FORMAT)?.as_str().and_then(CallFormat::named)
    }

    /// The message with one field more.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.into(), value);
        self
    }

    /// The tools that it declares.
    pub(super) fn declared(&self) -> Option<&[Value]> {
        self.fields.get(TOOLS)?.as_array().map(Vec::as_slice)
    }

    /// The calls that an assistant has made.
    pub(super) fn calls(&self) -> &[Value] {
        self.fields.get(CALLS).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// With the arguments of its calls as templates want them: OpenAI's are text that holds JSON,
    /// and templates go through mappings. Text that holds no object stays text.
    pub(super) fn decoded(&self) -> Self {
        let mut decoded = self.clone();
        let calls = decoded.fields.get_mut(CALLS).and_then(Value::as_array_mut);
        for arguments in calls.into_iter().flatten().filter_map(|call| call.pointer_mut("/function/arguments")) {
            let object = match arguments.as_str() {
                Some(text) if text.trim().is_empty() => Some(Value::Object(Map::new())),
                Some(text) => serde_json::from_str(text).ok().filter(Value::is_object),
                None => None,
            };
            if let Some(object) = object {
                *arguments = object;
            }
        }
        decoded
    }

    /// All of its texts.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut all = vec![self.role.as_str(), self.content.as_str()];
        self.fields.values().for_each(|value| texts(value, &mut all));
        all
    }

    /// With every text changed, names of fields inside its fields too; but not its role.
    pub(super) fn map(&self, change: &dyn Fn(&str) -> String) -> Self {
        let fields = self.fields.iter().map(|(name, value)| (name.clone(), map(value, change))).collect();
        Self { role: self.role.clone(), content: change(&self.content), fields }
    }
}

fn texts<'a>(value: &'a Value, all: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => all.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
        Value::Object(fields) => {
            for (name, value) in fields {
                all.push(name);
                texts(value, all);
            }
        }
        _ => {}
    }
}

fn map(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.iter().map(|item| map(item, change)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (change(name), map(value, change))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
