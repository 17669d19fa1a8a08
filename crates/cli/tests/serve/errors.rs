//! Requests that are refused, and clients that misbehave.

use std::io::Read;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::brief;
use crate::server::{Answer, Server};

#[test]
fn what_is_wrong_is_reported_as_openai_tells_it() {
    let server = Server::start(&["--context", "128"]);
    let refused = |answer: Answer, status: u16, code: &str, param: Value, message: &str| {
        let object = answer.json();
        let error = object["error"].as_object().unwrap();
        assert_eq!((answer.status, &error["code"], &error["param"]), (status, &json!(code), &param), "{object}");
        assert!(error["message"].as_str().unwrap().contains(message) && error["type"].is_string(), "{object}");
        assert_eq!(answer.header("content-type"), "application/json");
    };
    let chat = "/v1/chat/completions";
    let sent = |body: &str| server.send("POST", chat, &[], body);
    refused(sent("{ \"messages\": [ "), 400, "invalid_json", Value::Null, "not JSON");
    refused(sent("\u{feff}{}"), 400, "invalid_json", Value::Null, "not JSON");
    refused(sent(&"[".repeat(100_000)), 400, "invalid_json", Value::Null, "recursion");
    refused(sent("[]"), 400, "invalid_type", json!("body"), "expected an object");
    refused(sent("{}"), 400, "missing_required_parameter", json!("messages"), "at least one message");
    let spoilt = |fields: Value| server.post(chat, &brief(fields));
    refused(
        spoilt(json!({ "temprature": 1 })),
        400,
        "unknown_parameter",
        json!("temprature"),
        "did you mean temperature?",
    );
    let functions = json!({ "functions": [{}] });
    refused(spoilt(functions), 400, "unsupported_parameter", json!("functions"), "not supported");
    let image =
        json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }] });
    refused(spoilt(image), 400, "unsupported_parameter", json!("messages[0].content[0].type"), "text only");
    // Also of a stream: it has not begun.
    let long = json!({ "messages": [{ "role": "user", "content": "word ".repeat(500) }], "stream": true });
    refused(spoilt(long), 400, "context_length_exceeded", json!("messages"), "truncation");
    let bias = json!({ "logit_bias": { "4000000000": 1 }, "stream": true });
    refused(spoilt(bias), 400, "invalid_value", json!("logit_bias[\"4000000000\"]"), "token id below");

    refused(server.get("/v2/x"), 404, "unknown_url", Value::Null, "GET /v2/x: there is no such path");
    refused(server.get("/"), 404, "unknown_url", Value::Null, "/v1/chat/completions");
    refused(server.get("/v1/models/gpt%2F5"), 404, "model_not_found", json!("model"), "there is no model gpt/5");
    refused(server.get(chat), 405, "method_not_allowed", Value::Null, "use POST");
    refused(server.send("POST", "/v1/models", &[], "{}"), 405, "method_not_allowed", Value::Null, "use GET");
    assert!(server.get(chat).header("allow").contains("POST"));

    refused(
        sent(&format!("{{\"messages\": \"{}\"}}", "x".repeat(2 << 20))),
        413,
        "request_too_large",
        Value::Null,
        "1024 KiB",
    );
    // A client that says so beforehand is told at once.
    let huge =
        server.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n\r\n");
    let mut answer = String::new();
    (&huge).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("request_too_large"), "{answer}");

    // Several prompts are looked at before the first is answered.
    let prompts = json!({ "prompt": ["Once", "word ".repeat(500)], "stream": true });
    let answer = server.post("/v1/completions", &prompts);
    refused(answer, 400, "context_length_exceeded", json!("prompt[1]"), "make the prompt shorter");
    let range = json!({ "prompt": [[1, 2], [4_000_000_000u32]] });
    refused(server.post("/v1/completions", &range), 400, "invalid_value", json!("prompt[1]"), "4000000000");
    assert_eq!(["prompt_tokens_total", "completion_tokens_total"].map(|name| server.metric(name)), [0, 0]);
    refused(server.get("/v1/models/%FF"), 400, "invalid_value", json!("model"), "UTF-8");

    // Half a body, half a head, no HTTP at all; many more of them are in the program's own tests.
    let half =
        server.raw("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"prompt\":");
    half.shutdown(Shutdown::Write).unwrap();
    let _ = (&half).read_to_string(&mut String::new());
    drop(server.raw("POST /v1/completions HTTP/1.1\r\nHost"));
    let mut answer = String::new();
    let _ = server.raw("what?\r\n\r\n").read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.until("connections", 1);
    assert_eq!(server.post(chat, &brief(json!({}))).status, 200);
    assert_eq!(server.metric("http_responses_total{path=\"/v1/chat/completions\",status=\"413\"}"), 2);
}
