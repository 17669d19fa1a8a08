//! `serve`, as clients meet it: the real program over real connections; any adapter will do.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;
#[path = "serve/errors.rs"]
mod errors;
#[path = "serve/lora.rs"]
mod lora;
#[path = "serve/server.rs"]
mod server;
#[path = "serve/tools.rs"]
mod tools;

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{command, fails, model, run, told};
use crate::server::{Answer, Server, events};

/// As short as answers are.
fn brief(fields: Value) -> Value {
    let mut body = json!({
        "messages": [{ "role": "user", "content": "What is the capital of France?" }],
        "max_tokens": 8, "temperature": 0, "ignore_eos": true,
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// An answer that nobody waits for.
fn endless() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Hi" }], "n": 128, "ignore_eos": true, "stream": true })
}

#[test]
fn clients_get_what_openai_s_api_gives() {
    let server = Server::start(&["--context", "512"]);
    let whole = server.post("/v1/chat/completions", &brief(json!({})));
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"));
    let whole = whole.json();
    assert_eq!((&whole["object"], &whole["usage"]["completion_tokens"]), (&json!("chat.completion"), &json!(8)));
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();

    let body = brief(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let streamed = server.post("/v1/chat/completions", &body);
    assert_eq!((streamed.status, streamed.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    let (chunks, done) = events(&streamed.body);
    assert!(done);
    let deltas = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), content);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., end, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(
        (&end["choices"][0]["finish_reason"], &usage["usage"]["completion_tokens"]),
        (&json!("length"), &json!(8))
    );

    let schema = json!({"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"],
        "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": schema}});
    let asked = json!({"response_format": format, "max_tokens": 40});
    let by_schema = server.post("/v1/chat/completions", &brief(asked)).json();
    let choice = &by_schema["choices"][0];
    let found: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert!(["Paris", "Rome"].contains(&found["capital"].as_str().unwrap()) && choice["finish_reason"] == "stop");
    let streaming = brief(json!({"response_format": format, "max_tokens": 40, "stream": true}));
    let (chunks, _) = events(&server.post("/v1/chat/completions", &streaming).body);
    let deltas = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), choice["message"]["content"].as_str().unwrap());
    let refused =
        server.post("/v1/chat/completions", &brief(json!({"response_format": {"type": "regex", "regex": "("}})));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("response_format.regex")));

    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/by-schema.json")).unwrap();
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "golden", "strict": true, "schema": golden["schema"]}});
    let asked = json!({"prompt": golden["prompt"], "response_format": format, "temperature": 0, "max_tokens": 60,
        "return_token_ids": true});
    assert_eq!(server.post("/v1/completions", &asked).json()["choices"][0]["token_ids"], golden["ids"]);

    let text = server.post("/v1/completions", &json!({ "prompt": "Once", "max_tokens": 4, "ignore_eos": true })).json();
    assert_eq!((&text["object"], &text["usage"]["completion_tokens"]), (&json!("text_completion"), &json!(4)));

    let models = server.get("/v1/models").json();
    let name = models["data"][0]["id"].as_str().unwrap();
    assert_eq!((&models["object"], &models["data"][0]["context_length"]), (&json!("list"), &json!(512)));
    assert_eq!(server.get(&format!("/v1/models/{}", name.replace(' ', "%20"))).json(), models["data"][0]);
    assert_eq!(whole["model"], name);
    assert_eq!(server.get("/health").json(), json!({ "status": "ok", "model": name }));

    // Another conversation in between costs nothing of the first.
    let long = "A sentence that is there to be read once, and only once. ".repeat(5);
    let first = json!({ "role": "user", "content": long });
    let answer = server.post("/v1/chat/completions", &brief(json!({ "messages": [first] }))).json();
    server.post("/v1/chat/completions", &brief(json!({ "messages": [{ "role": "user", "content": "Another one" }] })));
    let said = json!({ "role": "assistant", "content": answer["choices"][0]["message"]["content"] });
    let more = json!({ "messages": [first, said, { "role": "user", "content": "Go on" }] });
    let usage = &server.post("/v1/chat/completions", &brief(more)).json()["usage"];
    assert!(
        usage["prompt_tokens_details"]["cached_tokens"].as_u64() >= answer["usage"]["prompt_tokens"].as_u64(),
        "{usage}"
    );

    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(server.metric("answers_total{ended=\"length\"}"), 6);
    assert_eq!(server.metric("http_responses_total{path=\"/v1/chat/completions\",status=\"200\"}"), 7);
    let forced_too = by_schema["usage"]["completion_tokens"].as_u64().unwrap();
    let of_golden = golden["ids"].as_array().unwrap().len() as u64;
    assert_eq!(server.metric("completion_tokens_total"), 8 * 5 + 4 + 2 * forced_too + of_golden);
    assert!(server.metric("cached_tokens_total") > 0 && server.metric("prompt_tokens_total") > 0);
    assert_eq!(server.metric("requests_running"), 0);
}

