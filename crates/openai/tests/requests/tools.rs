//! Tools, calls of them, and what they have answered.

use peregrine_openai::request::ToolChoice;
use peregrine_openai::{ApiError, ChatRequest, Code};
use serde_json::{Value, json};

use crate::{chat_with, conversation, refused};

fn weather() -> Value {
    json!({ "type": "function", "function": { "name": "weather", "description": "Of a town.", "strict": true,
        "parameters": { "type": "object", "properties": { "town": { "type": "string" } } } } })
}

fn with(fields: Value) -> Result<ChatRequest, ApiError> {
    let now = json!({ "type": "function", "function": { "name": "now" } });
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "tools": [weather(), now] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ChatRequest::parse(&body)
}

#[test]
fn tools_are_read() {
    let request = with(json!({})).unwrap();
    assert!(request.may_call() && request.parallel_tool_calls && request.tool_choice == ToolChoice::Auto);
    let names: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((names, request.tools[0].strict), (vec!["weather", "now"], Some(true)));
    assert!(request.generation.warnings.is_empty());
    // What the model is told of them, before all else.
    let told = request.conversation();
    assert_eq!((told.len(), told[0].role.as_str()), (2, "system"));
    let mut first = weather();
    first["function"].as_object_mut().unwrap().shift_remove("strict");
    let empty = json!({ "type": "object", "properties": {} });
    let second = json!({ "type": "function", "function": { "name": "now", "parameters": empty } });
    assert_eq!(told[0].fields["tools"], json!([first, second]));
    let none = with(json!({ "tool_choice": "none" })).unwrap();
    assert!(!none.may_call() && none.conversation().len() == 1);
    let named = json!({ "type": "function", "function": { "name": "now" } });
    for (choice, expected) in [
        (json!("auto"), ToolChoice::Auto),
        (json!("required"), ToolChoice::Required),
        (named, ToolChoice::Function("now".into())),
    ] {
        let request = with(json!({ "tool_choice": choice, "parallel_tool_calls": false })).unwrap();
        assert_eq!((&request.tool_choice, request.parallel_tool_calls), (&expected, false));
        // It says the same when it is read again.
        assert_eq!(ChatRequest::parse(&serde_json::to_value(&request).unwrap()).unwrap(), request);
    }
}

#[test]
fn wrong_tools_are_reported_with_their_path() {
    let wrong = |tools: Value, code, path: &str, message: &str| refused(chat_with("tools", tools), code, path, message);
    let one = |function: Value| json!([{ "type": "function", "function": function }]);
    let name = "expected a name of 1 to 64 letters, digits, _ and -, found";
    wrong(json!({}), Code::InvalidType, "tools", "expected a list of tools, found {}");
    wrong(json!([5]), Code::InvalidType, "tools[0]", "expected an object, found 5");
    wrong(json!([{}]), Code::Missing, "tools[0].type", "expected \"function\", found nothing");
    wrong(
        json!([{ "type": "web_search" }]),
        Code::InvalidValue,
        "tools[0].type",
        "expected \"function\", found \"web_search\"",
    );
    wrong(
        json!([{ "type": "custom", "custom": {} }]),
        Code::Unsupported,
        "tools[0].type",
        "\"custom\" is not supported: tools are functions",
    );
    wrong(json!([{ "type": "function" }]), Code::Missing, "tools[0].function", "expected an object, found nothing");
    wrong(
        json!([{ "type": "function", "function": { "name": "f" }, "functions": 1 }]),
        Code::UnknownField,
        "tools[0].functions",
        "not a field of a tool; did you mean function?",
    );
    wrong(one(json!({})), Code::Missing, "tools[0].function.name", &format!("{name} nothing"));
    for bad in ["", "a b", "ü", &"x".repeat(65)] {
        let found = one(json!({ "name": bad }));
        let shown = Value::from(bad).to_string();
        wrong(found, Code::InvalidValue, "tools[0].function.name", &format!("{name} {shown}"));
    }
    wrong(
        one(json!({ "name": "f", "description": 5 })),
        Code::InvalidType,
        "tools[0].function.description",
        "expected a text, found 5",
    );
    wrong(
        one(json!({ "name": "f", "parameters": [] })),
        Code::InvalidType,
        "tools[0].function.parameters",
        "expected an object, found []",
    );
    wrong(
        one(json!({ "name": "f", "parameters": { "type": "string" } })),
        Code::InvalidValue,
        "tools[0].function.parameters.type",
        "expected \"object\", found \"string\"",
    );
    wrong(
        one(json!({ "name": "f", "strict": "yes" })),
        Code::InvalidType,
        "tools[0].function.strict",
        "expected true or false, found \"yes\"",
    );
    wrong(
        one(json!({ "name": "f", "parameter": {} })),
        Code::UnknownField,
        "tools[0].function.parameter",
        "not a field of a function; did you mean parameters?",
    );
    wrong(
        json!([weather(), weather()]),
        Code::InvalidValue,
        "tools[1].function.name",
        "tools[0] has the same name, weather",
    );
    wrong(json!(vec![weather(); 129]), Code::InvalidValue, "tools", "expected at most 128 tools, found 129");
}

