//! `tools`, `tool_choice` and `parallel_tool_calls`.

use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::check::{Body, boolean, list, missing, mistyped, object, one_of, text, wrong};
use super::fields::{CHOICE, FUNCTION, TOOL};
use crate::error::{ApiError, Code};

/// Most tools of one request, as in OpenAI's API.
const MOST_TOOLS: usize = 128;
/// Letters of a name.
const LONGEST_NAME: usize = 64;
const NAME: &str = "a name of 1 to 64 letters, digits, _ and -";
const CHOICES: &str = "\"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}";

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Of letters, digits, `_` and `-`; no other tool has it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// A JSON schema of its arguments, an object's. None: it has no arguments.
    pub parameters: Option<Map<String, Value>>,
    /// Whether the schema is to be obeyed exactly.
    pub strict: Option<bool>,
}

impl Tool {
    /// As templates get it.
    pub fn described(&self) -> Value {
        let mut function = json!({ "name": self.name });
        if let Some(description) = &self.description {
            function["description"] = json!(description);
        }
        // Templates go through the properties.
        let none = || json!({ "type": "object", "properties": {} });
        function["parameters"] = self.parameters.clone().map_or_else(none, Value::Object);
        json!({ "type": "function", "function": function })
    }
}

/// As it was in the request.
impl Serialize for Tool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tool = self.described();
        let function = &mut tool["function"];
        if let Some(fields) = function.as_object_mut().filter(|_| self.parameters.is_none()) {
            fields.shift_remove("parameters");
        }
        if let Some(strict) = self.strict {
            function["strict"] = json!(strict);
        }
        tool.serialize(serializer)
    }
}

/// Whether the model may call a tool, or must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It must not, and is not told of them.
    None,
    /// As it likes.
    #[default]
    Auto,
    /// It calls at least one.
    Required,
    /// It calls this one.
    Function(String),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => "none".serialize(serializer),
            Self::Auto => "auto".serialize(serializer),
            Self::Required => "required".serialize(serializer),
            Self::Function(name) => json!({ "type": "function", "function": { "name": name } }).serialize(serializer),
        }
    }
}

/// The three fields.
pub(super) fn read(body: &mut Body<'_>) -> Result<(Vec<Tool>, ToolChoice, bool), ApiError> {
    let mut tools: Vec<Tool> = Vec::new();
    if let Some((path, value)) = body.get("tools") {
        let items = list(path, "a list of tools", value)?;
        if items.len() > MOST_TOOLS {
            let message = format!("expected at most {MOST_TOOLS} tools, found {}", items.len());
            return Err(ApiError::at(Code::InvalidValue, path, &message));
        }
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let tool = tool(body, &path, item)?;
            if let Some(first) = tools.iter().position(|other| other.name == tool.name) {
                let message = format!("tools[{first}] has the same name, {}", tool.name);
                return Err(ApiError::at(Code::InvalidValue, &format!("{path}.function.name"), &message));
            }
            tools.push(tool);
        }
    }
    let choice = choice(body, &tools)?;
    let parallel = body.get("parallel_tool_calls").map(|(path, value)| boolean(path, value)).transpose()?;
    if tools.is_empty() && parallel == Some(true) {
        body.warn("parallel_tool_calls: ignored, as it changes nothing here".into());
    }
    // Without tools neither says anything.
    match tools.is_empty() {
        true => Ok((tools, ToolChoice::Auto, true)),
        false => Ok((tools, choice, parallel.unwrap_or(true))),
    }
}

fn tool(body: &mut Body<'_>, path: &str, value: &Value) -> Result<Tool, ApiError> {
    let function = function(body, path, value, &TOOL)?;
    let path = format!("{path}.function");
    body.sift(&path, function, &FUNCTION)?;
    let get = |name: &str| function.get(name).filter(|value| !value.is_null());
    let at = |name: &str| format!("{path}.{name}");
    let name = name(&at("name"), function.get("name"))?;
    let description = get("description").map(|value| text(&at("description"), value)).transpose()?;
    let parameters = get("parameters").map(|value| schema(&at("parameters"), value)).transpose()?;
    let strict = get("strict").map(|value| boolean(&at("strict"), value)).transpose()?;
    Ok(Tool { name, description: description.map(str::to_string), parameters: parameters.cloned(), strict })
}

/// The function of something that has a `type`: a tool, a choice, a call.
pub(super) fn function<'a>(
    body: &mut Body<'_>,
    path: &str,
    value: &'a Value,
    known: &super::fields::Fields,
) -> Result<&'a Map<String, Value>, ApiError> {
    let fields = object(path, value)?;
    let at = format!("{path}.type");
    let kind = fields.get("type").filter(|kind| !kind.is_null()).ok_or_else(|| missing(&at, "\"function\""))?;
    if kind == "custom" || kind == "allowed_tools" {
        let message = format!("{kind} is not supported: tools are functions");
        return Err(ApiError::at(Code::Unsupported, &at, &message));
    }
    one_of(&at, kind, &["function"])?;
    body.sift(path, fields, known)?;
    let at = format!("{path}.function");
    object(&at, fields.get("function").filter(|value| !value.is_null()).ok_or_else(|| missing(&at, "an object"))?)
}

/// A function's name.
pub(super) fn name(path: &str, value: Option<&Value>) -> Result<String, ApiError> {
    let value = value.filter(|value| !value.is_null()).ok_or_else(|| missing(path, NAME))?;
    let name = value.as_str().ok_or_else(|| mistyped(path, NAME, value))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(name.into()),
        false => Err(wrong(path, NAME, value)),
    }
}

fn schema<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, ApiError> {
    let schema = object(path, value)?;
    // What a model writes is always an object.
    match schema.get("type").filter(|kind| !kind.is_null()) {
        Some(kind) if kind != "object" => Err(wrong(&format!("{path}.type"), "\"object\"", kind)),
        _ => Ok(schema),
    }
}

fn choice(body: &mut Body<'_>, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let Some((path, value)) = body.get("tool_choice") else { return Ok(ToolChoice::Auto) };
    let choice = match value {
        Value::String(word) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return Err(wrong(path, CHOICES, value)),
        },
        Value::Object(_) => {
            let function = function(body, path, value, &CHOICE)?;
            let path = "tool_choice.function.name";
            let name = name(path, function.get("name"))?;
            if !tools.is_empty() && !tools.iter().any(|tool| tool.name == name) {
                let message = format!("expected the name of one of the tools, found \"{name}\"");
                return Err(ApiError::at(Code::InvalidValue, path, &message));
            }
            ToolChoice::Function(name)
        }
        _ => return Err(mistyped(path, CHOICES, value)),
    };
    match choice {
        ToolChoice::Required | ToolChoice::Function(_) if tools.is_empty() => {
            Err(wrong(path, "tools beside it, which it could choose", value))
        }
        choice => Ok(choice),
    }
}