#[test]
fn a_key_and_two_origins_may_ask() {
    let (one, two) = ("https://one.example", "http://localhost:5173");
    let server =
        Server::start(&["--context", "128", "--api-key", "s3cret", "--allowed-origins", &format!("{one}, {two}/")]);
    let key = ("Authorization", "Bearer s3cret");
    let chat = |headers: &[(&str, &str)]| {
        server.send("POST", "/v1/chat/completions", headers, &brief(json!({ "max_tokens": 1 })).to_string())
    };
    let code = |answer: &Answer| answer.json()["error"]["code"].as_str().map(str::to_string);
    for headers in
        [&[][..], &[("Authorization", "Bearer s3cre")], &[("Authorization", "s3cret")], &[("Authorization", "Bearer ")]]
    {
        let answer = chat(headers);
        assert_eq!((answer.status, code(&answer).as_deref()), (401, Some("invalid_api_key")), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert!(!answer.body.contains("s3cret"));
    }
    assert_eq!(
        [server.get("/health").status, server.get("/metrics").status, server.get("/v1/models").status],
        [200, 401, 401]
    );

    for origin in [one, two] {
        let answer = chat(&[key, ("Origin", origin)]);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin));
        assert!(answer.header("access-control-expose-headers").contains("retry-after"));
        // A page reads refusals, too.
        let answer = chat(&[("Origin", origin)]);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, origin));
    }
    let asked = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang"),
        ];
        server.send("OPTIONS", "/v1/chat/completions", &headers, "")
    };
    let allowed = asked(one);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, one));
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization,content-type,x-stainless-lang");
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert_eq!(asked("https://evil.example").header("access-control-allow-origin"), "");
    // A page that need not read the answer gets none, either.
    for origin in ["https://evil.example", "null", "https://one.example.evil.example", "http://one.example"] {
        let answer = chat(&[key, ("Origin", origin)]);
        assert_eq!((answer.status, code(&answer).as_deref()), (403, Some("origin_not_allowed")), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    assert_eq!(server.metric_with("answers_total{ended=\"length\"}", &[key]), 2);
}

#[test]
fn without_origins_no_page_may_ask() {
    let server = Server::start_with(&["--context", "128"], &[("PEREGRINE_API_KEY", "from the environment")]);
    let key = ("Authorization", "Bearer from the environment");
    let answer = server.send("GET", "/v1/models", &[key, ("Origin", "http://localhost:5173")], "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""));
    assert!(answer.body.contains("--allowed-origins http://localhost:5173"));
    assert_eq!(server.send("OPTIONS", "/v1/models", &[key], "").status, 405);
    assert_eq!(server.send("GET", "/v1/models", &[key], "").status, 200);
}

#[test]
fn a_client_that_goes_away_stops_its_answer_and_a_full_queue_says_so() {
    let server = Server::start(&["--context", "512", "--queue", "1"]);
    let chat = "/v1/chat/completions";
    let mut first = server.stream(chat, &endless());
    first.next().unwrap();
    drop(first);
    server.until("answers_total{ended=\"cancelled\"}", 1);
    server.until("requests_running", 0);

    // The same without a stream.
    let mut whole = endless();
    whole["stream"] = json!(false);
    let asked = server.ask(chat, &whole);
    server.until("requests_running", 1);
    drop(asked);
    server.until("answers_total{ended=\"cancelled\"}", 2);

    let mut running = server.stream(chat, &endless());
    running.next().unwrap();
    let waiting = server.ask(chat, &brief(json!({})));
    server.until("requests_waiting", 1);
    let refused = server.post(chat, &brief(json!({})));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("queue_full")));
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    // Who no longer waits takes no room.
    drop(waiting);
    server.until("requests_waiting", 0);
    let mut next = server.ask(chat, &brief(json!({})));
    server.until("requests_waiting", 1);
    drop(running);
    let mut answer = String::new();
    let _ = next.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("chat.completion"), "{answer}");
    // Three answers that were stopped, and one that was not begun.
    assert_eq!(server.metric("answers_total{ended=\"cancelled\"}"), 4);
}

