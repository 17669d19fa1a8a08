//! Schemas of calls.

use peregrine::chat::CallFormat;
use serde_json::{Value, json};

use crate::request::{ChatRequest, Tool};
use crate::tools::call_schema;

fn tools(functions: &[Value]) -> Vec<Tool> {
    let tools: Vec<Value> = functions.iter().map(|f| json!({ "type": "function", "function": f })).collect();
    ChatRequest::parse(&json!({ "messages": [{ "role": "user", "content": "Hi" }], "tools": tools })).unwrap().tools
}

fn of(functions: &[Value], format: CallFormat, one: bool) -> Value {
    call_schema(&tools(functions).iter().collect::<Vec<_>>(), format, one)
}

#[test]
fn a_call_has_a_name_and_then_arguments() {
    let parameters = json!({ "type": "object", "properties": { "town": { "type": "string" } }, "required": ["town"] });
    let schema = of(&[json!({ "name": "rain", "parameters": parameters })], CallFormat::Object, false);
    let mut arguments = parameters;
    arguments["additionalProperties"] = json!(false);
    let call = json!({ "type": "object", "properties": { "name": { "const": "rain" }, "arguments": arguments },
        "required": ["name", "arguments"], "additionalProperties": false });
    assert_eq!(schema, call);
    let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["name", "arguments"]);
    let array = of(&[json!({ "name": "now" })], CallFormat::Array, false);
    assert_eq!((&array["type"], &array["minItems"], array.get("maxItems")), (&json!("array"), &json!(1), None));
    let none = json!({ "additionalProperties": false, "type": "object" });
    assert_eq!(array["items"]["properties"]["arguments"], none);
    assert_eq!(of(&[json!({ "name": "now" })], CallFormat::Array, true)["maxItems"], 1);
}

#[test]
fn references_lead_to_where_they_led() {
    let parameters = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/x",
        "$defs": { "a": { "type": "string" } },
        "properties": {
            "a": { "$ref": "#/$defs/a" }, "all": { "items": { "$ref": "#" } }, "$ref": { "type": "string" },
            "b": { "const": { "$ref": "#/x" } },
        },
    });
    let functions = [json!({ "name": "now" }), json!({ "name": "f", "parameters": parameters })];
    for (format, at) in [(CallFormat::Object, "#/anyOf/1"), (CallFormat::Array, "#/items/anyOf/1")] {
        let schema = of(&functions, format, false);
        let at = format!("{at}/properties/arguments");
        let found = schema.pointer(&at[1..]).unwrap();
        assert_eq!(found["properties"]["a"]["$ref"], format!("{at}/$defs/a"));
        assert_eq!(found["properties"]["all"]["items"]["$ref"], at);
        assert_eq!(found["properties"]["$ref"], json!({ "type": "string" }));
        assert_eq!(found["properties"]["b"]["const"]["$ref"], "#/x");
        assert!(found.get("$id").is_none() && found.get("$schema").is_none());
        assert!(schema.pointer(&format!("{}/$defs/a", &at[1..])).is_some());
    }
}

#[test]
fn arguments_that_a_schema_leaves_open_stay_open() {
    for more in
        [json!({ "additionalProperties": { "type": "string" } }), json!({ "anyOf": [{}] }), json!({ "title": "x" })]
    {
        let schema = of(&[json!({ "name": "f", "parameters": more })], CallFormat::Object, false);
        let arguments = &schema["properties"]["arguments"];
        assert_eq!(
            (&arguments["type"], arguments.get("additionalProperties")),
            (&json!("object"), more.get("additionalProperties"))
        );
    }
}
