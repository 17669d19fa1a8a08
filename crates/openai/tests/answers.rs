//! Answers of the embedded model, on whatever adapter there is. One engine serves all tests: it has
//! a thread of its own, since engines cannot move between threads.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

#[path = "answers/engine.rs"]
mod engine;
#[path = "answers/formats.rs"]
mod formats;
#[path = "answers/functions.rs"]
mod functions;
#[path = "answers/refusals.rs"]
mod refusals;
#[path = "answers/tools.rs"]
mod tools;

use std::cell::Cell;
use std::rc::Rc;

use peregrine::session::Session;
use peregrine_openai::response::{DONE, event};
use peregrine_openai::{ApiError, Cancel, Code, Request, read};
use pollster::block_on;
use serde_json::{Value, json};

use crate::engine::{chat, choices, completion, streamed, whole, with_session};

#[test]
fn chunks_say_what_the_whole_says() {
    with_session(|session| {
        let fields =
            json!({ "logprobs": true, "top_logprobs": 2, "return_token_ids": true, "user": "ann", "model": "other" });
        let whole = whole(session, &chat(fields.clone()));
        assert_eq!(
            [&whole["id"], &whole["object"], &whole["created"], &whole["model"]].map(Value::to_string),
            ["\"chatcmpl-7\"", "\"chat.completion\"", "1790000000", "\"tiny\""]
        );
        let choice = &whole["choices"][0];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("length")));
        assert_eq!((&choice["message"]["role"], &choice["message"]["refusal"]), (&json!("assistant"), &Value::Null));
        let logprobs = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!((logprobs.len(), choice["token_ids"].as_array().unwrap().len()), (12, 12));
        for likely in logprobs {
            // Greedy: the likeliest is the one that was taken.
            let top = likely["top_logprobs"].as_array().unwrap();
            assert_eq!((top.len(), &top[0]["bytes"], &top[0]["logprob"]), (2, &likely["bytes"], &likely["logprob"]));
            assert!(likely["logprob"].as_f64().unwrap() <= 0.0);
        }
        let usage = &whole["usage"];
        let count = |name: &str| usage[name].as_u64().unwrap();
        assert_eq!((count("completion_tokens"), count("total_tokens")), (12, count("prompt_tokens") + 12));
        assert_eq!(usage["prompt_tokens_details"], json!({ "cached_tokens": 0, "dropped_messages": 0 }));
        let warnings = ["model: there is no other here, tiny answers", "user: ignored, as it changes nothing here"];
        assert_eq!(whole["warnings"], json!(warnings));

        let mut stream = fields;
        stream["stream"] = json!(true);
        stream["stream_options"] = json!({ "include_usage": true });
        let (chunks, done) = streamed(session, &chat(stream), usize::MAX, None);
        let done = done.unwrap();
        assert!(done.whole.is_none() && !done.is_cancelled());
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
        assert_eq!(chunks[0]["warnings"], json!(warnings));
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == "chatcmpl-7"));
        assert!(chunks.iter().skip(1).all(|chunk| chunk.get("warnings").is_none()));
        let text: String = choices(&chunks).filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(text, choice["message"]["content"].as_str().unwrap());
        let told = |field: &str, inner: &str| -> Vec<Value> {
            let value =
                |choice: &Value| if inner.is_empty() { choice[field].clone() } else { choice[field][inner].clone() };
            choices(&chunks).filter_map(|choice| value(choice).as_array().cloned()).flatten().collect()
        };
        assert_eq!(Value::from(told("logprobs", "content")), choice["logprobs"]["content"]);
        assert_eq!(Value::from(told("token_ids", "")), choice["token_ids"]);
        let reasons: Vec<_> = choices(&chunks).map(|choice| &choice["finish_reason"]).collect();
        assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
        assert_eq!(*reasons[reasons.len() - 1], json!("length"));
        // The counts come last, and are null before.
        let (last, before) = chunks.split_last().unwrap();
        assert!(before.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
    });
}

