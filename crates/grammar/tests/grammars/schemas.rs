//! Documents by schemas as public APIs have them, and by generated ones: random walks under the mask, judged by another
//! implementation of JSON Schema.

use peregrine::constraint::Spec;
use serde_json::{Value, json};

use crate::walk::{Noise, takes, walk};

/// Documents of each schema.
const DOCUMENTS: usize = 8;

/// Schemas of the kind that tools, extraction and public APIs use, each with a document that validates.
fn typical() -> Vec<(Value, Value)> {
    let text = json!({"type": "string"});
    let amount = json!({"type": "object", "properties": {"value": {"type": "number", "minimum": 0},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"}}, "required": ["value", "currency"], "additionalProperties": false});
    vec![
        (
            json!({"type": "object", "properties": {"city": text, "unit": {"enum": ["celsius", "fahrenheit"]}}, "required": ["city"],
                "additionalProperties": false}),
            json!({"city": "Abu Dhabi", "unit": "celsius"}),
        ),
        (
            json!({"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 40},
                "age": {"type": "integer", "minimum": 0, "maximum": 150}, "email": {"type": "string", "format": "email"}},
                "required": ["name", "age"]}),
            json!({"name": "Ada", "age": 36, "email": "ada@example.com"}),
        ),
        (
            json!({"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object", "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}, "quantity": {"type": "integer", "minimum": 1}, "price": amount},
                "required": ["sku", "quantity"], "additionalProperties": false}, "minItems": 1, "maxItems": 5}}, "required": ["items"]}),
            json!({"items": [{"sku": "AB-1234", "quantity": 2, "price": {"value": 3.5, "currency": "EUR"}}]}),
        ),
        (
            json!({"$defs": {"tree": {"type": "object", "properties": {"label": text,
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["label", "children"],
                "additionalProperties": false}}, "$ref": "#/$defs/tree"}),
            json!({"label": "root", "children": [{"label": "leaf", "children": []}]}),
        ),
        (
            json!({"type": "object", "properties": {"type": {"const": "Feature"}, "geometry": {"type": "object", "properties": {
                "type": {"const": "Point"}, "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}},
                "required": ["type", "coordinates"]}, "properties": {"type": ["object", "null"]}},
                "required": ["type", "geometry", "properties"]}),
            json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [8.5, 47.4]}, "properties": null}),
        ),
        (
            json!({"anyOf": [{"type": "object", "properties": {"ok": {"const": true}, "result": {}}, "required": ["ok", "result"],
                "additionalProperties": false}, {"type": "object", "properties": {"ok": {"const": false}, "error": text},
                "required": ["ok", "error"], "additionalProperties": false}]}),
            json!({"ok": false, "error": "no such city"}),
        ),
        (
            json!({"type": "object", "properties": {"id": {"type": "string", "format": "uuid"},
                "created": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"},
                "ip": {"type": "string", "format": "ipv4"}}, "required": ["id", "created", "day", "ip"]}),
            json!({"id": "123e4567-e89b-12d3-a456-426614174000", "created": "2026-11-29T11:00:00Z", "day": "2026-11-29", "ip": "10.0.0.1"}),
        ),
        (
            json!({"type": "object", "properties": {"jsonrpc": {"const": "2.0"}, "method": text, "params": {"anyOf": [
                {"type": "array"}, {"type": "object"}]}, "id": {"type": ["integer", "string", "null"]}}, "required": ["jsonrpc", "method"],
                "additionalProperties": false}),
            json!({"jsonrpc": "2.0", "method": "add", "params": [1, 2], "id": 1}),
        ),
        (
            json!({"type": "object", "patternProperties": {"^x-": text}, "properties": {"openapi": {"type": "string", "pattern": "^3\\."},
                "info": {"type": "object", "properties": {"title": text, "version": text}, "required": ["title", "version"]}},
                "required": ["openapi", "info"], "additionalProperties": false}),
            json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "x-note": "n"}),
        ),
        (
            json!({"type": "array", "items": {"enum": ["positive", "negative", "neutral"]}, "minItems": 1, "maxItems": 4}),
            json!(["neutral", "positive"]),
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
            json!(["a", 1]),
        ),
        (
            json!({"type": "object", "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {
                "explanation": text, "output": text}, "required": ["explanation", "output"], "additionalProperties": false}},
                "final_answer": text}, "required": ["steps", "final_answer"], "additionalProperties": false}),
            json!({"steps": [{"explanation": "add", "output": "4"}], "final_answer": "4"}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer", "multipleOf": 5, "minimum": -500, "maximum": 5000}, "maxProperties": 3}),
            json!({"a": 5, "b": -10}),
        ),
        (
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}),
            json!({"a": 1, "b": true}),
        ),
        (json!({"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25}), json!(2.25)),
        (
            json!({"type": "object", "properties": {"url": {"type": "string", "format": "uri"}, "tags": {"type": "array",
                "items": {"type": "string", "maxLength": 12}, "maxItems": 3}, "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
                "required": ["tags", "parent"], "additionalProperties": false}),
            json!({"url": "https://example.com/a", "tags": ["x"], "parent": {"tags": [], "parent": null}}),
        ),
    ]
}

/// Schemas of at most so many levels, the same for the same noise.
fn generated(noise: &mut Noise, depth: usize) -> Value {
    let kinds = if depth == 0 { 6 } else { 9 };
    match noise.below(kinds) {
        0 => json!({"type": "string", "maxLength": 1 + noise.below(20)}),
        1 => json!({"type": "integer", "minimum": -(noise.below(1000) as i64), "maximum": noise.below(100_000)}),
        2 => json!({"type": ["boolean", "null"]}),
        3 => json!({"enum": ["a", "bc", 3, null, {"d": [true]}]}),
        4 => {
            let patterns = ["^[a-f0-9]{2,6}$", "^(yes|no)( sir)?$", "[xyz]$", "^\\w+\\.\\d{2}$"];
            json!({"type": "string", "pattern": patterns[noise.below(4)]})
        }
        5 => json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1 + noise.below(50)}),
        6 => {
            json!({"type": "array", "items": generated(noise, depth - 1), "minItems": noise.below(2), "maxItems": 1 + noise.below(4)})
        }
        7 => json!({"anyOf": [generated(noise, depth - 1), generated(noise, depth - 1)]}),
        _ => {
            let fields: Vec<(String, Value)> = (0..1 + noise.below(4))
                .map(|i| (format!("{}_{i}", ["id", "name", "größe"][noise.below(3)]), generated(noise, depth - 1)))
                .collect();
            let required: Vec<&String> = fields.iter().map(|(name, _)| name).filter(|_| noise.below(2) == 0).collect();
            let required = json!(required);
            let properties: Value = fields.into_iter().collect::<serde_json::Map<_, _>>().into();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": noise.below(4) == 0})
        }
    }
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// Walks that end; all that do must validate.
fn walks(schema: &Value, noise: &mut Noise) -> usize {
    let spec = Spec::JsonSchema { schema: schema.clone(), strict: true };
    let judge = validator(schema);
    let mut ended = 0;
    for _ in 0..DOCUMENTS {
        let start = noise.0;
        // Of dates, the grammar does not know leap years and leap seconds.
        let Some(text) = walk(&spec, noise).filter(|text| !text.contains("-02-29") && !text.contains(":60")) else {
            continue;
        };
        let what = || format!("noise {start}: {schema}: {text:?}");
        let document: Value = match serde_json::from_str(&text) {
            Ok(document) => document,
            // JSON has no largest number, Rust's has.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            Err(error) => panic!("{error}: {}", what()),
        };
        assert!(judge.is_valid(&document), "{}", what());
        ended += 1;
    }
    ended
}

#[test]
fn every_document_under_a_mask_validates() {
    let mut noise = Noise(11);
    let typical = typical().into_iter().map(|(schema, _)| schema);
    let generated: Vec<Value> = (0..40).map(|_| generated(&mut noise, 3)).collect();
    let (mut schemas, mut ended) = (0, 0);
    for schema in typical.chain(generated) {
        ended += walks(&schema, &mut noise);
        schemas += 1;
    }
    assert!(ended * 10 > schemas * DOCUMENTS * 8, "{ended} of {} came to an end", schemas * DOCUMENTS);
}

#[test]
fn documents_that_validate_are_reached() {
    for (schema, document) in typical() {
        assert!(validator(&schema).is_valid(&document), "{schema}: {document}");
        let spec = Spec::JsonSchema { schema: schema.clone(), strict: true };
        assert!(takes(&spec, &document.to_string()), "{schema}: {document}");
    }
}

/// The oracle is one: a document with a wrong value, an additional field or a missing one is not taken by either.
#[test]
fn documents_that_do_not_validate_are_not_reached() {
    for (schema, document) in typical() {
        let spec = Spec::JsonSchema { schema: schema.clone(), strict: true };
        let judge = validator(&schema);
        let mut broken = vec![json!("text"), json!([null]), json!({"unknown": {}}), json!(-1000)];
        for name in document.as_object().into_iter().flatten().map(|(name, _)| name) {
            let mut without = document.clone();
            without.as_object_mut().unwrap().remove(name);
            broken.push(without);
            let mut wrong = document.clone();
            wrong[name] = json!([[1], "x"]);
            broken.push(wrong);
        }
        for document in broken.iter().filter(|document| !judge.is_valid(document)) {
            assert!(!takes(&spec, &document.to_string()), "{schema}: {document}");
        }
    }
}
