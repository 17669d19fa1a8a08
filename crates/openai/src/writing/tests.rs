//! Answers that call tools, word by word, without a model.

use std::path::Path;

use peregrine::chat::ChatTemplate;
use peregrine::checkpoint::Checkpoint;
use peregrine::tokenizer::Tokenizer;
use pollster::block_on;
use serde_json::{Value, json};

use super::*;
use crate::request::ChatRequest;

const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

fn request(fields: Value) -> ChatRequest {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "type": "function", "function": { "name": "f" } }] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ChatRequest::parse(&body).unwrap()
}

fn generated(text: &str, finish: Finish) -> Generated {
    Generated {
        text: text.into(),
        ids: vec![1],
        finish,
        stop_text: false,
        prompt_tokens: 1,
        cached_tokens: 0,
        dropped_messages: 0,
        prefill_seconds: 0.0,
        decode_seconds: 0.0,
    }
}

/// Answers of these words, told; the words that were heard of each, and why they ended.
fn written(fields: Value, answers: &[&[&str]], finish: Finish) -> (Vec<Value>, Option<Value>, Vec<usize>, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
    let tokenizer = Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size).unwrap();
    let template = ChatTemplate::new(checkpoint.chat_template.as_ref().unwrap(), "", "").unwrap();
    let request = request(fields);
    let head = Head { id: "7".into(), created: 1, model: "m".into(), seed: 0 };
    let mut chunks = Vec::new();
    let mut on_event = |event: Event| {
        chunks.push(serde_json::to_value(&event).unwrap());
        true
    };
    let shape = Chats::new(&head, &request, &template, &tokenizer);
    let mut writer = Writer::new(shape, &request.generation, &head, &mut on_event);
    let mut heard = Vec::new();
    for (index, words) in answers.iter().enumerate() {
        writer.begin(index as u32);
        let mut finish = finish;
        let mut count = 0;
        for word in *words {
            count += 1;
            if !writer.piece(&Piece { token: 300, text: (*word).into(), logprobs: None }) {
                finish = Finish::Cancelled;
                break;
            }
        }
        heard.push(count);
        writer.end(generated(&words[..count].concat(), finish));
    }
    let finishes = writer.finishes().iter().map(|finish| json!(finish)).collect();
    let (whole, _) = writer.finish(Usage::default());
    (chunks, whole.map(|whole| serde_json::to_value(whole).unwrap()), heard, finishes)
}

fn deltas(chunks: &[Value]) -> Vec<Value> {
    chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).filter(|delta| *delta != json!({})).collect()
}

#[test]
fn calls_are_told_in_pieces() {
    let words =
        ["Let", " me.", "\n<tool", "_call>\n{\"name\": \"f\", ", "\"arguments\": {\"a\"", ": 1}", "}\n</tool_call>"];
    let words = [&words[..], &["\n<tool_call>{\"name\": \"g\"}"]].concat();
    let (chunks, whole, _, finishes) = written(json!({ "stream": true }), &[&words], Finish::Stop);
    assert!(whole.is_none());
    let function = |id: &str, name: &str, arguments: &str, index: usize| {
        json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
            "function": { "name": name, "arguments": arguments } }] })
    };
    let expected = [
        json!({ "role": "assistant", "content": "" }),
        json!({ "content": "Let" }),
        json!({ "content": " me." }),
        function("call_7_0", "f", "{\"a\"", 0),
        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ": 1}" } }] }),
        function("call_7_1", "g", "{}", 1),
    ];
    assert_eq!(deltas(&chunks), expected);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(finishes, ["tool_calls"]);

    let (chunks, whole, ..) = written(json!({}), &[&words], Finish::Stop);
    assert!(chunks.is_empty());
    let called = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let calls = [called("call_7_0", "f", "{\"a\": 1}"), called("call_7_1", "g", "{}")];
    let message = json!({ "role": "assistant", "content": "Let me.", "refusal": null, "tool_calls": calls });
    assert_eq!(whole.unwrap()["choices"][0]["message"], message);
}

#[test]
fn an_answer_says_what_there_is() {
    let answer = |text: &str, fields: Value, finish| {
        let choice = written(fields, &[&[text]], finish).1.unwrap()["choices"][0].clone();
        let calls = choice["message"]["tool_calls"].as_array().map(Vec::len);
        (choice["message"]["content"].clone(), calls, choice["finish_reason"].clone())
    };
    assert_eq!(answer(CALL, json!({}), Finish::Stop), (Value::Null, Some(1), json!("tool_calls")));
    assert_eq!(answer("", json!({}), Finish::Stop), (json!(""), None, json!("stop")));
    assert_eq!(answer("Hi <tool", json!({}), Finish::Stop), (json!("Hi <tool"), None, json!("stop")));
    // What was cut off says so, whatever was called.
    assert_eq!(answer(CALL, json!({}), Finish::Length), (Value::Null, Some(1), json!("length")));
    assert_eq!(answer(&CALL[..40], json!({}), Finish::Context), (Value::Null, Some(1), json!("length")));
    // Nobody looks for calls where there may be none.
    assert_eq!(answer(CALL, json!({ "tool_choice": "none" }), Finish::Stop), (json!(CALL), None, json!("stop")));
    assert_eq!(answer(CALL, json!({ "tools": [] }), Finish::Stop), (json!(CALL), None, json!("stop")));
}

#[test]
fn the_one_call_that_may_be_ends_an_answer() {
    let words = ["<tool_call>{\"name\": \"f\"", "}", "</tool_call>", "<tool_call>{\"name\": \"f\"}"];
    for stream in [false, true] {
        let fields = json!({ "parallel_tool_calls": false, "stream": stream, "n": 2 });
        let (chunks, whole, heard, finishes) = written(fields, &[&words, &words], Finish::Length);
        assert_eq!((heard, finishes), (vec![2, 2], vec![json!("tool_calls"), json!("tool_calls")]));
        let ids: Vec<Value> = match whole {
            Some(whole) => [0, 1].map(|i| whole["choices"][i]["message"]["tool_calls"][0]["id"].clone()).to_vec(),
            None => deltas(&chunks)
                .iter()
                .filter_map(|delta| delta["tool_calls"].get(0))
                .map(|call| call["id"].clone())
                .collect(),
        };
        // No two of a response have the same name.
        assert_eq!(ids, ["call_7_0", "call_7_1"]);
    }
}

#[test]
fn text_that_was_held_back_is_reported_at_the_end() {
    for stream in [false, true] {
        let (chunks, whole, ..) = written(json!({ "stream": stream }), &[&["a <tool", "_call>", " \n"]], Finish::Stop);
        let text = match whole {
            Some(whole) => whole["choices"][0]["message"]["content"].as_str().unwrap().to_string(),
            None => deltas(&chunks).iter().filter_map(|delta| delta["content"].as_str()).collect(),
        };
        assert_eq!(text, "a <tool_call> \n");
    }
}