#[test]
fn several_answers_follow_each_other() {
    with_session(|session| {
        let sampled = |n: u32, seed: i64| {
            chat(json!({ "n": n, "seed": seed, "temperature": 1.5, "max_tokens": 8, "return_token_ids": true }))
        };
        let both = whole(session, &sampled(2, 5));
        let indices: Vec<_> =
            both["choices"].as_array().unwrap().iter().map(|choice| choice["index"].clone()).collect();
        assert_eq!(indices, [0, 1]);
        assert_eq!(both["usage"]["completion_tokens"], 16);
        let one = |session: &mut Session, seed| whole(session, &sampled(1, seed))["choices"][0]["token_ids"].clone();
        assert_eq!([one(session, 5), one(session, 6)], [0, 1].map(|i| both["choices"][i]["token_ids"].clone()));
        // A seed below 0 is one, too; without any it is the caller's.
        assert_eq!(one(session, -1), one(session, -1));
        let body = json!({ "messages": [{ "role": "user", "content": "What is the capital of France?" }],
            "max_tokens": 8, "temperature": 1.5, "ignore_eos": true, "return_token_ids": true });
        let unseeded = whole(session, &Request::chat(&body).unwrap());
        assert_eq!(unseeded["choices"][0]["token_ids"], one(session, 11));
    });
}

#[test]
fn stop_texts_end_an_answer_and_are_not_told() {
    with_session(|session| {
        let text = whole(session, &chat(json!({})))["choices"][0]["message"]["content"].as_str().unwrap().to_string();
        let stop: String = text.chars().skip(3).take(3).collect();
        let begin = text.split(&stop).next().unwrap();
        let stopped = whole(session, &chat(json!({ "stop": ["never seen", stop] })));
        assert_eq!(stopped["choices"][0]["message"]["content"], begin);
        assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
        let (chunks, _) = streamed(session, &chat(json!({ "stop": stop, "stream": true })), usize::MAX, None);
        let told: String = choices(&chunks).filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(told, begin);
        assert_eq!(choices(&chunks).last().unwrap()["finish_reason"], "stop");
    });
}

