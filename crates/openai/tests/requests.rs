//! What requests may say: defaults, ranges, refusals and warnings. No GPU.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

use peregrine_openai::request::{Prompt, Truncation};
use peregrine_openai::{ApiError, ChatRequest, Code, CompletionRequest, Request};
use serde_json::{Value, json};

#[path = "requests/fields.rs"]
mod fields;
#[path = "requests/formats.rs"]
mod formats;
#[path = "requests/messages.rs"]
mod messages;
#[path = "requests/mutations.rs"]
mod mutations;
#[path = "requests/tools.rs"]
mod tools;

fn chat_with(field: &str, value: Value) -> Result<ChatRequest, ApiError> {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    body[field] = value;
    ChatRequest::parse(&body)
}

fn conversation(messages: Value) -> Result<ChatRequest, ApiError> {
    ChatRequest::parse(&json!({ "messages": messages }))
}

fn completion_with(field: &str, value: Value) -> Result<CompletionRequest, ApiError> {
    let mut body = json!({ "prompt": "Once" });
    body[field] = value;
    CompletionRequest::parse(&body)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, code: Code, param: &str, message: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{error}");
    assert_eq!(error.message, format!("{param}: {message}"));
    assert_eq!(error.status(), 400);
}

#[test]
fn defaults_are_openai_s() {
    let request = conversation(json!([{ "role": "user", "content": "Hi" }])).unwrap();
    assert_eq!(request.truncation, Truncation::Disabled);
    let g = &request.generation;
    assert_eq!((g.temperature, g.top_p, g.top_k, g.min_p, g.repetition_penalty), (1.0, 1.0, 0, 0.0, 1.0));
    assert_eq!((g.n, g.seed, g.stream, g.stream_options.include_usage), (1, None, false, false));
    assert!(g.warnings.is_empty() && g.stop.is_empty() && g.logit_bias.is_empty());
    assert_eq!(Request::Chat(request).max_tokens(), u32::MAX);
    let completion = CompletionRequest::parse(&json!({ "prompt": "Once" })).unwrap();
    assert_eq!((completion.max_tokens, &completion.prompt[..]), (16, &[Prompt::Text("Once".into())][..]));
}

#[test]
fn null_is_nothing() {
    for field in ["temperature", "stop", "seed", "n", "stream", "stream_options", "logit_bias", "tools", "whatever"] {
        let plain = conversation(json!([{ "role": "user", "content": "Hi" }])).unwrap();
        assert_eq!(chat_with(field, Value::Null).unwrap(), plain, "{field}");
    }
}

#[test]
fn what_was_read_is_read_again_as_the_same() {
    let body = json!({
        "model": "m", "stream": true, "stream_options": { "include_usage": true }, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
        "min_p": 0.05, "presence_penalty": -1.5, "frequency_penalty": 2, "repetition_penalty": 1.1, "logit_bias": { "5": -100, "0": 3.5 },
        "stop": ["a", "b"], "seed": -7, "n": 3, "ignore_eos": true, "return_token_ids": true, "max_completion_tokens": 9,
        "truncation": "auto", "logprobs": true, "top_logprobs": 20,
        "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "Be" }, { "type": "text", "text": "brief." }] },
            { "role": "user", "content": "Hi" }, { "role": "assistant", "content": null }, { "role": "assistant", "tool_calls": [] },
        ],
    });
    let request = Request::chat(&body).unwrap();
    let again = serde_json::to_value(&request).unwrap();
    assert_eq!(Request::chat(&again).unwrap(), request);
    let expected = json!([
        { "role": "system", "content": "Be\nbrief." },
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "content": "" },
        { "role": "assistant", "content": "" },
    ]);
    assert_eq!(again["messages"], expected);
    for prompt in [json!("a"), json!([1, 2]), json!(["a", "b"]), json!([[1], [2, 3]]), json!(["a", [4]])] {
        let request = Request::completion(&json!({ "prompt": prompt, "n": 2 })).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!((&again["prompt"], Request::completion(&again).unwrap()), (&prompt, request));
    }
}

#[test]
fn numbers_have_ranges() {
    let wrong =
        |field: &str, value: Value, message: &str| refused(chat_with(field, value), Code::InvalidValue, field, message);
    wrong("temperature", json!(2.5), "expected a number from 0 to 2, found 2.5");
    wrong("top_p", json!(-0.1), "expected a number from 0 to 1, found -0.1");
    wrong("min_p", json!(1.1), "expected a number from 0 to 1, found 1.1");
    wrong("presence_penalty", json!(-3), "expected a number from -2 to 2, found -3");
    wrong("repetition_penalty", json!(0), "expected a number from 0.01 to 10, found 0");
    wrong("top_k", json!(1.5), "expected a whole number of at least 0, found 1.5");
    wrong("top_k", json!(-1), "expected a whole number of at least 0, found -1");
    wrong("max_tokens", json!(0), "expected a whole number of at least 1, found 0");
    wrong("max_completion_tokens", json!(4294967296u64), "expected a whole number of at least 1, found 4294967296");
    wrong("n", json!(129), "expected a whole number from 1 to 128, found 129");
    wrong("seed", json!(1.5), "expected a whole number from -9223372036854775808 to 9223372036854775807, found 1.5");
    wrong("top_logprobs", json!(21), "expected a whole number from 0 to 20, found 21");
    wrong("top_logprobs", json!(2), "expected logprobs: true beside it, found 2");
    for (field, value) in
        [("temperature", json!(0)), ("seed", json!(i64::MIN)), ("top_k", json!(5.0)), ("n", json!(128))]
    {
        assert!(chat_with(field, value).is_ok(), "{field}");
    }
    // Of the two names the newer one is obeyed, and both are looked at.
    let mut body =
        json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5, "max_completion_tokens": 7 });
    assert_eq!(ChatRequest::parse(&body).unwrap().max_completion_tokens, Some(7));
    body["max_tokens"] = json!("5");
    refused(
        ChatRequest::parse(&body),
        Code::InvalidType,
        "max_tokens",
        "expected a whole number of at least 1, found \"5\"",
    );
}

