//! Conversations with tools, through the embedded model: it knows none, but it is told of them.

use std::path::Path;

use peregrine::checkpoint::Checkpoint;
use peregrine::session::Session;
use peregrine_openai::{Admission, Code, Request, read};
use pollster::block_on;
use serde_json::{Value, json};

use crate::engine::{chat, choices, enforced, streamed, whole, whole_enforced, with_session};

fn tools() -> Value {
    // Short: the context is.
    json!([{ "type": "function", "function": { "name": "rain" } }])
}

fn prompt_tokens(session: &mut Session, fields: Value) -> u64 {
    whole(session, &chat(fields))["usage"]["prompt_tokens"].as_u64().unwrap()
}

#[test]
fn the_model_is_told_of_tools_and_of_what_came_of_them() {
    with_session(|session| {
        let question = json!({ "role": "user", "content": "Rain?" });
        let plain = prompt_tokens(session, json!({ "messages": [question] }));
        let told = prompt_tokens(session, json!({ "messages": [question], "tools": tools() }));
        assert!(told > plain + 30);
        let none = json!({ "messages": [question], "tools": tools(), "tool_choice": "none" });
        assert_eq!(prompt_tokens(session, none), plain);
        let call = json!({ "id": "1", "type": "function",
            "function": { "name": "rain", "arguments": "{}" } });
        let called = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
        let result = json!({ "role": "tool", "tool_call_id": "1", "content": "Yes" });
        let history = json!({ "messages": [question, called, result], "tools": tools() });
        assert!(prompt_tokens(session, history.clone()) > told + 10);
        // Read before it is asked, the beginning costs nothing then.
        session.reset();
        let done = block_on(read(session, &chat(json!({ "messages": [question, called], "tools": tools() })), None));
        let done = done.unwrap();
        let usage = &whole(session, &chat(history))["usage"];
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], done.usage.prompt_tokens);
    });
}

/// Counts, likelihoods, stop texts and several answers are as without tools: what is told is what
/// the tokens say.
#[test]
fn an_answer_without_a_call_is_one_as_before() {
    with_session(|session| {
        let fields = json!({ "tools": tools(), "n": 2, "logprobs": true, "return_token_ids": true, "max_tokens": 20 });
        let answer = whole(session, &chat(fields.clone()));
        let mut stream = fields;
        stream["stream"] = json!(true);
        let (chunks, done) = streamed(session, &chat(stream), usize::MAX, None);
        assert_eq!(done.unwrap().usage.completion_tokens, 40);
        for index in 0..2 {
            let choice = &answer["choices"][index];
            assert_eq!((&choice["finish_reason"], choice["message"].get("tool_calls")), (&json!("length"), None));
            let ids: Vec<u32> = serde_json::from_value(choice["token_ids"].clone()).unwrap();
            let content = choice["message"]["content"].as_str().unwrap();
            assert_eq!(session.engine().tokenizer().decode(&ids, true).unwrap(), content);
            assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), 20);
            let of = |choice: &&Value| choice["index"] == index;
            let told: String =
                choices(&chunks).filter(of).filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(told, content);
            let logprobs = choices(&chunks).filter(of).filter_map(|choice| choice["logprobs"]["content"].as_array());
            assert_eq!(logprobs.flatten().count(), 20);
        }
    });
}

#[test]
fn calls_that_cannot_be_enforced_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
    let admission = Admission::new(&checkpoint, 256).unwrap();
    with_session(move |session| {
        let named = json!({ "type": "function", "function": { "name": "rain" } });
        for choice in [json!("required"), named] {
            let request = chat(json!({ "tools": tools(), "tool_choice": choice, "stream": true }));
            let (chunks, done) = streamed(session, &request, usize::MAX, None);
            let error = done.unwrap_err();
            assert!(chunks.is_empty() && session.position() == 0);
            assert_eq!((error.code, error.param.as_deref()), (Code::Unsupported, Some("tool_choice")));
            assert_eq!(
                error.message,
                "tool_choice: a call cannot be enforced here, since there are no grammars; use \"auto\""
            );
            assert_eq!(admission.check(&request).unwrap_err(), error);
        }
        // Tools take room: what does not fit with them is refused before it is read.
        let long = json!({ "tools": tools(), "messages": [{ "role": "user", "content": "word ".repeat(150) }] });
        let request: Request = chat(long);
        let error = streamed(session, &request, usize::MAX, None).1.unwrap_err();
        assert_eq!((error.code, admission.check(&request).unwrap_err()), (Code::ContextLength, error));
    });
}

fn switch() -> Value {
    let parameters = json!({ "type": "object", "required": ["x"], "properties": { "x": { "type": "boolean" } } });
    json!({ "type": "function", "function": { "name": "on", "parameters": parameters } })
}