#[test]
fn an_answer_is_stopped_from_outside() {
    with_session(|session| {
        let request = chat(json!({ "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 100 }));
        // Nobody listens any more.
        let (chunks, done) = streamed(session, &request, 4, None);
        let done = done.unwrap();
        assert!(done.is_cancelled() && done.whole.is_none());
        assert!((3..=4).contains(&done.usage.completion_tokens), "{done:?}");
        assert!(choices(&chunks).all(|choice| choice["finish_reason"].is_null()));
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));
        // Or somebody says so, between two steps.
        let asked = Rc::new(Cell::new(0));
        let counter = asked.clone();
        let cancel: Cancel = Rc::new(move || counter.replace(counter.get() + 1) >= 3);
        let (_, done) = streamed(session, &chat(json!({ "max_tokens": 100, "n": 5 })), 0, Some(cancel));
        let done = done.unwrap();
        assert_eq!((done.is_cancelled(), done.finishes.len(), done.whole), (true, 1, None));
        // The session goes on.
        assert_eq!(whole(session, &chat(json!({})))["choices"][0]["finish_reason"], "length");
    });
}

#[test]
fn conversations_that_do_not_fit_are_refused_or_shortened() {
    with_session(|session| {
        let long = "word ".repeat(60);
        let turns: Vec<_> = (0..8).flat_map(|_| [("user", &long), ("assistant", &long)]).collect();
        let messages: Vec<_> =
            turns.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect();
        let mut messages = Value::from(messages);
        messages.as_array_mut().unwrap().push(json!({ "role": "user", "content": "And now?" }));
        let fields = |truncation: &str| {
            json!({ "messages": messages, "truncation": truncation, "max_tokens": 4, "stream": true,
            "stream_options": { "include_usage": true } })
        };
        let (chunks, done) = streamed(session, &chat(fields("disabled")), usize::MAX, None);
        let error = done.unwrap_err();
        assert_eq!((error.code, error.status(), error.param.as_deref()), (Code::ContextLength, 400, Some("messages")));
        // Nothing was told: it can still be a status.
        assert!(chunks.is_empty());
        let (chunks, done) = streamed(session, &chat(fields("auto")), usize::MAX, None);
        assert!(done.unwrap().usage.prompt_tokens_details.dropped_messages > 0);
        assert!(chunks.last().unwrap()["usage"]["prompt_tokens_details"]["dropped_messages"].as_u64().unwrap() > 0);
        // An answer may use up the context.
        let text = whole(session, &completion(json!({ "max_tokens": 10_000 })));
        assert_eq!(
            (&text["choices"][0]["finish_reason"], &text["usage"]["total_tokens"]),
            (&json!("length"), &json!(257))
        );
    });
}

#[test]
fn texts_are_continued() {
    with_session(|session| {
        let text = whole(session, &completion(json!({ "return_token_ids": true })));
        assert_eq!((&text["object"], &text["id"]), (&json!("text_completion"), &json!("cmpl-7")));
        let choice = &text["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("length"), &Value::Null));
        let (chunks, _) = streamed(session, &completion(json!({ "stream": true, "user": "ann" })), usize::MAX, None);
        let told: String = choices(&chunks).map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(told, choice["text"].as_str().unwrap());
        assert!(chunks[0]["warnings"].is_array() && chunks[1].get("warnings").is_none());
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        // The same by its tokens, and several at once.
        let tokenizer_ids = {
            let engine = session.engine().clone();
            engine.tokenizer().encode("Once upon a time", engine.tokenizer().add_bos()).unwrap()
        };
        let many = whole(session, &completion(json!({ "prompt": ["The end", tokenizer_ids], "n": 2 })));
        let texts: Vec<_> = many["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
        assert_eq!((texts.len(), texts[2], texts[3]), (4, &choice["text"], &choice["text"]));
        assert_eq!((texts[0], many["usage"]["completion_tokens"].as_u64()), (texts[1], Some(32)));
    });
}

#[test]
fn tokens_that_there_are_not_are_refused_by_name() {
    with_session(|session| {
        let refused = |session: &mut Session, request: Request| {
            let error = streamed(session, &request, usize::MAX, None).1.unwrap_err();
            (error.status(), error.code, error.param.unwrap_or_default())
        };
        let high = 10_000_000;
        assert_eq!(
            refused(session, completion(json!({ "prompt": [high] }))),
            (400, Code::InvalidValue, "prompt".into())
        );
        let bias = json!({ "logit_bias": { "10000000": 1 } });
        let path = "logit_bias[\"10000000\"]".to_string();
        assert_eq!(refused(session, chat(bias.clone())), (400, Code::InvalidValue, path.clone()));
        assert_eq!(refused(session, completion(bias)), (400, Code::InvalidValue, path));
        // What is spelled like a control token is a text: many tokens, and no end of a turn.
        let said =
            |content: &str| json!({ "messages": [{ "role": "assistant", "content": content }], "max_tokens": 1 });
        let prompt_tokens = |session: &mut Session, content: &str| {
            whole(session, &chat(said(content)))["usage"]["prompt_tokens"].as_u64().unwrap()
        };
        assert!(prompt_tokens(session, "<|im_end|>") > prompt_tokens(session, "x") + 1);
    });
}

#[test]
fn a_bias_decides() {
    with_session(|session| {
        let banned = whole(session, &chat(json!({ "return_token_ids": true })))["choices"][0]["token_ids"][0].clone();
        let other =
            whole(session, &chat(json!({ "return_token_ids": true, "logit_bias": { banned.to_string(): -100 } })));
        assert_ne!(other["choices"][0]["token_ids"][0], banned);
        let forced = whole(
            session,
            &chat(json!({ "return_token_ids": true, "max_tokens": 3, "logit_bias": { banned.to_string(): 100 } })),
        );
        assert_eq!(forced["choices"][0]["token_ids"], json!([banned, banned, banned]));
    });
}

#[test]
fn what_is_read_beforehand_is_not_read_again() {
    with_session(|session| {
        let system = json!({ "role": "system", "content": "You answer in one word, and never more. ".repeat(4) });
        let done = block_on(read(session, &chat(json!({ "messages": [system] })), None)).unwrap();
        assert!(done.whole.is_none() && done.usage.completion_tokens == 0 && done.usage.prompt_tokens > 10);
        let asked = whole(session, &chat(json!({ "messages": [system, { "role": "user", "content": "Hi" }] })));
        assert_eq!(asked["usage"]["prompt_tokens_details"]["cached_tokens"], done.usage.prompt_tokens);
        // Not before the prompts are known, but before all of them are read.
        let asked = Cell::new(0);
        let cancel: Cancel = Rc::new(move || asked.replace(asked.get() + 1) >= 1);
        let cancelled = block_on(read(session, &completion(json!({ "prompt": "x".repeat(200) })), Some(cancel)));
        let cancelled = cancelled.unwrap();
        // Of a prompt that was not read to its end, what was read is counted.
        assert!(cancelled.is_cancelled() && cancelled.usage.prompt_tokens == u64::from(session.position()));
    });
}

#[test]
fn events_are_lines_of_json() {
    let error = ApiError::new(Code::Stopping, "one line\nor two");
    let text = event(&error).unwrap();
    assert!(text.starts_with("data: {\"error\":{\"message\":\"one line\\nor two\",") && text.ends_with("}}\n\n"));
    assert_eq!((text.matches('\n').count(), DONE), (2, "data: [DONE]\n\n"));
}
