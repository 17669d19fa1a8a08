//! A client that lets the model call a function, and tells it what came of that.

use serde_json::{Value, json};

use crate::server::{Server, events};

#[test]
fn a_call_that_must_be_is_made_and_answered() {
    let server = Server::start(&["--context", "512"]);
    let parameters = json!({ "type": "object", "required": ["on"], "properties": { "on": { "type": "boolean" } } });
    let tool = json!({ "type": "function", "function": { "name": "switch", "parameters": parameters } });
    let question = json!({ "role": "user", "content": "On?" });
    let mut body = json!({ "messages": [question], "tools": [tool], "tool_choice": "required", "parallel_tool_calls": false,
        "temperature": 0, "max_tokens": 100 });
    let chat = "/v1/chat/completions";
    let whole = server.post(chat, &body);
    assert_eq!(whole.status, 200, "{}", whole.body);
    let choice = whole.json()["choices"][0].clone();
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let call = &choice["message"]["tool_calls"][0];
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!((&call["function"]["name"], arguments["on"].is_boolean()), (&json!("switch"), true));

    body["stream"] = json!(true);
    let (chunks, done) = events(&server.post(chat, &body).body);
    let pieces = || chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0));
    assert!(done && pieces().next().unwrap()["function"]["name"] == "switch");
    let told: String = pieces().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(told, call["function"]["arguments"].as_str().unwrap());
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(server.metric("answers_total{ended=\"tool_calls\"}"), 2);

    // The message as it came, and what came of the call.
    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "It is on." });
    let next = json!({ "messages": [question, choice["message"], result], "tools": [tool], "max_tokens": 4 });
    let answer = server.post(chat, &next);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);

    let other = json!({ "role": "tool", "tool_call_id": "another", "content": "x" });
    let refused = server.post(chat, &json!({ "messages": [question, other] }));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("messages[1].tool_call_id")));
}
