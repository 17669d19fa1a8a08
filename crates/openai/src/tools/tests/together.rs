//! Tools whose grammar cannot be made.

use peregrine::chat::CallFormat;
use serde_json::{Value, json};

use super::super::calls;
use super::enforced::model;
use crate::request::ChatRequest;

/// Each can be compiled, but all of them are too large.
#[test]
fn tools_that_cannot_be_held_together_are_left_to_the_model() {
    let model = model();
    let tool = |i: usize, strict: bool| {
        let values: Vec<String> = (0..900).map(|value| format!("{i}-{value}")).collect();
        let parameters = json!({ "type": "object", "properties": { "of": { "enum": values } } });
        json!({ "type": "function",
            "function": { "name": format!("f{i}"), "parameters": parameters, "strict": strict } })
    };
    let found_beside = |choice: Value, strict: bool, format: &str| {
        let tools: Vec<Value> = (0..24).map(|i| tool(i, strict && i == 3)).collect();
        let messages = json!([{ "role": "user", "content": "Hi" }]);
        let format = json!({ "type": format });
        let request = json!({ "messages": messages, "tools": tools, "tool_choice": choice, "response_format": format });
        let request = ChatRequest::parse(&request).unwrap();
        calls(&request, CallFormat::Object, Some(&model.grammars)).map(Option::unwrap)
    };
    let found = |choice, strict| found_beside(choice, strict, "text");
    let free = found(json!("auto"), false).unwrap();
    assert!(free.grammar.is_none());
    assert_eq!(free.warnings.len(), 1, "{:?}", free.warnings);
    assert!(free.warnings[0].starts_with("tools: calls are not enforced"), "{:?}", free.warnings);
    for (choice, strict) in [("required", false), ("required", true), ("auto", true)] {
        let error = found(json!(choice), strict).err().unwrap();
        assert_eq!((error.status(), error.param.as_deref()), (400, Some("tools")), "{choice} {strict}: {error}");
    }
    assert!(found_beside(json!("auto"), false, "json_object").is_err());
    let named = json!({ "type": "function", "function": { "name": "f5" } });
    let one = found(named, false).unwrap();
    assert!(one.grammar.is_some() && one.warnings.is_empty());
}