#[test]
fn a_server_stops_and_says_so() {
    let mut server = Server::start(&["--context", "512", "--grace", "600"]);
    assert_eq!(server.post("/v1/chat/completions", &brief(json!({}))).status, 200);
    // What goes on and what does not is tested where the answers are the test's: here the signal,
    // and the status.
    let mut idle = server.raw("POST /v1/completions HTTP/1.1\r\nHost: loc");
    server.until("connections", 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(server.status().code(), Some(0));
    assert!(TcpStream::connect(server.host()).is_err());
}

#[test]
fn a_server_that_may_not_wait_cuts_its_answer_off() {
    let mut server = Server::start(&["--context", "512", "--grace", "0"]);
    let mut running = server.stream("/v1/chat/completions", &endless());
    running.next().unwrap();
    server.signal(Signal::SIGINT);
    let last = running.by_ref().last().unwrap();
    assert_eq!((&last["error"]["code"], running.done), (&json!("stopping"), false));
    assert_eq!(server.status().code(), Some(0));
    // Who asks twice means it, however long it would take.
    let mut server = Server::start(&["--context", "512", "--grace", "600"]);
    let mut running = server.stream("/v1/chat/completions", &endless());
    running.next().unwrap();
    server.signal(Signal::SIGINT);
    server.signal(Signal::SIGTERM);
    use std::os::unix::process::ExitStatusExt;
    let signal = server.status().signal();
    assert!([Some(Signal::SIGINT as i32), Some(Signal::SIGTERM as i32)].contains(&signal), "{signal:?}");
}

#[test]
fn what_cannot_be_served_is_reported_before_the_model_is_loaded() {
    let model = model();
    let model = model.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["serve", model, "--port", &port]);
    told(&output, Some(1), &format!("cannot listen at 127.0.0.1:{port}")).unwrap();
    fails(&["serve", model, "--allowed-origins", "example.com"], "is no origin");
    fails(&["serve", model, "--port", "0", "--api-key", " "], "the key is empty");
    fails(&["serve", model, "--port", "0", "--queue", "481"], "481 is not in 0..=480");
    use std::os::unix::ffi::OsStrExt;
    for (key, expected) in
        [(&b"\xffkey"[..], "PEREGRINE_API_KEY: the key is not UTF-8"), (&b" "[..], "the key is empty")]
    {
        let mut serving = command(&["serve", model, "--port", "0"]);
        let output = serving.env("PEREGRINE_API_KEY", std::ffi::OsStr::from_bytes(key)).output().unwrap();
        told(&output, Some(2), expected).unwrap();
    }
    fails(&["serve", "nowhere.gguf", "--port", "0"], "nowhere.gguf");
    fails(&["serve", model, "--port", "65536"], "65536");
}
