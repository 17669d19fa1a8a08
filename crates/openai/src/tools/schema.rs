//! What stands between the tags, as a JSON schema.

use peregrine::chat::CallFormat;
use serde_json::{Map, Value, json};

use crate::request::Tool;

/// The schema of a call of one of these tools, or of the array of calls: the name first, so that
/// the arguments can be told while they are written. `one`: an array has one.
///
/// Arguments that a tool does not have are not written where its schema lists those that it has.
pub fn call_schema(tools: &[&Tool], format: CallFormat, one: bool) -> Value {
    let at = if format == CallFormat::Array { "#/items" } else { "#" };
    let call = match tools {
        [tool] => call(tool, at),
        _ => {
            let calls = tools.iter().enumerate().map(|(i, tool)| call(tool, &format!("{at}/anyOf/{i}")));
            json!({ "anyOf": calls.collect::<Vec<_>>() })
        }
    };
    match (format, one) {
        (CallFormat::Object, _) => call,
        (CallFormat::Array, false) => json!({ "type": "array", "items": call, "minItems": 1 }),
        (CallFormat::Array, true) => json!({ "type": "array", "items": call, "minItems": 1, "maxItems": 1 }),
    }
}

fn call(tool: &Tool, at: &str) -> Value {
    let arguments = arguments(tool, &format!("{at}/properties/arguments"));
    json!({
        "type": "object",
        "properties": { "name": { "const": tool.name }, "arguments": arguments },
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// The tool's own schema, which stands at `at` now. `#`: it is the whole.
pub(super) fn arguments(tool: &Tool, at: &str) -> Value {
    let mut fields = tool.parameters.clone().unwrap_or_default();
    // What says which arguments there may be, besides `properties`.
    let others =
        ["additionalProperties", "unevaluatedProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"];
    let is_listed = !others.iter().any(|name| fields.contains_key(*name));
    if is_listed && (fields.contains_key("properties") || fields.is_empty()) {
        fields.insert("additionalProperties".into(), false.into());
    }
    // Its own name is no longer that of the whole, and would change what references mean.
    fields.shift_remove("$id");
    fields.shift_remove("$schema");
    fields.entry("type").or_insert_with(|| "object".into());
    moved(Value::Object(fields), at)
}

/// With references to its own parts leading there.
fn moved(schema: Value, at: &str) -> Value {
    relocated(schema, at, false)
}

/// `are_names`: the fields of this object are no keywords, but names of schemas.
fn relocated(schema: Value, at: &str, are_names: bool) -> Value {
    const NAMES: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
    match schema {
        Value::Array(items) => items.into_iter().map(|item| relocated(item, at, false)).collect(),
        Value::Object(fields) => {
            let one = |(name, value): (String, Value)| {
                let value = match (name.as_str(), value) {
                    (_, value) if are_names => relocated(value, at, false),
                    ("$ref", Value::String(to)) => Value::String(match to.strip_prefix('#') {
                        Some(rest) => format!("{at}{rest}"),
                        None => to,
                    }),
                    // Values, not schemas.
                    ("const" | "enum" | "default" | "examples", value) => value,
                    (_, value) => relocated(value, at, NAMES.contains(&name.as_str())),
                };
                (name, value)
            };
            fields.into_iter().map(one).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}