#[test]
fn wrong_choices_are_reported_with_their_path() {
    const CHOICES: &str =
        "expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}, found";
    let wrong = |choice: Value, code, path: &str, message: &str| {
        refused(with(json!({ "tool_choice": choice })), code, path, message);
    };
    wrong(json!("always"), Code::InvalidValue, "tool_choice", &format!("{CHOICES} \"always\""));
    wrong(json!(5), Code::InvalidType, "tool_choice", &format!("{CHOICES} 5"));
    wrong(
        json!({ "type": "allowed_tools", "allowed_tools": {} }),
        Code::Unsupported,
        "tool_choice.type",
        "\"allowed_tools\" is not supported: tools are functions",
    );
    wrong(json!({ "type": "function" }), Code::Missing, "tool_choice.function", "expected an object, found nothing");
    wrong(
        json!({ "type": "function", "function": { "name": "when" } }),
        Code::InvalidValue,
        "tool_choice.function.name",
        "expected the name of one of the tools, found \"when\"",
    );
    let alone = chat_with("tool_choice", json!("required"));
    refused(
        alone,
        Code::InvalidValue,
        "tool_choice",
        "expected tools beside it, which it could choose, found \"required\"",
    );
    refused(
        with(json!({ "parallel_tool_calls": 1 })),
        Code::InvalidType,
        "parallel_tool_calls",
        "expected true or false, found 1",
    );
}

fn call(id: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "now", "arguments": "{}" } })
}

fn result(id: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": [{ "type": "text", "text": "12:00" }] })
}

fn history(rest: &[Value]) -> Result<ChatRequest, ApiError> {
    let called = json!({ "role": "assistant", "content": null, "tool_calls": [call("a"), call("b")] });
    conversation([&[json!({ "role": "user", "content": "Hi" }), called], rest].concat().into())
}

#[test]
fn calls_and_what_came_of_them_are_read() {
    let next = json!({ "role": "user", "content": "And now?" });
    let request = history(&[result("b"), result("a"), next.clone()]).unwrap();
    assert_eq!((request.messages[1].content.as_str(), request.messages[2].content.as_str()), ("", "12:00"));
    assert_eq!(request.messages[1].fields["tool_calls"], json!([call("a"), call("b")]));
    assert_eq!(request.messages[3].fields["tool_call_id"], "a");
    assert_eq!(request.messages[3].fields["name"], "now");
    assert_eq!(ChatRequest::parse(&serde_json::to_value(&request).unwrap()).unwrap(), request);
    // Clients send the index of pieces back, and the name of a tool; an id may come again in
    // another turn.
    let mut indexed = call("a");
    indexed["index"] = json!(0);
    let called = json!({ "role": "assistant", "tool_calls": [indexed] });
    let mut named = result("a");
    named["name"] = json!("now");
    let twice = [next.clone(), called.clone(), named.clone(), called.clone(), named];
    let twice = conversation(json!(twice)).unwrap();
    assert!(twice.generation.warnings.is_empty());
    // What is read before its answers are there.
    assert!(conversation(json!([next, called])).is_ok());
}

#[test]
fn wrong_calls_are_reported_with_their_path() {
    const ID: &str =
        "expected the id of a call in the assistant's message before, which nothing has answered yet, found";
    let user = json!({ "role": "user", "content": "Hi" });
    let unknown = |found, path: &str, id: &str| refused(found, Code::InvalidValue, path, &format!("{ID} \"{id}\""));
    unknown(conversation(json!([user, result("a")])), "messages[1].tool_call_id", "a");
    unknown(history(&[result("c")]), "messages[2].tool_call_id", "c");
    unknown(history(&[result("a"), result("a")]), "messages[3].tool_call_id", "a");
    unknown(history(&[result("a"), result("b"), user.clone(), result("a")]), "messages[5].tool_call_id", "a");
    refused(
        history(&[json!({ "role": "tool", "content": "5" })]),
        Code::Missing,
        "messages[2].tool_call_id",
        "expected the id of a call, found nothing",
    );
    refused(
        history(&[json!({ "role": "tool", "tool_call_id": "a" })]),
        Code::Missing,
        "messages[2].content",
        "expected a text or a list of parts, found nothing",
    );
    let unanswered = "expected a message with the role \"tool\" that answers it, before any other";
    refused(history(&[result("a"), user.clone()]), Code::InvalidValue, "messages[1].tool_calls[1].id", unanswered);
    refused(history(&[user]), Code::InvalidValue, "messages[1].tool_calls[0].id", unanswered);
    let calls = |calls: Value| conversation(json!([{ "role": "assistant", "tool_calls": calls }]));
    let path = "messages[0].tool_calls";
    refused(calls(json!({})), Code::InvalidType, path, "expected a list of calls, found {}");
    refused(
        calls(json!([{ "type": "function", "function": { "name": "f", "arguments": "{}" } }])),
        Code::Missing,
        &format!("{path}[0].id"),
        "expected the id of a call, found nothing",
    );
    refused(
        calls(json!([call("a"), call("a")])),
        Code::InvalidValue,
        &format!("{path}[1].id"),
        "expected an id that no other call has, found \"a\"",
    );
    refused(
        calls(json!([{ "id": "a" }])),
        Code::Missing,
        &format!("{path}[0].type"),
        "expected \"function\", found nothing",
    );
    for (arguments, code, found) in [(Value::Null, Code::Missing, "nothing"), (json!({}), Code::InvalidType, "{}")] {
        let mut call = call("a");
        call["function"]["arguments"] = arguments;
        let expected = if code == Code::Missing { "a text that holds JSON" } else { "a text" };
        let at = format!("{path}[0].function.arguments");
        refused(calls(json!([call])), code, &at, &format!("expected {expected}, found {found}"));
    }
    // Only an assistant calls, and only a tool answers.
    for (role, field, value) in [("user", "tool_calls", json!([call("a")])), ("assistant", "tool_call_id", json!("a"))]
    {
        let found = conversation(json!([{ "role": role, "content": "Hi", field: value }]));
        refused(found, Code::Unsupported, &format!("messages[0].{field}"), "not supported in this version");
    }
}