#[test]
fn types_are_reported_with_their_path() {
    let wrong =
        |field: &str, value: Value, message: &str| refused(chat_with(field, value), Code::InvalidType, field, message);
    wrong("temperature", json!("hot"), "expected a number from 0 to 2, found \"hot\"");
    wrong("stream", json!("yes"), "expected true or false, found \"yes\"");
    wrong("model", json!(4), "expected a text, found 4");
    wrong("stop", json!(5), "expected a text or up to four, none of them empty, found 5");
    wrong("stream_options", json!([]), "expected an object, found []");
    wrong("truncation", json!(true), "expected \"auto\" or \"disabled\", found true");
    wrong("logit_bias", json!([1]), "expected an object of token ids and numbers, found [1]");
    wrong("messages", json!("Hi"), "expected a list of at least one message, found \"Hi\"");
    let long = "x".repeat(1000);
    wrong(
        "seed",
        json!(long),
        &format!("expected a whole number from {} to {}, found \"{}…", i64::MIN, i64::MAX, &long[..79]),
    );
    for body in [json!(null), json!([]), json!("Hi"), json!(5)] {
        refused(ChatRequest::parse(&body), Code::InvalidType, "body", &format!("expected an object, found {body}"));
    }
    let options = |value| chat_with("stream_options", json!({ "include_usage": value }));
    refused(options(json!(1)), Code::InvalidType, "stream_options.include_usage", "expected true or false, found 1");
    assert!(options(Value::Null).is_ok());
    refused(chat_with("stop", json!(["a", 5])), Code::InvalidType, "stop[1]", "expected a text, found 5");
    refused(
        chat_with("stop", json!(["a", ""])),
        Code::InvalidValue,
        "stop[1]",
        "expected a text that is not empty, found \"\"",
    );
    let five = chat_with("stop", json!(["a", "b", "c", "d", "e"]));
    refused(five, Code::InvalidValue, "stop", "expected a text or up to four, none of them empty, found 5");
    for (key, path) in [
        ("x", "logit_bias[\"x\"]"),
        ("+5", "logit_bias[\"+5\"]"),
        ("", "logit_bias[\"\"]"),
        ("4294967296", "logit_bias[\"4294967296\"]"),
    ] {
        refused(
            chat_with("logit_bias", json!({ key: 1 })),
            Code::InvalidValue,
            path,
            &format!("expected a token id as the key, found \"{key}\""),
        );
    }
    let bias = chat_with("logit_bias", json!({ "5": 101 }));
    refused(bias, Code::InvalidValue, "logit_bias[\"5\"]", "expected a number from -100 to 100, found 101");
}

#[test]
fn errors_are_openai_s_objects() {
    let error = chat_with("temperature", json!(5)).unwrap_err();
    let object = json!({ "error": {
        "message": "temperature: expected a number from 0 to 2, found 5", "type": "invalid_request_error",
        "param": "temperature", "code": "invalid_value",
    } });
    assert_eq!(serde_json::to_value(&error).unwrap(), object);
    let plain = serde_json::to_value(ApiError::new(Code::Busy, "later")).unwrap();
    assert_eq!(
        plain,
        json!({ "error": { "message": "later", "type": "rate_limit_error", "param": null, "code": "queue_full" } })
    );
    let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
}

#[test]
fn the_engine_s_errors_have_a_status() {
    use peregrine::Error;
    let of = |error: Error| {
        let error = ApiError::of(&error, "messages");
        (error.status(), error.code.name(), error.param)
    };
    let named = |name: &str| Some(name.to_string());
    let full = Error::ContextFull { needed: 9, context_length: 8 };
    assert_eq!(of(full), (400, "context_length_exceeded", named("messages")));
    assert_eq!(of(Error::Template { detail: "x".into() }), (400, "invalid_value", named("messages")));
    let argument = Error::Argument { field: "prompt".into(), expected: "x".into(), found: "y".into() };
    assert_eq!(of(argument), (400, "invalid_value", named("prompt")));
    let logits = Error::Sampling { field: "logits".into(), expected: "x".into(), found: "y".into() };
    assert_eq!(of(logits), (500, "gpu", None));
    assert_eq!(of(Error::DeviceLost { detail: "x".into() }), (503, "device_lost", None));
    assert_eq!(of(Error::OutOfMemory { what: "x".into(), bytes: Some(1), limit: None }), (500, "out_of_memory", None));
    assert_eq!(of(Error::Gpu { detail: "x".into() }), (500, "gpu", None));
    // The npm package has the same codes for them.
    for error in [
        Error::Cancelled,
        Error::ContextFull { needed: 9, context_length: 8 },
        Error::DeviceLost { detail: "x".into() },
    ] {
        assert_eq!(ApiError::of(&error, "messages").code.engine_code(), error.code());
    }
}