/// Whatever the model would like: there is a call, it is one of the tool that was asked for, and
/// its arguments are right.
#[test]
fn calls_that_must_be_are() {
    with_session(|session| {
        let named = json!({ "type": "function", "function": { "name": "on" } });
        let validator = jsonschema::validator_for(&switch()["function"]["parameters"]).unwrap();
        for choice in [json!("required"), named] {
            for temperature in [0.0, 1.5] {
                let mut fields = json!({ "tools": [switch()], "tool_choice": choice, "parallel_tool_calls": false,
                    "temperature": temperature, "messages": [{ "role": "user", "content": "On?" }], "max_tokens": 90,
                    "return_token_ids": true, "ignore_eos": false });
                let (_, done) = enforced(session, &chat(fields.clone()));
                let whole = serde_json::to_value(done.unwrap().whole.unwrap()).unwrap();
                let answer = &whole["choices"][0];
                assert_eq!(
                    (&answer["finish_reason"], &answer["message"]["content"]),
                    (&json!("tool_calls"), &Value::Null)
                );
                let calls = answer["message"]["tool_calls"].as_array().unwrap();
                let function = &calls[0]["function"];
                assert_eq!((calls.len(), &function["name"]), (1, &json!("on")), "{answer}");
                let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
                assert!(validator.is_valid(&arguments), "{arguments}");
                // Streamed, it is the same call.
                fields["stream"] = json!(true);
                let (chunks, done) = enforced(session, &chat(fields));
                assert!(!done.unwrap().is_cancelled());
                let pieces: Vec<&Value> =
                    choices(&chunks).filter_map(|choice| choice["delta"]["tool_calls"].get(0)).collect();
                assert_eq!((&pieces[0]["function"]["name"], &pieces[0]["id"]), (&json!("on"), &calls[0]["id"]));
                let told: String = pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
                assert_eq!(told, function["arguments"].as_str().unwrap());
                assert_eq!(choices(&chunks).last().unwrap()["finish_reason"], "tool_calls");
            }
        }
        // Where it may, the model need not.
        let free = json!({ "tools": [switch()], "messages": [{ "role": "user", "content": "On?" }],
            "return_token_ids": true, "ignore_eos": false });
        let (_, done) = enforced(session, &chat(free.clone()));
        let by_grammar = serde_json::to_value(done.unwrap().whole.unwrap()).unwrap();
        assert_eq!(by_grammar["choices"], whole(session, &chat(free))["choices"]);
    });
}

#[test]
fn schemas_that_cannot_be_enforced_are_reported() {
    with_session(|session| {
        let tool = |strict: bool| {
            let parameters =
                json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "(?=x)y" } } });
            json!({ "type": "function", "function": { "name": "f", "strict": strict, "parameters": parameters } })
        };
        let ask = |strict: bool| {
            chat(json!({ "tools": [tool(strict)], "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }] }))
        };
        let error = enforced(session, &ask(true)).1.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::InvalidValue, Some("tools[0].function.parameters")));
        assert!(error.message.contains("cannot be enforced, as strict asks"), "{error}");
        let (_, done) = enforced(session, &ask(false));
        let whole = serde_json::to_value(done.unwrap().whole.unwrap()).unwrap();
        let warning = whole["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("tools[0].function.parameters: not enforced: "), "{warning}");
    });
}

/// A format stands beside tools: an answer is a call, or of the format.
#[test]
fn a_format_and_tools_go_together() {
    with_session(|session| {
        let format = json!({ "type": "choice", "choice": ["Yes.", "No."] });
        let fields = json!({ "tools": [switch()], "response_format": format, "max_tokens": 60, "ignore_eos": false,
            "messages": [{ "role": "user", "content": "On?" }] });
        let mut texts = 0;
        for seed in 0..4 {
            let mut fields = fields.clone();
            fields["seed"] = json!(seed);
            fields["temperature"] = json!(1);
            let message = whole_enforced(session, &chat(fields))["choices"][0]["message"].clone();
            match message["content"].as_str() {
                Some(text) => {
                    assert!(["Yes.", "No."].contains(&text) && message.get("tool_calls").is_none(), "{message}");
                    texts += 1;
                }
                None => assert_eq!(message["tool_calls"][0]["function"]["name"], "on", "{message}"),
            }
        }
        assert!(texts > 0);
        // What may begin as a call does is refused before anything is read.
        let mut fields = fields;
        fields["response_format"] = json!({ "type": "regex", "regex": "<.*" });
        session.reset();
        let error = enforced(session, &chat(fields)).1.unwrap_err();
        assert!(error.message.contains("leave out the tools, or it"), "{error}");
        assert_eq!((error.status(), session.position()), (400, 0));
    });
}

/// Calls are written as the request wants it, and read back into the history so.
#[test]
fn the_format_of_calls_can_be_chosen() {
    with_session(|session| {
        let ask = |format: &str| {
            let fields = json!({ "tools": [switch()], "tool_choice": "required", "tool_call_format": format,
                "return_token_ids": true, "parallel_tool_calls": false, "max_tokens": 90, "ignore_eos": false,
                "messages": [{ "role": "user", "content": "On?" }] });
            chat(fields)
        };
        let mut prompts = Vec::new();
        for (format, begins) in [("auto", "<tool_call>\n{"), ("object", "<tool_call>\n{"), ("array", "<tool_call>\n[")]
        {
            let answer = whole_enforced(session, &ask(format));
            let choice = &answer["choices"][0];
            let ids: Vec<u32> = serde_json::from_value(choice["token_ids"].clone()).unwrap();
            let written = session.engine().tokenizer().decode(&ids, false).unwrap();
            assert!(written.starts_with(begins), "{format}: {written}");
            assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "on");
            prompts.push(answer["usage"]["prompt_tokens"].as_u64().unwrap());
        }
        assert!(prompts[0] == prompts[1] && prompts[1] != prompts[2], "{prompts:?}");
    });
}
