//! `response_format` as it is read.

use peregrine::constraint::Spec;
use peregrine_openai::{Code, Request};
use serde_json::{Value, json};

use crate::{chat_with, refused};

fn spec(format: Value) -> Option<Spec> {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "response_format": format});
    let request = Request::chat(&body).unwrap();
    let again = Request::chat(&serde_json::to_value(&request).unwrap()).unwrap();
    assert_eq!(again, request, "what it is written as is read as the same");
    request.generation().response_format.as_ref().map(|format| format.spec.clone())
}

#[test]
fn formats_are_read() {
    assert_eq!(spec(json!(null)), None);
    assert_eq!(spec(json!({"type": "text"})), None);
    assert_eq!(spec(json!({"type": "json_object"})), Some(Spec::JsonObject));
    let schema = json!({"type": "object"});
    let given = json!({"type": "json_schema", "json_schema": {"name": "a-b_1", "schema": schema}});
    assert_eq!(spec(given), Some(Spec::JsonSchema { schema: schema.clone(), strict: false }));
    let given = json!({"type": "json_schema",
        "json_schema": {"name": "a", "schema": schema, "strict": true, "description": null}});
    assert_eq!(spec(given), Some(Spec::JsonSchema { schema, strict: true }));
    assert_eq!(spec(json!({"type": "regex", "regex": "a+"})), Some(Spec::Regex("a+".into())));
    assert_eq!(spec(json!({"type": "grammar", "grammar": "start: \"a\""})), Some(Spec::Lark("start: \"a\"".into())));
    assert_eq!(spec(json!({"type": "choice", "choice": ["a", "b"]})), Some(Spec::Choice(vec!["a".into(), "b".into()])));
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |format: Value, code, field: &str, message: &str| {
        refused(chat_with("response_format", format), code, &format!("response_format{field}"), message);
    };
    wrong(json!("json"), Code::InvalidType, "", "expected an object, found \"json\"");
    wrong(json!({}), Code::Missing, ".type", "expected the kind of format, found nothing");
    let kinds =
        "expected \"text\", \"json_object\", \"json_schema\", \"regex\", \"choice\" or \"grammar\", found \"xml\"";
    wrong(json!({"type": "xml"}), Code::InvalidValue, ".type", kinds);
    let expected = "expected an object with a name and a schema, found nothing";
    wrong(json!({"type": "json_schema"}), Code::Missing, ".json_schema", expected);
    let schema = |fields: Value| json!({"type": "json_schema", "json_schema": fields});
    wrong(schema(json!({"schema": {}})), Code::Missing, ".json_schema.name", "expected a name, found nothing");
    let name = "expected 1 to 64 letters, digits, _ and -, found \"a b\"";
    wrong(schema(json!({"name": "a b", "schema": {}})), Code::InvalidValue, ".json_schema.name", name);
    wrong(schema(json!({"name": "a"})), Code::Missing, ".json_schema.schema", "expected a JSON schema, found nothing");
    let fields = json!({"name": "a", "schema": 5});
    wrong(schema(fields), Code::InvalidType, ".json_schema.schema", "expected an object, found 5");
    let fields = json!({"name": "a", "schema": {}, "strict": "yes"});
    wrong(schema(fields), Code::InvalidType, ".json_schema.strict", "expected true or false, found \"yes\"");
    let fields = json!({"name": "a", "schema": {}, "lenient": true});
    let message = "not a field of response_format.json_schema with this type";
    wrong(schema(fields), Code::UnknownField, ".json_schema.lenient", message);
    wrong(json!({"type": "regex"}), Code::Missing, ".regex", "expected a regular expression, found nothing");
    wrong(json!({"type": "choice", "choice": ["a", 5]}), Code::InvalidType, ".choice[1]", "expected a text, found 5");
    let message = "not a field of response_format with this type";
    wrong(json!({"type": "json_object", "regex": "a"}), Code::UnknownField, ".regex", message);
}
